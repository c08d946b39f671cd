"""A client that says exactly what it is told to, and shows everything it hears."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread

from tests.process import PATIENCE, reactor

Frame = dict[str, Any]


class Raw(WebSocketClientProtocol):
    """One WebSocket.  ``hear`` gives frames one by one; ``closed`` fires with the close code."""

    def __init__(self) -> None:
        super().__init__()
        self._frames: DeferredQueue[Frame] = DeferredQueue()
        self._kept: list[Frame] = []
        self.opened: Deferred[Raw] = Deferred()
        self.closed: Deferred[int | None] = Deferred()
        self.welcome: Frame = {}

    def onOpen(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = json.loads(payload)
        for frame in message if isinstance(message, list) else [message]:
            self._frames.put(frame)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if not self.opened.called:
            self.opened.errback(ConnectionRefusedError(str(reason)))
        else:
            self.closed.callback(code)

    def say(self, *frames: Frame | str | bytes) -> None:
        """Send each as a message of its own; a list would be a batch."""
        for frame in frames:
            raw = frame if isinstance(frame, str | bytes) else json.dumps(frame)
            self.sendMessage(raw.encode() if isinstance(raw, str) else raw)

    async def hear(self, kind: str, **fields: Any) -> Frame:
        """The next frame of a type whose fields are these; others are kept for later."""
        for frame in self._kept:
            if _fits(frame, kind, fields):
                self._kept.remove(frame)
                return frame
        while True:
            frame = await self._frames.get()
            if _fits(frame, kind, fields):
                return frame
            self._kept.append(frame)

    def heard(self, kind: str) -> list[Frame]:
        """The frames of a type that nobody has asked for yet."""
        return [f for f in [*self._kept, *self._frames.pending] if f["type"] == kind]

    async def call(self, method: str, **params: Any) -> Frame:
        """The ``result`` or ``error`` of a call."""
        req = uuid.uuid4().hex
        self.say({"type": "call", "req": req, "method": method, "params": params})
        while True:
            frame = await self._frames.get()
            if frame.get("req") == req:
                return frame
            self._kept.append(frame)

    def text(self, conversation: int, text: str = "hi", id: str | None = None) -> str:
        """Send a text; its id."""
        id = id or str(uuid.uuid4())
        body = {"text": text}
        self.say({"type": "send", "id": id, "conv": conversation, "kind": "text", "body": body})
        return id


def _fits(frame: Frame, kind: str, fields: dict[str, Any]) -> bool:
    return frame["type"] == kind and all(frame.get(k) == v for k, v in fields.items())


async def connect(port: int, **options: Any) -> Raw:
    """Open a WebSocket."""
    factory = WebSocketClientFactory(
        f"ws://127.0.0.1:{port}{options.pop('path', '/ws')}",
        protocols=options.pop("protocols", ["imd.v1.json"]),
        **options,
    )
    factory.protocol = Raw
    factory.setProtocolOptions(
        failByDrop=False,
        openHandshakeTimeout=PATIENCE,
        closeHandshakeTimeout=PATIENCE,
        # Or a server that is slow to hang up has closed without a code.
        serverConnectionDropTimeout=PATIENCE,
    )
    protocol = factory.buildProtocol(None)
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), protocol)
    return await protocol.opened  # type: ignore[no-any-return]


async def login(port: int, name: str, **fields: Any) -> Raw:
    """Connect and say hello: registers the user unless told otherwise."""
    raw = await connect(port)
    hello = {"user": name, "password": "secret", "device": "test", "register": True} | fields
    raw.say({"type": "hello", "req": 1, **{k: v for k, v in hello.items() if v is not None}})
    raw.welcome = await raw.hear("welcome")
    await raw.hear("heads", done=True)
    return raw


async def resume(port: int, token: str, **fields: Any) -> Raw:
    """Connect with a token."""
    raw = await connect(port)
    raw.say({"type": "hello", "req": 1, "token": token, **fields})
    raw.welcome = await raw.hear("welcome")
    return raw


async def pair(port: int, one: str = "alice", other: str = "bob") -> tuple[Raw, Raw, int]:
    """Two friends and their conversation."""
    a, b = await login(port, one), await login(port, other)
    await a.call("friend.add", user=other)
    accepted = await b.call("friend.accept", user=one)
    return a, b, accepted["data"]["conv"]


async def post(
    port: int, path: str, params: Any = None, token: str | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and decoded body of a POST."""
    raw = params if isinstance(params, bytes) else json.dumps(params or {}).encode()
    headers = {"Content-Type": "application/json"} | headers
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", raw, headers, method="POST")
    return await deferToThread(_fetch, request)


def _fetch(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
