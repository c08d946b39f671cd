"""What Redis answers, and what of it is believed."""

from __future__ import annotations

from collections.abc import Sequence

from imd.errors import Unavailable
from imd.interfaces import Entry

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
    if not isinstance(value, bytes):
        return None
    session, _, node = value.decode("utf-8", "replace").partition("@")
    if not (session.isascii() and session.isdigit() and node):
        return None
    found = Entry(user, device, int(session), node)
    return found if 0 < found.device < _BOUND and 0 < found.session < _BOUND else None


def entries(users: Sequence[int], reply: object) -> list[Entry]:
    """The entries in a reply to LOOKUP; lines that cannot be entries are left out."""
    if not isinstance(reply, bytes):
        raise Unavailable("Redis gave no answer to a lookup")
    found = (_line(users, line) for line in reply.split(b"\n"))
    return [one for one in found if one is not None]


def _line(users: Sequence[int], line: bytes) -> Entry | None:
    try:
        index, device, value = line.split(b" ", 2)
        return entry(users[int(index) - 1], int(device), value)
    except (ValueError, IndexError):
        return None
