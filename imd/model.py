"""The values that imd talks about: users, devices, friends, conversations, messages, cursors.

A *conversation* is an append-only log with a contiguous ``seq`` (1, 2, 3 …).  Each
member has two *cursors* in it, ``delivered`` and ``read``, which only grow.  Offline
messages are nothing but the part of the log above a cursor (protocol §1).

Ids of users, devices, conversations and files are random positive integers below
2**52; times are integer milliseconds since the epoch, by the server (protocol §2).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class FriendState(StrEnum):
    """What one user sees of another in the friend list (protocol §7)."""

    REQUESTED = "requested"  #: I asked.
    PENDING = "pending"  #: They asked.
    ACCEPTED = "accepted"
    BLOCKED = "blocked"


class Outcome(IntEnum):
    """What the commit decided about one message of a batch."""

    NEW = 1
    DUPLICATE = 2  #: Already stored with the same body: acknowledged again with its first seq.
    CONFLICT = 3  #: Already stored with another kind or body: the first one stays.
    FORBIDDEN = 4  #: No such conversation, not a member, or no longer friends.
    NO_FILE = 5  #: The file is incomplete or not the sender's.
    REPLACED = 6  #: Its device has a newer session, which sends again what was not answered.
    REVOKED = 7  #: Its device was logged out.


class User(Struct, frozen=True):
    """An account.  ``name`` is the unique login name, ``display`` free text (may be empty)."""

    id: int
    name: str
    display: str = ""
    disabled: bool = False
    #: Version of the friend list: grows with every change of it.
    roster: int = 0


class Device(Struct, frozen=True):
    """One login of a user, with a token of its own (protocol §4)."""

    id: int
    user: int
    label: str
    created: int
    seen: int  #: When a session of it was opened last, ms.


class Identity(Struct, frozen=True):
    """Who a session or an HTTP request acts for."""

    user: User
    device: int
    #: Fencing counter of the device: of two live sessions the higher one wins (protocol §4).
    session: int = 0


#: Who a session acts for before its client has logged in.
NOBODY = Identity(User(0, ""), 0)


class Friend(Struct, frozen=True):
    """One entry of a friend list, as its owner sees it."""

    user: User
    state: FriendState
    #: The direct conversation, once there is one; it survives removal (history stays readable).
    conversation: int | None = None
    note: str = ""


class NewMessage(Struct, frozen=True, gc=False):
    """A message on its way into the log.  ``body`` is canonical JSON; ``id`` 16 bytes (a UUID)."""

    conversation: int
    sender: int
    device: int
    id: bytes
    kind: str
    body: bytes
    #: The file it carries, when ``kind`` is ``file``.
    file: int | None = None
    #: The session of the device that took it (``Identity.session``).
    session: int = 0


class Appended(Struct, frozen=True, gc=False):
    """The decision about one ``NewMessage``.  ``seq`` and ``at`` are 0 unless NEW or DUPLICATE."""

    outcome: Outcome
    seq: int = 0
    at: int = 0
    #: All members of the conversation, sender included; empty unless NEW.
    members: tuple[int, ...] = ()


class Message(Struct, frozen=True, gc=False):
    """A row of the log."""

    conversation: int
    seq: int
    sender: int
    device: int
    id: bytes
    at: int
    kind: str
    body: bytes


class Cursor(Struct, frozen=True, gc=False):
    """How far one member got in one conversation; both values only grow (protocol §6)."""

    conversation: int
    user: int
    delivered: int
    read: int


class CursorChange(Struct, frozen=True):
    """A cursor after a change, and everybody who has to hear of it."""

    cursor: Cursor
    members: tuple[int, ...]


class Peer(Struct, frozen=True):
    """Another member of a conversation, with that member's cursors."""

    user: int
    name: str
    delivered: int
    read: int


class Head(Struct, frozen=True):
    """The state of one conversation as one member sees it: enough to find out what is missing."""

    conversation: int
    kind: str
    last: int
    floor: int
    delivered: int
    read: int
    peers: tuple[Peer, ...]


class HeadPage(Struct, frozen=True):
    """Some heads, ascending by conversation.

    ``token`` was read in the same snapshot as the heads: a later call with it as
    ``since`` returns whatever changed after that snapshot.
    """

    items: tuple[Head, ...]
    token: str
    more: bool


class History(Struct, frozen=True):
    """A contiguous run of messages, ascending; ``more``: the log goes on in that direction."""

    items: tuple[Message, ...]
    floor: int
    more: bool


class File(Struct, frozen=True):
    """A file: what its owner said of it, and whether its bytes are all there.

    ``name`` is any text and never a path; ``mime`` is what the owner calls it, ``media`` what its
    first bytes prove it to be, if pages may show that (else empty).
    """

    id: int
    owner: int
    size: int
    sha256: str
    name: str
    mime: str
    created: int
    complete: bool = False
    media: str = ""
    #: The id under which the bytes are kept, once it is complete; equal bytes share one.
    blob: int | None = None


class Expired(Struct, frozen=True):
    """How many of the oldest messages of a conversation were deleted."""

    conversation: int
    messages: int


class Place(Struct, frozen=True):
    """A message by where it is; places are in the order of conversations, then of seqs."""

    conversation: int
    seq: int


class Erased(Struct, frozen=True):
    """How many messages were looked at, the last of them, and how many of them were erased."""

    last: Place
    looked: int
    messages: int
