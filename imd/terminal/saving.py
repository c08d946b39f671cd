"""Saves files that others have sent, under names of ours, and over nothing that is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredLock

from imd.client import Changed, Client
from imd.client.uploads import Progress, has_bytes, quiet
from imd.terminal.filenames import numbered, safe_name
from imd.terminal.worker import Worker
from imd.wire import FileBody


class Saver:
    """Saves one file after the other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turn = DeferredLock()
        self._worker: Worker | None = None

    async def into(self, body: FileBody, directory: Path, progress: Progress = quiet) -> Path:
        """Save into a directory, under the sender's name made safe, or the next that is free.

        A file that is there already with the same bytes is the one: nothing is fetched then.
        Raises as ``imd.client.files.Files.fetch``.
        """
        name, n = safe_name(body.name), 1
        async with self._turn:
            while True:
                target = directory / numbered(name, n)
                n += 1
                if os.path.lexists(target):
                    if await self._is_there(target, body):
                        return target
                    continue
                try:
                    await self._client.files.fetch(body, target, progress=progress)
                except FileExistsError:
                    continue
                return target

    async def to(self, body: FileBody, target: Path, progress: Progress = quiet) -> Path:
        """Save as ``target``, which must not exist."""
        async with self._turn:
            await self._client.files.fetch(body, target, progress=progress)
        return target

    async def _is_there(self, target: Path, body: FileBody) -> bool:
        self._worker = self._worker or Worker(self._client.reactor)
        found: Any = await self._worker.do(lambda: _has(target, body))
        return bool(found)


def _has(target: Path, body: FileBody) -> bool:
    try:
        return has_bytes(target, body)
    except (OSError, Changed):
        return False
