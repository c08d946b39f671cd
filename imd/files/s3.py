"""Bytes of files in an S3-compatible store, for nodes that share nothing else.

Keys below the prefix: ``ID`` is final; what is on its way is a multipart upload of that key, whose
parts the store keeps, and ``ID.tail``, the bytes after the last part when an upload breaks off
(only the last part may be small).  The tail names the offset at which it begins, so one that was
left behind by a crash, and is in a part already, is known for what it is.

An upload becomes final by one request, with the digests of its own parts and only if the key does
not exist; so two who upload the same cannot mix their parts, nor change what is final.  The store
cannot show parts before that: where the digest of earlier parts is not known any more, all is read
again when it is final, and ``seal`` tells.  Nothing is final to anybody before that.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from imd.errors import Code, Refusal, Unavailable
from imd.files.s3_link import Reply, S3Link
from imd.files.threads import Work

#: Bytes of a part: the least that S3 allows, because each upload has as much in memory.
PART_BYTES = 5 << 20
#: Bytes read at once where a digest is made anew.
READ_BYTES = 1 << 20
_ONCE = {"If-None-Match": "*"}
_OFFSET = "x-amz-meta-offset"


class Part(Struct, frozen=True):
    """A part that the store has."""

    number: int
    etag: str
    size: int


class State(Struct, frozen=True):
    """What the store has of a blob that is not final."""

    #: The multipart upload, if there is one.
    upload: str | None
    parts: tuple[Part, ...]
    tail: int

    @property
    def in_parts(self) -> int:
        """Bytes in the parts."""
        return sum(part.size for part in self.parts)


class S3Blobs:
    """``imd.interfaces.files.Blobs`` in a bucket."""

    def __init__(self, link: S3Link, prefix: str, work: Work) -> None:
        self.link = link
        self.work = work
        self._prefix = prefix

    def key(self, blob: int) -> str:
        """The key of a final blob."""
        return f"{self._prefix}{blob}"

    def tail(self, blob: int) -> str:
        """The key of the bytes after the last part."""
        return f"{self._prefix}{blob}.tail"

    async def stored(self, blob: int) -> int:
        """See ``Blobs``."""
        final = await self.final_size(blob)
        if final is not None:
            return final
        state = await self.state(blob)
        return state.in_parts + state.tail

    async def final_size(self, blob: int) -> int | None:
        """The size of a final blob; None if it is not."""
        reply = await self.link.ask("HEAD", self.key(blob), allow=(404,))
        return None if reply.status == 404 else int(reply.headers["content-length"])

    async def state(self, blob: int) -> State:
        """What there is of a blob that is not final."""
        upload = next(iter(await self._uploads(blob)), None)
        parts = await self._parts(blob, upload) if upload is not None else ()
        reply = await self.link.ask("HEAD", self.tail(blob), allow=(404,))
        begins = sum(part.size for part in parts)
        is_next = reply.status != 404 and reply.headers.get(_OFFSET) == str(begins)
        return State(upload, parts, int(reply.headers["content-length"]) if is_next else 0)

    async def _uploads(self, blob: int) -> list[str]:
        key = self.key(blob)
        reply = await self.link.ask("GET", "", {"uploads": "", "prefix": key})
        pairs = zip(reply.texts("Key"), reply.texts("UploadId"), strict=True)
        return [id for found, id in pairs if found == key]

    async def _parts(self, blob: int, upload: str) -> tuple[Part, ...]:
        parts: list[Part] = []
        more = True
        while more:
            query = {"uploadId": upload, "part-number-marker": str(len(parts))}
            reply = await self.link.ask("GET", self.key(blob), query, allow=(404,))
            if reply.status == 404:
                return ()
            found = _listed(reply)
            parts += found
            more = bool(found) and "true" in reply.texts("IsTruncated")
        whole = [part for n, part in enumerate(parts, 1) if part.number == n]
        return tuple(whole)

    async def resume(self, blob: int, offset: int) -> S3Upload:
        """See ``Blobs``."""
        final = await self.final_size(blob)
        if final is None and offset == 0:
            await self._drop(blob)
        state = await self.state(blob)
        size = state.in_parts + state.tail if final is None else final
        if size != offset:
            raise Refusal(Code.CONFLICT, f"go on at {size}")
        tail = b""
        if final is None and state.tail:
            tail = (await self.link.ask("GET", self.tail(blob))).content
        return S3Upload(self, blob, state, tail, final)

    async def read(self, blob: int, offset: int, length: int) -> bytes:
        """See ``Blobs``."""
        asked = {"Range": f"bytes={offset}-{offset + length - 1}"}
        reply = await self.link.ask("GET", self.key(blob), headers=asked, allow=(416,))
        return b"" if reply.status == 416 else reply.content

    async def delete(self, blob: int) -> None:
        """See ``Blobs``."""
        await self.link.ask("DELETE", self.key(blob), allow=(404,))
        await self._drop(blob)

    async def _drop(self, blob: int) -> None:
        for upload in await self._uploads(blob):
            await self.link.ask("DELETE", self.key(blob), {"uploadId": upload}, allow=(404,))
        await self.link.ask("DELETE", self.tail(blob), allow=(404,))

    async def digest_of(self, blob: int, size: int) -> str:
        """The digest of a final blob, which is read for it."""
        digest = hashlib.sha256()
        for offset in range(0, size, READ_BYTES):
            data = await self.read(blob, offset, READ_BYTES)
            await self.work.run(digest.update, data)
        return digest.hexdigest()


def _listed(reply: Reply) -> list[Part]:
    numbers, tags, sizes = (reply.texts(name) for name in ("PartNumber", "ETag", "Size"))
    return [
        Part(int(number), tag, int(size))
        for number, tag, size in zip(numbers, tags, sizes, strict=True)
    ]


class S3Upload:
    """``imd.interfaces.files.Upload``; at most one part waits in memory."""

    def __init__(
        self, store: S3Blobs, blob: int, state: State, tail: bytes, final: int | None
    ) -> None:
        self._store = store
        self._blob = blob
        self._upload = state.upload
        self._parts = list(state.parts)
        self._buffer = bytearray(tail)
        self._final = final
        self._sent = state.in_parts if final is None else final
        #: None where parts were sent earlier, whose bytes nobody has any more.
        self._digest = hashlib.sha256(tail) if not state.parts and final is None else None
        #: Bytes of the tail that the store has.
        self._kept = len(tail)

    @property
    def size(self) -> int:
        """See ``Upload``."""
        return self._sent + len(self._buffer)

    async def write(self, data: bytes) -> None:
        """See ``Upload``."""
        if self._digest is not None:
            await self._store.work.run(self._digest.update, data)
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            await self._send_part(PART_BYTES)

    async def _send_part(self, size: int) -> None:
        if self._upload is None:
            reply = await self._store.link.ask("POST", self._store.key(self._blob), {"uploads": ""})
            (self._upload,) = reply.texts("UploadId")
        part, number = bytes(memoryview(self._buffer)[:size]), len(self._parts) + 1
        query = {"partNumber": str(number), "uploadId": self._upload}
        reply = await self._put(self._store.key(self._blob), part, query)
        self._parts.append(Part(number, reply.headers["etag"], size))
        del self._buffer[:size]
        self._sent += size
        self._kept = 0

    async def _put(
        self,
        key: str,
        content: bytes,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        allow: tuple[int, ...] = (),
    ) -> Reply:
        digest = await self._store.work.run(_digest_of, content)
        return await self._store.link.ask("PUT", key, query, headers, content, digest, allow)

    async def seal(self, sha256: str) -> bool:
        """See ``Upload``."""
        if self._final is None:
            if self._digest is not None and self._digest.hexdigest() != sha256:
                return False
            if not await self._finalize():
                self._digest = None
            await self._store.link.ask("DELETE", self._store.tail(self._blob), allow=(404,))
        return self._digest is not None or (
            await self._store.digest_of(self._blob, self._final or 0) == sha256
        )

    async def _finalize(self) -> bool:
        """Make it final; false if somebody else has, with bytes that are not known here."""
        self._final, key = self.size, self._store.key(self._blob)
        if self._upload is None:
            reply = await self._put(key, bytes(self._buffer), headers=_ONCE, allow=(412,))
            return reply.status != 412
        if self._buffer:
            await self._send_part(len(self._buffer))
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{part.etag}</ETag></Part>"
            for part in self._parts
        )
        content = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        digest = _digest_of(content)
        query = {"uploadId": self._upload}
        reply = await self._store.link.ask("POST", key, query, _ONCE, content, digest, (412,))
        if reply.status == 200 and reply.texts("Code"):
            # The store may find out after it has begun to answer.
            raise Unavailable(f"files: the store answers {reply.texts('Code')[0]}")
        return reply.status != 412

    async def close(self) -> None:
        """See ``Upload``."""
        if self._final is None and len(self._buffer) > self._kept:
            headers = {_OFFSET: str(self._sent)}
            tail = bytes(self._buffer)
            await self._put(self._store.tail(self._blob), tail, headers=headers)
            self._kept = len(tail)


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
