"""Requests over HTTP, beside the WebSocket and to the same server, and how often to try again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from autobahn.websocket.util import parse_url
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from imd.client.errors import Disconnected, Refused
from imd.client.timer import Timer

#: Attempts in a row that bring not one byte before it is given up.
ATTEMPTS = 9
#: The longest wait between two, seconds.
LONGEST_WAIT = 30.0
#: Seconds until an answer begins, the body of the request included.
ANSWER_SECONDS = 120.0
#: Seconds without a byte of an answer that has begun.
QUIET_SECONDS = 60.0
#: Bytes of an error that are read.
_ERROR_BYTES = 65536
#: Statuses of answers after which the same request may succeed soon.
_PASSING = frozenset((408, 409, 429, 500, 502, 503, 504))
_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large"}
_CODES |= {507: "unavailable"}
_BREAKS = (
    CancelledError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)


class Passing(Exception):
    """It did not work this time."""


@implementer(IAgentEndpointFactory)
class _Same:
    """The endpoint of the WebSocket, for every request."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """Called by ``Agent``."""
        return self._endpoint


class Into(Protocol):
    """Hands the content of an answer to ``write``, at most ``room`` bytes of it.

    ``ended`` fires at the end; it fails with ``Passing`` after a break, and with what ``write``
    has raised.  Cancelled, it ends the connection.
    """

    def __init__(self, write: Callable[[bytes], object], room: int, clock: Any) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._drop())
        self._write = write
        self._room = room
        self._quiet = Timer(clock, lambda: self._fail(Passing("nothing more came")))

    def connectionMade(self) -> None:
        """The answer begins."""
        self._quiet.start(QUIET_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        if self.ended.called:
            return
        self._quiet.start(QUIET_SECONDS)
        try:
            self._write(data[: self._room])
        except OSError as error:
            self._fail(error)
            return
        self._room -= len(data)
        if self._room < 0:
            self._fail(Passing("there is more than there should be"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, or a break."""
        self._quiet.cancel()
        if self.ended.called:
            return
        if reason.check(ResponseDone):
            self.ended.callback(None)
        else:
            self.ended.errback(Passing("the answer broke off"))

    def _fail(self, error: Exception) -> None:
        self._drop()
        if not self.ended.called:
            self.ended.errback(error)

    def _drop(self) -> None:
        self._quiet.cancel()
        transport: Any = self.transport
        if transport is not None:
            transport.stopProducing()


class Exchange:
    """Makes requests.  ``token`` is the one of the client, once it is logged in."""

    def __init__(
        self,
        url: str,
        endpoint: IStreamClientEndpoint,
        reactor: Any,
        token: Callable[[], str | None],
        chance: Callable[[], float],
    ) -> None:
        secure, host, port, *_ = parse_url(url)
        self._base = f"{'https' if secure else 'http'}://{host}:{port}"
        self._agent = Agent.usingEndpointFactory(reactor, _Same(endpoint))
        self._token = token
        self._chance = chance
        self.reactor = reactor

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        """The answer, whose content is still to be read; its status is 2xx.

        Raises ``Passing`` and ``Refused``.
        """
        given = {"Authorization": f"Bearer {self._token()}", **(headers or {})}
        all_ = Headers({name: [value] for name, value in given.items()})
        url = (self._base + path).encode()
        reply = await self._answer(self._agent.request(method.encode(), url, all_, body))
        if not 200 <= reply.code < 300:
            refused = _refused(reply.code, await self._error(reply))
            if reply.code in _PASSING:
                raise Passing(str(refused))
            raise refused
        return reply

    async def _answer(self, asking: Deferred[Any]) -> Any:
        late = self.reactor.callLater(ANSWER_SECONDS, asking.cancel)
        try:
            return await asking
        except _BREAKS as error:
            if late.active() and _is_cancelled(error):
                raise CancelledError from None
            if isinstance(error, RequestGenerationFailed) and not _is_cancelled(error):
                # Not the connection, but whoever watches the progress.
                error.reasons[0].raiseException()
            raise Passing("the connection ended, or no answer came") from None
        finally:
            if late.active():
                late.cancel()

    async def _error(self, reply: Any) -> bytes:
        content = bytearray()
        into = Into(content.extend, _ERROR_BYTES, self.reactor)
        reply.deliverBody(into)
        try:
            await into.ended
        except Passing:
            return b""
        return bytes(content)

    async def pause(self, failed: int, error: Passing) -> None:
        """Wait after so many attempts in a row that failed; ``Disconnected`` if it is enough."""
        if failed >= ATTEMPTS:
            raise Disconnected(f"given up after {failed} attempts: {error}")
        seconds = min(LONGEST_WAIT, 1.7**failed) * self._chance()
        await deferLater(self.reactor, seconds, lambda: None)


def _is_cancelled(error: Exception) -> bool:
    if isinstance(error, CancelledError | ConnectingCancelledError):
        return True
    reasons = getattr(error, "reasons", ())
    return any(reason.check(CancelledError) for reason in reasons)


class _Said(Struct):
    code: str
    message: str = ""


class _Error(Struct):
    error: _Said


def _refused(status: int, content: bytes) -> Refused:
    try:
        said = msgspec.json.decode(content, type=_Error).error
    except msgspec.MsgspecError:
        return Refused(_CODES.get(status, "bad_request"), f"status {status}")
    return Refused(said.code, said.message)


def header(reply: Any, name: str) -> str:
    """A header of an answer; raises ``Refused`` if it is not there."""
    values = reply.headers.getRawHeaders(name)
    if not values:
        raise Refused("bad_request", f"the server does not say {name}")
    value: str = values[0]
    return value
