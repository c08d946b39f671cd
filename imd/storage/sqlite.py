"""SQLite behind the storage ports: one process, one file, nothing else to run.

One thread writes and another reads, each with a connection of its own; readers see the
last commit (WAL).  The functions that speak SQL are in the modules beside this one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from twisted.internet.interfaces import IReactorFromThreads

from imd.interfaces.storage import AdvanceResult, AppendResult, FriendshipResult, Quota
from imd.model import (
    Cursor,
    Device,
    Erased,
    Expired,
    File,
    Friend,
    HeadPage,
    History,
    Identity,
    NewMessage,
    Place,
    User,
)
from imd.storage import sqlite_accounts as accounts
from imd.storage import sqlite_expiry as expiry
from imd.storage import sqlite_files as files
from imd.storage import sqlite_friends, sqlite_messages, sqlite_reads
from imd.storage.database import NAME, Lock, connect, join_database, open_database, seal
from imd.storage.jobs import InlineJobs, Jobs, ThreadJobs

#: Makes the place where the work on a connection is done; the string begins a transaction.
MakeJobs = Callable[[sqlite3.Connection, str], Jobs]


class SqliteStorage:
    """``imd.interfaces.storage.Storage`` over ``DIRECTORY/imd.sqlite3``."""

    def __init__(
        self, lock: Lock | None, writer: Jobs, reader: Jobs, epoch: str, seal: Callable[[], None]
    ) -> None:
        self._lock = lock
        self._seal = seal
        self._writer = writer
        self._reader = reader
        self._epoch = epoch
        self._version: int | None = None

    @classmethod
    def open(
        cls, directory: Path, *, new_epoch: Callable[[], str], jobs: MakeJobs = InlineJobs
    ) -> SqliteStorage:
        """Open or make the database.  Blocks; raises ``ConfigError`` with what to do."""
        lock = Lock(directory)
        try:
            db = open_database(directory, new_epoch)
        except BaseException:
            lock.release()
            raise
        epoch, _ = sqlite_messages.token(db)
        reading = connect(directory / NAME, reading=True)
        writer, reader = jobs(db, "BEGIN IMMEDIATE"), jobs(reading, "BEGIN")
        return cls(lock, writer, reader, epoch, lambda: seal(directory, epoch, new_epoch()))

    @classmethod
    def join(cls, directory: Path, *, jobs: MakeJobs = InlineJobs) -> SqliteStorage:
        """Open a database that is there, beside the server that perhaps runs on it.

        Blocks; raises ``ConfigError`` if there is none, or one of another version.
        """
        db = join_database(directory)
        epoch, _ = sqlite_messages.token(db)
        reading = connect(directory / NAME, reading=True)
        return cls(None, jobs(db, "BEGIN IMMEDIATE"), jobs(reading, "BEGIN"), epoch, lambda: None)

    @classmethod
    def open_threaded(
        cls,
        directory: Path,
        *,
        new_epoch: Callable[[], str],
        reactor: IReactorFromThreads,
        broken: Callable[[str], None],
    ) -> SqliteStorage:
        """As ``open``, with a thread each for writing and reading; see ``ThreadJobs``."""
        make = partial(ThreadJobs, reactor=reactor, broken=broken)
        return cls.open(directory, new_epoch=new_epoch, jobs=make)

    def close(self) -> None:
        """Finish what waits and close the file.  Blocks."""
        self._reader.close()
        self._writer.close()
        try:
            self._seal()
        finally:
            if self._lock is not None:
                self._lock.release()

    async def ping(self) -> None:
        """See ``Storage``."""
        await self._reader.run(lambda db: db.execute("SELECT 1").fetchone())

    async def touched(self) -> bool:
        """See ``Storage``.  Only what other connections commit changes the number: the one that
        writes here does not count itself, and the other one reads.
        """
        query = "PRAGMA data_version"
        ((number,),) = await self._writer.run(lambda db: db.execute(query).fetchall())
        before, self._version = self._version, number
        return before not in (None, number)

    # -- messages

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        """See ``MessageStorage``."""
        return await self._writer.run(lambda db: sqlite_messages.append(db, batch, at))

    async def advance(self, cursors: Sequence[Cursor], at: int) -> AdvanceResult:
        """See ``MessageStorage``."""
        return await self._writer.run(lambda db: sqlite_messages.advance(db, cursors))

    async def history(
        self,
        user: int,
        conversation: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        max_bytes: int,
    ) -> History:
        """See ``MessageStorage``."""
        return await self._reader.run(
            lambda db: sqlite_reads.history(db, user, conversation, after, before, limit, max_bytes)
        )

    async def heads(
        self,
        user: int,
        *,
        since: str | None = None,
        after: int = 0,
        limit: int = 200,
        only: Sequence[int] | None = None,
    ) -> HeadPage:
        """See ``MessageStorage``."""
        return await self._reader.run(
            lambda db: sqlite_reads.heads(db, user, since, after, limit, only)
        )

    async def epoch(self) -> str:
        """See ``MessageStorage``."""
        return self._epoch

    # -- accounts

    async def create_user(self, user: int, name: str, password: str, at: int) -> User:
        """See ``AccountStorage``."""
        return await self._writer.run(
            lambda db: accounts.create_user(db, user, name, password, at), guarded=True
        )

    async def find_user(self, who: int | str) -> User | None:
        """See ``AccountStorage``."""
        return await self._reader.run(lambda db: accounts.find_user(db, who))

    async def password_of(self, name: str) -> tuple[User, str] | None:
        """See ``AccountStorage``."""
        return await self._reader.run(lambda db: accounts.password_of(db, name))

    async def set_password(
        self, user: int, password: str, keep_device: int | None, *, verified: str
    ) -> tuple[int, ...]:
        """See ``AccountStorage``."""
        return await self._writer.run(
            lambda db: accounts.set_password(db, user, password, keep_device, verified)
        )

    async def rehash_password(self, user: int, password: str, *, verified: str) -> None:
        """See ``AccountStorage``."""
        await self._writer.run(lambda db: accounts.rehash_password(db, user, password, verified))

    async def set_display(self, user: int, display: str) -> User:
        """See ``AccountStorage``."""
        return await self._writer.run(
            lambda db: accounts.set_display(db, user, display), guarded=True
        )

    async def set_disabled(self, user: int, disabled: bool) -> None:
        """See ``AccountStorage``."""
        await self._writer.run(lambda db: accounts.set_disabled(db, user, disabled))

    async def users(self, after: str, limit: int) -> tuple[User, ...]:
        """See ``AccountStorage``."""
        return await self._reader.run(lambda db: accounts.users(db, after, limit))

    async def add_device(
        self,
        device: Device,
        token_hash: bytes,
        *,
        verified: str,
        limit: int,
        retire_before: int,
    ) -> tuple[int, ...]:
        """See ``AccountStorage``."""
        return await self._writer.run(
            lambda db: accounts.add_device(db, device, token_hash, verified, limit, retire_before),
            guarded=True,
        )

    async def open_session(self, token_hash: bytes, at: int) -> Identity | None:
        """See ``AccountStorage``."""
        return await self._writer.run(lambda db: accounts.open_session(db, token_hash, at))

    async def authenticate(self, token_hash: bytes) -> Identity | None:
        """See ``AccountStorage``."""
        return await self._reader.run(lambda db: accounts.authenticate(db, token_hash))

    async def devices(self, user: int) -> tuple[Device, ...]:
        """See ``AccountStorage``."""
        return await self._reader.run(lambda db: accounts.devices(db, user))

    async def delete_device(self, user: int, device: int) -> bool:
        """See ``AccountStorage``."""
        return await self._writer.run(lambda db: accounts.delete_device(db, user, device))

    # -- friends

    async def friends(self, user: int) -> tuple[int, tuple[Friend, ...]]:
        """See ``FriendStorage``."""
        return await self._reader.run(lambda db: sqlite_friends.friends(db, user))

    async def befriend(
        self, user: int, peer: int, verb: str, *, note: str, conversation: int, at: int
    ) -> FriendshipResult:
        """See ``FriendStorage``."""
        return await self._writer.run(
            lambda db: sqlite_friends.befriend(db, user, peer, verb, note, conversation, at),
            guarded=True,
        )

    # -- files

    async def add_file(self, file: File, quota: Quota) -> None:
        """See ``FileStorage``."""
        await self._writer.run(lambda db: files.add_file(db, file, quota), guarded=True)

    async def own_file(self, user: int, file: int) -> File | None:
        """See ``FileStorage``."""
        return await self._reader.run(lambda db: files.own_file(db, user, file))

    async def complete_file(self, user: int, file: int, media: str) -> File | None:
        """See ``FileStorage``."""
        return await self._writer.run(lambda db: files.complete_file(db, user, file, media))

    async def fail_file(self, user: int, file: int) -> bool:
        """See ``FileStorage``."""
        return await self._writer.run(lambda db: files.fail_file(db, user, file))

    async def readable_file(self, user: int, device: int, file: int) -> File | None:
        """See ``FileStorage``."""
        return await self._reader.run(lambda db: files.readable_file(db, user, device, file))

    async def expire_files(self, *, incomplete: int, unsent: int, limit: int) -> int:
        """See ``FileStorage``."""
        return await self._writer.run(lambda db: files.expire_files(db, incomplete, unsent, limit))

    async def unused_blobs(self, after: int, limit: int) -> tuple[int, ...]:
        """See ``FileStorage``."""
        return await self._reader.run(lambda db: files.unused_blobs(db, after, limit))

    async def forget_blob(self, blob: int) -> None:
        """See ``FileStorage``."""
        await self._writer.run(lambda db: files.forget_blob(db, blob))

    async def link_secret(self) -> bytes:
        """See ``FileStorage``."""
        return await self._reader.run(files.link_secret)

    # -- what is taken out again

    async def claim(self, job: str, at: int, every: int) -> bool:
        """See ``ExpiryStorage``."""
        return await self._writer.run(lambda db: expiry.claim(db, job, at, every))

    async def expire_messages(
        self, *, after: int, cut: int, hard: int, limit: int
    ) -> Expired | None:
        """See ``ExpiryStorage``."""
        return await self._writer.run(
            lambda db: expiry.expire_messages(db, after, cut, hard, limit)
        )

    async def expire_sent_files(self, *, before: int, limit: int) -> int:
        """See ``ExpiryStorage``."""
        return await self._writer.run(lambda db: expiry.expire_sent_files(db, before, limit))

    async def close_account(self, user: int) -> tuple[int, ...]:
        """See ``ExpiryStorage``."""
        return await self._writer.run(lambda db: expiry.close_account(db, user))

    async def erase_messages(self, user: int, after: Place, limit: int) -> Erased | None:
        """See ``ExpiryStorage``."""
        return await self._writer.run(lambda db: expiry.erase_messages(db, user, after, limit))

    async def erase_files(self, user: int, limit: int) -> int:
        """See ``ExpiryStorage``."""
        return await self._writer.run(lambda db: expiry.erase_files(db, user, limit))
