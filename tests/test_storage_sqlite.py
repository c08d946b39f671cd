"""SQLite keeps the contract of storage, with threads as in the server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from imd.interfaces.storage import Storage
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
