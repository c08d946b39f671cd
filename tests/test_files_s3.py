"""S3 keeps the contract of a store of files, on a real server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from imd.errors import Unavailable
from imd.files.s3 import PART_BYTES, S3Blobs
from imd.files.s3_link import S3Link
from imd.files.threads import Threads
from imd.s3account import S3Account
from tests.contracts.blobs import BLOB, BlobsContract, Both, digest, seal, some, store, write
from tests.process import free_port
from tests.s3_server import S3Server

reactor: Any = _reactor


@pytest_twisted.async_yield_fixture()
async def blobs(s3: S3Server) -> AsyncIterator[Both]:
    """Two nodes on one prefix of a bucket."""
    threads = Threads(reactor)
    threads.start()
    links = [S3Link(s3.account, "imd-test", reactor) for _ in range(2)]
    await links[0].ask("PUT", "", allow=(409,))
    prefix = f"{uuid.uuid4()}/"
    here, there = (S3Blobs(link, prefix, threads) for link in links)
    yield here, there
    for link in links:
        await link.close()
    threads.stop()


class TestS3(BlobsContract):
    """SeaweedFS."""


async def test_small_uploads_make_progress_however_small_their_pieces(blobs: Both) -> None:
    content = some(PART_BYTES + 100)
    cuts = [0, 10, 20, PART_BYTES - 1, PART_BYTES + 50, len(content)]
    for start, end in pairwise(cuts):
        await write(blobs[0], BLOB, content[start:end], start)
        assert await blobs[1].stored(BLOB) == end
    assert await seal(blobs[1], BLOB, content)


async def test_tail_of_a_part_that_was_sent_since_counts_no_more(blobs: Both) -> None:
    here, there = blobs
    content = some(PART_BYTES + 100)
    await write(here, BLOB, content[:200])
    upload = await here.resume(BLOB, 200)
    await upload.write(content[200:])
    # The process dies here: nothing keeps the last hundred bytes, and the old tail is in a part.
    assert await there.stored(BLOB) == PART_BYTES
    await write(there, BLOB, content[PART_BYTES:], PART_BYTES)
    assert await seal(there, BLOB, content)


async def test_final_leaves_no_tail_and_no_parts(blobs: Both) -> None:
    here, _ = blobs
    content = some(PART_BYTES + 100)
    await write(here, BLOB, content)
    assert await seal(here, BLOB, content)
    state = await here.state(BLOB)  # type: ignore[attr-defined]
    assert (state.upload, state.parts, state.tail) == (None, (), 0)


async def test_final_blob_is_not_written_a_second_time(blobs: Both) -> None:
    here, there = blobs
    first, second = some(PART_BYTES + 5, 1), some(PART_BYTES + 5, 2)
    late = await there.resume(BLOB, 0)
    await store(here, BLOB, first)
    await late.write(second)
    assert not await late.seal(digest(second))
    assert await here.read(BLOB, 0, 99) == first[:99]


async def test_store_that_is_away_or_knows_us_not_is_unavailable(s3: S3Server) -> None:
    nobody = S3Account(s3.account.endpoint, "us-east-1", "nobody", "secret")
    nowhere = S3Account(f"http://127.0.0.1:{free_port()}", "us-east-1", "k", "s")
    for account in (nobody, nowhere):
        link = S3Link(account, "imd-test", reactor)
        with pytest.raises(Unavailable):
            await S3Blobs(link, "", Threads(reactor)).stored(1)
        await link.close()
