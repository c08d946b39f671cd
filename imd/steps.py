"""The lines that ``imd.journey`` has logged about one message, wherever they were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

#: A conversation and a seq in it.
Place = tuple[int, int]
NOWHERE: Place = (0, 0)
#: How journald names our fields.
_JOURNAL = "IMD_"
#: Steps of members: they say how far one is, and so of every message before.
_MEMBERS = ("delivered", "read")
_SHOWN = ("user", "device", "to")


def steps(lines: Iterable[str], id: str, place: Place = NOWHERE) -> list[str]:
    """A line for each step of a message, in the order of their times.

    ``id`` is its UUID, or empty; ``place`` its conversation and seq, if they are known.
    ``lines`` are objects of JSON as imd writes them, whatever stands before the first brace, or
    as journalctl does with ``-o json``; all others are passed over.
    """
    told = [step for step in map(_step, lines) if step is not None]
    place = _place(told, id) if place == NOWHERE else place
    mine = [step for step in told if _is_of(step, id, place)]
    first: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for step in sorted(mine, key=lambda step: str(step.get("time"))):
        # A member tells again and again how far it is; the first time is the one that counts.
        member = step["step"] in _MEMBERS
        key = (step["step"], step.get("user")) if member else (id, len(first))
        first.setdefault(key, step)
    return [_line(step) for step in first.values()]


def _step(line: str) -> Mapping[str, Any] | None:
    try:
        # What begins with a brace is an object.
        found: dict[str, Any] = json.loads(line[line.index("{") :])
    except ValueError:
        return None
    if f"{_JOURNAL}EVENT" in found:
        ours = {k: v for k, v in found.items() if k.startswith(_JOURNAL)}
        found = {name.removeprefix(_JOURNAL).lower(): value for name, value in ours.items()}
    is_step = found.get("event") == "message" and isinstance(found.get("step"), str)
    return found if is_step else None


def _place(told: Iterable[Mapping[str, Any]], id: str) -> Place:
    """Conversation and seq, if a line tells them."""
    places = (_where(step) for step in told if step.get("id") == id)
    return next((place for place in places if place[1]), NOWHERE)


def _where(step: Mapping[str, Any]) -> Place:
    try:
        return int(step["conversation"]), int(step["seq"])
    except (KeyError, TypeError, ValueError):
        return NOWHERE


def _is_of(step: Mapping[str, Any], id: str, place: Place) -> bool:
    conversation, seq = _where(step)
    if step["step"] in _MEMBERS:
        return place != NOWHERE and conversation == place[0] and seq >= place[1]
    return step.get("id") == id or (bool(seq) and (conversation, seq) == place)


def _line(step: Mapping[str, Any]) -> str:
    ids = " ".join(f"{name} {step[name]}" for name in _SHOWN if name in step)
    text = f"  {step.get('time')}  {step.get('node')}  {step['step']}  {ids}".rstrip()
    return "".join(c if c.isprintable() else "?" for c in text)
