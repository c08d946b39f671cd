"""Files of a client: their bytes go over HTTP, beside the WebSocket, and go on after a break."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from autobahn.websocket.util import parse_url
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Cooperator, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from imd import wire
from imd.client.errors import Damaged, Disconnected, Refused
from imd.client.friends import Caller

#: Bytes that one request brings; as many make a part where the server's store is S3.
PIECE = 5 << 20
#: Attempts in a row that bring not one byte before it is given up.
ATTEMPTS = 9
#: The longest wait between two, seconds.
LONGEST_WAIT = 30.0
#: Statuses of answers after which the same request may succeed.
_PASSING = frozenset((408, 409, 429, 500, 502, 503, 504, 507))
_BREAKS = (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)


class _Passing(Exception):
    """It did not work this time."""


@implementer(IAgentEndpointFactory)
class _Same:
    """The endpoint of the WebSocket, for every request."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """Called by ``Agent``."""
        return self._endpoint


class _Into(Protocol):
    """Writes the content of an answer into a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._file.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, or a break."""
        if reason.check(ResponseDone):
            self.ended.callback(None)
        else:
            self.ended.errback(_Passing("the download broke off"))


class Files:
    """Uploads and downloads.  ``token`` is the one of the client, once it is logged in."""

    def __init__(
        self,
        caller: Caller,
        url: str,
        endpoint: IStreamClientEndpoint,
        reactor: Any,
        token: Callable[[], str | None],
        chance: Callable[[], float],
    ) -> None:
        secure, host, port, *_ = parse_url(url)
        self._base = f"{'https' if secure else 'http'}://{host}:{port}"
        self._caller = caller
        self._agent = Agent.usingEndpointFactory(reactor, _Same(endpoint))
        self._reactor = reactor
        self._token = token
        self._chance = chance
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))

    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        mime: str | None = None,
        progress: Callable[[int, int], None] = lambda done, size: None,
    ) -> wire.FileBody:
        """Upload a file; what to send then.  ``progress`` hears of bytes at the server, and all.

        Raises ``Refused``, and ``Disconnected`` after many attempts that brought nothing.
        """
        given = Path(path)
        sha256, size = await self._digest(given), given.stat().st_size
        shown = name or given.name
        kind = mime or mimetypes.guess_type(shown)[0] or "application/octet-stream"
        slot = await self._caller.call("file.slot", size=size, sha256=sha256, name=shown, mime=kind)
        await self._bring(given, slot["put"], size, progress)
        return wire.FileBody(file=slot["file"], name=shown, size=size, mime=kind, sha256=sha256)

    async def _bring(
        self, path: Path, put: str, size: int, progress: Callable[[int, int], None]
    ) -> None:
        offset, failed, known = 0, 0, True
        while True:
            try:
                if not known:
                    reply = await self._ask("HEAD", put)
                    failed = failed if int(_header(reply, "upload-offset")) == offset else 0
                    offset, known = int(_header(reply, "upload-offset")), True
                    progress(offset, size)
                offset = await self._patch(path, put, offset)
                progress(offset, size)
                if offset == size:
                    return
            except _Passing as error:
                known, failed = False, failed + 1
                await self._wait(failed, error)

    async def _patch(self, path: Path, put: str, offset: int) -> int:
        with path.open("rb") as file:
            file.seek(offset)
            piece = file.read(PIECE)
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
        }
        body = FileBodyProducer(io.BytesIO(piece), self._cooperator)
        reply = await self._ask("PATCH", put, headers, body)
        return int(_header(reply, "upload-offset"))

    async def fetch(self, body: wire.FileBody, path: str | os.PathLike[str]) -> None:
        """Download a file to ``path``, which the caller has chosen: names are no paths.

        Until all is there and proved right it is in ``PATH.part``, from where it goes on.
        Raises ``Refused``, ``Disconnected``, and ``Damaged`` for other bytes than were sent.
        """
        target = Path(path)
        part = target.with_name(target.name + ".part")
        failed = 0
        while (before := _size(part)) < body.size or not part.exists():
            try:
                await self._get(body, part, before)
            except _Passing as error:
                failed = failed + 1 if _size(part) <= before else 1
                await self._wait(failed, error)
        if await self._digest(part) != body.sha256:
            part.unlink()
            raise Damaged(f"file {body.file} is not what was sent")
        part.replace(target)

    async def _get(self, body: wire.FileBody, part: Path, start: int) -> None:
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{body.sha256}"'} if start else {}
        reply = await self._ask("GET", f"/v1/files/{body.file}", headers)
        with part.open("ab" if reply.code == 206 else "wb") as file:
            into = _Into(file)
            reply.deliverBody(into)
            await into.ended

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        given = {"Authorization": f"Bearer {self._token()}", **(headers or {})}
        all_ = Headers({name: [value] for name, value in given.items()})
        url = (self._base + path).encode()
        try:
            reply: Any = await self._agent.request(method.encode(), url, all_, body)
        except _BREAKS as error:
            raise _Passing(type(error).__name__) from None
        if reply.code in _PASSING:
            raise _Passing(f"status {reply.code}")
        if not 200 <= reply.code < 300:
            raise Refused(_CODES.get(reply.code, "bad_request"), f"status {reply.code}")
        return reply

    async def _wait(self, failed: int, error: _Passing) -> None:
        if failed >= ATTEMPTS:
            raise Disconnected(f"given up after {failed} attempts: {error}")
        seconds = min(LONGEST_WAIT, 1.7**failed) * self._chance()
        await deferLater(self._reactor, seconds, lambda: None)

    async def _digest(self, path: Path) -> str:
        pool = self._reactor.getThreadPool()
        found: str = await deferToThreadPool(self._reactor, pool, _digest_of, path)
        return found


_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large"}


def _header(reply: Any, name: str) -> str:
    values = reply.headers.getRawHeaders(name)
    if not values:
        raise Refused("bad_request", f"the server does not say {name}")
    value: str = values[0]
    return value


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
