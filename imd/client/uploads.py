"""Brings a file to the server, piece by piece; after a break, from where the server says."""

from __future__ import annotations

import errno
import hashlib
import io
import mimetypes
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.task import Cooperator
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import FileBodyProducer

from imd import wire
from imd.client.errors import Changed, Refused
from imd.client.exchange import Exchange, Passing, header
from imd.client.friends import Caller
from imd.errors import Code

#: Bytes that one request brings; as many make a part where the server's store is S3.
PIECE = 5 << 20
#: Bytes read at once for the digest.
_READ_BYTES = 1 << 20

#: Hears how many bytes have gone or come, and of how many.  Often called; what it hears never
#: shrinks, also when bytes go twice after a break.
Progress = Callable[[int, int], None]


def quiet(done: int, size: int) -> None:
    """A ``Progress`` that nobody watches."""


class Uploads:
    """Uploads over an exchange.  ``limit`` is the server's for one file, 0 if it is unknown."""

    def __init__(self, caller: Caller, exchange: Exchange, limit: Callable[[], int]) -> None:
        self._caller = caller
        self._exchange = exchange
        self._limit = limit
        reactor = exchange.reactor
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))

    async def upload(
        self, path: Path, name: str | None, mime: str | None, progress: Progress
    ) -> wire.FileBody:
        """See ``imd.client.files.Files.upload``."""
        with opened(path) as file:
            before = os.fstat(file.fileno())
            shown = os.fsencode(name or path.name).decode("utf-8", "replace")
            kind = mime or mimetypes.guess_type(shown)[0] or "application/octet-stream"
            size, limit = before.st_size, self._limit()
            if 0 < limit < size:
                raise Refused(Code.TOO_LARGE, f"a file has at most {limit} bytes")
            sha256 = await self._digest(file, size)
            slot = await self._caller.call(
                "file.slot", size=size, sha256=sha256, name=shown, mime=kind
            )
            try:
                await self._bring(file, slot["put"], size, progress)
            except Refused as error:
                if error.code == Code.BAD_REQUEST and _time(file) != before.st_mtime_ns:
                    raise Changed(f"{shown} was changed while it was sent") from None
                raise
        return wire.FileBody(file=slot["file"], name=shown, size=size, mime=kind, sha256=sha256)

    async def _digest(self, file: BinaryIO, size: int) -> str:
        reactor = self._exchange.reactor
        found: str = await deferToThreadPool(
            reactor, reactor.getThreadPool(), digest_of, file, size
        )
        return found

    async def _bring(self, file: BinaryIO, put: str, size: int, progress: Progress) -> None:
        told = _growing(progress)
        offset, failed, known = 0, 0, True
        while True:
            try:
                if not known:
                    there = int(header(await self._exchange.ask("HEAD", put), "upload-offset"))
                    failed = failed if there == offset else 0
                    offset, known = there, True
                offset = await self._patch(file, put, offset, size, told)
                if offset == size:
                    told(size, size)
                    return
                failed = 0
            except Passing as error:
                known, failed = False, failed + 1
                await self._exchange.pause(failed, error)

    async def _patch(
        self, file: BinaryIO, put: str, offset: int, size: int, progress: Progress
    ) -> int:
        wanted = min(PIECE, size - offset)
        file.seek(offset)
        piece = file.read(wanted)
        if len(piece) < wanted:
            raise Changed("the file became shorter while it was sent")
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
        }
        watched = _Watched(piece, lambda done: progress(offset + done, size))
        body = FileBodyProducer(watched, self._cooperator)
        reply = await self._exchange.ask("PATCH", put, headers, body)
        return int(header(reply, "upload-offset"))


class _Watched(io.BytesIO):
    """Tells how much of it was read."""

    def __init__(self, content: bytes, told: Callable[[int], None]) -> None:
        super().__init__(content)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        """See ``BytesIO``."""
        data = super().read(size)
        if data:
            self._told(self.tell())
        return data


def _growing(progress: Progress) -> Progress:
    most = 0

    def tell(done: int, size: int) -> None:
        nonlocal most
        most = max(most, done)
        progress(most, size)

    return tell


def opened(path: Path) -> BinaryIO:
    """A file to be read; raises ``OSError``, also for what is none, such as a directory."""
    # Whoever opens a pipe that nobody writes would wait otherwise.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(number, "rb")
    os.close(number)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not a file", str(path))


def digest_of(file: BinaryIO, size: int) -> str:
    """The SHA-256 of the first ``size`` bytes; raises ``Changed`` if there are fewer."""
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        data: Any = file.read(min(size, _READ_BYTES))
        if not data:
            raise Changed("the file became shorter while it was read")
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def has_bytes(path: Path, body: wire.FileBody) -> bool:
    """Whether a file has the bytes that ``body`` tells of.  Raises ``OSError``."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        return size == body.size and digest_of(file, size) == body.sha256


def _time(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_mtime_ns
