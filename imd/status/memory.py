"""User status in memory: for one process, or for several nodes in one test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imd.interfaces.nodes import Entry

#: Seconds for which a node counts as alive after its last beat.
LEASE_SECONDS = 15.0


class Seconds(Protocol):
    """A monotonic clock."""

    def seconds(self) -> float:
        """Now."""


class Board:
    """What all nodes see: the leases, and the entries of each user by device."""

    def __init__(self) -> None:
        self.leases: dict[str, float] = {}
        self.entries: dict[int, dict[int, Entry]] = {}


class MemoryUserStatus:
    """``imd.interfaces.nodes.UserStatus`` of one node on a board."""

    def __init__(self, node: str, clock: Seconds, board: Board | None = None) -> None:
        self._node = node
        self._clock = clock
        self._board = board or Board()

    async def register(self, user: int, device: int, session: int) -> Entry | None:
        """See ``UserStatus``."""
        entries = self._board.entries.setdefault(user, {})
        other = entries.get(device)
        if other is not None and not self._lives(other):
            other = None
        if other is None or other.session <= session:
            entries[device] = Entry(user, device, session, self._node)
        return None if other is None or other.session == session else other

    async def unregister(self, user: int, device: int, session: int) -> None:
        """See ``UserStatus``."""
        entries = self._board.entries.get(user, {})
        if entries.get(device) == Entry(user, device, session, self._node):
            del entries[device]
            if not entries:
                del self._board.entries[user]

    async def lookup(self, users: Sequence[int]) -> tuple[Entry, ...]:
        """See ``UserStatus``."""
        return tuple(
            entry
            for user in users
            for entry in self._board.entries.get(user, {}).values()
            if self._lives(entry)
        )

    async def beat(self) -> bool:
        """See ``UserStatus``."""
        alive = self._alive(self._node)
        self._board.leases[self._node] = self._clock.seconds() + LEASE_SECONDS
        return alive

    async def living(self, nodes: Sequence[str]) -> frozenset[str]:
        """See ``UserStatus``."""
        return frozenset(filter(self._alive, nodes))

    def _lives(self, entry: Entry) -> bool:
        return self._alive(entry.node)

    def _alive(self, node: str) -> bool:
        return self._clock.seconds() < self._board.leases.get(node, 0.0)
