"""Downloads: who may read which file.  What may not be read does not exist."""

from __future__ import annotations

from collections import Counter

from imd import filelinks, methods
from imd.errors import Code, Refusal
from imd.filelinks import Reader
from imd.interfaces.files import Blobs
from imd.interfaces.storage import FileStorage
from imd.limits import Limits
from imd.model import File, Identity
from imd.uploads import Sources

_NO_FILE = "there is no such file, or it is not for you"


class Downloads:
    """Links to files, and their bytes."""

    def __init__(
        self, storage: FileStorage, blobs: Blobs, sources: Sources, limits: Limits
    ) -> None:
        self._storage = storage
        self._blobs = blobs
        self._sources = sources
        self._limits = limits
        self._secret: bytes | None = None
        self._places: Counter[int] = Counter()

    async def link(self, me: Identity, params: methods.OneFile) -> methods.Link:
        """A link that works for the caller's device as long as that may read the file."""
        reader = Reader(me.user.id, me.device)
        await self.find(reader, params.file)
        expires = self._sources.now_ms() + self._limits.link_seconds * 1000
        signed = filelinks.sign(await self._links(), params.file, reader, expires)
        return methods.Link(f"/v1/files/{params.file}?link={signed}", expires)

    async def reader(self, file: int, link: str) -> Reader:
        """For whom a link is.  Raises ``Refusal(NOT_FOUND)`` if it is no good one."""
        found = filelinks.read(await self._links(), file, link, self._sources.now_ms())
        if found is None:
            raise Refusal(Code.NOT_FOUND, _NO_FILE)
        return found

    async def _links(self) -> bytes:
        if self._secret is None:
            self._secret = await self._storage.link_secret()
        return self._secret

    async def find(self, reader: Reader, file: int) -> File:
        """A complete file that the reader may read.  Raises ``Refusal(NOT_FOUND)``."""
        found = await self._storage.readable_file(reader.user, reader.device, file)
        if found is None:
            raise Refusal(Code.NOT_FOUND, _NO_FILE)
        return found

    async def read(self, file: File, offset: int, length: int) -> bytes:
        """Some of its bytes."""
        return await self._blobs.read(file.blob or file.id, offset, length)

    def enter(self, user: int) -> None:
        """A download begins, and ``leave`` ends it.  Raises ``Refusal(LIMIT)``."""
        limits, places = self._limits, self._places
        if places[user] >= limits.downloads_per_user or places.total() >= limits.downloads:
            raise Refusal(Code.LIMIT, "too many downloads at once; try again later", 5)
        places[user] += 1

    def leave(self, user: int) -> None:
        """A download has ended."""
        self._places[user] -= 1
        self._places += Counter()
