"""What Redis answers, and what of it is believed."""

from __future__ import annotations

from collections.abc import Sequence

from imd.errors import Unavailable
from imd.interfaces.nodes import Entry

#: Ids and session counters are positive and below this (see ``imd.interfaces``).
_BOUND = 2**52
#: The server will refuse everything like this: another one, or another connection, may not.
_HOPELESS = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")


class ErrorReply(Unavailable):
    """Redis has answered, with an error.  Its text quotes no arguments of ours but for AUTH."""

    def says(self, *codes: str) -> bool:
        """Whether the error is one of these; a script wraps the code into a sentence."""
        return any(code in str(self) for code in codes)

    @property
    def hopeless(self) -> bool:
        """Whether the same is to be expected for every command on this connection."""
        return self.says(*_HOPELESS)


def entry(user: int, device: int, value: object) -> Entry | None:
    """The entry in ``SESSION@NODE``; None if it cannot be one."""
    return _entry(user, device, _text(value)) if isinstance(value, bytes) else None


def entries(users: Sequence[int], reply: object) -> list[Entry]:
    """The entries in a reply to LOOKUP; lines that cannot be entries are left out."""
    if not isinstance(reply, bytes):
        raise Unavailable("Redis gave no answer to a lookup")
    found = (_line(users, line) for line in _text(reply).split("\n"))
    return [one for one in found if one is not None]


def flags(asked: Sequence[object], reply: object) -> list[bool]:
    """The yes or no for each that was asked about."""
    if not isinstance(reply, list) or len(reply) != len(asked) or not {0, 1}.issuperset(reply):
        raise Unavailable("Redis gave no answer about leases")
    return [bool(each) for each in reply]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _line(users: Sequence[int], line: str) -> Entry | None:
    try:
        index, device, value = line.split(" ", 2)
        return _entry(users[int(index) - 1], int(device), value)
    except (ValueError, IndexError):
        return None


def _entry(user: int, device: int, value: str) -> Entry | None:
    number, _, node = value.partition("@")
    try:
        session = int(number)
    except ValueError:
        return None
    fits = 0 < session < _BOUND and 0 < device < _BOUND and node
    return Entry(user, device, session, node) if fits else None
