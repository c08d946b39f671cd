"""How things look: messages, receipts, friends, devices, and the status line.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from imd.terminal.escapes import visible

#: Marks of my own messages by their status; plain ones for a screen that has only ASCII.
TICKS = {"pending": "…", "sent": "✓", "delivered": "✓✓", "read": "✓✓ read"}
PLAIN_TICKS = {"pending": "(pending)", "sent": "(sent)", "delivered": "(delivered)"}
PLAIN_TICKS |= {"read": "(read)"}
#: What a person sees of the states of a client.
STATES = {"new": "starting", "ready": "online", "waiting": "offline, trying again"}
_UNITS = ("kB", "MB", "GB", "TB")
#: Above this, the number of unread messages is only "many".
MANY = 99


class Shown(Struct, frozen=True):
    """A message as it is shown: when, who, what, and (for my own) how far it got."""

    time: str
    name: str
    text: str
    ticks: str = ""


def spoken(message: Shown, width: int, cells: Callable[[str], int]) -> Sequence[str]:
    """The lines of a message, no wider than ``width`` cells; 0 is no limit.

    All but the first are indented, so that no text can pass for a message of its own.
    ``cells`` tells how many cells of a terminal a text takes.
    """
    head = f"{message.time} {visible(message.name)}: "
    indent = " " * len(f"{message.time}  ")
    room = max(width - cells(head), 8) if width else 0
    rows: list[str] = []
    for line in message.text.split("\n"):
        rows += wrapped(visible(line), room, cells)
    if message.ticks:
        rows[-1] += f"  {message.ticks}"
    return [head + rows[0], *(indent + row for row in rows[1:])]


def wrapped(text: str, width: int, cells: Callable[[str], int]) -> Sequence[str]:
    """``text`` in rows of at most ``width`` cells, broken at blanks where there are any."""
    rows: list[str] = []
    while width and len(text) > 1 and cells(text) > width:
        fit = _fitting(text, width, cells)
        blank = text.rfind(" ", 1, fit + 1)
        cut = blank if blank > 0 else fit
        rows.append(text[:cut].rstrip(" "))
        text = text[cut:].lstrip(" ")
    return [*rows, text] if text or not rows else rows


def _fitting(text: str, width: int, cells: Callable[[str], int]) -> int:
    """How many characters of ``text`` fit; at least one."""
    fit = min(len(text), width)
    while fit > 1 and cells(text[:fit]) > width:
        fit -= 1
    return fit


def content(kind: str, body: Mapping[str, Any], number: int | None = None) -> str:
    """What to show of a message's body, whatever it is; ``number`` is what a file is called by."""
    text = body.get("text", "")
    text = text if isinstance(text, str) else ""
    if kind == "text":
        return text
    if kind == "erased":
        return "[erased]"
    if kind == "file":
        file = "file" if number is None else f"file {number}:"
        parts = (f"{file} {body.get('name', '')}", amount(body.get("size")), body.get("mime", "?"))
        return f"[{', '.join(map(str, parts))}] {text}".rstrip()
    return f"[{kind}: this version cannot show it] {text}".rstrip()


def amount(size: Any) -> str:
    """A number of bytes."""
    if not isinstance(size, int):
        return "? bytes"
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, len(_UNITS))
    return f"{size / 1000**power:.1f} {_UNITS[power - 1]}"


def passed(name: str, done: int, size: int) -> str:
    """How far a file has come."""
    share = 100 * done // size if size else 100
    return f"{visible(name)} {share} % of {amount(size)}"


def bar(name: str, done: int, size: int, width: int, cells: Callable[[str], int]) -> str:
    """How far a file has come, in one line no wider than ``width`` cells."""
    length = 20
    full = length * done // size if size else length
    end = f" [{'#' * full}{'.' * (length - full)}] {passed('', done, size).lstrip()}"
    row = wrapped(visible(name), max(width - cells(end) - 1, 8), cells)[0]
    return row + end


def friend_lines(items: Iterable[Mapping[str, Any]], unread: Mapping[str, int]) -> Sequence[str]:
    """The friend list: requests first, since they wait for an answer."""
    words = {
        "pending": "asks for friendship: /accept or /decline",
        "requested": "was asked, has not answered",
        "accepted": "friend",
        "blocked": "blocked",
    }
    order = list(words)
    known = [item for item in items if item.get("state") in words]
    lines = []
    for item in sorted(known, key=lambda item: (order.index(item["state"]), item["name"])):
        parts = [f"{visible(str(item['name'])):16} {words[item['state']]}"]
        for key in ("display", "note"):
            if item.get(key):
                parts.append(f"“{visible(str(item[key]))}”")
        count = unread.get(str(item["name"]), 0)
        if count:
            parts.append(f"{counted(count)} unread")
        lines.append(", ".join(parts))
    return lines or ["nobody yet; /add NAME asks somebody"]


def device_lines(items: Iterable[Mapping[str, Any]], clock: Callable[[int], str]) -> Sequence[str]:
    """The devices, with the number that ``/revoke`` takes; ``clock`` shows a time in ms."""
    return [
        f"{item['device']}  {visible(str(item['label']))}, last seen {clock(item['seen'])}"
        + (", this one" if item.get("current") else "")
        for item in items
    ]


def counted(count: int) -> str:
    """A number of unread messages."""
    return str(count) if count <= MANY else f"{MANY}+"


def status_line(
    state: str,
    me: str,
    other: str,
    ticks: str,
    pending: int,
    unread: Mapping[str, int],
    moving: Sequence[str] = (),
) -> str:
    """The line at the bottom: connection, whom I talk to, how far my last message got."""
    parts = [f"{STATES.get(state, state)}"]
    parts.append(f"{visible(me)} → {visible(other)}" if other else visible(me))
    if ticks:
        parts.append(f"last message: {ticks}")
    if pending:
        parts.append(f"{pending} waiting to be sent")
    parts += moving
    if unread:
        names = (f"{visible(name)} {counted(count)}" for name, count in sorted(unread.items()))
        parts.append("unread: " + ", ".join(names))
    return " │ ".join(part for part in parts if part)


def json_line(fields: Mapping[str, Any]) -> str:
    """One object on one line, in ASCII: whatever shows it cannot be controlled by it."""
    return json.dumps(fields, ensure_ascii=True).replace("\x7f", "\\u007f")
