"""WebSocket by Autobahn: from bytes on a transport to messages of a ``Connection``.

The handshake is checked here, before Autobahn sees it, with fixed texts: its own answers
quote the request.  Sizes are checked by Autobahn; messages out are framed here, because
its limit for incoming messages would also hold for ours (protocol §8).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, Request
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from imd.connector.connection import Connection
from imd.connector.hub import Hub
from imd.connector.site import Crowd
from imd.connector.turnstile import Turnstile
from imd.errors import Close
from imd.limits import Limits
from imd.wire import SUBPROTOCOL

#: Seconds a peer has to answer a close, and to finish its handshake.
CLOSE_SECONDS = 2
HANDSHAKE_SECONDS = 5
#: Handshakes that are answered in one turn of the reactor.
UPGRADES = 8

#: 16 bytes in base64.
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")

#: What a protocol holds of its handshake; freed, for thousands of idle connections hold it.
_HANDSHAKE_ATTRIBUTES = (
    "http_request_data",
    "http_headers",
    "http_request_params",
    "http_request_uri",
    "http_request_path",
    "http_request_host",
    "http_status_line",
    "websocket_protocols",
    "websocket_extensions",
    "_wskey",
)


@implementer(IPushProducer)
class Gate:
    """Told by the transport whether its buffer is full."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:
        """The buffer is full."""
        self._connection.paused()

    def resumeProducing(self) -> None:
        """The buffer is empty."""
        self._connection.resumed()

    def stopProducing(self) -> None:
        """The connection is going; ``onClose`` follows."""


class _Silence:
    """A logger for Autobahn that says nothing."""

    def _ignore(self, *args: Any, **fields: Any) -> None:
        """Drop a line."""

    trace = debug = info = warn = error = critical = failure = _ignore


class ClientProtocol(WebSocketServerProtocol):
    """One WebSocket, seen from Autobahn; a ``Socket`` to its ``Connection``."""

    transport: Any
    _connection: Connection | None = None
    #: The address under which ``Crowd`` counts this connection.
    counted: str | None = None
    #: The IP address of the client, also behind a proxy.
    address = ""
    #: Autobahn warns of every peer that misbehaves: peers would write our log.
    log = _Silence()

    # -- called by Autobahn and Twisted

    def onConnect(self, request: Any) -> str:
        """Agree on the subprotocol; ``WebSocketPort`` has checked that it is offered."""
        if SUBPROTOCOL not in request.protocols:
            raise ConnectionDeny(400, "subprotocol")
        proxies = self.factory.crowd.proxies
        peer = getattr(self.transport.getPeer(), "host", "")
        self.address = proxies.client(peer, [request.headers.get(proxies.HEADER, "")])
        return SUBPROTOCOL

    def onOpen(self) -> None:
        """The handshake is done."""
        if hasattr(self.transport, "setTcpNoDelay"):
            # Autobahn tries this before it has read its own option, and fails in silence.
            self.transport.setTcpNoDelay(True)
        self._connection = connection = self.factory.hub.open(self, self.address)
        self.transport.unregisterProducer()
        self.transport.registerProducer(Gate(connection), True)
        for name in _HANDSHAKE_ATTRIBUTES:
            self.__dict__.pop(name, None)
        if self.factory.crowd.crowded(self.address):
            connection.close(Close.CONNECTION_LIMIT, "too many connections from this address")
        elif self.factory.hub.draining:
            self.factory.hub.send_away(connection)

    def dataReceived(self, data: bytes) -> None:
        """As Autobahn's, less a debug line that costs more than the rest."""
        self._dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message, its UTF-8 checked."""
        if self._connection is not None:
            if isBinary:
                self._connection.violated("binary messages are not spoken")
            else:
                self._connection.received(payload)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """As Autobahn's, with a fixed text: its own ones quote the request."""
        phrase = RESPONSES.get(code, b"Refused")
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (code, phrase)
        )

    def onPing(self, payload: bytes) -> None:
        """A WebSocket ping; not answered to a client that does not read."""
        self._control()
        if self._connection is not None and self._connection.writing:
            self.sendPong(payload)  # type: ignore[no-untyped-call]

    def onPong(self, payload: bytes) -> None:
        """A WebSocket pong, which nobody asked for."""
        self._control()

    def _control(self) -> None:
        if self._connection is not None:
            self._connection.control()
        if self.state != self.STATE_OPEN:
            # A flood is not even read while the close runs its time.
            self.transport.pauseProducing()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(code)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        super().connectionLost(reason)
        if self.counted is not None:
            self.factory.crowd.leave(self.counted)
            self.counted = None

    # -- Socket

    def transmit(self, payload: bytes) -> None:
        """Send a text message in one frame (RFC 6455 §5.2)."""
        if self.state == self.STATE_OPEN:
            self.transport.write(text_frame(payload))

    def disconnect(self, code: int, reason: str) -> None:
        """Send a close frame; Autobahn drops the connection ``CLOSE_SECONDS`` later."""
        self.transport.resumeProducing()
        self.sendClose(int(code), reason)

    def set_reading(self, reading: bool) -> None:
        """Read, or let TCP slow the client down."""
        if reading:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def opened(self) -> None:
        """After the login messages may be larger (protocol §8)."""
        self.maxMessagePayloadSize = self.maxFramePayloadSize = self.factory.limits.frame_bytes


def text_frame(payload: bytes) -> bytes:
    """A final, unmasked text frame around ``payload``."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


class ClientFactory(WebSocketServerFactory):
    """Makes a ``ClientProtocol`` for each WebSocket."""

    protocol = ClientProtocol

    def __init__(self, hub: Hub, limits: Limits, reactor: Any, crowd: Crowd) -> None:
        super().__init__(url=None, protocols=[SUBPROTOCOL], server="", reactor=reactor)  # type: ignore[no-untyped-call]
        self.hub = hub
        self.crowd = crowd
        self.limits = limits
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=limits.hello_bytes,
            maxMessagePayloadSize=limits.hello_bytes,
            failByDrop=False,
            openHandshakeTimeout=HANDSHAKE_SECONDS,
            closeHandshakeTimeout=CLOSE_SECONDS,
            autoPingInterval=0,
        )


class Refused(Exception):
    """A handshake that is not answered with 101: the status, a fixed text, more headers."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        super().__init__(text)
        self.status = status
        self.headers = headers


@implementer(IResource)
class WebSocketPort(WebSocketResource):
    """``/ws``: checks the handshake, then hands the transport to Autobahn.

    ``origins`` are the browser origins (``scheme://host[:port]``) that may connect beside
    the one that the request's own Host names.  ``UPGRADES`` are made in a turn of the reactor.
    """

    def __init__(self, factory: ClientFactory, origins: Sequence[str] = ()) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._turnstile = Turnstile(factory.reactor, UPGRADES)

    def render(self, request: Any) -> Any:
        """Answer the upgrade, or say what is wrong with it."""
        try:
            self._check(request)
        except Refused as refused:
            request.setResponseCode(refused.status, HTTPStatus(refused.status).phrase.encode())
            request.setHeader(b"Server", b"imd")
            request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            for name, value in refused.headers:
                request.setHeader(name, value)
            return f"{refused}\n".encode()
        request.channel.move(request.address)
        self._turnstile.enter(partial(self._upgrade, request))
        return NOT_DONE_YET

    def _upgrade(self, request: Any) -> None:
        channel = request.channel
        if channel is None:
            # Its client has gone while it waited.
            return
        transport = channel.transport
        super().render(request)  # type: ignore[no-untyped-call]
        protocol = getattr(transport, "wrappedProtocol", None) or transport.protocol
        if isinstance(protocol, ClientProtocol):
            protocol.counted = channel.release()

    def _check(self, request: Request) -> None:
        if request.method != b"GET":
            raise Refused(405, "a WebSocket is opened with GET", ((b"Allow", b"GET"),))
        if b"?" in request.uri:
            raise Refused(400, "no parameters here: the token belongs into the hello frame")
        upgrades = b"websocket" in _tokens(request, b"upgrade", lower=True)
        if not upgrades or request.clientproto != b"HTTP/1.1":
            upgrade = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
            raise Refused(426, f"this is a WebSocket; subprotocol {SUBPROTOCOL}", upgrade)
        if _tokens(request, b"sec-websocket-version") != [b"13"]:
            raise Refused(400, "WebSocket version 13", ((b"Sec-WebSocket-Version", b"13"),))
        keys = _tokens(request, b"sec-websocket-key")
        if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
            raise Refused(400, "one Sec-WebSocket-Key of 16 bytes in base64")
        if SUBPROTOCOL.encode() not in _tokens(request, b"sec-websocket-protocol"):
            raise Refused(400, f"offer the subprotocol {SUBPROTOCOL}")
        self._check_origin(request)

    def _check_origin(self, request: Request) -> None:
        origins = request.requestHeaders.getRawHeaders(b"origin") or []
        if len(origins) > 1:
            raise Refused(400, "more than one Origin")
        if origins and not self._allows(origins[0], request.getHeader(b"host") or b""):
            raise Refused(403, "this origin may not connect; see the option origin")

    def _allows(self, raw: bytes, host: bytes) -> bool:
        origin = raw.decode("latin-1").strip().lower()
        try:
            own = urlsplit(origin).netloc
        except ValueError:
            return False
        return own == host.decode("latin-1").lower() != "" or origin in self._origins


def _tokens(request: Request, header: bytes, lower: bool = False) -> list[bytes]:
    values = request.requestHeaders.getRawHeaders(header) or []
    tokens = [token.strip() for value in values for token in value.split(b",")]
    return [token.lower() for token in tokens] if lower else tokens
