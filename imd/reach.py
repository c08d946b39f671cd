"""Which of the other nodes hints do not reach, though they may go on committing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imd.errors import Unavailable

#: Seconds for which a node counts as alive after it was seen alive: the lease of user status.
#: Less would not do, for a living node may be without its lease until its next beat.
LEASE_SECONDS = 15.0


class Ways(Protocol):
    """What is needed of ``imd.interfaces.nodes.Transfer``."""

    @property
    def attached(self) -> bool:
        """Whether hints can leave this node now."""

    def reaches(self, node: str) -> bool:
        """Whether hints can be brought to a node now."""


class Leases(Protocol):
    """What is needed of ``imd.interfaces.nodes.UserStatus``."""

    async def living(self, nodes: Sequence[str]) -> frozenset[str]:
        """Those of ``nodes`` whose lease lives."""


class Seconds(Protocol):
    """A monotonic clock."""

    def seconds(self) -> float:
        """Now."""


class Reach:
    """Remembers nodes that went out of reach until they are back in it, or dead."""

    def __init__(self, ways: Ways, leases: Leases, clock: Seconds) -> None:
        self._ways = ways
        self._leases = leases
        self._clock = clock
        #: When each counts as dead, unless it is seen alive before.
        self._missing: dict[str, float] = {}

    @property
    def degraded(self) -> bool:
        """Whether some hints cannot come through now: from here, or from a node that lives."""
        return not self._ways.attached or bool(self._missing)

    def miss(self, node: str) -> None:
        """A node is out of reach."""
        self._missing[node] = self._clock.seconds() + LEASE_SECONDS

    async def look(self) -> None:
        """See what has become of the missing.  While user status is away, all of them may live."""
        for node in [node for node in self._missing if self._ways.reaches(node)]:
            del self._missing[node]
        if not self._missing:
            return
        try:
            living = await self._leases.living(tuple(self._missing))
        except Unavailable:
            living = frozenset(self._missing)
        now = self._clock.seconds()
        for node, end in tuple(self._missing.items()):
            if node in living:
                self._missing[node] = now + LEASE_SECONDS
            elif now >= end:
                del self._missing[node]
