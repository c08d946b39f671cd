"""What every ``Blobs`` has to do.

A module of tests subclasses ``BlobsContract`` and has a fixture ``blobs``, the same store as two
nodes see it, empty at first.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from imd.errors import Code, Refusal, Unavailable
from imd.interfaces.files import Blobs, Upload

Both = tuple[Blobs, Blobs]

#: Around the sizes of parts and of reads, of any implementation.
SIZES = 0, 1, 65536, 5 << 20, (5 << 20) + 1, (11 << 20) + 3
BLOB = 2**52 - 2


def some(size: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


def digest(content: bytes) -> str:
    """What they are declared as."""
    return hashlib.sha256(content).hexdigest()


async def write(blobs: Blobs, blob: int, content: bytes, offset: int = 0) -> None:
    """Write some bytes, and stop without finishing."""
    upload = await blobs.resume(blob, offset)
    for start in range(0, len(content), 300_000):
        await upload.write(content[start : start + 300_000])
    assert upload.size == offset + len(content)
    await upload.close()


async def seal(blobs: Blobs, blob: int, content: bytes) -> bool:
    """Finish an upload all of whose bytes are there."""
    upload = await blobs.resume(blob, len(content))
    result = await upload.seal(digest(content))
    await upload.close()
    return result


async def store(blobs: Blobs, blob: int, content: bytes) -> None:
    """Bring a whole blob."""
    upload = await blobs.resume(blob, 0)
    await upload.write(content)
    assert await upload.seal(digest(content))
    await upload.close()


async def _begun(blobs: Blobs) -> Upload | None:
    """A second upload of a blob, where the store does not keep that from happening."""
    try:
        return await blobs.resume(BLOB, 0)
    except Refusal as refusal:
        if refusal.code is not Code.CONFLICT:
            raise
        return None


class BlobsContract:
    """All of it."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_bytes_come_back_on_every_node(self, blobs: Both, size: int) -> None:
        here, there = blobs
        content = some(size)
        await store(here, BLOB, content)
        assert await there.stored(BLOB) == size
        found = b""
        while more := await there.read(BLOB, len(found), 1 << 20):
            found += more
        assert found == content

    async def test_any_range_is_read(self, blobs: Both) -> None:
        here, _ = blobs
        await store(here, BLOB, b"0123456789")
        assert await here.read(BLOB, 3, 4) == b"3456"
        assert await here.read(BLOB, 8, 9) == b"89"
        assert await here.read(BLOB, 10, 9) == b""

    async def test_nothing_is_nothing(self, blobs: Both) -> None:
        here, _ = blobs
        assert await here.stored(BLOB) == 0
        await here.delete(BLOB)
        with pytest.raises(Unavailable):
            await here.read(BLOB, 0, 1)
        with pytest.raises(Refusal) as caught:
            await here.resume(BLOB, 1)
        assert caught.value.code is Code.CONFLICT

    async def test_upload_goes_on_on_another_node_wherever_it_was_broken(self, blobs: Both) -> None:
        content = some(13 << 20)
        chance = random.Random(7)
        ends = [*sorted(chance.sample(range(len(content)), 10)), len(content)]
        start = 0
        for n, end in enumerate(ends):
            node = blobs[n % 2]
            assert await node.stored(BLOB) == start
            await write(node, BLOB, content[start:end], start)
            start = end
        assert await seal(blobs[0], BLOB, content)
        assert await blobs[1].read(BLOB, 5 << 20, 99) == content[5 << 20 :][:99]

    async def test_what_is_not_final_is_read_by_nobody(self, blobs: Both) -> None:
        await write(blobs[0], BLOB, some(6 << 20))
        for node in blobs:
            with pytest.raises(Unavailable):
                await node.read(BLOB, 0, 1)

    async def test_upload_goes_on_nowhere_but_at_its_end(self, blobs: Both) -> None:
        here, _ = blobs
        await write(here, BLOB, b"12345")
        for offset in (1, 4, 6):
            with pytest.raises(Refusal) as caught:
                await here.resume(BLOB, offset)
            assert caught.value.code is Code.CONFLICT
        assert await here.stored(BLOB) == 5

    @pytest.mark.parametrize("size", [5, 6 << 20])
    async def test_upload_may_begin_anew(self, blobs: Both, size: int) -> None:
        here, there = blobs
        await write(here, BLOB, some(size, 1))
        content = some(size - 1, 2)
        await store(there, BLOB, content)
        assert await here.stored(BLOB) == size - 1
        assert await here.read(BLOB, 0, 5) == content[:5]

    @pytest.mark.parametrize("size", [5, 6 << 20])
    @pytest.mark.parametrize("broken", [False, True])
    async def test_other_bytes_than_declared_are_not_taken(
        self, blobs: Both, size: int, broken: bool
    ) -> None:
        here, _ = blobs
        content = some(size)
        upload = await here.resume(BLOB, 0)
        await upload.write(content)
        if broken:
            await upload.close()
            upload = await here.resume(BLOB, size)
        assert not await upload.seal(digest(b"other"))
        await upload.close()
        await here.delete(BLOB)
        assert await here.stored(BLOB) == 0

    async def test_final_blob_never_changes(self, blobs: Both) -> None:
        here, there = blobs
        content = some(1000)
        await store(here, BLOB, content)
        for offset in (0, 5):
            with pytest.raises(Refusal) as caught:
                await there.resume(BLOB, offset)
            assert caught.value.code is Code.CONFLICT
        assert await seal(there, BLOB, content)
        upload = await there.resume(BLOB, 1000)
        assert not await upload.seal(digest(b"other"))
        await upload.close()
        assert await here.read(BLOB, 0, 1000) == content

    @pytest.mark.parametrize("size", [5, 6 << 20])
    async def test_two_writers_do_not_mix(self, blobs: Both, size: int) -> None:
        here, there = blobs
        mine, theirs = some(size, 1), some(size, 2)
        first = await here.resume(BLOB, 0)
        await first.write(mine[: size // 2])
        sealed = []
        second = await _begun(there)
        if second is not None:
            await second.write(theirs)
            sealed += [theirs] if await second.seal(digest(theirs)) else []
            await second.close()
        try:
            await first.write(mine[size // 2 :])
            sealed += [mine] if await first.seal(digest(mine)) else []
        except Unavailable:
            # The other one has begun anew, and so ended this one.
            assert sealed
        assert len(sealed) == 1
        assert await here.read(BLOB, size - 5, 9) == sealed[0][-5:]

    @pytest.mark.parametrize("size", [5, 6 << 20])
    async def test_deleted_is_deleted_and_may_come_again(self, blobs: Both, size: int) -> None:
        here, there = blobs
        await write(here, BLOB, some(size))
        await store(here, 7, some(size))
        for blob in (BLOB, 7):
            for _ in range(2):
                await there.delete(blob)
            assert await here.stored(blob) == 0
        await store(here, 7, b"again")
        assert await there.read(7, 0, 9) == b"again"

    async def test_ids_that_begin_alike_are_others(self, blobs: Both) -> None:
        here, _ = blobs
        for blob in (1, 11, 111):
            await write(here, blob, some(blob * 50_000, blob))
        await here.delete(1)
        assert [await here.stored(blob) for blob in (1, 11, 111)] == [0, 550_000, 5_550_000]
