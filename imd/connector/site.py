"""HTTP connections: how many, how long, and which requests are let through.

Twisted's parser bounds the size of a request's head but not the time it takes, so both
parts of a request get a deadline here; a client that drips bytes is cut off.  Bodies are small
and wait in memory for the whole request, but for those that ``ImdSite.stream`` takes as they come.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import RESPONSES, HTTPChannel, Request
from twisted.web.resource import IResource
from twisted.web.server import Request as SiteRequest
from twisted.web.server import Site

from imd.connector.body import Body
from imd.connector.hosts import Hosts, Proxies
from imd.limits import Limits
from imd.throttle import network_of, trusts

#: Seconds for the head of a request, from the first byte or from the connection.
HEAD_SECONDS = 10
#: Seconds for its body.
BODY_SECONDS = 30
#: Seconds a connection may idle between two requests.
IDLE_SECONDS = 60
#: Seconds for what was written before the connection is closed.
CLOSE_SECONDS = 60
MOST_HEADERS = 64
#: Bytes of a request body.
BODY_BYTES = 65536

#: Seconds, and the least bytes in them, of a body that is streamed; more slowly is no progress.
STALL_SECONDS = 30
STALL_BYTES = 30720
#: Seconds for which a client may go on sending what was refused, and so read the answer.
LINGER_SECONDS = 5

#: The bytes of a Host: a name or an address, and a port; no user, no path, no list.
_HOST = frozenset(string.ascii_letters.encode() + string.digits.encode() + b".-_:[]%")


class Crowd:
    """Open connections by address; ``limit`` is where a polite refusal starts.

    Those of ``proxies`` are counted, but not limited: each may be of many clients.
    """

    def __init__(self, limits: Limits, proxies: Proxies | None = None) -> None:
        self.proxies = proxies or Proxies()
        self._limits = limits
        self._trusts = trusts(limits.trusted_addresses)
        self._counts: Counter[str] = Counter()
        self._total = 0

    def enter(self, address: str) -> bool:
        """Count a connection; false if it must be dropped at once."""
        limits = self._limits
        if self._total >= limits.connections:
            return False
        network = network_of(address)
        if (
            not self._trusted(address)
            and self._counts[network] >= 2 * limits.connections_per_address
        ):
            return False
        self._total += 1
        self._counts[network] += 1
        return True

    def _trusted(self, address: str) -> bool:
        return self._trusts(address) or self.proxies.includes(address)

    def move(self, before: str, address: str) -> None:
        """A connection that was counted turned out to be of another address."""
        self._counts[network_of(address)] += 1
        self._total += 1
        self.leave(before)

    def leave(self, address: str) -> None:
        """A connection that was counted is gone."""
        network = network_of(address)
        self._total -= 1
        self._counts[network] -= 1
        if not self._counts[network]:
            del self._counts[network]

    def crowded(self, address: str) -> bool:
        """Whether an address has more connections than it may."""
        if self._trusted(address):
            return False
        return self._counts[network_of(address)] > self._limits.connections_per_address


class SmallRequest(SiteRequest):
    """A request whose body is bounded, on a path that means one thing only."""

    channel: Channel
    _size = 0
    #: Takes the body as it comes, instead of ``content``.
    body: Body | None = None

    def gotLength(self, length: int | None) -> None:
        """The length is known, unless the body comes in chunks."""
        if len(self.requestHeaders.getRawHeaders(b"transfer-encoding") or ()) > 1:
            # Twisted takes the last; whoever stands before us may take the first.
            self.channel.refuse(400)
        self.body = None if self.channel.refused else self.channel.stream(self, length)
        super().gotLength(0 if self.body else length)  # type: ignore[no-untyped-call]
        if self.body is None:
            self._grow(length or 0)
            self._size = 0

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        if self.body is not None:
            self.body.received(data)
            return
        self._grow(len(data))
        if self._size <= BODY_BYTES:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > BODY_BYTES:
            self.channel.refuse(413)

    def process(self) -> None:
        """The request is complete."""
        if self.channel.refused:
            return
        fault = self.fault()
        if fault:
            self.channel.refuse(fault)
        elif self.body is not None:
            self.body.end()
        else:
            super().process()  # type: ignore[no-untyped-call]

    def fault(self) -> int:
        """The status to refuse it with; 0 if it is for this host, and for a path."""
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        required = 1 if self.clientproto == b"HTTP/1.1" else 0
        clean = all(_HOST.issuperset(host) for host in hosts)
        if not (clean and required <= len(hosts) <= 1 and self.path.startswith(b"/")):
            return 400
        return 0 if all(self.channel.site.hosts.knows(host) for host in hosts) else 421

    def connectionLost(self, reason: Any) -> None:
        """The connection is gone."""
        if self.body is not None:
            self.body.lose()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    @property
    def address(self) -> str:
        """The IP address of the client, also behind a proxy; empty at a Unix socket."""
        proxies = self.channel.site.crowd.proxies
        values = self.requestHeaders.getRawHeaders(proxies.HEADER) or []
        peer: Any = self.getClientAddress()  # type: ignore[no-untyped-call]
        return proxies.client(getattr(peer, "host", ""), values)


class Channel(HTTPChannel):
    """One HTTP connection, with deadlines."""

    transport: Any
    site: ImdSite
    maxHeaders = MOST_HEADERS
    _deadline: IDelayedCall | None = None
    _address: str | None = None
    _owes_continue = False
    _is_closing = False
    refused = False

    def connectionMade(self) -> None:
        """The head of the first request is awaited."""
        address = getattr(self.transport.getPeer(), "host", "")
        if not self.site.crowd.enter(address):
            self.transport.abortConnection()
            return
        self._address = address
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._expect(HEAD_SECONDS)

    def lineReceived(self, line: bytes) -> None:
        """A line of the head."""
        if line[:1] in (b" ", b"\t"):
            # RFC 9112 §5.2: a folded line is refused; others might read it in another way.
            self.refuse(400)
            return
        if self._deadline is None:
            self._expect(HEAD_SECONDS)
        super().lineReceived(line)  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        """The head is complete; the body has a deadline of its own."""
        self._expect(BODY_SECONDS)
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def stream(self, request: SmallRequest, length: int | None) -> Body | None:
        """What takes the body of this request as it comes; None if it is to wait in memory."""
        request.path, _, query = self._path.partition(b"?")
        request.method, request.clientproto = self._command, self._version
        take = self.site.stream
        if take is None or query or request.fault():
            return None
        body = Body(self._networkProducer, length)
        if not take(request, body):
            return None
        self._expect(STALL_SECONDS, self._look_at, body)
        return body

    def _look_at(self, body: Body) -> None:
        if body.progress(STALL_BYTES):
            self._expect(STALL_SECONDS, self._look_at, body)
        else:
            body.lose(timed_out=True)

    def _send100Continue(self) -> None:
        """The client waits to be asked for the body; it is not, if it was refused."""
        if self.requests[-1].body is not None and not self.refused:
            self._owes_continue = True
        elif not self.refused:
            super()._send100Continue()  # type: ignore[no-untyped-call]

    def ask_for_body(self) -> None:
        """Whoever takes the body wants it."""
        if self._owes_continue:
            self._owes_continue = False
            super()._send100Continue()  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        """The request is complete."""
        self._expect(None)
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """The connection is gone."""
        self._expect(None)
        address = self.release()
        if address is not None:
            self.site.crowd.leave(address)
            super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def release(self) -> str | None:
        """Count this connection no longer here; the address under which it stays counted."""
        address, self._address = self._address, None
        return address

    def move(self, address: str) -> None:
        """Count this connection for another address than that of the peer."""
        if self._address is not None and address != self._address:
            self.site.crowd.move(self._address, address)
            self._address = address

    def loseConnection(self) -> None:
        """Close once all is written; who does not read it, or end TLS in turn, is cut off."""
        if self._is_closing:
            return
        self._is_closing = True
        super().loseConnection()  # type: ignore[no-untyped-call]
        if self._deadline is None or not self._deadline.active():
            self._expect(CLOSE_SECONDS)

    def refuse(self, status: int) -> None:
        """Answer without a handler, and close; once, whatever else was read already."""
        if not self.refused:
            self._refuse(status, {}, b"")
            self.loseConnection()

    def interrupt(self, status: int, headers: Mapping[bytes, bytes], content: bytes) -> None:
        """Answer while the body still comes in, and close once the client could read that."""
        if not self.refused:
            self._refuse(status, headers, content)
            self._networkProducer.resumeProducing()
            self._expect(LINGER_SECONDS, self.loseConnection)

    def _refuse(self, status: int, headers: Mapping[bytes, bytes], content: bytes) -> None:
        self.refused = True
        self._expect(None)
        lines = [b"HTTP/1.1 %d %b" % (status, RESPONSES.get(status, b"Misdirected Request"))]
        lines += [b"%b: %b" % header for header in headers.items()]
        lines += [b"Content-Length: %d" % len(content), b"Connection: close", b"", content]
        self.transport.write(b"\r\n".join(lines))
        self.dataReceived = lambda data: None  # type: ignore[method-assign]

    def _expect(self, seconds: float | None, then: Any = None, *args: Any) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.callLater(seconds, then or self._late, *args)  # type: ignore[no-untyped-call]

    def _late(self) -> None:
        self.transport.abortConnection()


class ImdSite(Site):
    """The HTTP side of the port.  ``crowd`` counts its connections, WebSockets included."""

    protocol = Channel  # type: ignore[assignment]
    requestFactory = SmallRequest
    #: Told of each request before its body; true if it takes that as it comes.
    stream: Callable[[SmallRequest, Body], bool] | None = None

    def __init__(
        self,
        root: IResource,
        crowd: Crowd,
        reactor: Any,
        hosts: Hosts | None = None,
        metrics: IResource | None = None,
    ) -> None:
        super().__init__(root, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        self.crowd = crowd
        self.hosts = hosts or Hosts()
        self.displayTracebacks = False
        self._metrics = metrics

    def getResourceFor(self, request: Request) -> IResource:
        """The figures can be read also while clients are not let in."""
        if request.path == b"/metrics" and self._metrics is not None:
            return self._metrics
        found: IResource = super().getResourceFor(request)  # type: ignore[no-untyped-call]
        return found

    def log(self, request: Any) -> None:
        """No access log: paths and addresses are counted elsewhere, and URLs may be private."""
