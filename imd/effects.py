"""What a session asks its caller to do (``imd.session``)."""

from __future__ import annotations

from msgspec import Struct

from imd import wire
from imd.errors import Close, Code
from imd.model import Cursor, NewMessage


class Reply(Struct, frozen=True, gc=False):
    """Send these bytes, an encoded frame; never dropped.  ``code`` says which refusal it is."""

    frame: bytes
    code: Code | None = None


class Authenticate(Struct, frozen=True):
    """Check these credentials, then report ``admitted`` or ``refused``."""

    hello: wire.Hello


class Submit(Struct, frozen=True):
    """Put this message on its way into the log; ``id`` is the client's spelling of its id."""

    id: str
    message: NewMessage


class Advance(Struct, frozen=True, gc=False):
    """Merge this cursor."""

    cursor: Cursor


class Request(Struct, frozen=True):
    """Answer this frame; starts in order, may end in any order."""

    frame: wire.Fetch | wire.Sync | wire.Call


class Pong(Struct, frozen=True, gc=False):
    """Answer a ping; ``clean`` allows a sync token in it."""

    n: int
    clean: bool


class Refresh(Struct, frozen=True):
    """Send a ``head`` and fresh receipts for these conversations, then report ``refreshed``."""

    conversations: tuple[int, ...]


class CloseWith(Struct, frozen=True):
    """Close the connection.

    A ``bye`` comes first where the client must not return at once: ``retry`` is when, in ms;
    None leaves that to those who close many at the same time.
    """

    code: Close
    reason: str
    retry: int | None = None


Effect = Reply | Authenticate | Submit | Advance | Request | Pong | Refresh | CloseWith
Effects = tuple[Effect, ...]
