"""What a database must be before imd uses it, and how ``imd migrate`` makes it so."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from imd import migrate as command
from imd.errors import ConfigError
from imd.storage import postgres_schema
from imd.storage.postgres import PostgresStorage
from imd.storage.postgres_address import Address
from imd.storage.postgres_schema import LATEST, scripts
from tests.postgres_parts import Pooler, append, befriend, nodes, reactor, text, together, until
from tests.process import ROOT, environment
from tests.servers import Postgres

#: As ``python -m imd.cli`` would.
_CLI = "import sys; from imd.cli import main; sys.exit(main(sys.argv[1:]))"
_SECRET = "hunter2"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


async def _refusal(url: str, **options: Any) -> str:
    """The line with which a storage does not start."""
    with pytest.raises(ConfigError) as caught:
        async with nodes(url, **options):
            pass
    assert "\n" not in str(caught.value)
    assert caught.value.key == "store"
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("synchronous_commit", "off", "synchronous_commit=off"),
        ("synchronous_commit", "local", "synchronous_commit=local"),
        ("synchronous_commit", "remote_write", "synchronous_commit=remote_write"),
        ("default_transaction_read_only", "on", "name the primary"),
    ],
)
async def test_a_database_that_may_lose_commits_is_refused(
    postgres: Postgres, store_url: str, setting: str, value: str, said: str
) -> None:
    postgres.run(f"ALTER DATABASE {_name(store_url)} SET {setting} = {value}")
    assert said in await _refusal(store_url)


async def test_an_isolation_level_of_the_database_is_overruled(
    postgres: Postgres, store_url: str
) -> None:
    name = _name(store_url)
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    async with nodes(store_url) as (storage,):
        assert storage.unready is None


@pytest.fixture(scope="module")
def unsafe() -> Iterator[Postgres]:
    """A server that a power cut destroys."""
    server = Postgres(fsync=False)
    server.start()
    connection = psycopg2.connect(server.url())
    postgres_schema.migrate(connection, lambda line: None)
    connection.close()
    yield server
    server.close()


async def test_a_server_without_fsync_is_refused_unless_that_was_asked_for(
    unsafe: Postgres,
) -> None:
    assert "fsync=off, full_page_writes=off" in await _refusal(unsafe.url())
    async with nodes(unsafe.url(), unsafe=True) as (storage,):
        assert storage.unready is None


async def test_a_standby_is_refused(unsafe: Postgres) -> None:
    unsafe.stop()
    signal = unsafe.data / "standby.signal"
    signal.touch()
    unsafe.start()
    try:
        assert "standby" in await _refusal(unsafe.url(), unsafe=True)
    finally:
        unsafe.stop()
        signal.unlink()
        unsafe.start()


async def test_a_standby_that_is_promoted_is_used_and_is_a_new_epoch(unsafe: Postgres) -> None:
    async with nodes(unsafe.url(), unsafe=True) as (storage,):
        await befriend(storage, 1, 2, 10)
        epoch, page, feed = await storage.epoch(), await storage.heads(1), await storage.feed(None)
        unsafe.stop()
        (unsafe.data / "standby.signal").touch()
        unsafe.start()
        await until(lambda: "standby" in str(storage.unready))
        unsafe.run("SELECT pg_promote()")
        await until(lambda: storage.unready is None)
        assert await storage.epoch() != epoch
        assert (await storage.heads(1, since=page.token)).items == page.items
        assert not (await storage.feed(feed.token)).complete


async def test_an_empty_database_is_refused_with_what_to_run(database: str) -> None:
    assert "has schema 0" in (line := await _refusal(database))
    assert line.endswith("run: imd migrate")


def _set_version(postgres: Postgres, url: str, schema: int, compatible: int | None) -> None:
    """As a newer imd, or one that wrote no more than the version, leaves it."""
    postgres.run(f"UPDATE meta SET value = '{schema}' WHERE key = 'schema'", _name(url))
    postgres.run("DELETE FROM meta WHERE key = 'compatible'", _name(url))
    if compatible is not None:
        row = f"('compatible', '{compatible}')"
        postgres.run(f"INSERT INTO meta (key, value) VALUES {row}", _name(url))


@pytest.mark.parametrize("compatible", [None, 99, LATEST + 1])
async def test_a_newer_schema_is_refused_by_server_and_migrate(
    postgres: Postgres, store_url: str, capsys: pytest.CaptureFixture[str], compatible: int | None
) -> None:
    _set_version(postgres, store_url, 99, compatible)
    assert (line := await _refusal(store_url)).endswith("install a newer imd")
    assert f"has schema 99, this imd knows {LATEST}" in line
    assert command.main(["--store", store_url]) == 78
    assert "install a newer imd" in capsys.readouterr().err


@pytest.mark.parametrize("compatible", [1, LATEST])
async def test_a_newer_schema_that_is_compatible_is_served_and_left_alone(
    postgres: Postgres, store_url: str, capsys: pytest.CaptureFixture[str], compatible: int
) -> None:
    _set_version(postgres, store_url, 99, compatible)
    async with nodes(store_url) as (storage,):
        assert storage.unready is None
    assert command.main(["--store", store_url]) == 0
    assert capsys.readouterr().out == "imd: the schema is up to date (version 99)\n"


async def test_a_schema_of_before_compatibility_was_written_down_is_served(
    postgres: Postgres, store_url: str
) -> None:
    _set_version(postgres, store_url, LATEST, None)
    async with nodes(store_url) as (storage,):
        assert storage.unready is None


async def test_a_schema_that_is_upgraded_under_a_running_server_changes_nothing_for_it(
    postgres: Postgres, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expand, while old code runs; contract, and it is refused on its next connection."""
    name, old = _name(store_url), postgres_schema.scripts()
    more = ("more.sql", f"-- compatible-since: {LATEST}\nALTER TABLE account ADD mood text")
    less = ("less.sql", "ALTER TABLE account DROP mood")

    def upgrade(*scripts: tuple[str, str]) -> None:
        with monkeypatch.context() as newer:
            newer.setattr(postgres_schema, "scripts", lambda: [*old, *scripts])
            newer.setattr(postgres_schema, "LATEST", len(old) + len(scripts))
            assert command.main(["--store", store_url]) == 0

    async with nodes(store_url) as (storage,):
        upgrade(more)
        await befriend(storage, 1, 2, 10)
    async with nodes(store_url) as (storage,):
        assert (await append(storage, [text(10, 1, 1)]))[0].seq == 1
        upgrade(more, less)
    kept = "SELECT value FROM meta WHERE key IN ('schema', 'compatible') ORDER BY key"
    assert postgres.run(kept, name) == [(f"{LATEST + 2}",), (f"{LATEST + 2}",)]
    assert "install a newer imd" in await _refusal(store_url)


def test_compatibility_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a script that breaks with what was, no later one can mend that."""
    said = ["-- compatible-since: 1\n", "", "-- compatible-since: 1\n", "-- compatible-since: 3\n"]
    made = [
        ("0001.sql", "CREATE TABLE meta ()"),
        *[(f"{n}.sql", text) for n, text in enumerate(said)],
    ]
    monkeypatch.setattr(postgres_schema, "scripts", lambda: made)
    assert [postgres_schema.compatible_since(n) for n in range(1, 6)] == [1, 1, 3, 3, 3]


async def test_a_database_that_is_not_utf8_is_refused(postgres: Postgres) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        assert "LATIN1" in await _refusal(postgres.url("latin"))
    finally:
        postgres.drop_database("latin")


async def test_the_session_is_pinned(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        rows = await storage._shared.run(
            lambda db: db.query(
                "SELECT name, setting FROM pg_settings WHERE name IN ('transaction_isolation', "
                "'statement_timeout', 'lock_timeout', 'search_path', 'application_name', "
                "'idle_in_transaction_session_timeout')"
            )
        )
    assert dict(rows) == {
        "transaction_isolation": "read committed",
        "statement_timeout": "4500",
        "lock_timeout": "1000",
        "search_path": "public, pg_temp",
        "application_name": "imd:n0",
        "idle_in_transaction_session_timeout": "10000",
    }


async def test_behind_a_pooler_the_settings_have_to_be_those_of_the_role(
    postgres: Postgres, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pooler = Pooler(store_url)
    try:
        line = await _refusal(pooler.url)
        assert "a pooler is in between" in line
        assert "statement_timeout" in line
        assert "imd migrate --pooler" in line
        assert command.main(["--store", store_url, "--pooler"]) == 0
        assert "settings of a server" in capsys.readouterr().out
        async with nodes(pooler.url) as (storage,):
            await befriend(storage, 1, 2, 10)
            pinned = "SELECT setting FROM pg_settings WHERE name = %s AND source = 'session'"
            for name in ("statement_timeout", "search_path"):
                # Nothing is set that the next client of the server connection would find.
                assert await storage._shared.run(lambda db, n=name: db.query(pinned, (n,))) == []
        name = _name(store_url)
        postgres.run("ALTER ROLE imd IN DATABASE " + name + " SET lock_timeout = 0")
        assert "this role lacks lock_timeout; run" in await _refusal(pooler.url)
    finally:
        await pooler.close()


async def _parameters(url: str) -> dict[str, str]:
    found: dict[str, str] = psycopg2.extensions.parse_dsn(await Address(url, "n", reactor).dsn())
    return found


async def test_what_the_url_says_of_the_link_stays() -> None:
    found = await _parameters("postgresql://u@/d?host=/run&tcp_user_timeout=9&sslmode=verify-full")
    assert found["host"] == "/run"
    assert "hostaddr" not in found
    assert found["tcp_user_timeout"] == "9"
    assert found["keepalives_idle"] == "5"
    assert found["sslmode"] == "verify-full"


async def test_names_are_looked_up_before_libpq_does_it() -> None:
    known = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(info[4][0] for info in known))
    found = await _parameters("postgresql://u@localhost:5,127.0.0.9:6/d")
    assert found["host"].split(",") == ["localhost"] * len(addresses) + ["127.0.0.9"]
    assert found["hostaddr"].split(",") == [*addresses, ""]
    assert found["port"].split(",") == ["5"] * len(addresses) + ["6"]


async def test_several_hosts_are_tried_in_turn(postgres: Postgres, store_url: str) -> None:
    url = f"postgresql://imd@127.0.0.1:1,localhost:{postgres.port}/{_name(store_url)}"
    async with nodes(url) as (storage,):
        assert storage.unready is None


async def test_a_host_that_nobody_knows_is_waited_for() -> None:
    async with nodes("postgresql://imd@no-such-host.invalid/x") as (storage,):
        assert storage.unready is not None
        assert storage.refusal is None


def test_a_url_that_cannot_be_read_is_refused_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"postgresql://imd:{_SECRET}@host:port%/x"
    with pytest.raises(ConfigError) as caught:
        PostgresStorage(url, "n", reactor)
    assert command.main(["--store", url]) == 78
    assert _SECRET not in str(caught.value) + capsys.readouterr().err


async def test_no_error_shows_the_password(postgres: Postgres) -> None:
    url = f"postgresql://imd:{_SECRET}@127.0.0.1:{postgres.port}/nowhere"
    async with nodes(url) as (storage,):
        assert "nowhere" in str(storage.unready)
        with pytest.raises(Exception, match="nowhere") as caught:
            await storage.ping()
        assert _SECRET not in f"{caught.value} {storage.unready}"


# -- imd migrate


def _migrate(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CLI, "migrate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )


def test_two_upgrades_at_once_are_one(database: str) -> None:
    running = [_migrate(f"--store={database}") for _ in range(3)]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    lines = sorted(out for out, _ in said)
    for number, (name, _) in enumerate(scripts(), 1):
        assert sum(f"applied {name} (version {number})" in line for line in lines) == 1
    assert all(f"(version {LATEST})" in line or "applied" in line for line in lines)


async def test_migrate_takes_the_store_of_the_configuration_and_the_server_starts(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "imd.toml"
    file.write_text(f'store = "{database}"\nunsafe-durability = false\n')
    file.chmod(0o600)
    assert command.main(["--config", str(file)]) == 0
    said = [f"imd: applied {name} (version {n})\n" for n, (name, _) in enumerate(scripts(), 1)]
    assert capsys.readouterr().out == "".join(said)
    async with nodes(database, 3) as storages:
        epochs = await together(*(storage.epoch() for storage in storages))
    assert len(set(epochs)) == 1


@pytest.mark.parametrize(
    "url", ["postgresql://a:b@c/d", "postgres://a:b@c/d", "postgresql://c/d?password=b"]
)
def test_a_file_with_a_password_must_be_private(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    file = tmp_path / "imd.toml"
    file.write_text(f'store = "{url}"\n')
    file.chmod(0o644)
    assert command.main(["--config", str(file)]) == 78
    assert "chmod 600" in capsys.readouterr().err


def test_migrate_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 78
    assert "store: is not PostgreSQL" in capsys.readouterr().err
    assert command.main(["--store", "postgresql://imd@127.0.0.1:1/x"]) == 1
    assert "refused" in capsys.readouterr().err


def test_a_script_that_fails_leaves_the_schema_as_it_was(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [("0001_start.sql", "CREATE TABLE half (); SELECT 1 / 0")]
    monkeypatch.setattr(postgres_schema, "scripts", lambda: broken)
    assert command.main(["--store", database]) == 1
    found = postgres.run("SELECT to_regclass('public.half') IS NULL", _name(database))
    assert found == [(True,)]
