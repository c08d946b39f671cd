"""``Transfer`` over any number of transfers: the connector's side."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from imd.errors import ConfigError
from imd.hints import AnyHint
from imd.interfaces.nodes import Arrivals
from imd.tasks import spawn
from imd.transfer import blob
from imd.transfer.backlog import Backlog
from imd.transfer.broker import Answer, Gone
from imd.transfer.exchange import is_name
from imd.transfer.line import Line, Me

#: Hints that may wait for one destination, beside the bound on their bytes.
MOST_HINTS = 20_000


class Link:
    """``imd.interfaces.nodes.Transfer`` of one node.

    ``boot`` tells this process from others of the same name, before or after it; ``chance`` is
    a source of random numbers in 0..1.  Raises ``ConfigError`` for a node name that is empty or
    longer than 255 bytes.
    """

    _log = Logger()

    def __init__(
        self,
        node: str,
        boot: str,
        endpoints: Sequence[IStreamClientEndpoint],
        arrivals: Arrivals,
        clock: IReactorTime,
        chance: Callable[[], float] = random.random,
    ) -> None:
        me = Me(node.encode(), boot.encode())
        if not is_name(me.name):
            raise ConfigError("node", "a name of 1 to 255 bytes")
        self._arrivals = arrivals
        self._clock = clock
        self._lines = [Line(endpoint, me, self, clock, chance) for endpoint in endpoints]
        self._backlogs: dict[str, Backlog[bytes]] = {}
        self._touched: dict[str, None] = {}
        self._is_running = False
        #: Something was dropped while nobody could be told.
        self._missed = False

    def start(self) -> None:
        """Begin to connect; it goes on for as long as it takes."""
        self._is_running = True
        for line in self._lines:
            line.start()

    async def stop(self) -> None:
        """Close all connections; nothing is told to ``arrivals`` any more."""
        self._flush()
        self._is_running = False
        for stopping in [Deferred.fromCoroutine(line.stop()) for line in self._lines]:
            await stopping

    # -- Transfer

    @property
    def attached(self) -> bool:
        """See ``Transfer``."""
        return any(line.is_attached for line in self._lines)

    def reaches(self, node: str) -> bool:
        """See ``Transfer``."""
        return self._line_to(node) is not None

    def forward(self, node: str | None, hint: AnyHint) -> None:
        """See ``Transfer``."""
        if not self.attached:
            self._missed = True
            return
        encoded = blob.encode(hint)
        for name in self._peers() if node is None else (node,):
            self._queue(name, encoded)

    def _queue(self, name: str, encoded: bytes) -> None:
        backlog = self._backlog(name)
        if len(encoded) > blob.ROOM:
            self._log.warn("a hint of {size} bytes is dropped", size=len(encoded))
            backlog.lost = True
        else:
            backlog.put(encoded, len(encoded))

    def _backlog(self, name: str) -> Backlog[bytes]:
        """The backlog of a destination; what is in it leaves at the end of this turn."""
        if not self._touched:
            self._clock.callLater(0, self._flush)
        self._touched[name] = None
        if name not in self._backlogs:
            self._backlogs[name] = Backlog(MOST_HINTS)
        return self._backlogs[name]

    # -- blobs out

    def _flush(self) -> None:
        touched, self._touched = self._touched, {}
        for name in touched:
            self._pump(name)

    def _pump(self, name: str) -> None:
        """Let leave what may leave for a destination."""
        backlog = self._backlogs.get(name)
        while backlog is not None and backlog.ready:
            line = self._line_to(name)
            if line is None:
                self._give_up(name)
                return
            raw = blob.join(backlog.take(blob.ROOM), backlog.lost)
            backlog.lost = False
            backlog.flying += 1
            spawn(self._carry(backlog, name, line, raw), self._log, "forwarding a blob")
        if backlog is not None and backlog.idle:
            del self._backlogs[name]

    async def _carry(self, backlog: Backlog[bytes], name: str, line: Line, raw: bytes) -> None:
        try:
            arrived = await line.forward(name, raw) == Answer.OK
            if not arrived:
                line.down(name)
        except Gone:
            arrived = False
        backlog.flying -= 1
        if not arrived and self._line_to(name) is not None:
            # By the other way it is told that something did not come by this one.
            self._backlog(name).lost = True
        self._pump(name)

    def _line_to(self, name: str) -> Line | None:
        """One of the lines that reach a node; always the same while they are the same."""
        lines = [line for line in self._lines if line.is_attached and name in line.peers]
        return lines[zlib.crc32(name.encode()) % len(lines)] if lines else None

    def _peers(self) -> set[str]:
        return set().union(*(line.peers for line in self._lines if line.is_attached))

    def _give_up(self, name: str) -> None:
        """Nobody can reach this node now; its backlog goes."""
        if self.attached:
            self._unreachable(name)
        else:
            del self._backlogs[name]
            self._missed = True

    # -- told by lines

    def line_attached(self, line: Line) -> None:
        """See ``Owner``."""
        self._tell(self._arrivals.lost)
        if self._missed:
            self._missed = False
            for name in line.peers:
                self._backlog(name).lost = True

    def line_lost(self, peers: frozenset[str]) -> None:
        """See ``Owner``."""
        self._tell(self._arrivals.lost)
        if self.attached:
            for name in peers - self._peers():
                self._unreachable(name)

    def peer_is_down(self, name: str) -> None:
        """See ``Owner``."""
        if self._line_to(name) is None:
            self._unreachable(name)

    def _unreachable(self, name: str) -> None:
        """A node is gone, and what waits for it with it."""
        self._backlogs.pop(name, None)
        self._tell(self._arrivals.unreachable, name)

    def pushed(self, source: str, raw: bytes) -> None:
        """See ``Owner``."""
        try:
            lost, hints = blob.split(raw)
        except blob.Garbage as garbage:
            self._log.warn("{source} sent {garbage}", source=source, garbage=garbage)
            lost, hints = True, []
        if lost:
            self._tell(self._arrivals.lost)
        if hints:
            self._tell(self._arrivals.received, source, hints)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        """Whatever is done with the news, the link goes on."""
        if not self._is_running:
            return
        try:
            what(*args)
        except Exception:
            self._log.failure("{what} failed", what=what.__name__)
