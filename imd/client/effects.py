"""What the rules want done.  The order of a ``Turn`` is the contract, not a convenience.

First all ``writes`` are committed in one durable transaction; only then the ``frames`` are
sent; only then the ``notices`` are told.  So nothing is transmitted that a crash could make
us forget (R1), no token outlives what it stands for (R6), and nothing is reported as
delivered that is not stored (R7).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, UnsetType

from imd import wire
from imd.client.values import Account, Conversation, Message, Pending


class SaveMessage(Struct, frozen=True, gc=False):
    """Store a message under (conversation, seq)."""

    message: Message


class DropTail(Struct, frozen=True, gc=False):
    """Forget the messages of a conversation with a seq above ``above``."""

    conversation: int
    above: int


class SaveConversation(Struct, frozen=True, gc=False):
    """Store the state of a conversation; this copy is the store's to keep."""

    conversation: Conversation


class SavePending(Struct, frozen=True, gc=False):
    """Store an entry of the outbox under its id."""

    pending: Pending


class DropPending(Struct, frozen=True, gc=False):
    """Forget an entry of the outbox."""

    id: str


class SaveAccount(Struct, frozen=True, gc=False):
    """Store who we are and the sync token."""

    account: Account


Write = SaveMessage | DropTail | SaveConversation | SavePending | DropPending | SaveAccount


class Welcomed(Struct, frozen=True):
    """A session began."""

    account: Account


class Synced(Struct, frozen=True):
    """All heads are known; what is missing is being fetched."""


class Deliver(Struct, frozen=True, gc=False):
    """A message, in order and once, for the application; it is stored already."""

    message: Message


class Withdrawn(Struct, frozen=True, gc=False):
    """The server was restored and has lost what was above ``above``; so have we."""

    conversation: int
    above: int


class Acked(Struct, frozen=True, gc=False):
    """My message ``id`` is committed."""

    id: str
    conversation: int
    seq: int
    at: int


class SendRefused(Struct, frozen=True, gc=False):
    """My message ``id`` will never be stored."""

    id: str
    code: str
    message: str


class ReceiptChanged(Struct, frozen=True, gc=False):
    """A member, possibly I myself on another device, got further."""

    conversation: int
    user: int
    delivered: int
    read: int


class Answered(Struct, frozen=True, gc=False):
    """The answer to a request of the application."""

    req: int | str | UnsetType
    frame: wire.Result | wire.Msgs | wire.Error


class Hinted(Struct, frozen=True):
    """An event that may be shown; the state behind it can be read again."""

    name: str
    data: Any


class Hangup(Struct, frozen=True):
    """Close the connection, then report ``disconnected``."""

    reason: str


class Reconnect(Struct, frozen=True):
    """Connect again after so many seconds."""

    after: float


class Stop(Struct, frozen=True):
    """Do not connect again by yourself.  ``close`` is the close code, ``code`` that of an error."""

    close: int
    code: str
    reason: str


Notice = (
    Welcomed
    | Synced
    | Deliver
    | Withdrawn
    | Acked
    | SendRefused
    | ReceiptChanged
    | Answered
    | Hinted
    | Hangup
    | Reconnect
    | Stop
)


class Turn:
    """What came together since the last turn: perform it in the order of the attributes."""

    __slots__ = ("frames", "notices", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.frames: list[wire.AnyClientFrame] = []
        self.notices: list[Notice] = []

    def __bool__(self) -> bool:
        return bool(self.writes or self.frames or self.notices)
