"""A process that starts while PostgreSQL is away, and then finds that it must not use it."""

from __future__ import annotations

from tests.outages import readyz, sleep, until
from tests.process import FAST, Server
from tests.servers import Postgres


async def test_a_process_that_never_was_ready_ends_with_78_and_one_line() -> None:
    postgres = Postgres(fsync=False)
    postgres.start()
    postgres.stop()
    server = Server("--role=all", config=f'store = "{postgres.url()}"\n{FAST}')
    try:
        child = server.begin()
        await until(lambda: "PostgreSQL cannot be used: Connection refused" in server.output)
        assert (await readyz(server)).startswith("503 PostgreSQL: ")
        postgres.start()
        assert await child.ended == 78, server.output
        assert "imd: store: PostgreSQL runs with fsync=off" in server.output
        assert "PostgreSQL cannot be used: store: PostgreSQL runs with fsync=off" in server.output
    finally:
        await server.close()
        postgres.close()


async def test_a_process_that_waits_for_a_standby_goes_on_waiting() -> None:
    postgres = Postgres(fsync=False)
    postgres.start()
    postgres.stop()
    (postgres.data / "standby.signal").touch()
    config = f'store = "{postgres.url()}"\nunsafe-durability = true\n{FAST}'
    server = Server("--role=all", config=config)
    try:
        child = server.begin()
        await until(lambda: "Connection refused" in server.output)
        postgres.start()
        await until(lambda: "PostgreSQL cannot be used: store: this is a standby" in server.output)
        # An attempt from before may end after that.
        while "standby" not in await readyz(server):
            await sleep(0.05)
        assert not child.ended.called
    finally:
        await server.close()
        postgres.close()
