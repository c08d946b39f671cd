"""The server of the kit: WebSocket and HTTP on one port, told by a scenario what to do.

Names in camelCase are called by Autobahn or Twisted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

from imd import wire
from imd.conformance.logs import DEVICE, ME, NAME

#: The token that every login gets.
TOKEN = "conformance-token"  # noqa: S105


class Owner(Protocol):
    """Whoever plays the server."""

    def opened(self, session: Session) -> None:
        """A client has opened a WebSocket."""

    def received(self, session: Session, payload: bytes) -> None:
        """A WebSocket message."""

    def ended(self, session: Session) -> None:
        """The connection is gone."""

    def called(self, method: str, params: dict[str, Any]) -> Any:
        """The answer to a method; None if there is no such method."""


class Session(WebSocketServerProtocol):
    """One connection of the client under test."""

    transport: Any
    frames: list[dict[str, Any]]
    hung = False
    gone = False

    def onConnect(self, request: Any) -> str | None:
        """The upgrade: the subprotocol is ours if it was offered."""
        return wire.SUBPROTOCOL if wire.SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        """The handshake is done."""
        self.frames = []
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.factory.owner.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message."""
        if not self.hung:
            self.factory.owner.received(self, payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone."""
        self.gone = True
        self.factory.owner.ended(self)

    def say(self, frames: list[dict[str, Any]]) -> None:
        """Send frames in one message."""
        value: Any = frames[0] if len(frames) == 1 else frames
        self.write(json.dumps(value))

    def write(self, text: str) -> None:
        """Send a message, unless the connection is closing or nobody shall be there."""
        if not self.hung and self.state == self.STATE_OPEN:
            self.sendMessage(text.encode())  # type: ignore[no-untyped-call]

    def shut(self, code: int, reason: str) -> None:
        """Close with any code, those that RFC 6455 reserves for servers included."""
        self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)

    def drop(self) -> None:
        """End the TCP connection without a goodbye."""
        self.transport.abortConnection()

    def hang(self) -> None:
        """Read and answer nothing any more, and leave the connection open."""
        self.hung = True
        self.transport.pauseProducing()


class Front(Resource):
    """``/ws``, ``/v1/METHOD``, and files for a client that lives in a web page."""

    isLeaf = False

    def __init__(self, owner: Owner, static: Path | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        factory: Any = WebSocketServerFactory()
        factory.protocol = Session
        factory.owner = owner
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=1)
        self.putChild(b"ws", WebSocketResource(factory))
        self.putChild(b"v1", Methods(owner.called))
        if static is not None:
            self.putChild(b"static", File(str(static)))


class Methods(Resource):
    """``POST /v1/METHOD``."""

    isLeaf = True

    def __init__(self, called: Callable[[str, dict[str, Any]], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._called = called

    def render_POST(self, request: Request) -> bytes:
        """Answer a call."""
        body = request.content.read() if request.content else b""
        data = self._called(request.path.decode().removeprefix("/v1/"), json.loads(body or b"{}"))
        if data is None:
            request.setResponseCode(404)
            data = {"error": {"code": "not_found", "message": "no such method"}}
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(data).encode()


class Port(Site):
    """The port; while it ``refuses``, connections end at once."""

    refuses = False

    def __init__(self, owner: Owner, static: Path | None) -> None:
        super().__init__(Front(owner, static))  # type: ignore[no-untyped-call]
        self.noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """A connection has come."""
        return None if self.refuses else super().buildProtocol(addr)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """No access log."""


def login() -> dict[str, Any]:
    """What ``account.login`` and ``account.register`` return."""
    return {"user": {"id": ME, "name": NAME}, "device": DEVICE, "token": TOKEN}
