"""SQLite keeps the contract of storage, with threads as in the server."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from imd.errors import ConfigError
from imd.interfaces.storage import Storage
from imd.storage.database import NAME
from imd.storage.sqlite import SqliteStorage
from tests.contracts.storage import StorageContract
from tests.directories import MEMORY
from tests.inline import new_epoch

reactor: Any = _reactor


def _never(what: str) -> None:
    raise AssertionError(what)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the database is."""
    with tempfile.TemporaryDirectory(prefix="imd-test-", dir=MEMORY) as top:
        yield Path(top)


@pytest_twisted.async_yield_fixture()
async def storage(directory: Path) -> AsyncIterator[Storage]:
    """An empty one with its threads."""
    opened = SqliteStorage.open_threaded(
        directory, new_epoch=new_epoch, reactor=reactor, broken=_never
    )
    yield opened
    opened.close()


class TestSqliteStorage(StorageContract):
    """SQLite."""


async def test_what_another_process_wrote_is_noticed_once(directory: Path) -> None:
    opened = SqliteStorage.open_threaded(
        directory, new_epoch=new_epoch, reactor=reactor, broken=_never
    )
    beside = SqliteStorage.join(directory)
    try:
        assert not await opened.touched()
        await opened.create_user(1, "alice", "hash", 1)
        await beside.find_user(1)
        assert not await opened.touched()
        await beside.set_disabled(1, True)
        assert await opened.touched()
        assert not await opened.touched()
        found = await opened.find_user(1)
        assert found is not None
        assert found.disabled
    finally:
        beside.close()
        opened.close()


def test_a_database_that_is_not_there_or_not_of_this_version_is_not_joined(
    directory: Path,
) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        SqliteStorage.join(directory)
    SqliteStorage.open(directory, new_epoch=new_epoch).close()
    db = sqlite3.connect(directory / NAME)
    db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(ConfigError, match="has schema 1"):
        SqliteStorage.join(directory)
    (directory / NAME).write_bytes(b"no database at all" * 99)
    with pytest.raises(ConfigError, match="cannot open"):
        SqliteStorage.join(directory)
