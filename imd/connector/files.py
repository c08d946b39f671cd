"""``/v1/files/ID``: uploads that are streamed to the store, downloads that are streamed from it.

``PUT`` brings a file as a whole, or with ``Content-Range`` its rest.  ``HEAD`` and ``PATCH`` are
the core of tus 1.0.0 (https://tus.io/protocols/resumable-upload); its clients resume by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.server import NOT_DONE_YET

from imd import ranges
from imd.accounts import Accounts
from imd.connector.answers import (
    HEADERS,
    Answer,
    bearer,
    defect,
    refused,
    require,
    unavailable,
    write_error,
)
from imd.connector.body import Body, Broken
from imd.connector.sending import Sending
from imd.downloads import Downloads
from imd.errors import Code, Refusal, Unavailable
from imd.filelinks import Reader
from imd.media import disposition
from imd.model import File, Identity
from imd.tasks import Clock, spawn
from imd.uploads import Intake, Uploads

T = TypeVar("T")

PREFIX = b"/v1/files/"
TUS = b"1.0.0"
#: Bytes of a file that are read, and then written, at once.
CHUNK = 262144
#: The type of the body of a ``PATCH``.
OFFSET_TYPE = b"application/offset+octet-stream"

_NOWHERE = Refusal(Code.NOT_FOUND, "there is no such file, or it is not for you")
#: Of every answer: whatever it is, no page of ours runs it, and nobody keeps it.
_SAFE = HEADERS | {
    b"Cache-Control": b"private, no-store",
    b"Content-Security-Policy": b"sandbox; default-src 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Tus-Resumable": TUS,
}


#: What an answer with a file says, and an error must not.
_OF_A_FILE = (
    b"Accept-Ranges",
    b"Content-Disposition",
    b"Content-Length",
    b"Content-Range",
    b"ETag",
)


class FilesPort:
    """Requests for files, each judged before a byte moves."""

    _log = Logger()

    def __init__(
        self, accounts: Accounts, uploads: Uploads, downloads: Downloads, clock: Clock
    ) -> None:
        self._accounts = accounts
        self._uploads = uploads
        self._downloads = downloads
        self._clock = clock

    # -- uploads

    def stream(self, request: Request, body: Body) -> bool:
        """Take the body of an upload as it comes; false if it is none."""
        if request.method not in (b"PUT", b"PATCH") or not request.path.startswith(PREFIX):
            return False
        # Strangers are sent away before what they bring fills the memory.
        body.hold()
        spawn(self._receive(request, body), self._log, "an upload")
        return True

    async def _receive(self, request: Request, body: Body) -> None:
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        try:
            intake = await self._judged(self._take(request, body))
        except Broken as broken:
            if broken.timed_out:
                slow = Refusal(Code.BAD_REQUEST, "nothing more came; go on where HEAD says")
                self._answer_early(request, body, Answer(408, slow))
        except Answer as answer:
            if not gone:
                self._answer_early(request, body, answer)
        else:
            if not gone:
                _answer_upload(request, intake)

    async def _take(self, request: Request, body: Body) -> Intake:
        me = await self._accounts.authenticate(bearer(request))
        offset = _offset(request, body.length)
        intake = await self._uploads.begin(me, _id(request), offset, body.length or 0)
        try:
            channel: Any = request.channel
            channel.ask_for_body()
            while data := await body.read():
                await intake.write(data)
            await intake.finish()
        finally:
            await intake.end()
        return intake

    def _answer_early(self, request: Request, body: Body, answer: Answer) -> None:
        """Answer, perhaps while the body still comes in."""
        if body.is_whole:
            _prepare(request)
            request.write(write_error(request, answer))
            request.finish()
            return
        body.lose()
        headers = _SAFE | answer.headers | {b"Content-Type": b"application/json"}
        channel: Any = request.channel
        channel.interrupt(answer.status, headers, answer.content)

    async def _judged(self, work: Awaitable[T]) -> T:
        """The result, or what to answer.  Raises ``Answer``, ``Broken``."""
        try:
            return await work
        except (Answer, Broken):
            raise
        except Refusal as refusal:
            raise refused(refusal) from None
        except Unavailable as error:
            self._log.warn("files: {error}", error=error)
            raise unavailable(error) from None
        except Exception:
            self._log.failure("a request for a file failed")
            raise defect() from None

    # -- downloads

    def render(self, request: Request) -> Any:
        """Answer anything but an upload."""
        _prepare(request)
        require(request, b"GET", b"HEAD", b"PUT", b"PATCH")
        if request.method not in (b"GET", b"HEAD"):
            raise refused(_NOWHERE)
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        spawn(self._serve(request, gone), self._log, "a download")
        return NOT_DONE_YET

    async def _serve(self, request: Request, gone: list[Any]) -> None:
        try:
            await self._judged(self._send(request, gone))
        except Answer as answer:
            if not gone and not request.startedWriting:
                for name in _OF_A_FILE:
                    request.responseHeaders.removeHeader(name)
                request.write(write_error(request, answer))
                request.finish()
            elif not gone:
                request.loseConnection()

    async def _send(self, request: Request, gone: list[Any]) -> None:
        id = _id(request)
        link = request.args.get(b"link")
        if link is not None:
            reader = await self._downloads.reader(id, link[0].decode("latin-1"))
        else:
            me = await self._accounts.authenticate(bearer(request))
            if request.method == b"HEAD" and await self._tell_progress(request, me, id, gone):
                return
            reader = Reader(me.user.id, me.device)
        file = await self._downloads.find(reader, id)
        if not gone:
            await self._send_file(request, file, reader.user)

    async def _tell_progress(
        self, request: Request, me: Identity, id: int, gone: list[Any]
    ) -> bool:
        """Tell an owner how much is there; true if that is the whole answer."""
        found = await self._uploads.progress(me, id)
        if found is None:
            return False
        file, offset = found
        request.setHeader(b"Upload-Offset", b"%d" % offset)
        request.setHeader(b"Upload-Length", b"%d" % file.size)
        if not file.complete and not gone:
            request.finish()
        return not file.complete

    async def _send_file(self, request: Request, file: File, user: int) -> None:
        start, end = _describe(request, file)
        if request.method == b"HEAD" or start == end:
            request.finish()
            return
        self._downloads.enter(user)
        try:
            await Sending(request, self._clock).run(self._parts(file, start, end))
        finally:
            self._downloads.leave(user)

    async def _parts(self, file: File, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            part = await self._downloads.read(file, start, min(CHUNK, end - start))
            if not part:
                # The length was promised: only a break says that it is not kept.
                raise Unavailable(f"file {file.id} ends at {start}, before its end")
            start += len(part)
            yield part


def _prepare(request: Request) -> None:
    for name, value in _SAFE.items():
        request.setHeader(name, value)


def _id(request: Request) -> int:
    found = ranges.number(request.path.removeprefix(PREFIX).decode("latin-1"))
    if not found or found >= 2**52 or request.path != PREFIX + b"%d" % found:
        raise _NOWHERE
    return found


def _offset(request: Request, length: int | None) -> int | None:
    """Where the body belongs; None if it is all of the file.  Raises ``Answer``."""
    if length is None:
        raise Answer(411, Refusal(Code.BAD_REQUEST, "say Content-Length"))
    if (request.getHeader(b"content-encoding") or b"identity").lower() != b"identity":
        raise Answer(415, Refusal(Code.BAD_REQUEST, "send the bytes as they are"))
    if request.method == b"PATCH":
        return _tus_offset(request)
    given = request.getHeader(b"content-range")
    if given is None:
        return None
    span = ranges.sent(given.decode("latin-1"))
    if span is None or span[1] - span[0] != length:
        raise Refusal(Code.BAD_REQUEST, "Content-Range is not that of the body")
    return span[0]


def _tus_offset(request: Request) -> int:
    if (request.getHeader(b"tus-resumable") or TUS) != TUS:
        other = Refusal(Code.BAD_REQUEST, "this is tus 1.0.0")
        raise Answer(412, other, {b"Tus-Version": TUS})
    if request.getHeader(b"content-type") != OFFSET_TYPE:
        raise Answer(415, Refusal(Code.BAD_REQUEST, f"send {OFFSET_TYPE.decode()}"))
    offset = ranges.number((request.getHeader(b"upload-offset") or b"").decode("latin-1"))
    if offset is None:
        raise Refusal(Code.BAD_REQUEST, "say Upload-Offset")
    return offset


def _answer_upload(request: Request, intake: Intake) -> None:
    _prepare(request)
    is_patch = request.method == b"PATCH"
    request.setResponseCode(204 if is_patch else 201 if intake.file.complete else 202)
    request.setHeader(b"Upload-Offset", b"%d" % intake.size)
    if not is_patch:
        request.setHeader(b"Content-Length", b"0")
    request.finish()


def _describe(request: Request, file: File) -> tuple[int, int]:
    """Set up the head of an answer with a file; start and end of what to send."""
    tag = f'"{file.sha256}"'.encode()
    request.setHeader(b"Accept-Ranges", b"bytes")
    request.setHeader(b"ETag", tag)
    asked = request.getHeader(b"range")
    if request.method == b"HEAD" or request.getHeader(b"if-range") not in (None, tag):
        asked = None
    try:
        span = ranges.wanted(None if asked is None else asked.decode("latin-1"), file.size)
    except ranges.Unsatisfiable:
        behind = Refusal(Code.BAD_REQUEST, f"there are {file.size} bytes")
        raise Answer(416, behind, {b"Content-Range": b"bytes */%d" % file.size}) from None
    start, end = span or (0, file.size)
    if span is not None:
        request.setResponseCode(206)
        request.setHeader(b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, file.size))
    request.setHeader(b"Content-Type", (file.media or "application/octet-stream").encode())
    name = disposition(file.name, inline=bool(file.media))
    request.setHeader(b"Content-Disposition", name.encode())
    request.setHeader(b"Content-Length", b"%d" % (end - start))
    return start, end
