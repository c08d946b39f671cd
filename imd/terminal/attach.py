"""Files for ``imd send``: where they come from, how they are brought, what may go wrong."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from msgspec import UNSET, Struct, structs
from twisted.internet.defer import CancelledError, Deferred

from imd.client import Changed, Client, Disconnected, Refused
from imd.client.uploads import has_bytes
from imd.decoding import decode_file
from imd.errors import Code
from imd.terminal.codes import Ending, Exit
from imd.terminal.escapes import visible
from imd.terminal.progress import Bar
from imd.terminal.running import ending
from imd.terminal.worker import Worker
from imd.wire import FileBody

#: What stands for standard input.
STDIN = "-"
#: Codes after which the same file may be taken later: a quota of the day, a full disk.
LATER = frozenset((Code.LIMIT, Code.UNAVAILABLE, Code.INTERNAL))
_READ_BYTES = 1 << 20
#: Messages that are looked through at once.
_PAGE = 1000


class Attachment(Struct, frozen=True):
    """A file to be sent: its path or ``-``, and what the other one is told that it is called."""

    path: str
    name: str


def attachments(paths: list[str], name: str | None, text: str | None) -> tuple[Attachment, ...]:
    """What the options say.  Raises ``Ending``."""
    if name is not None and len(paths) != 1:
        raise Ending(Exit.USAGE, "--name: give one --file with it")
    if STDIN in paths:
        if name is None:
            raise Ending(Exit.USAGE, "--file -: give --name NAME, which the other one will see")
        if text == STDIN:
            raise Ending(Exit.USAGE, "standard input is the text, or the file, but not both")
    return tuple(Attachment(path, name or Path(path).name or path) for path in paths)


class Carrier:
    """Brings files to the server; ``seconds`` is how long nothing may move."""

    def __init__(self, client: Client, seconds: float) -> None:
        self._client = client
        self._clock = client.reactor
        self._seconds = seconds

    async def bring(
        self, given: Attachment, caption: str | None, earlier: FileBody | None
    ) -> FileBody:
        """Upload a file; what to send then.  Raises ``Ending``, which names the file.

        If it is what an ``earlier`` run has uploaded for the same message, it is not sent twice.
        """
        bar = Bar(given.name, self._clock.seconds)
        try:
            body = await self._brought(given, bar, earlier)
        except Ending as error:
            raise self._named(given, error) from None
        except CancelledError:
            raise self._interrupted(given) from None
        except OSError as error:
            raise Ending(Exit.NO_INPUT, f"{given.path}: {error.strerror}") from None
        except (Changed, Disconnected) as error:
            raise Ending(Exit.TEMPORARY, f"{given.path}: not sent: {error}") from None
        except Refused as error:
            raise self._named(given, _refused(error)) from None
        finally:
            bar.end()
        return body if caption is None else structs.replace(body, text=caption or UNSET)

    async def _brought(self, given: Attachment, bar: Bar, earlier: FileBody | None) -> FileBody:
        if given.path != STDIN:
            return await self._new(Path(given.path), given.name, bar, earlier)
        with tempfile.NamedTemporaryFile(prefix="imd-") as file:
            await Worker(self._clock).do(lambda: _spool(file.file, self._client.file_bytes))
            return await self._new(Path(file.name), given.name, bar, earlier)

    async def _new(self, path: Path, name: str, bar: Bar, earlier: FileBody | None) -> FileBody:
        if earlier is not None and earlier.name == name:
            same = await Worker(self._clock).do(lambda: has_bytes(path, earlier))
            if same:
                return earlier
        return await self._upload(path, name, bar)

    async def _upload(self, path: Path, name: str, bar: Bar) -> FileBody:
        """Uploads, and gives up once nothing has moved for too long."""
        uploading = Deferred.fromCoroutine(
            self._client.files.upload(
                path, name=name, progress=lambda done, size: moved(done, size)
            )
        )
        late = self._clock.callLater(self._seconds, uploading.cancel)

        def moved(done: int, size: int) -> None:
            if late.active():
                late.reset(self._seconds)
            bar.moved(done, size)

        try:
            return await uploading
        except CancelledError:
            if late.active():
                raise
            raise self._late() from None
        finally:
            if late.active():
                late.cancel()

    def _late(self) -> Ending:
        if self._client.state != "ready":
            return Ending(Exit.UNAVAILABLE, "not sent: the server was not reached in time")
        return Ending(Exit.TEMPORARY, "not sent: nothing moved any more")

    def _named(self, given: Attachment, error: Ending) -> Ending:
        return Ending(error.code, f"{given.path}: {error.message}")

    def _interrupted(self, given: Attachment) -> Ending:
        rest = "the server deletes what it has of it after 24 hours"
        return Ending(Exit.TEMPORARY, f"interrupted; {given.path} was not sent, {rest}", True)


def earlier_file(client: Client, conversation: int, id: str) -> FileBody | None:
    """The file of my message ``id``, which an earlier run has sent, or left to be sent."""
    for entry in client.store.load().outbox:
        if entry.id == id:
            return decode_file(entry.body) if entry.kind == "file" else None
    after = 0
    while rows := client.store.messages(conversation, after, _PAGE):
        for row in rows:
            if row.id == id:
                return decode_file(row.body) if row.kind == "file" else None
        after = rows[-1].seq
    return None


def _refused(error: Refused) -> Ending:
    if error.code in LATER:
        return Ending(Exit.TEMPORARY, f"not now: {visible(str(error))}")
    return ending(error)


def _spool(file: IO[bytes], most: int) -> None:
    """Copy standard input; once it is more than a server takes the rest does not matter."""
    size = 0
    read: Callable[[], bytes] = lambda: os.read(sys.stdin.fileno(), _READ_BYTES)  # noqa: E731
    while (data := read()) and (not most or size <= most):
        file.write(data)
        size += len(data)
    file.flush()
