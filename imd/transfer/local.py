"""``Transfer`` between nodes of one process, without a transfer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from imd.hints import AnyHint
from imd.interfaces.nodes import Arrivals
from imd.tasks import Clock


class Hall:
    """Where the nodes of one process meet."""

    def __init__(self) -> None:
        self.nodes: dict[str, LocalTransfer] = {}


class LocalTransfer:
    """``imd.interfaces.nodes.Transfer`` of one node in a hall."""

    _log = Logger()

    def __init__(self, node: str, hall: Hall, arrivals: Arrivals, clock: Clock) -> None:
        self._node = node
        self._hall = hall
        self._arrivals = arrivals
        self._clock = clock
        self._waiting: dict[str, list[AnyHint]] = {}
        #: Something was dropped while this node was not in the hall.
        self._missed = False

    def start(self) -> None:
        """Enter the hall."""
        others = tuple(self._hall.nodes.values())
        self._hall.nodes[self._node] = self
        self._tell(self._arrivals.lost)
        if self._missed:
            self._missed = False
            for other in others:
                self._tell(other._arrivals.lost)

    async def stop(self) -> None:
        """Leave it."""
        self._flush()
        del self._hall.nodes[self._node]
        for other in tuple(self._hall.nodes.values()):
            self._tell(other._arrivals.unreachable, self._node)

    @property
    def attached(self) -> bool:
        """See ``Transfer``."""
        return self._hall.nodes.get(self._node) is self

    def reaches(self, node: str) -> bool:
        """See ``Transfer``."""
        return self.attached and node in self._hall.nodes

    def forward(self, node: str | None, hint: AnyHint) -> None:
        """See ``Transfer``."""
        if not self.attached:
            self._missed = True
            return
        if not self._waiting:
            self._clock.callLater(0, self._flush)
        others = [name for name in self._hall.nodes if name != self._node]
        for name in others if node is None else (node,):
            self._waiting.setdefault(name, []).append(hint)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for name, hints in waiting.items():
            other = self._hall.nodes.get(name)
            if other is None:
                self._tell(self._arrivals.unreachable, name)
            else:
                self._tell(other._arrivals.received, self._node, hints)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        """Whatever one node does with the news, the others hear them."""
        try:
            what(*args)
        except Exception:
            self._log.failure("{what} failed", what=what.__name__)
