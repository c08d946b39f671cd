"""What a device did and saw, in its order; ``at`` is the time of day in seconds."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

from msgspec import Struct


class Event(Struct, frozen=True, gc=False, tag=True):
    """The root of the events."""

    at: float


class Place(Struct, frozen=True, gc=False):
    """How far a client is in a conversation; names as in ``imd.client.values.Conversation``."""

    conversation: int
    base: int
    have: int
    handled: int
    known: int
    #: User, delivered, read: what the client knows of the cursors of all members.
    cursors: tuple[tuple[int, int, int], ...] = ()


class Began(Event, frozen=True, gc=False):
    """A client began to live, with what its store held."""

    places: tuple[Place, ...] = ()


class Crashed(Event, frozen=True, gc=False):
    """It died without a goodbye; only the store is left."""


class Failed(Event, frozen=True, gc=False):
    """It stopped by itself, for good."""

    why: str


class Ended(Event, frozen=True, gc=False):
    """The run is over; this is what the client shows, and what still waits in its outbox."""

    places: tuple[Place, ...]
    #: Conversation, user, delivered, read.
    peers: tuple[tuple[int, int, int, int], ...]
    outbox: tuple[str, ...]


class Welcomed(Event, frozen=True, gc=False):
    """A session began."""

    user: int
    device: int
    session: int
    epoch: str


class Asked(Event, frozen=True, gc=False):
    """It asked for heads, by ``hello`` or ``sync``."""


class Synced(Event, frozen=True, gc=False):
    """The last page of heads came."""


class Wrote(Event, frozen=True, gc=False):
    """The user sent a message, after having been shown the conversation up to ``have``."""

    conversation: int
    id: str
    body: bytes
    have: int


class Kept(Event, frozen=True, gc=False):
    """The message is in the outbox, and stored there."""

    conversation: int
    id: str


class Acked(Event, frozen=True, gc=False):
    """An ``ack`` came."""

    conversation: int
    id: str
    seq: int


class Nacked(Event, frozen=True, gc=False):
    """A ``nack`` came."""

    id: str
    code: str


class Blamed(Event, frozen=True, gc=False):
    """The server did not understand a frame of the client."""

    why: str


class Settled(Event, frozen=True, gc=False):
    """The user was told that the message is sent (``seq``), or that it never will be (0)."""

    id: str
    seq: int


class Seen(Event, frozen=True, gc=False):
    """A message came over the wire."""

    conversation: int
    seq: int
    sender: int
    id: str
    body: bytes


class Stored(Seen, frozen=True, gc=False):
    """A message was stored durably."""


class Displayed(Seen, frozen=True, gc=False):
    """A message was shown to the user."""


class Cut(Event, frozen=True, gc=False):
    """Messages above ``above`` were withdrawn: the client believes in a restored database."""

    conversation: int
    above: int


class Told(Event, frozen=True, gc=False):
    """The server said how long a log is; ``poke`` if it did so unasked."""

    conversation: int
    last: int
    poke: bool


class Cursors(Event, frozen=True, gc=False):
    """The server said how far a member is."""

    conversation: int
    user: int
    delivered: int
    read: int


class Shown(Cursors, frozen=True, gc=False):
    """The user was shown how far a member is."""


class Looked(Event, frozen=True, gc=False):
    """The user has seen everything up to ``seq``."""

    conversation: int
    seq: int


class Marked(Event, frozen=True, gc=False):
    """The client told the server how far it is; 0 where it said nothing."""

    conversation: int
    delivered: int
    read: int


AnyEvent = (
    Began
    | Crashed
    | Failed
    | Ended
    | Welcomed
    | Asked
    | Synced
    | Wrote
    | Kept
    | Acked
    | Nacked
    | Blamed
    | Settled
    | Seen
    | Stored
    | Displayed
    | Cut
    | Told
    | Cursors
    | Shown
    | Looked
    | Marked
)

E = TypeVar("E", bound=Event)


class History(Struct, dict=True):
    """Everything that happened at one device; whose it is, is found once, when all is over."""

    name: str
    events: list[AnyEvent]

    def of(self, *kinds: type[E]) -> list[E]:
        """The events of exactly these kinds."""
        return [event for event in self.events if type(event) in kinds]

    @cached_property
    def user(self) -> int:
        """Whose device it is; 0 if it never got in."""
        return next((event.user for event in self.of(Welcomed)), 0)

    @cached_property
    def device(self) -> int:
        """Its id; 0 if it never got in."""
        return next((event.device for event in self.of(Welcomed)), 0)
