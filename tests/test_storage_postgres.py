"""PostgreSQL keeps the contract of storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from imd.interfaces import Storage
from tests.contracts.storage import StorageContract
from tests.contracts.storage_parts import NOW, PutFile
from tests.postgres_parts import nodes
from tests.servers import Postgres


@pytest_twisted.async_yield_fixture()
async def storage(postgres: Postgres, store_url: str) -> AsyncIterator[Storage]:
    """An empty one with two lanes.  Commits need not wait for the disk here."""
    name = store_url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with nodes(store_url, unsafe=True) as (opened,):
        yield opened


@pytest.fixture
def put_file(postgres: Postgres, store_url: str) -> PutFile:
    """Enters files behind the back of the storage."""

    async def put(file: int, owner: int, complete: bool) -> None:
        sql = "INSERT INTO file (id, owner, size, sha256, complete, created) VALUES "
        row = f"({file}, {owner}, 1, '', {complete}, {NOW})"
        postgres.run(sql + row, store_url.rpartition("/")[2])

    return put


class TestPostgresStorage(StorageContract):
    """PostgreSQL."""
