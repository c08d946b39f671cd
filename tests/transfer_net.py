"""Transfers and connectors in one process: everything is real but the sockets and the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, makeFakeClient, makeFakeServer
from zope.interface import implementer

from imd.interfaces.nodes import Arrivals
from imd.transfer.exchange import Exchange
from imd.transfer.link import Link


class Wire:
    """One connection.  While it is frozen nothing passes, as to a process that was stopped."""

    def __init__(self, client: Any, server: Any, clock: Clock) -> None:
        self.client, self.server = client, server
        self.client_io: FakeTransport = makeFakeClient(client)
        self.server_io: FakeTransport = makeFakeServer(server)
        self.is_frozen = False
        server.makeConnection(self.server_io)
        client.makeConnection(self.client_io)
        self._pump = IOPump(client, server, self.client_io, self.server_io, False, clock)

    def pump(self) -> bool:
        """Whether anything moved."""
        return not self.is_frozen and bool(self._pump.pump(advanceClock=False))

    def cut(self) -> None:
        """Both ends see the connection break; what was on its way is gone."""
        self.client_io.getOutBuffer()
        self.server_io.getOutBuffer()
        self.client_io.loseConnection()


@implementer(IStreamClientEndpoint)
class Station:
    """A transfer, and the way to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.exchange = Exchange(clock)
        self.exchange.start()
        self.factory = self.exchange.factory()
        self.wires: list[Wire] = []
        self.is_down = False

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """A client endpoint."""
        if self.is_down:
            return fail(ConnectionRefusedError())
        client = protocolFactory.buildProtocol(None)
        self.wires.append(Wire(client, self.factory.buildProtocol(None), self.clock))
        return succeed(client)

    def crash(self) -> None:
        """Cut all connections and take no new ones."""
        self.is_down = True
        for wire in self.wires:
            wire.cut()


class Net:
    """Some transfers, and links to all of them."""

    def __init__(self, transfers: int = 1, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = Clock()
        self.stations = [Station(self.clock) for _ in range(transfers)]
        self._chance = chance

    def link(self, node: str, arrivals: Arrivals, boot: str = "boot") -> Link:
        """A node that was not started."""
        return Link(node, boot, self.stations, arrivals, self.clock, self._chance)

    def settle(self) -> None:
        """Let everything pass that can."""
        moved = True
        while moved:
            self.clock.advance(0)
            moved = sum(w.pump() for station in self.stations for w in station.wires) > 0

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps of half a second."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.settle()
