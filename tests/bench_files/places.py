"""The servers that are measured, over the engines that were asked for."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg2

from imd.bench.subject import Subject
from imd.storage.postgres_schema import migrate
from tests.cluster import Cluster
from tests.process import FAST, Server
from tests.s3_server import KEY, SECRET, S3Server
from tests.servers import Postgres, Redis

#: Files of any size that a disk holds; appended to the limits of the tests.
LIMITS = "file_bytes = 1000000000000\nfile_bytes_per_day = 1000000000000\n"
#: The engines are one process on embedded parts; a directory, or an S3 server, takes the files.
STORES = ("directory", "s3")


class Place:
    """Running servers; files go up at the first, and down at the last."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers

    @property
    def up(self) -> Server:
        """Where files are uploaded."""
        return self._servers[0]

    @property
    def down(self) -> Server:
        """Where they are fetched."""
        return self._servers[-1]

    @property
    def subject(self) -> Subject:
        """The connectors as they run now."""
        pids = {f"connector {n}": server.pid for n, server in enumerate(self._servers)}
        return Subject([server.url for server in self._servers], pids)


@asynccontextmanager
async def place(store: str, connectors: int, top: str) -> AsyncIterator[Place]:
    """Servers whose data are in a new directory in ``top``; all goes away in the end."""
    async with AsyncExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="imd-bench-files-", dir=top)
        directory = Path(stack.enter_context(made))
        files = await _bucket(stack, directory) if store == "s3" else ""
        if connectors > 1:
            files = files or f'files = "{directory / "files"}"\n'
            yield Place(await _cluster(stack, files, connectors))
        else:
            data = directory / "data"
            server = Server(f"--data={data}", config=files + FAST + LIMITS)
            stack.push_async_callback(server.close)
            await server.start()
            yield Place([server])


async def _bucket(stack: AsyncExitStack, directory: Path) -> str:
    top = directory / "s3"
    top.mkdir()
    s3 = S3Server(top)
    stack.callback(s3.stop)
    s3.start()
    await s3.make_bucket("bench")
    account = f'endpoint = "{s3.account.endpoint}"\nkey = "{KEY}"\nsecret = "{SECRET}"\n'
    return f'files = "s3://bench/"\n[s3]\n{account}'


async def _cluster(stack: AsyncExitStack, files: str, connectors: int) -> list[Server]:
    postgres, redis = Postgres(), Redis()
    for engine in (postgres, redis):
        stack.callback(engine.close)
        engine.start()
    connection = psycopg2.connect(postgres.url())
    migrate(connection, lambda line: None)
    connection.close()
    cluster = Cluster(postgres.url(), redis, connectors, 1, files, LIMITS)
    stack.push_async_callback(cluster.close)
    await cluster.start()
    return cluster.connectors
