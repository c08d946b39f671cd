"""A piece of network that can be cut and stalled: bytes go from one endpoint to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

#: Where a new connection goes: the first of these that can be reached.
Choose = Callable[[], Sequence[IStreamClientEndpoint]]


class Side(Protocol):
    """One end of a relayed connection."""

    transport: Any

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.other: Side | None = None

    def connectionMade(self) -> None:
        """It is there; the near end waits for the far one."""
        self.pair.made(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes for the other end."""
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """It is gone, and so will be the other end: politely, or not."""
        self.pair.lost(self, reason.check(ConnectionDone) is not None)


class Pair:
    """A connection through the relay; ``far`` is the endpoint it goes to."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._near: Side | None = None
        self._far: Side | None = None
        self._gone = False
        self.target: IStreamClientEndpoint | None = None

    def made(self, side: Side) -> None:
        """An end is there: the near one first."""
        if self._near is None:
            self._near = side
            side.transport.pauseProducing()
            Deferred.fromCoroutine(self._reach())
        elif self._gone:
            side.transport.abortConnection()
        else:
            self._far = side
            side.other, self._near.other = self._near, side
            self.flow()

    async def _reach(self) -> None:
        for target in self._relay.choose():
            self.target = target
            try:
                await connectProtocol(target, Side(self))
            except Exception:  # noqa: S112 - whatever it is, the next one may be better
                continue
            return
        self.abort()

    def flow(self) -> None:
        """Read, or do not, as the relay says."""
        for side in (self._near, self._far):
            if side is None or self._far is None or not side.transport.connected:
                continue
            if self._relay.stalled:
                side.transport.pauseProducing()
            else:
                side.transport.resumeProducing()

    def abort(self) -> None:
        """Cut both ends."""
        for side in (self._near, self._far):
            if side is not None:
                side.transport.abortConnection()

    def lost(self, side: Side, politely: bool) -> None:
        """An end is gone."""
        self._gone = True
        self._relay.pairs.discard(self)
        other = self._far if side is self._near else self._near
        if other is not None and politely:
            other.transport.loseConnection()
        elif other is not None:
            other.transport.abortConnection()


class Relay(Factory):
    """Listens, and relays each connection to where ``choose`` says."""

    noisy = False

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.pairs: set[Pair] = set()
        self.stalled = False
        self._refusing = False

    def buildProtocol(self, addr: Any) -> Side | None:
        """Somebody connects."""
        if self._refusing:
            return None
        pair = Pair(self)
        self.pairs.add(pair)
        return Side(pair)

    def cut(self, target: IStreamClientEndpoint | None = None) -> None:
        """Drop all connections, or those to ``target``."""
        for pair in tuple(self.pairs):
            if target is None or pair.target is target:
                pair.abort()

    def refuse(self) -> None:
        """Drop all connections, and take no more."""
        self._refusing = True
        self.cut()

    def stall(self) -> None:
        """Keep the connections, and let nothing through."""
        self.stalled = True
        self._flow()

    def heal(self) -> None:
        """Be a good network again."""
        self._refusing = self.stalled = False
        self._flow()

    def _flow(self) -> None:
        for pair in tuple(self.pairs):
            pair.flow()
