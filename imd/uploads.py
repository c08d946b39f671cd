"""Uploads: who may bring which bytes, and what becomes of those that nobody sends.

Every byte in the store has a row in storage before it is there, and until it is not: first that of
the incomplete file, whose id is the name of its bytes, then that of the blob.  So a crash between
any two steps leaves something that ``Uploads.sweep`` finds, or the owner's next request mends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from imd import methods
from imd.errors import Code, Refusal, Unavailable
from imd.interfaces.files import Blobs, Upload
from imd.interfaces.storage import FileStorage, Quota
from imd.limits import Limits
from imd.media import HEAD_BYTES, media_of
from imd.model import File, Identity
from imd.rounds import Rounds
from imd.tasks import Clock, Turns

DAY = 86_400_000
#: How long after it was declared a file may be uploaded, ms.
UPLOAD_WITHIN = DAY
#: How much later it is forgotten, ms: nobody writes any more then, by the clock of any node.
GRACE = 3_600_000
#: How long a complete file waits for the message that carries it, ms: as long as an outbox does.
SEND_WITHIN = 7 * DAY
#: Seconds between two sweeps, about.
TIDY_SECONDS = 600
#: Files and blobs that a sweep takes at once.
SWEEP = 100
#: Blobs that one sweep may fail to delete.
STUCK = 10

_NO_FILE = "there is no such file, or it is not yours to upload"
_OTHER_BYTES = "these are not the bytes that were declared; ask for a new slot"


class Sources(Protocol):
    """Where times and ids come from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""


class Uploads:
    """Slots, the uploads into them, and the sweep of what was left behind."""

    _log = Logger()

    def __init__(
        self, storage: FileStorage, blobs: Blobs, sources: Sources, limits: Limits
    ) -> None:
        self._storage = storage
        self._blobs = blobs
        self._sources = sources
        self._limits = limits
        self._intakes: dict[int, Intake] = {}
        self._places: Counter[int] = Counter()
        self._turns: Turns[int] = Turns()
        #: The blob at which the last sweep gave up.
        self._swept = 0

    async def slot(self, me: Identity, params: methods.NewFile) -> methods.Slot:
        """Declare a file.  Raises ``Refusal``: ``too_large``, ``limit``."""
        limits, now = self._limits, self._sources.now_ms()
        if params.size > limits.file_bytes:
            raise Refusal(Code.TOO_LARGE, f"a file has at most {limits.file_bytes} bytes")
        id, name = self._sources.new_id(), params.name
        file = File(id, me.user.id, params.size, params.sha256, name, params.mime, now)
        quota = Quota(
            now - DAY, limits.files_per_day, limits.file_bytes_per_day, limits.file_total_bytes
        )
        await self._storage.add_file(file, quota)
        return methods.Slot(id, f"/v1/files/{id}")

    async def progress(self, me: Identity, file: int) -> tuple[File, int] | None:
        """A file of the caller's, and how many of its bytes are there; None if there is none."""
        found = await self._storage.own_file(me.user.id, file)
        if found is None or self._is_over(found):
            return None
        intake = self._intakes.get(file)
        if found.complete:
            return found, found.size
        return found, await self._blobs.stored(file) if intake is None else intake.size

    async def begin(self, me: Identity, file: int, offset: int | None, length: int) -> Intake:
        """Go on with an upload at ``offset``, with ``length`` bytes; None begins anew.

        A newer upload ends an older one: its client has lost that connection, or is mistaken.
        Raises ``Refusal``: ``not_found``, ``too_large``, ``conflict``, ``limit``.
        """
        async with self._turns.of(file):
            older = self._intakes.get(file)
            found = await self._wanted(me, file, offset, length)
            if older is not None:
                await older.end()
                # It may have come to its own end first; bytes without a row would stay for ever.
                found = await self._wanted(me, file, offset, length)
            if not found.complete:
                found = await self._mend(found)
            if found.complete:
                return self._discard(found, offset)
            return await self._open(found, offset or 0)

    async def _wanted(self, me: Identity, file: int, offset: int | None, length: int) -> File:
        found = await self._storage.own_file(me.user.id, file)
        if found is None or self._is_over(found):
            raise Refusal(Code.NOT_FOUND, _NO_FILE)
        if (offset or 0) + length > found.size:
            raise Refusal(Code.TOO_LARGE, f"{found.size} bytes were declared")
        if offset is None and length != found.size:
            raise Refusal(Code.BAD_REQUEST, f"{found.size} bytes were declared")
        return found

    def _discard(self, file: File, offset: int | None) -> Intake:
        """Its client did not hear that all was there, and begins anew, or asks for the rest."""
        if offset not in (None, file.size):
            raise Refusal(Code.CONFLICT, f"go on at {file.size}")
        return Intake(self, file, None)

    async def _mend(self, file: File) -> File:
        """Complete a file whose last byte was stored while nobody was there to say so."""
        if file.size and await self._blobs.stored(file.id) == file.size:
            return await (await self._open(file, file.size)).finish()
        return file

    async def _open(self, file: File, offset: int) -> Intake:
        intake = self._intakes[file.id] = Intake(self, file, None)
        try:
            self._take_place(file.owner)
            intake.upload = await self._blobs.resume(file.id, offset)
        except BaseException:
            await intake.end()
            raise
        return intake

    def _take_place(self, user: int) -> None:
        limits = self._limits
        self._places[user] += 1
        if self._places[user] > limits.uploads_per_user or self._places.total() > limits.uploads:
            raise Refusal(Code.LIMIT, "too many uploads at once; try again later", 5)

    def leave(self, intake: Intake) -> None:
        """An upload has ended."""
        if self._intakes.get(intake.file.id) is intake:
            del self._intakes[intake.file.id]
            self._places[intake.file.owner] -= 1
            self._places += Counter()

    def _is_over(self, file: File) -> bool:
        return not file.complete and self._sources.now_ms() >= file.created + UPLOAD_WITHIN

    def check_time(self, file: File) -> None:
        """Raise ``Refusal`` if an upload took so long that the file is about to be forgotten."""
        if self._is_over(file):
            raise Refusal(Code.NOT_FOUND, _NO_FILE)

    async def complete(self, file: File, upload: Upload) -> File:
        """All bytes are taken: check them, and make the file one that can be sent."""
        if not await upload.seal(file.sha256):
            await upload.close()
            if await self._storage.fail_file(file.owner, file.id):
                await self._delete(file.id)
            raise Refusal(Code.BAD_REQUEST, _OTHER_BYTES)
        media = media_of(await self._blobs.read(file.id, 0, HEAD_BYTES))
        done = await self._storage.complete_file(file.owner, file.id, media)
        if done is None:
            raise Refusal(Code.NOT_FOUND, _NO_FILE)
        if done.blob != file.id:
            await self._delete(file.id)
        return done

    # -- what is left behind

    async def sweep(self) -> None:
        """Forget what was abandoned, and delete bytes that no file needs."""
        now = self._sources.now_ms()
        bounds = {"incomplete": now - UPLOAD_WITHIN - GRACE, "unsent": now - SEND_WITHIN}
        while await self._storage.expire_files(**bounds, limit=SWEEP) == SWEEP:
            continue
        await self._delete_unused()

    async def _delete_unused(self) -> None:
        """What cannot be deleted does not keep the rest: a sweep that gave up is followed by one
        that begins behind it.
        """
        failures: list[Unavailable] = []
        while found := await self._storage.unused_blobs(self._swept, SWEEP):
            for blob in found:
                self._swept = blob
                try:
                    await self._forget(blob)
                except Unavailable as error:
                    failures.append(Unavailable(f"blob {blob}: {error}"))
                if len(failures) == STUCK:
                    raise failures[0]
        self._swept = 0
        if failures:
            raise failures[0]

    async def _forget(self, blob: int) -> None:
        await self._blobs.delete(blob)
        await self._storage.forget_blob(blob)

    async def _delete(self, blob: int) -> None:
        """As the sweep does; what fails is left to that."""
        try:
            await self._forget(blob)
        except Unavailable as error:
            self._log.warn("unused bytes stay until later: {error}", error=error)


class Intake:
    """One upload, from its first byte to its last; without a store, where all is there already."""

    def __init__(self, uploads: Uploads, file: File, upload: Upload | None) -> None:
        self.file = file
        self.upload = upload
        self._uploads = uploads
        self._turn = DeferredLock()
        #: Bytes that were there when the upload ended.
        self._left = 0

    @property
    def size(self) -> int:
        """Bytes that are there."""
        if self.file.complete:
            return self.file.size
        return self._left if self.upload is None else self.upload.size

    async def write(self, data: bytes) -> None:
        """Take the next bytes.  Raises ``Refusal`` after ``end``, ``StoreFull``."""
        if self.file.complete:
            return
        async with self._turn:
            upload = self._going_on()
            self._uploads.check_time(self.file)
            await upload.write(data)

    def _going_on(self) -> Upload:
        if self.upload is None:
            raise Refusal(Code.CONFLICT, "another upload of this file has begun")
        return self.upload

    async def finish(self) -> File:
        """The request is over; the file, which is complete if this was its last byte.

        Raises ``Refusal(BAD_REQUEST)`` if the bytes are not those that were declared.
        """
        try:
            if not self.file.complete:
                async with self._turn:
                    await self._complete(self._going_on())
        finally:
            await self.end()
        return self.file

    async def _complete(self, upload: Upload) -> None:
        if upload.size == self.file.size:
            self.file = await self._uploads.complete(self.file, upload)

    async def end(self) -> None:
        """Let go of the upload, wherever it is; harmless when repeated."""
        async with self._turn:
            upload, self.upload = self.upload, None
            self._uploads.leave(self)
            if upload is not None:
                self._left = upload.size
                await upload.close()


def tidying(uploads: Uploads, clock: Clock, fraction: Callable[[], float]) -> Rounds:
    """The sweep, now and then."""
    return Rounds(
        "the sweep of files",
        uploads.sweep,
        lambda: TIDY_SECONDS * (0.5 + fraction()),
        clock,
        Uploads._log,
    )
