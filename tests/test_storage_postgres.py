"""PostgreSQL keeps the contract of storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from imd.interfaces.storage import Storage
from tests.contracts.storage import StorageContract
from tests.postgres_parts import nodes
from tests.servers import Postgres


@pytest_twisted.async_yield_fixture()
async def storage(postgres: Postgres, store_url: str) -> AsyncIterator[Storage]:
    """An empty one with two lanes.  Commits need not wait for the disk here."""
    name = store_url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with nodes(store_url, unsafe=True) as (opened,):
        yield opened


class TestPostgresStorage(StorageContract):
    """PostgreSQL."""
