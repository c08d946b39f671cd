"""A process that brings a file may die before any of its steps, with either store.

Then nobody is served what is not whole; and whether the upload is taken up again or never, no
byte stays that has no row, and no row that has no bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred

from imd import methods
from imd.errors import Code, Refusal
from imd.files.directory import DirectoryBlobs
from imd.files.s3 import PART_BYTES, S3Blobs
from imd.files.s3_link import Reply, S3Link
from imd.interfaces.files import Blobs
from imd.limits import Limits
from imd.model import Device, Identity, User
from imd.storage.sqlite import SqliteStorage
from imd.uploads import DAY, GRACE, Uploads
from tests.application import WALL
from tests.contracts.blobs import digest, some
from tests.inline import open_storage
from tests.process import reactor
from tests.s3_server import S3Server

ALICE = Identity(User(1, "alice"), 11)
#: A part as S3 wants it, and a rest.
CONTENT = some(PART_BYTES + 1000)
CUTS = 500, PART_BYTES - 10, len(CONTENT)


class Dead(BaseException):
    """Nothing happens any more."""


class Life:
    """What one process still does: so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self) -> None:
        """Do one more step, or be dead."""
        if self.left == 0:
            raise Dead
        self.left -= 1


class Mortal:
    """A port whose every call is a step."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._life.spend()
            return await getattr(self._port, name)(*args, **kwargs)

        return call


class MortalWork:
    """Threads that are none; every call is a step, and the system closes what the dead had open."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def run(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if call.__name__ == "_close":
            call()
        self._life.spend()
        return maybeDeferred(call, *args)


class MortalLink(S3Link):
    """Every request is a step."""

    life = Life(-1)

    async def ask(self, *args: Any, **kwargs: Any) -> Reply:
        self.life.spend()
        return await super().ask(*args, **kwargs)


class Store(Protocol):
    """One of the two stores."""

    def seen_by(self, life: Life) -> Blobs:
        """As a process sees it."""

    async def names(self) -> list[str]:
        """Everything that is in it."""


class Folder:
    """A directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: list[DirectoryBlobs] = []

    def seen_by(self, life: Life) -> Blobs:
        blobs = DirectoryBlobs(self._path, MortalWork(life), 0)
        self._opened.append(blobs)
        return blobs

    async def names(self) -> list[str]:
        return sorted(path.name for path in self._path.rglob("*") if path.is_file())

    async def close(self) -> None:
        """Let go of it."""
        for blobs in self._opened:
            blobs.close()


class Bucket:
    """A prefix of a bucket."""

    def __init__(self, link: MortalLink) -> None:
        self._link = link
        self._prefix = f"{uuid.uuid4()}/"

    def seen_by(self, life: Life) -> Blobs:
        self._link.life = life
        return S3Blobs(self._link, self._prefix, MortalWork(Life(-1)))

    async def names(self) -> list[str]:
        self._link.life = Life(-1)
        found: list[str] = []
        for what in {"list-type": "2"}, {"uploads": ""}:
            reply = await self._link.ask("GET", "", {**what, "prefix": self._prefix})
            found += [key.removeprefix(self._prefix) for key in reply.texts("Key")]
        return sorted(found)

    async def close(self) -> None:
        """Let go of it."""
        await self._link.close()


@pytest_twisted.async_yield_fixture(params=["directory", "s3"])
async def store(request: Any, tmp_path: Path) -> AsyncIterator[Folder | Bucket]:
    """Both, one after the other."""
    if request.param == "directory":
        made: Folder | Bucket = Folder(tmp_path / "files")
    else:
        server: S3Server = request.getfixturevalue("s3")
        link = MortalLink(server.account, "imd-crash", reactor)
        await link.ask("PUT", "", allow=(409,))
        made = Bucket(link)
    yield made
    await made.close()


class World:
    """A database and a store, and one process after the other."""

    def __init__(self, storage: SqliteStorage, store: Store) -> None:
        self.storage = storage
        self.store = store
        self.now = WALL
        self._ids = iter(range(100, 999))

    def now_ms(self) -> int:
        return self.now

    def new_id(self) -> int:
        return next(self._ids)

    def process(self, life: Life) -> Uploads:
        """A new one."""
        rows: Any = Mortal(self.storage, life)
        return Uploads(rows, self.store.seen_by(life), self, Limits())

    async def slot(self) -> int:
        """A file to upload."""
        declared = methods.NewFile(len(CONTENT), digest(CONTENT), "n", "a/b")
        return (await self.process(Life(-1)).slot(ALICE, declared)).file

    async def is_whole(self, file: int) -> bool:
        """Whether it may be read; then all of it is there."""
        found = await self.storage.readable_file(ALICE.user.id, ALICE.device, file)
        if found is None:
            return False
        blobs = self.store.seen_by(Life(-1))
        assert await blobs.read(found.blob or file, 0, len(CONTENT) + 1) == CONTENT
        return True


@pytest.fixture
def world(tmp_path: Path, store: Store) -> Any:
    """With one user who has a device."""
    storage = open_storage(tmp_path)
    yield World(storage, store)
    storage.close()


async def bring(uploads: Uploads, file: int) -> None:
    """Upload what is missing, in some pieces."""
    _, offset = await uploads.progress(ALICE, file) or (None, 0)
    intake = await uploads.begin(ALICE, file, offset, len(CONTENT) - offset)
    try:
        for end in CUTS:
            if end > offset:
                await intake.write(CONTENT[offset:end])
                offset = end
        await intake.finish()
    finally:
        await intake.end()


async def enter(storage: SqliteStorage) -> None:
    """Make the user and the device."""
    await storage.create_user(ALICE.user.id, "alice", "hash", WALL)
    device = Device(ALICE.device, ALICE.user.id, "phone", WALL, WALL)
    await storage.add_device(device, b"t" * 32, verified="hash", limit=9, retire_before=0)


async def died(world: World, steps: int) -> tuple[int, bool]:
    """A file whose process died after so many steps, and whether it did."""
    file, life = await world.slot(), Life(steps)
    with suppress(Dead):
        await bring(world.process(life), file)
        return file, False
    return file, True


async def test_upload_taken_up_after_a_death_at_any_step_is_whole(world: World) -> None:
    await enter(world.storage)
    steps, dies = 0, True
    while dies:
        file, dies = await died(world, steps)
        assert await world.is_whole(file) or dies
        heir = world.process(Life(-1))
        await bring(heir, file)
        assert await world.is_whole(file)
        await heir.sweep()
        # The first of all has the bytes, the others share them.
        assert await world.store.names() == ["100"]
        steps += 1
    assert steps > 10


async def test_upload_given_up_after_a_death_at_any_step_leaves_nothing(world: World) -> None:
    await enter(world.storage)
    steps, dies = 0, True
    while dies:
        file, dies = await died(world, steps)
        complete = await world.is_whole(file)
        assert complete or dies
        world.now += DAY + GRACE + 1
        await world.process(Life(-1)).sweep()
        assert await world.is_whole(file) == complete
        assert await world.store.names() == ([str(file)] if complete else [])
        assert await world.storage.own_file(ALICE.user.id, file) is None or complete
        if complete:
            break
        steps += 1
    assert steps > 10
    with pytest.raises(Refusal) as caught:
        await world.process(Life(-1)).begin(ALICE, 100, 0, len(CONTENT))
    assert caught.value.code is Code.NOT_FOUND
