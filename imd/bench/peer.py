"""A WebSocket client that costs as little as it can."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from imd import wire

_DECODE = msgspec.json.Decoder(wire.AnyServerFrame | list[wire.AnyServerFrame]).decode

Frames = Iterable[wire.AnyServerFrame]


class BenchError(Exception):
    """The run cannot go on; the message says what to do."""


class Peer(WebSocketClientProtocol):
    """One session.  ``hear`` is called with the frames of each message of the server."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.is_closed_by_us = False
        self.welcome: wire.Welcome | None = None
        self.hear: Callable[[Frames], None] = self._answered
        self._reactor = reactor
        self._out: list[Struct] = []
        self._waiting: dict[int | str, Deferred[Any]] = {}
        self._req = 0
        self.failed: Callable[[str], None] = lambda reason: None
        self.messages_in = self.frames_in = self.messages_out = self.frames_out = 0

    # -- called by Autobahn

    def onOpen(self) -> None:
        """The handshake is done."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._fire("open", self)

    def dataReceived(self, data: bytes) -> None:
        """As Autobahn's, less its debug line."""
        self._dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A message of the server."""
        frames = _DECODE(payload)
        batch = frames if isinstance(frames, list) else (frames,)
        self.messages_in += 1
        self.frames_in += len(batch)
        self.hear(batch)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        super().connectionLost(reason)
        if not self.is_closed_by_us:
            told = f"the server closed a connection: {self.remoteCloseCode}"
            self.failed(told)
            waiting, self._waiting = self._waiting, {}
            for done in waiting.values():
                done.errback(BenchError(told))

    # -- frames out

    def say(self, frame: Struct) -> None:
        """Send a frame together with all others of this turn."""
        if not self._out:
            self._reactor.callLater(0, self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self.state != self.STATE_OPEN:
            # Whoever waits for an answer is told by ``connectionLost``.
            return
        for start in range(0, len(out), wire.MAX_BATCH):
            batch = out[start : start + wire.MAX_BATCH]
            payload = wire.encode(batch[0] if len(batch) == 1 else batch)
            self.sendMessage(payload)  # type: ignore[no-untyped-call]
            self.messages_out += 1
            self.frames_out += len(batch)

    # -- the beginning of a session

    def _await(self, key: int | str) -> Deferred[Any]:
        done = self._waiting[key] = Deferred()
        return done

    def _fire(self, key: int | str, value: Any) -> None:
        done = self._waiting.pop(key, None)
        if done is not None:
            done.callback(value)

    async def opened(self) -> None:
        """Waits for the handshake."""
        if self.state != self.STATE_OPEN:
            await self._await("open")

    async def login(self, **credentials: Any) -> wire.Welcome:
        """Say hello, and wait until all heads have come."""
        await self.opened()
        heads = self._await("heads")
        self.say(wire.Hello(0, **credentials))
        await heads
        assert self.welcome is not None  # noqa: S101
        return self.welcome

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a method."""
        self._req += 1
        done = self._await(self._req)
        self.say(wire.Call(self._req, method, msgspec.Raw(wire.encode(params))))
        return await done

    def _answered(self, frames: Frames) -> None:
        for frame in frames:
            if isinstance(frame, wire.Welcome):
                self.welcome = frame
            elif isinstance(frame, wire.Heads) and frame.done:
                self._fire("heads", None)
            elif isinstance(frame, wire.Result):
                self._fire(frame.req, frame.data)
            elif isinstance(frame, wire.Error):
                self.failed(f"the server refused a request: {frame.code}: {frame.message}")

    def hang_up(self) -> None:
        """End the session."""
        self.is_closed_by_us = True
        self.transport.abortConnection()


async def connect(reactor: Any, url: str, failed: Callable[[str], None]) -> Peer:
    """Open a WebSocket.  Raises ``BenchError``."""
    factory = WebSocketClientFactory(url, protocols=[wire.SUBPROTOCOL], reactor=reactor)
    factory.setProtocolOptions(openHandshakeTimeout=60)
    peer = Peer(reactor)
    peer.factory = factory
    peer.failed = failed
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    kind = "tls" if secure else "tcp"
    endpoint = clientFromString(reactor, f"{kind}:{parts.hostname}:{port}")
    try:
        await connectProtocol(endpoint, peer)
    except Exception as error:
        raise BenchError(f"cannot connect to {url}: {error}") from None
    await peer.opened()
    return peer
