"""A file that is on its way to a directory: whole, or not there under its name."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from imd.client.uploads import digest_of


class Part:
    """The bytes of file ``id`` that are there already, in ``.imd-ID.part`` beside the target.

    One process has it at a time.  It stays when the work is interrupted, so that the next one
    goes on; without a byte it does not.  Raises ``OSError``.
    """

    def __init__(self, directory: Path, id: int) -> None:
        self._path = directory / f".imd-{id}.part"
        # Nothing that somebody else has planted there is followed or waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o666)
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise

    def _take(self) -> None:
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise OSError(errno.EINVAL, "Not a file", str(self._path))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owned = os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except (BlockingIOError, FileNotFoundError):
            owned = False
        if not owned:
            raise OSError(errno.EBUSY, "The same file is being saved here", str(self._path))

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if not self.size and self._is_ours():
            self.drop()
        os.close(self._file)

    def _is_ours(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), os.lstat(self._path))
        return False

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return os.fstat(self._file).st_size

    def cut(self, size: int) -> None:
        """Forget what is behind so many bytes."""
        os.ftruncate(self._file, size)

    def add(self, data: bytes) -> None:
        """The next bytes."""
        place = self.size
        while data:
            count = os.pwrite(self._file, data, place)
            place, data = place + count, data[count:]

    def drop(self) -> None:
        """Forget all of it."""
        self._path.unlink()

    def proved(self, sha256: str) -> bool:
        """Whether these are the right bytes; if so, the disk has them.  It may take its time."""
        with open(os.dup(self._file), "rb") as file:
            if digest_of(file, self.size) != sha256:
                return False
            os.fsync(self._file)
        return True

    def become(self, target: Path) -> None:
        """Take the name ``target``; raises ``FileExistsError`` if something has it already."""
        try:
            os.link(self._path, target, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links: nobody else takes the name while it is ours.
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            os.replace(self._path, target)
        else:
            self._path.unlink()
        self._flush(target.parent)

    @staticmethod
    def _flush(directory: Path) -> None:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
