"""A server of few words: an Autobahn server in memory that sends what the test tells it to."""

from __future__ import annotations

from typing import Any

import msgspec
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.test import iosim
from zope.interface import implementer

from imd import decoding, wire
from tests.client_driver import welcome


class ServerSide(WebSocketServerProtocol):
    """One connection, seen from the server."""

    def onConnect(self, request: Any) -> str | None:
        return wire.SUBPROTOCOL if wire.SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        self.factory.server.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.server.received(payload)


@implementer(IStreamClientEndpoint)
class ScriptedServer:
    """The endpoint that clients of it use, and its side of their latest connection."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.refuses = False
        self.silent = False
        self.slow = False
        self.payloads: list[bytes] = []
        self.hellos: list[wire.Hello] = []
        self.connections = 0
        self.side: Any = None
        self._factory: Any = WebSocketServerFactory(reactor=MemoryReactorClock())
        self._factory.protocol = ServerSide
        self._factory.server = self
        self._factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
        self._pump: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refuses:
            return fail(ConnectionRefusedError("nobody there"))
        if self.silent:
            return Deferred()
        client = factory.buildProtocol(None)
        server = self._factory.buildProtocol(None)
        self.connections += 1
        self._pump = iosim.connect(
            server, iosim.makeFakeServer(server), client, iosim.makeFakeClient(client)
        )
        self.client = client
        if self.slow:
            self._handed: Deferred[Any] = Deferred()
            return self._handed
        return succeed(client)

    def hand_over(self) -> None:
        """End a ``connect`` that was ``slow``."""
        self._handed.callback(self.client)

    # -- the server's side

    def opened(self, side: Any) -> None:
        self.side = side

    def received(self, payload: bytes) -> None:
        self.payloads.append(payload)

    def frames(self) -> list[Any]:
        """What clients sent since the last time, decoded."""
        payloads, self.payloads = self.payloads, []
        return [frame for payload in payloads for frame in decoding.decode(payload)]

    def tell(self, *frames: wire.ServerFrame) -> None:
        """Send frames to the client, in one message."""
        payload = wire.encode(frames[0] if len(frames) == 1 else frames)
        self.side.sendMessage(payload)
        self.flush()

    def raw(self, payload: bytes) -> None:
        self.side.sendMessage(payload)
        self.flush()

    def close(self, code: int, reason: str = "") -> None:
        self.side.sendClose(code, reason)
        self.flush()
        self.flush()

    def drop(self) -> None:
        self.side.transport.abortConnection()
        self.flush()

    def admit(self, *heads: wire.HeadItem, **fields: Any) -> wire.Hello:
        """Answer the hello that has come: welcome, and these heads."""
        self.flush()
        (hello,) = [f for f in self.frames() if isinstance(f, wire.Hello)]
        self.tell(welcome(hello.req, **fields), wire.Heads(hello.req, list(heads), True, "e1:1"))
        return hello

    def flush(self) -> None:
        """Let everything that is on its way arrive, and its turn of the reactor end."""
        for _ in range(8):
            if self._pump is not None:
                self._pump.flush()
            self.clock.advance(0)

    def arrive(self) -> None:
        """Let bytes arrive, and the turn of the reactor end before a connection does."""
        self._pump.pump()
        self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.flush()


def json(payload: bytes) -> Any:
    return msgspec.json.decode(payload)
