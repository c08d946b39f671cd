"""Files of a client: their bytes go over HTTP, beside the WebSocket, and go on after a break."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from imd import wire
from imd.client.downloads import Downloads
from imd.client.exchange import Exchange
from imd.client.friends import Caller
from imd.client.uploads import Progress, Uploads, quiet


class Files:
    """Uploads and downloads.  What either awaits may be cancelled, which ends it."""

    def __init__(self, caller: Caller, exchange: Exchange, limit: Callable[[], int]) -> None:
        self._uploads = Uploads(caller, exchange, limit)
        self._downloads = Downloads(exchange)

    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        mime: str | None = None,
        progress: Progress = quiet,
    ) -> wire.FileBody:
        """Upload a file, as long as it is when this begins; what to send then.

        Raises ``OSError`` for what cannot be read, ``Changed`` if it is not what it was at the
        beginning, ``Refused``, and ``Disconnected`` after many attempts that brought nothing.
        """
        return await self._uploads.upload(Path(path), name, mime, progress)

    async def fetch(
        self,
        body: wire.FileBody,
        path: str | os.PathLike[str],
        *,
        progress: Progress = quiet,
    ) -> None:
        """Download a file to ``path``, which the caller has chosen: names are no paths.

        It is there, and on the disk, once all of it has come and was proved right; until then
        it is in ``.imd-ID.part`` beside it, from where a later call goes on.  Raises
        ``FileExistsError`` rather than overwrite, ``OSError`` for what cannot be written,
        ``Refused``, ``Disconnected``, and ``Damaged`` for other bytes than were sent.
        """
        await self._downloads.fetch(body, Path(path), progress)
