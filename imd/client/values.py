"""What the client keeps: messages, conversations, pending sends, and who it is logged in as."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

#: What may be sent (protocol §3); a message that was received may be of a newer kind.
Kind = Literal["text", "file"]

_ANY = msgspec.json.Decoder()


class Message(Struct, frozen=True, gc=False):
    """A message of the log; ``body`` is JSON as the server sent it, ``at`` its time in ms."""

    conversation: int
    seq: int
    sender: int
    device: int
    id: str
    at: int
    kind: str
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The decoded body."""
        value = _ANY.decode(self.body)
        return value if isinstance(value, dict) else {}

    @property
    def text(self) -> str:
        """The text of the message, or the caption of a file; empty if it has none."""
        text = self.content.get("text", "")
        return text if isinstance(text, str) else ""


class Sent(Struct, frozen=True, gc=False):
    """A message of mine that the server has committed, ``at`` ms since the epoch."""

    id: str
    conversation: int
    seq: int
    at: int


class Pending(Struct, frozen=True, gc=False):
    """A message of mine that nobody acknowledged yet.

    ``order`` is its place in the outbox and ``since`` when it was put there (ms, wall time).
    """

    order: int
    id: str
    conversation: int
    kind: Kind
    body: bytes
    since: int


class Peer(Struct, frozen=True, gc=False):
    """Another member of a conversation, and how far it got."""

    user: int
    name: str
    delivered: int = 0
    read: int = 0


class Conversation(Struct):
    """The state of one conversation on this installation.

    Everything from ``base`` (exclusive) to ``have`` (inclusive) was stored here, or has
    expired on the server; ``known`` is the newest seq heard of, ``floor`` the oldest that
    the server still has.
    """

    id: int
    kind: str = "direct"
    base: int = 0
    have: int = 0
    known: int = 0
    floor: int = 1
    #: The application's callback finished for everything up to here.
    handled: int = 0
    #: What the server should know of me.
    delivered: int = 0
    read: int = 0
    #: What the server does know of me.
    told_delivered: int = 0
    told_read: int = 0
    peers: tuple[Peer, ...] = ()

    @property
    def unread(self) -> int:
        """How many messages, my own included, lie above my read cursor."""
        return max(0, self.known - self.read)


class Account(Struct, frozen=True):
    """Who this installation is logged in as, and how far it has synchronized.

    ``token`` is a credential.  ``since`` is only valid together with ``epoch``.
    """

    user: int = 0
    name: str = ""
    device: int = 0
    token: str | None = None
    epoch: str = ""
    since: str | None = None


class Saved(Struct, frozen=True):
    """Everything a store holds, apart from the messages."""

    account: Account = Account()
    conversations: tuple[Conversation, ...] = ()
    outbox: tuple[Pending, ...] = ()
