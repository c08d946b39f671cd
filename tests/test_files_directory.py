"""The directory keeps the contract of a store of files, and follows nothing that was planted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as _reactor

from imd.errors import ConfigError, StoreFull, Unavailable
from imd.files.directory import FLUSH_BYTES, DirectoryBlobs
from imd.files.threads import Threads
from tests.contracts.blobs import BLOB, BlobsContract, Both, digest, some, store, write

reactor: Any = _reactor


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[Both]:
    """Two nodes on one directory."""
    threads = Threads(reactor)
    threads.start()
    here, there = (DirectoryBlobs(tmp_path / "files", threads, 0) for _ in range(2))
    yield here, there
    threads.stop()
    for node in (here, there):
        node.close()


class TestDirectory(BlobsContract):
    """A directory."""


async def test_names_are_ids_in_folders_that_only_the_owner_opens(
    blobs: Both, tmp_path: Path
) -> None:
    await store(blobs[0], 0x1234, b"final")
    await write(blobs[0], 0x1235, b"part")
    files = sorted(p for p in (tmp_path / "files").rglob("*") if p.is_file())
    assert [str(p.relative_to(tmp_path)) for p in files] == ["files/34/4660", "files/35/4661.part"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "files").rglob("*"))
    assert (tmp_path / "files").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "dangling"])
@pytest.mark.parametrize("suffix", ["", ".part"])
async def test_a54_what_somebody_planted_is_not_followed(
    blobs: Both, tmp_path: Path, kind: str, suffix: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    place = tmp_path / "files" / f"{7:02x}" / f"7{suffix}"
    place.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(secret if kind == "link" else tmp_path / "made")
    with pytest.raises(Unavailable):
        await (write(blobs[0], 7, b"overwritten") if suffix else blobs[0].read(7, 0, 6))
    assert secret.read_bytes() == b"secret"
    assert not (tmp_path / "made").exists()


async def test_a54_folder_that_is_a_link_is_not_followed(blobs: Both, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "files" / "07").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        await write(blobs[0], 7, b"x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_f31_full_disk_is_told_and_what_was_taken_stays(
    blobs: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await blobs[0].resume(BLOB, 0)
    await upload.write(b"12345")

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(StoreFull):
        await upload.write(b"67890")
    await upload.close()
    monkeypatch.undo()
    assert await blobs[0].stored(BLOB) == 5


async def test_f31_what_the_disk_has_refused_once_is_brought_again(
    blobs: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = some(FLUSH_BYTES + 9)

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    upload = await blobs[0].resume(BLOB, 0)
    await upload.write(content[:FLUSH_BYTES])
    await upload.write(content[FLUSH_BYTES:])
    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(Unavailable):
        await upload.seal(digest(content))
    await upload.close()
    monkeypatch.undo()
    assert await blobs[1].stored(BLOB) == FLUSH_BYTES
    # Whoever goes on does not know what the disk has of it.
    upload = await blobs[1].resume(BLOB, FLUSH_BYTES)
    monkeypatch.setattr("os.fdatasync", broken)
    with pytest.raises(Unavailable):
        await upload.write(content[FLUSH_BYTES:])
    await upload.close()
    monkeypatch.undo()
    assert await blobs[0].stored(BLOB) == 0
    await store(blobs[0], BLOB, content)


async def test_reserve_stays_free(tmp_path: Path, blobs: Both) -> None:
    free = os.statvfs(tmp_path)
    threads = Threads(reactor)
    threads.start()
    greedy = DirectoryBlobs(tmp_path / "files", threads, free.f_bavail * free.f_frsize * 2)
    with pytest.raises(StoreFull):
        await greedy.resume(BLOB, 0)
    threads.stop()
    greedy.close()


async def test_bytes_that_were_cut_short_do_not_become_final(blobs: Both, tmp_path: Path) -> None:
    content = some(100_000)
    await write(blobs[0], 7, content)
    part = tmp_path / "files" / "07" / "7.part"
    os.truncate(part, 50_000)
    assert await blobs[0].stored(7) == 50_000
    upload = await blobs[0].resume(7, 50_000)
    await upload.write(b"\0" * 50_000)
    assert not await upload.seal(digest(content))
    await upload.close()


def test_directory_that_cannot_be_used_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        DirectoryBlobs(tmp_path / "file", Threads(reactor), 0)
    assert caught.value.key == "files"
