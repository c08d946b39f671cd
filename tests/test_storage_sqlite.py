"""SQLite keeps the contract of storage, with threads as in the server."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from imd.interfaces import Storage
from imd.storage.database import NAME
from imd.storage.sqlite import SqliteStorage
from tests.contracts.storage import StorageContract
from tests.contracts.storage_parts import NOW, PutFile
from tests.inline import new_epoch

reactor: Any = _reactor


def _never(what: str) -> None:
    raise AssertionError(what)


@pytest_twisted.async_yield_fixture()
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    """An empty one with its threads."""
    opened = SqliteStorage.open_threaded(
        tmp_path, new_epoch=new_epoch, reactor=reactor, broken=_never
    )
    yield opened
    opened.close()


@pytest.fixture
def put_file(tmp_path: Path) -> PutFile:
    """Enters files behind the back of the storage."""

    async def put(file: int, owner: int, complete: bool) -> None:
        db = sqlite3.connect(tmp_path / NAME)
        with db:
            db.execute(
                "INSERT INTO file (id, owner, size, sha256, complete, created) "
                "VALUES (?, ?, 1, '', ?, ?)",
                (file, owner, complete, NOW),
            )
        db.close()

    return put


class TestSqliteStorage(StorageContract):
    """SQLite."""
