"""The engines that the settings name: storage, user status, and the way to other nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.interfaces import IStreamClientEndpoint

from imd.config import POSTGRESQL, S3, Settings
from imd.errors import ConfigError
from imd.files.directory import DirectoryBlobs
from imd.files.threads import Threads
from imd.interfaces.feed import Feed
from imd.interfaces.files import Blobs
from imd.interfaces.nodes import Arrivals, UserStatus
from imd.interfaces.storage import Storage
from imd.sources import Sources
from imd.status.memory import MemoryUserStatus
from imd.status.redis import RedisUserStatus
from imd.storage.postgres import PostgresStorage
from imd.storage.sqlite import SqliteStorage
from imd.transfer.endpoints import dial
from imd.transfer.link import Link
from imd.transfer.local import Hall, LocalTransfer

#: Commit lanes where several may commit at the same time.
LANES = 2


class Engine(Protocol):
    """Storage, and its life."""

    #: How many appends may run at the same time.
    lanes: int
    #: What other nodes commit; None where there are none.
    feed: Feed | None

    async def start(self) -> Storage:
        """Open or connect; waits for a server that is away.  Raises ``ConfigError``."""

    async def stop(self) -> None:
        """Finish what waits, and close."""

    @property
    def outages(self) -> int:
        """How often it went away."""

    @property
    def unready(self) -> str | None:
        """Why it cannot be used just now; None if it can."""


class Embedded:
    """SQLite in the data directory."""

    lanes = 1
    feed: Feed | None = None
    unready: str | None = None
    outages = 0

    def __init__(
        self, directory: Path, sources: Sources, reactor: Any, broken: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._sources = sources
        self._reactor = reactor
        self._broken = broken
        self._storage: SqliteStorage | None = None

    async def start(self) -> Storage:
        """See ``Engine``."""
        self._storage = SqliteStorage.open_threaded(
            self._directory,
            new_epoch=self._sources.new_epoch,
            reactor=self._reactor,
            broken=self._broken,
        )
        return self._storage

    async def stop(self) -> None:
        """See ``Engine``."""
        if self._storage is not None:
            self._storage.close()


class Shared:
    """A PostgreSQL database."""

    lanes = LANES

    def __init__(
        self, settings: Settings, node: str, reactor: Any, refused: Callable[[ConfigError], None]
    ) -> None:
        """Raises ``ConfigError``."""
        self._refused = refused
        unsafe = settings.unsafe_durability
        self._storage = PostgresStorage(settings.store, node, reactor, LANES, unsafe)
        self.feed: Feed | None = self._storage

    async def start(self) -> Storage:
        """See ``Engine``."""
        await self._storage.start()
        self._storage.when_refused(self._refused)
        return self._storage

    async def stop(self) -> None:
        """See ``Engine``."""
        await self._storage.stop()

    @property
    def outages(self) -> int:
        """See ``Engine``."""
        return self._storage.outages

    @property
    def unready(self) -> str | None:
        """See ``Engine``."""
        return self._storage.unready


def engine_of(
    settings: Settings,
    node: str,
    sources: Sources,
    reactor: Any,
    broken: Callable[[str], None],
    refused: Callable[[ConfigError], None],
) -> Engine:
    """The storage that ``store`` names.  Raises ``ConfigError``.

    ``broken`` is called when nothing can be promised any more, ``refused`` when a server that was
    away at the start is there but must not be used as it is.
    """
    if settings.store.startswith(POSTGRESQL):
        return Shared(settings, node, reactor, refused)
    return Embedded(Path(settings.data), sources, reactor, broken)


class FileStore(Protocol):
    """The store of files, and its life."""

    def start(self) -> Blobs:
        """Open it.  Raises ``ConfigError``."""

    async def stop(self) -> None:
        """Finish what runs, and close."""


class Directory:
    """A directory, with threads of its own."""

    def __init__(self, path: Path, reserve: int, reactor: Any) -> None:
        self._path = path
        self._reserve = reserve
        self._threads = Threads(reactor)
        self._blobs: DirectoryBlobs | None = None

    def start(self) -> Blobs:
        """See ``FileStore``."""
        self._blobs = DirectoryBlobs(self._path, self._threads, self._reserve)
        self._threads.start()
        return self._blobs

    async def stop(self) -> None:
        """See ``FileStore``."""
        if self._blobs is not None:
            self._threads.stop()
            self._blobs.close()


class Bucket:
    """A bucket of an S3-compatible store.  Raises ``ConfigError``."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        try:
            from imd.files.s3 import S3Blobs
            from imd.files.s3_link import S3Link
        except ImportError:
            raise ConfigError("files", "s3:// needs more: pip install 'imd[s3]'") from None
        bucket, _, prefix = settings.files.removeprefix(S3).partition("/")
        self._link = S3Link(settings.s3, bucket, reactor)
        self._threads = Threads(reactor)
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        self._blobs = S3Blobs(self._link, folder, self._threads)

    def start(self) -> Blobs:
        """See ``FileStore``."""
        self._threads.start()
        return self._blobs

    async def stop(self) -> None:
        """See ``FileStore``."""
        await self._link.close()
        self._threads.stop()


def files_of(settings: Settings, reactor: Any) -> FileStore:
    """The store of files that ``files`` names.  Raises ``ConfigError``."""
    if settings.files.startswith(S3):
        return Bucket(settings, reactor)
    path = Path(settings.files) if settings.files else Path(settings.data) / "files"
    return Directory(path, settings.limits.file_reserve_bytes, reactor)


def status_of(settings: Settings, node: str, reactor: Any) -> UserStatus:
    """The user status that ``status`` names.  Raises ``ConfigError``."""
    if settings.status == "memory":
        return MemoryUserStatus(node, reactor)
    return RedisUserStatus(settings.status, node, reactor)


def endpoints_of(
    settings: Settings, reactor: Any, renewals: list[Callable[[], None]] | None = None
) -> list[IStreamClientEndpoint]:
    """Where the transfers are; see ``dial``.  Raises ``ConfigError``.

    A process with every role that lets others dial its transfer dials it, too.
    """
    listen, where = settings.transfer_listen, settings.transfer
    if not where and settings.role == "all" and listen.startswith("unix:"):
        where = (":".join(listen.split(":")[:2]),)
    return [dial(each, settings.transfer_tls, reactor, renewals) for each in where]


def transfer_of(
    endpoints: Sequence[IStreamClientEndpoint],
    node: str,
    arrivals: Arrivals,
    sources: Sources,
    reactor: Any,
) -> Link | LocalTransfer:
    """The way to other nodes; without endpoints there are none."""
    if not endpoints:
        return LocalTransfer(node, Hall(), arrivals, reactor)
    return Link(node, node, endpoints, arrivals, reactor, sources.fraction)
