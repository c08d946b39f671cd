"""Scenario files: their grammar, and how values in them are matched and filled in.

    file     = *(header-line) blank-line *(step-line / comment-line / continuation)
    header   = key ":" value              ; rule, title, each, why
    step     = verb *(SP json-value)
    comment  = "#" text
    continuation = a line that begins with a space, and belongs to the line before it

``each`` is a JSON object of one name and an array: the scenario is played once for each
value, with the variable of that name bound to it.  A string ``"$name"`` is a variable: where
something is expected it is bound, or has to equal what it was bound to before; where something
is sent it is replaced.  In what is expected, ``null`` says that the field must be absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

_DECODER = json.JSONDecoder()
_KEYS = frozenset(("rule", "title", "each", "why"))


class ScriptError(ValueError):
    """A scenario that cannot be played; the message says where and why."""


class Step(Struct, frozen=True):
    """One line of a scenario: what to do, or what to wait for."""

    line: int
    verb: str
    values: tuple[Any, ...]


class Scenario(Struct, frozen=True):
    """A transcript that proves that a client keeps ``rule``; ``name`` is the file's."""

    name: str
    rule: str
    title: str
    steps: tuple[Step, ...]
    bound: Mapping[str, Any] = {}


def parse(name: str, text: str) -> list[Scenario]:
    """The scenarios in a file, one unless it has ``each``; raises ``ScriptError``."""
    head, _, body = text.partition("\n\n")
    header = dict(_header(name, line) for line in _joined(head).values())
    missing = {"rule", "title"} - set(header)
    if missing:
        raise ScriptError(f"{name}: no {', '.join(sorted(missing))} in the header")
    first = head.count("\n") + 3
    steps = tuple(_steps(name, first, body))
    whole = Scenario(name, header["rule"], header["title"], steps)
    if "each" not in header:
        return [whole]
    ((variable, values),) = _values(name, first, header["each"])[0].items()
    return [
        Scenario(f"{name}[{value}]", whole.rule, whole.title, steps, {variable: value})
        for value in values
    ]


def _joined(text: str) -> dict[int, str]:
    """Lines by number, with their continuations; comments and empty lines are left out."""
    lines: dict[int, str] = {}
    last = 0
    for number, line in enumerate(text.split("\n")):
        if line.startswith(" "):
            lines[last] = lines.get(last, "") + line
        elif line and not line.startswith("#"):
            lines[number] = line
            last = number
    return lines


def _header(name: str, line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    if not colon or key not in _KEYS:
        raise ScriptError(f"{name}: the header cannot hold: {line}")
    return key, value.strip()


def _steps(name: str, first: int, body: str) -> Iterator[Step]:
    for number, line in _joined(body).items():
        verb, _, rest = line.partition(" ")
        yield Step(first + number, verb, tuple(_values(name, first + number, rest)))


def _values(name: str, line: int, text: str) -> list[Any]:
    values = []
    text = text.strip()
    while text:
        try:
            value, end = _DECODER.raw_decode(text)
        except ValueError as error:
            raise ScriptError(f"{name}:{line}: {error}") from None
        values.append(value)
        text = text[end:].strip()
    return values


def filled(value: Any, bound: Mapping[str, Any]) -> Any:
    """``value`` with its variables replaced; raises ``ScriptError`` for one without a value."""
    if isinstance(value, dict):
        return {key: filled(each, bound) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, bound) for each in value]
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in bound:
            raise ScriptError(f"{value} has no value yet")
        return bound[value[1:]]
    return value


def match(pattern: Any, value: Any, bound: Mapping[str, Any]) -> dict[str, Any] | None:
    """The variables that ``value`` binds if it is like ``pattern``; None if it is not.

    Objects may have more fields than the pattern; arrays have to be as long.
    """
    if isinstance(pattern, str) and pattern.startswith("$"):
        known = bound.get(pattern[1:], value)
        return {pattern[1:]: value} if value is not None and known == value else None
    if isinstance(pattern, dict) and isinstance(value, dict):
        return _match_all(((each, value.get(key)) for key, each in pattern.items()), bound)
    if isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
        return _match_all(zip(pattern, value, strict=True), bound)
    return {} if pattern == value else None


def _match_all(pairs: Iterator[tuple[Any, Any]], bound: Mapping[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for pattern, value in pairs:
        new = match(pattern, value, {**bound, **found})
        if new is None:
            return None
        found |= new
    return found
