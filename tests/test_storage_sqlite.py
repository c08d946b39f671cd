"""SQLite keeps the contract of storage, with threads as in the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor

from imd.interfaces import Storage
from imd.storage.sqlite import SqliteStorage
from tests.contracts.storage import StorageContract
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


class TestSqliteStorage(StorageContract):
    """SQLite."""
