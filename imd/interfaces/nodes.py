"""What the nodes tell each other: who is online, and what may be new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from imd.hints import AnyHint


class Entry(Struct, frozen=True):
    """One live session as user status knows it."""

    user: int
    device: int
    session: int
    node: str


class UserStatus(Protocol):
    """Who is online, and on which node.  Leases only: nothing in it needs to be durable.

    An entry counts only while the lease of its node lives.
    """

    async def register(self, user: int, device: int, session: int) -> Entry | None:
        """Enter a session of this node, unless one of the same device with a higher
        ``session`` is entered.  Returns the other entry of that device (the outranked one,
        or the winner: compare ``session``) when its node lives, else None.
        """

    async def unregister(self, user: int, device: int, session: int) -> None:
        """Take out exactly this session of this node; any other entry stays."""

    async def lookup(self, users: Sequence[int]) -> tuple[Entry, ...]:
        """All live entries of these users."""

    async def beat(self) -> bool:
        """Renew the lease of this node.  False: it had been lost, or this is the first beat;
        every session of this node must be registered again.
        """

    async def living(self, nodes: Sequence[str]) -> frozenset[str]:
        """Those of ``nodes`` whose lease lives."""


class Transfer(Protocol):
    """The way to other nodes.  It carries hints (``imd.hints``) and holds nothing durable."""

    @property
    def attached(self) -> bool:
        """Whether hints can leave this node now."""

    def reaches(self, node: str) -> bool:
        """Whether another node is attached where this one is, as far as is known here."""

    def forward(self, node: str | None, hint: AnyHint) -> None:
        """Queue a hint for a node, or for all others (None).

        Never waits and never fails: what cannot be carried is dropped, and its receivers are
        told ``lost`` as soon as they can be reached.
        """


class Arrivals(Protocol):
    """Whoever is told what comes from other nodes."""

    def received(self, source: str, hints: Sequence[AnyHint]) -> None:
        """Hints of another node, in the order in which it forwarded them."""

    def lost(self) -> None:
        """Hints for this node may have been lost: the link broke or is back, or a queue ran
        over somewhere.  What was missed has to be looked for in the ``Feed``.
        """

    def unreachable(self, node: str) -> None:
        """A node is gone, or is not attached; what it had not forwarded has to be looked for."""
