"""Bytes of files in a directory, which nodes of one machine, or with one file system, may share.

Layout: ``DIRECTORY/XX/ID`` is final, ``DIRECTORY/XX/ID.part`` is on its way; XX are the low eight
bits of the id.  A part becomes final by a rename, after its digest was found right and the disk
has it, and the directory is flushed after that.  So a name without ``.part`` is whole, whenever
the power fails, and never changes again.

Whoever writes holds a lock on the part, which dies with the process.  No name is made of anything
but an id, and no link is followed: what somebody else has planted there is refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from imd.errors import Code, ConfigError, Refusal, StoreFull, Unavailable
from imd.files.threads import Work

T = TypeVar("T")

#: Bytes after which what was written goes to the disk, so that no flush takes long.
FLUSH_BYTES = 2 << 20
#: Bytes read at once where a digest is made anew.
READ_BYTES = 1 << 20

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryBlobs:
    """``imd.interfaces.files.Blobs`` in a directory.

    ``reserve`` bytes of its file system stay free: the database may be on the same one.
    Raises ``ConfigError`` if the directory cannot be used.
    """

    def __init__(self, directory: Path, work: Work, reserve: int) -> None:
        self._work = work
        self._reserve = reserve
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            why = f"cannot use {directory}: {error.strerror}"
            raise ConfigError("files", why) from None

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._root)

    async def stored(self, blob: int) -> int:
        """See ``Blobs``."""
        return await self._run(self._stored, blob)

    async def resume(self, blob: int, offset: int) -> DirectoryUpload:
        """See ``Blobs``."""
        upload = DirectoryUpload(self, blob)
        await self._run(upload.open, offset)
        return upload

    async def read(self, blob: int, offset: int, length: int) -> bytes:
        """See ``Blobs``."""
        return await self._run(self._read, blob, offset, length)

    async def delete(self, blob: int) -> None:
        """See ``Blobs``."""
        await self._run(self._delete, blob)

    async def _run(self, call: Callable[..., T], *args: Any) -> T:
        try:
            return await self._work.run(call, *args)
        except OSError as error:
            what = f"files: {error.strerror or error}"
            raise (StoreFull if error.errno in _FULL else Unavailable)(what) from error

    # -- in a thread

    def _stored(self, blob: int) -> int:
        with self._folder(blob) as folder:
            for name in (str(blob), f"{blob}.part"):
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    return found.st_size
        return 0

    def _read(self, blob: int, offset: int, length: int) -> bytes:
        with self._folder(blob) as folder:
            file = open_regular(str(blob), os.O_RDONLY, folder)
        try:
            return os.pread(file, length, offset)
        finally:
            os.close(file)

    def _delete(self, blob: int) -> None:
        with self._folder(blob) as folder:
            for name in (str(blob), f"{blob}.part"):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            os.fsync(folder)

    @contextmanager
    def _folder(self, blob: int) -> Iterator[int]:
        name = f"{blob & 0xFF:02x}"
        try:
            folder = os.open(name, _FOLDER, dir_fd=self._root)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._root)
            os.fsync(self._root)
            folder = os.open(name, _FOLDER, dir_fd=self._root)
        try:
            yield folder
        finally:
            os.close(folder)

    def check_room(self) -> None:
        """Raise ``StoreFull`` when the file system has little more than the reserve."""
        found = os.statvfs(self._root)
        if found.f_bavail * found.f_frsize < self._reserve or (
            found.f_files and not found.f_favail
        ):
            raise StoreFull("files: the disk is full")

    folder = _folder
    run = _run


class DirectoryUpload:
    """``imd.interfaces.files.Upload`` into a part that this object has locked."""

    def __init__(self, store: DirectoryBlobs, blob: int) -> None:
        self._store = store
        self._blob = blob
        self._file: int | None = None
        self._digest = hashlib.sha256()
        self._flushed = 0
        #: Set where the bytes were final already.
        self._final = False
        self._size = 0

    @property
    def size(self) -> int:
        """See ``Upload``."""
        return self._size

    async def write(self, data: bytes) -> None:
        """See ``Upload``."""
        await self._store.run(self._write, data)

    async def seal(self, sha256: str) -> bool:
        """See ``Upload``."""
        return await self._store.run(self._seal, sha256)

    async def close(self) -> None:
        """See ``Upload``."""
        await self._store.run(self._close)

    # -- in a thread

    def open(self, offset: int) -> None:
        """Lock the part and read what it has so far.  Blocks."""
        self._store.check_room()
        with self._store.folder(self._blob) as folder:
            self._file = _lock(f"{self._blob}.part", folder)
            try:
                self._begin(offset, folder)
            except BaseException:
                self._close()
                raise

    def _begin(self, offset: int, folder: int) -> None:
        final = _size_of(str(self._blob), folder)
        if final is not None:
            # It became final, and only its row does not know yet.
            with suppress(FileNotFoundError):
                os.unlink(f"{self._blob}.part", dir_fd=folder)
            self._final, self._size = True, final
        elif offset == 0:
            os.ftruncate(self._descriptor, 0)
        else:
            self._hash_what_is_there()
        if offset != self._size:
            raise Refusal(Code.CONFLICT, f"go on at {self._size}")

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise Unavailable("files: the upload was ended")
        return self._file

    def _hash_what_is_there(self) -> None:
        while data := os.pread(self._descriptor, READ_BYTES, self._size):
            self._digest.update(data)
            self._size += len(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.pwrite(self._descriptor, rest, self._size + len(data) - len(rest)) :]
        self._digest.update(data)
        self._size += len(data)
        if self._size - self._flushed >= FLUSH_BYTES:
            self._flush()
            self._store.check_room()

    def _flush(self) -> None:
        self._sync(os.fdatasync)
        # Nobody reads it soon; the database needs the memory more.
        os.posix_fadvise(self._descriptor, self._flushed, 0, os.POSIX_FADV_DONTNEED)
        self._flushed = self._size

    def _sync(self, sync: Callable[[int], None]) -> None:
        try:
            sync(self._descriptor)
        except OSError:
            # The next call would succeed, and what the disk has refused could still be read here.
            os.ftruncate(self._descriptor, self._flushed)
            raise

    def _seal(self, sha256: str) -> bool:
        if self._final:
            return self._final_digest() == sha256
        if self._digest.hexdigest() != sha256:
            return False
        self._sync(os.fsync)
        with self._store.folder(self._blob) as folder:
            os.rename(f"{self._blob}.part", str(self._blob), src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        self._final = True
        return True

    def _final_digest(self) -> str:
        with self._store.folder(self._blob) as folder:
            file = open_regular(str(self._blob), os.O_RDONLY, folder)
        with os.fdopen(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


def open_regular(name: str, flags: int, folder: int) -> int:
    """Open a file that is a file; a link, a pipe or a device is an ``OSError``."""
    file = os.open(name, flags | _OPEN, 0o600, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.ELOOP, "something that is no file was planted in the store")
    return file


def _lock(name: str, folder: int) -> int:
    """Open the part, which may just have been renamed away, and keep all others from it."""
    while True:
        file = open_regular(name, os.O_RDWR | os.O_CREAT, folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return file
        except BlockingIOError:
            os.close(file)
            raise Refusal(Code.CONFLICT, "this file is being uploaded already") from None
        os.close(file)


def _size_of(name: str, folder: int) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
