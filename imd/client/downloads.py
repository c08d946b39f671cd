"""Fetches a file; after a break, or in a later run, from where the last byte came."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.internet.threads import deferToThreadPool

from imd import wire
from imd.client.errors import Damaged, Refused
from imd.client.exchange import Exchange, Into, Passing
from imd.client.parts import Part
from imd.client.uploads import Progress


class Downloads:
    """Downloads over an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def fetch(self, body: wire.FileBody, target: Path, progress: Progress) -> None:
        """See ``imd.client.files.Files.fetch``."""
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        with Part(target.parent, body.file) as part:
            try:
                await self._complete(body, part, progress)
            except (Damaged, Refused):
                part.drop()
                raise
            part.become(target)

    async def _complete(self, body: wire.FileBody, part: Part, progress: Progress) -> None:
        was_begun = part.size > 0
        await self._fill(body, part, progress)
        pool = self._exchange.reactor.getThreadPool()
        if await deferToThreadPool(self._exchange.reactor, pool, part.proved, body.sha256):
            return
        if not was_begun:
            raise Damaged(f"file {body.file} is not what was sent")
        # Not all that an earlier run has written need have reached the disk.
        part.cut(0)
        await self._complete(body, part, progress)

    async def _fill(self, body: wire.FileBody, part: Part, progress: Progress) -> None:
        if part.size > body.size:
            part.cut(0)
        failed = 0
        while (before := part.size) < body.size:
            try:
                await self._get(body, part, progress)
            except Passing as error:
                failed = failed + 1 if part.size <= before else 1
                await self._exchange.pause(failed, error)

    async def _get(self, body: wire.FileBody, part: Part, progress: Progress) -> None:
        start = part.size
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{body.sha256}"'} if start else {}
        reply = await self._exchange.ask("GET", f"/v1/files/{body.file}", headers)
        if reply.code != 206:
            part.cut(0)

        def write(data: bytes) -> None:
            part.add(data)
            progress(part.size, body.size)

        into = Into(write, body.size - part.size, self._exchange.reactor)
        reply.deliverBody(into)
        await into.ended
        if part.size < body.size:
            # That was all, so what the sender says of the size is wrong.
            raise Damaged(f"file {body.file} is shorter than was sent")
