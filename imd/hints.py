"""What one node tells another after a commit: hints, which may be lost, repeated or reordered.

A hint says nothing that storage does not say as well (protocol §1); it only says it sooner.
Frames in hints are encoded already: they are written once, where the message was committed,
and nothing on the way decodes them.
"""

from __future__ import annotations

from msgspec import Struct


class Hint(Struct, frozen=True, array_like=True, gc=False):
    """The root of the hints."""


class Push(Hint, frozen=True, tag=1):
    """Push ``frame`` about ``conversation`` to the sessions of ``users``.

    ``seq`` is that of the message in it, or the last that it tells of.
    """

    users: tuple[int, ...]
    conversation: int
    seq: int
    frame: bytes


class Notify(Hint, frozen=True, tag=2):
    """Show ``users`` the event in ``frame``."""

    users: tuple[int, ...]
    frame: bytes


class Revoke(Hint, frozen=True, tag=3):
    """These devices of ``user`` were logged out: close their sessions 4501."""

    user: int
    devices: tuple[int, ...]


class Replace(Hint, frozen=True, tag=4):
    """``device`` of ``user`` has a session with this counter elsewhere: close older ones 4502."""

    user: int
    device: int
    session: int


class Receipt(Hint, frozen=True, tag=5):
    """Tell ``users`` how far ``user`` got in ``conversation``."""

    users: tuple[int, ...]
    conversation: int
    user: int
    delivered: int
    read: int


AnyHint = Push | Notify | Revoke | Replace | Receipt
