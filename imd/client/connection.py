"""One WebSocket to the server, by Autobahn: bytes on one side, frames on the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.util import parse_url
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger

from imd import decoding, wire
from imd.client.incoming import decode

#: The largest message taken from a server: a batch of 192 KiB (protocol §8), and one frame
#: that did not fit any more.  Autobahn holds what we send to the same limit.
LARGEST = 4 * 1024 * 1024


class Owner(Protocol):
    """Whoever uses a connection."""

    def opened(self, connection: Connection) -> None:
        """The handshake is done."""

    def received(self, frames: Sequence[wire.AnyServerFrame]) -> None:
        """Frames of one message."""

    def closed(self, code: int | None, reason: str) -> None:
        """The connection is gone; ``code`` is that of the server's close frame, if one came."""


class Connection(WebSocketClientProtocol):
    """A WebSocket client.  Names in camelCase are called by Autobahn or Twisted."""

    _log = Logger()
    transport: Any

    def connectionMade(self) -> None:
        """TCP (and TLS) is there."""
        super().connectionMade()
        if hasattr(self.transport, "setTcpNoDelay"):
            # Autobahn tries this itself, before it has read its own option, and fails silently.
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """As Autobahn's, less a debug line that costs more than the rest."""
        self._dataReceived(data)

    def onOpen(self) -> None:
        """The handshake is done."""
        self.factory.owner.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message."""
        try:
            frames = decode(payload)
        except decoding.NotJson:
            self._log.warn("the server sent something that is not JSON")
            self.abort()
            return
        self.factory.owner.received(frames)

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> Any:
        """The server closes; do not wait for it to drop the connection as well."""
        result = super().onCloseFrame(code, reasonRaw)
        self.transport.loseConnection()
        return result

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The connection is gone; what the server said last counts, however it went."""
        if self.remoteCloseCode is not None:
            code, reason = self.remoteCloseCode, self.remoteCloseReason
        elif not wasClean:
            code = None
        self.factory.owner.closed(code, reason or "")

    def transmit(self, frames: Sequence[wire.AnyClientFrame], most: int, largest: int) -> None:
        """Send frames in messages of at most ``most`` frames and ``largest`` bytes.

        Once the connection is closing they are lost, as are those that are on their way.
        """
        if self.state != self.STATE_OPEN:
            return
        for payload in packed([wire.encode(frame) for frame in frames], most, largest):
            self.sendMessage(payload)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Say goodbye; ``closed`` follows once the server has answered."""
        if self.state == self.STATE_OPEN:
            self.sendClose(1000)
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection as it is."""
        self.transport.abortConnection()


def packed(frames: Sequence[bytes], most: int, largest: int) -> Iterator[bytes]:
    """Pack encoded frames, in order, into few messages; a frame too large goes alone."""
    batch: list[bytes] = []
    size = 1
    for frame in frames:
        if batch and (len(batch) >= most or size + len(frame) + 1 > largest):
            yield _join(batch)
            batch, size = [], 1
        batch.append(frame)
        size += len(frame) + 1
    if batch:
        yield _join(batch)


def _join(batch: list[bytes]) -> bytes:
    return batch[0] if len(batch) == 1 else b"[" + b",".join(batch) + b"]"


class ConnectionFactory(WebSocketClientFactory):
    """Makes a ``Connection`` of ``owner`` for each attempt to reach ``url``."""

    protocol = Connection
    noisy = False

    def __init__(self, url: str, owner: Owner, agent: str, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            url, protocols=[wire.SUBPROTOCOL], useragent=agent, reactor=reactor
        )
        self.owner = owner
        # Autobahn's timers run on the global reactor; ``owner`` has its own.
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxFramePayloadSize=LARGEST,
            maxMessagePayloadSize=LARGEST,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            autoPingInterval=0,
        )


def endpoint_of(url: str, reactor: Any, ca: str | None = None) -> IStreamClientEndpoint:
    """The TCP or TLS endpoint of a ``ws://`` or ``wss://`` URL.

    ``ca`` is a PEM file with the authorities to trust instead of the system's.  The name in
    the certificate is always checked.  Raises ``ValueError`` for a URL that is none.
    """
    secure, host, port, *_ = parse_url(url)
    endpoint = HostnameEndpoint(reactor, host, port)
    if not secure:
        return endpoint
    trust = None if ca is None else _authorities(ca)
    return wrapClientTLS(optionsForClientTLS(host, trustRoot=trust), endpoint)


def _authorities(path: str) -> Any:
    with open(path, encoding="ascii") as file:
        text = file.read()
    end = "-----END CERTIFICATE-----"
    blocks = [block + end for block in text.split(end)[:-1]]
    certificates = [Certificate.loadPEM(block.encode()) for block in blocks]
    return trustRootFromCertificates(certificates)
