"""The private servers can be hurt in every way that the fault tests need."""

from __future__ import annotations

import socket
import subprocess
import sys

import psycopg2
import pytest

from tests.process import PATIENCE, ROOT, environment, free_port
from tests.servers import Postgres, Redis


def test_another_process_of_tests_is_given_other_ports() -> None:
    ours = {free_port() for _ in range(600)}
    code = "from tests.process import free_port; print(*(free_port() for _ in range(600)))"
    command = [sys.executable, "-c", code]
    theirs = subprocess.run(
        command, capture_output=True, cwd=ROOT, env=environment(), timeout=PATIENCE, check=True
    )
    assert len(ours) > 400
    assert ours.isdisjoint(map(int, theirs.stdout.split()))


def test_postgres_keeps_what_was_committed_when_it_is_killed(
    postgres: Postgres, database: str
) -> None:
    name = database.rpartition("/")[2]
    postgres.run("CREATE TABLE kept AS SELECT 7 AS n", name)
    postgres.kill()
    with pytest.raises(psycopg2.OperationalError):
        postgres.run("SELECT 1")
    postgres.start()
    assert postgres.run("SELECT n FROM kept", name) == [(7,)]
    postgres.restart()
    assert postgres.run("SELECT n FROM kept", name) == [(7,)]


def test_a_paused_postgres_takes_connections_and_answers_nothing(postgres: Postgres) -> None:
    postgres.pause()
    try:
        with pytest.raises(psycopg2.OperationalError, match="timeout"):
            psycopg2.connect(postgres.url(), connect_timeout=2)
    finally:
        postgres.resume()
    assert postgres.run("SELECT 1") == [(1,)]


def test_the_database_of_a_test_is_empty(postgres: Postgres, database: str) -> None:
    name = database.rpartition("/")[2]
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [
        (0,)
    ]


def test_redis_forgets_when_it_restarts_and_stops_answering_when_paused(redis: Redis) -> None:
    assert redis.ask("SET k v") == "+OK"
    redis.pause()
    with pytest.raises(TimeoutError):
        redis.ask("GET k", seconds=1)
    redis.resume()
    assert redis.ask("EXISTS k") == ":1"
    redis.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", redis.port), 1)
    redis.start()
    assert redis.ask("EXISTS k") == ":0"


def test_redis_is_empty_where_a_test_asks_for_it(empty_redis: Redis) -> None:
    assert empty_redis.ask("DBSIZE") == ":0"
