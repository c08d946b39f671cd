"""The files of ``imd chat``: the numbers they are called by, and what is on its way."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from imd.client import Changed, Client, Damaged, Disconnected
from imd.client.uploads import Progress
from imd.terminal.escapes import visible
from imd.terminal.grammar import Misread
from imd.terminal.rendering import passed
from imd.terminal.saving import Saver
from imd.wire import FileBody

T = TypeVar("T")


class Transfers:
    """Numbers count from 1 in each run; ``changed`` is called whenever something has moved."""

    def __init__(self, client: Client, changed: Callable[[], None]) -> None:
        self._client = client
        self._changed = changed
        self._saver = Saver(client)
        self._numbers: dict[int, int] = {}
        self._bodies: list[FileBody] = []
        self._moving: dict[Deferred[Any], str] = {}

    def number(self, body: FileBody) -> int:
        """The number of a file, whichever message carries it."""
        number = self._numbers.get(body.file)
        if number is None:
            self._bodies.append(body)
            number = self._numbers[body.file] = len(self._bodies)
        return number

    def body(self, number: int) -> FileBody:
        """The file with a number.  Raises ``Misread``."""
        if not 0 < number <= len(self._bodies):
            raise Misread(f"there is no file {number}; its number stands where it is shown")
        return self._bodies[number - 1]

    def moving(self) -> Sequence[str]:
        """What is on its way, and how far."""
        return list(self._moving.values())

    async def send(self, path: str) -> FileBody:
        """Upload a file; what to send then.  Raises ``Misread``, ``Refused``."""
        given = Path(os.path.expanduser(path))

        def start(progress: Progress) -> Coroutine[Any, Any, FileBody]:
            return self._client.files.upload(given, progress=progress)

        left = "was not sent; the server deletes what it has of it after 24 hours"
        return await self._moved(given.name, start, left)

    async def save(self, body: FileBody, where: str) -> Path:
        """Save a file as ``where``, or into it, if it is a directory; the path.  Raises as above.

        Nothing is overwritten.
        """
        target = Path(os.path.expanduser(where))

        def start(progress: Progress) -> Coroutine[Any, Any, Path]:
            save = self._saver.into if target.is_dir() else self._saver.to
            return save(body, target, progress)

        return await self._moved(body.name, start, "was not saved; the next /save goes on")

    async def _moved(
        self, name: str, start: Callable[[Progress], Coroutine[Any, Any, T]], left: str
    ) -> T:
        def progress(done: int, size: int) -> None:
            self._moving[work] = passed(name, done, size)
            self._changed()

        work = Deferred.fromCoroutine(start(lambda done, size: progress(done, size)))
        if not work.called:
            self._moving[work] = f"{visible(name)} …"
            self._changed()
        try:
            return await work
        except CancelledError:
            raise Misread(f"{name} {left}") from None
        except (Changed, Damaged, Disconnected) as error:
            raise Misread(f"{name}: {error}") from None
        except OSError as error:
            raise Misread(f"{error.filename or name}: {error.strerror}") from None
        finally:
            self._moving.pop(work, None)
            self._changed()

    def stop(self) -> None:
        """End whatever is on its way; whoever waits for it gets ``Misread``."""
        for work in list(self._moving):
            work.cancel()
