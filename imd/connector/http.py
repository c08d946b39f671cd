"""HTTP beside the WebSocket: ``/v1/METHOD``, health, and the files of the chat page."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from imd import wire
from imd.accounts import Accounts
from imd.connector.admin import AdminPort
from imd.connector.answers import (
    HEADERS,
    RETRY_AFTER,
    Answer,
    address,
    bearer,
    defect,
    refused,
    require,
    unavailable,
    write_error,
)
from imd.connector.files import PREFIX, FilesPort
from imd.connector.pages import Page, serve
from imd.errors import Code, Refusal, Unavailable
from imd.methods import METHODS, LoggedIn
from imd.tasks import spawn

#: Carries a method out, with its parameters in JSON; None if the answer was sent meanwhile.
CarryOut = Callable[[bytes], Awaitable[Struct | None]]

_CLOSED = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>imd</title>
<h1>imd</h1>
<p>The server cannot let anybody in yet: {reason}. This page tries again by itself.</p>
</html>
"""


@implementer(IResource)
class Front(Resource):
    """Every path of the port, each spelled in exactly one way.

    ``ready`` returns None, or the reason why this process should get no traffic.
    ``crowded`` says of an address whether it has more connections than it may.
    ``pages`` are the files of the chat page, by path.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        accounts: Accounts,
        websocket: IResource,
        ready: Callable[[], str | None],
        crowded: Callable[[str], bool],
        pages: Mapping[bytes, Page],
        files: FilesPort,
        admin: AdminPort,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._files = files
        self._admin = admin
        self._accounts = accounts
        self._websocket = websocket
        self._ready = ready
        self._crowded = crowded
        self._pages = pages
        self._probes: dict[bytes, Callable[[Request], bytes]] = {
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
        }

    def render(self, request: Request) -> Any:
        """Find what serves the path."""
        if request.path == b"/ws":
            return self._websocket.render(request)
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        try:
            return self._render(request)
        except Answer as answer:
            return write_error(request, answer)

    def _render(self, request: Request) -> Any:
        if self._crowded(address(request)):
            limit = Refusal(Code.LIMIT, "too many connections from this address")
            raise Answer(503, limit, {b"Retry-After": b"%d" % RETRY_AFTER})
        if request.path in self._pages:
            require(request, b"GET", b"HEAD")
            return serve(request, self._pages[request.path])
        if request.path in self._probes:
            require(request, b"GET", b"HEAD")
            return self._probes[request.path](request)
        if request.path.startswith(PREFIX):
            return self._files.render(request)
        carry_out = self._method(request)
        require(request, b"POST")
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        spawn(self._serve(request, carry_out, gone), self._log, "HTTP request")
        return NOT_DONE_YET

    def _method(self, request: Request) -> CarryOut:
        """What carries out the method that the path names."""
        order = self._admin.order(request.path)
        if order is not None:
            return lambda params: self._admin.call(request, order, params)
        method = request.path.removeprefix(b"/v1/").decode("latin-1")
        if not request.path.startswith(b"/v1/") or method not in METHODS:
            raise Answer(404, Refusal(Code.NOT_FOUND, "there is nothing here"))
        return lambda params: self._call_method(request, method, params)

    # -- probes

    def _healthz(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"alive\n"

    def _readyz(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        reason = self._ready()
        if reason is None:
            return b"ready\n"
        request.setResponseCode(503)
        return f"{reason}\n".encode()

    # -- methods

    async def _serve(self, request: Request, carry_out: CarryOut, gone: list[Any]) -> None:
        try:
            result = await self._call(request, carry_out)
            if result is None:
                return
            body = wire.encode(result)
            request.setHeader(b"Content-Type", b"application/json")
            if gone and isinstance(result, LoggedIn):
                # Nobody was there to take the token, and the device would fill a place.
                await self._accounts.forget(result.user.id, result.device)
        except Answer as answer:
            if request.startedWriting and not gone:
                request.loseConnection()
                return
            body = write_error(request, answer)
        if not gone:
            request.write(body)
            request.finish()

    async def _call_method(self, request: Request, method: str, params: bytes) -> Struct:
        me = None
        if not METHODS[method].public:
            me = await self._accounts.authenticate(bearer(request))
        return await self._accounts.call(me, method, params, address(request))

    async def _call(self, request: Request, carry_out: CarryOut) -> Struct | None:
        try:
            return await carry_out(_params(request))
        except Refusal as refusal:
            raise refused(refusal) from None
        except Unavailable as error:
            raise unavailable(error) from None
        except Answer:
            raise
        except Exception:
            self._log.failure("{path} failed", path=request.path.decode("latin-1"))
            raise defect() from None


class Closed(Resource):
    """The site while clients cannot be let in; ``ready`` says why."""

    isLeaf = True

    def __init__(self, ready: Callable[[], str | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ready = ready

    def render(self, request: Request) -> bytes:
        """Alive, but not ready."""
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if request.path == b"/healthz":
            return b"alive\n"
        request.setResponseCode(503)
        request.setHeader(b"Retry-After", b"%d" % RETRY_AFTER)
        if request.path != b"/":
            return f"{self._ready()}\n".encode()
        request.setHeader(b"Refresh", b"%d" % RETRY_AFTER)
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        return _CLOSED.format(reason=html.escape(str(self._ready()))).encode()


def _params(request: Request) -> bytes:
    kind = (request.getHeader(b"content-type") or b"application/json").split(b";")[0].strip()
    coding = request.getHeader(b"content-encoding") or b"identity"
    if kind.lower() != b"application/json" or coding.lower() != b"identity":
        raise Answer(415, Refusal(Code.BAD_REQUEST, "send JSON as application/json"))
    body: bytes = request.content.read() if request.content else b""
    return body or b"{}"
