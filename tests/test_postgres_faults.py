"""PostgreSQL goes away in every way it can; whatever was appended in doubt is appended once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg2
import pytest
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import directlyProvides

from imd.delivery import Delivery
from imd.errors import Close, Unavailable
from imd.limits import Limits
from imd.messaging import Messaging
from imd.model import Device, Outcome, User
from imd.registry import Registry
from imd.routing import Routing
from imd.storage.postgres import PostgresStorage
from imd.storage.postgres_link import Connection
from tests.postgres_parts import (
    Cutter,
    append,
    befriend,
    black_hole,
    hangs_up,
    insist,
    nodes,
    pause,
    reactor,
    text,
    together,
    until,
)
from tests.servers import Postgres

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'imd:%' AND datname = "


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """What storage logs meanwhile."""
    lines: list[str] = []

    def observe(event: dict[str, object]) -> None:
        if str(event.get("log_namespace", "")).startswith("imd.storage"):
            lines.append(str(event["log_format"]))

    directlyProvides(observe, ILogObserver)
    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def _backends(postgres: Postgres, url: str) -> list[int]:
    name = url.rpartition("/")[2]
    return [int(str(pid)) for (pid,) in postgres.run(f"{_BACKENDS}'{name}'")]


def _terminate(postgres: Postgres, url: str) -> None:
    for pid in _backends(postgres, url):
        postgres.run(f"SELECT pg_terminate_backend({pid})")


class _Locked:
    """Holds a row, so that whoever wants to change it waits."""

    def __init__(self, url: str, table: str, id: int) -> None:
        self._connection = psycopg2.connect(url)
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT FROM {table} WHERE id = {id} FOR UPDATE")

    def release(self) -> None:
        self._connection.close()


async def test_connections_that_were_ended_heal_and_the_same_batch_gets_the_same_seqs(
    postgres: Postgres, store_url: str
) -> None:
    batch = [text(10, 1, n) for n in range(5)]
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        with _logged() as lines:
            held = _Locked(store_url, "conversation", 10)
            waiting = together(storage.append(batch, 5))
            await pause(0.1)
            _terminate(postgres, store_url)
            with pytest.raises(Exception, match="terminating connection"):
                await waiting
            held.release()
            first = await append(storage, batch)
            await until(lambda: storage.unready is None)
            _terminate(postgres, store_url)
            again = await append(storage, batch)
            await until(lambda: storage.unready is None)
        assert [d.outcome for d in first] == [Outcome.NEW] * 5
        assert [d.outcome for d in again] == [Outcome.DUPLICATE] * 5
        assert [d.seq for d in again] == [d.seq for d in first] == [1, 2, 3, 4, 5]
        assert storage.outages == 2
        assert lines == ["PostgreSQL cannot be used: {why}", "PostgreSQL is back"] * 2


async def test_a_lost_answer_to_a_commit_is_unavailable_and_then_a_duplicate(
    store_url: str,
) -> None:
    async with nodes(store_url) as (direct,):
        await befriend(direct, 1, 2, 10)
        cutter = Cutter(store_url)
        try:
            async with nodes(cutter.url) as (storage,):
                cutter.lose_answers()
                with pytest.raises(Unavailable):
                    await storage.append([text(10, 1, 1)], 5)
                decisions = await append(storage, [text(10, 1, 1), text(10, 1, 2)])
        finally:
            await cutter.close()
    assert [(d.outcome, d.seq) for d in decisions] == [(Outcome.DUPLICATE, 1), (Outcome.NEW, 2)]


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_server_that_ends_and_comes_back_is_found_again(
    postgres: Postgres, store_url: str, how: str
) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        await append(storage, [text(10, 1, 1)])
        postgres.kill() if how == "kill" else postgres.stop()
        try:
            with pytest.raises(Unavailable):
                await storage.append([text(10, 1, 2)], 5)
            with pytest.raises(Unavailable):
                await storage.ping()
            await until(lambda: "refused" in str(storage.unready))
        finally:
            postgres.start()
        decisions = await append(storage, [text(10, 1, 1), text(10, 1, 2)])
        assert [d.seq for d in decisions] == [1, 2]
        await until(lambda: storage.unready is None)
        assert storage.outages == 1


async def test_a_stopped_server_process_costs_its_call_the_deadline_and_no_more(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url, lanes=1) as (storage,):
        await befriend(storage, 1, 2, 10)
        backends = _backends(postgres, store_url)
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            begin = reactor.seconds()
            with pytest.raises(Unavailable, match="no answer within 5 s"):
                await storage.append([text(10, 1, 1)], 5)
            assert 4.5 < reactor.seconds() - begin < 6
            # The stopped process has not seen the statement, and holds nothing.
            await append(storage, [text(10, 1, 1)])
            assert reactor.seconds() - begin < 8
        finally:
            for pid in backends:
                os.kill(pid, signal.SIGCONT)
        decisions = await append(storage, [text(10, 1, 1), text(10, 1, 2)])
        assert [(d.outcome, d.seq) for d in decisions] == [
            (Outcome.DUPLICATE, 1),
            (Outcome.NEW, 2),
        ]


async def test_a_lock_that_is_held_too_long_is_unavailable_and_keeps_the_connection(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        held = _Locked(store_url, "conversation", 10)
        before = _backends(postgres, store_url)
        try:
            with pytest.raises(Unavailable, match="lock timeout"):
                await storage.append([text(10, 1, 1)], 5)
        finally:
            held.release()
        assert (await append(storage, [text(10, 1, 1)]))[0].outcome is Outcome.NEW
        assert _backends(postgres, store_url) == before
        assert storage.outages == 0


async def test_a_transaction_that_fails_half_way_leaves_nothing(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url) as (storage,):
        await storage.create_user(1, "one", "hash", 1)
        await storage.add_device(
            Device(3, 1, "phone", 1, 1), b"t", verified="hash", limit=2, retire_before=0
        )
        before = _backends(postgres, store_url)
        held = _Locked(store_url, "device", 3)
        with pytest.raises(Unavailable, match="lock timeout"):
            await storage.set_password(1, "new", None, verified="hash")
        assert _backends(postgres, store_url) == before
        waiting = together(storage.set_password(1, "new", None, verified="hash"))
        await pause(0.1)
        _terminate(postgres, store_url)
        with pytest.raises(Exception, match="terminating connection"):
            await waiting
        held.release()
        assert await insist(lambda: storage.password_of("one")) == (User(1, "one"), "hash")
        assert await insist(lambda: storage.set_password(1, "new", None, verified="hash")) == (3,)
        await until(lambda: storage.unready is None)


async def test_a_server_that_takes_no_connections_is_unavailable_and_recovers_unaided(
    postgres: Postgres, store_url: str
) -> None:
    name = store_url.rpartition("/")[2]
    async with nodes(store_url) as (storage,):
        postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _terminate(postgres, store_url)
        try:
            await until(lambda: "not currently accepting" in str(storage.unready))
            with pytest.raises(Unavailable):
                await storage.ping()
        finally:
            postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await insist(storage.ping)
        await until(lambda: storage.unready is None)


async def test_a_database_that_turns_read_only_is_left_until_it_takes_writes(
    postgres: Postgres, store_url: str
) -> None:
    name = store_url.rpartition("/")[2]
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        _terminate(postgres, store_url)
        await until(lambda: "read-only" in str(storage.unready))
        with pytest.raises(Unavailable, match="read-only"):
            await storage.append([text(10, 1, 1)], 5)
        assert "name the primary" in str(storage.refusal)
        postgres.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert (await append(storage, [text(10, 1, 1)]))[0].outcome is Outcome.NEW
        await until(lambda: storage.unready is None)
        assert storage.refusal is None


async def test_a_server_that_is_down_at_the_start_is_waited_for(
    postgres: Postgres, store_url: str
) -> None:
    postgres.stop()
    try:
        storage = PostgresStorage(store_url, "n", reactor)
        await storage.start()
        assert "refused" in str(storage.unready)
        with pytest.raises(Unavailable, match="refused"):
            await storage.ping()
    finally:
        postgres.start()
    await until(lambda: storage.unready is None)
    await storage.ping()
    await storage.stop()


async def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    hole = black_hole()
    storage = PostgresStorage(f"postgresql://imd@127.0.0.1:{hole.getHost().port}/x", "n", reactor)
    begin = reactor.seconds()
    await storage.start()
    assert reactor.seconds() - begin < 7
    assert storage.unready == "PostgreSQL: no connection within 5 s"
    await storage.stop()
    await hole.stopListening()


async def test_a_server_that_hangs_up_on_a_login_is_tried_again_in_silence() -> None:
    server = hangs_up()
    url = f"postgresql://imd@127.0.0.1:{server.getHost().port}/x"
    storage = PostgresStorage(url, "n", reactor)
    await storage.start()
    assert "closed the connection" in str(storage.unready)
    await storage.stop()
    await server.stopListening()


async def test_a_connection_that_is_being_made_waits_for_one_thing_at_a_time() -> None:
    # libpq closes a socket whenever it likes; what the reactor still watches under the number of
    # that socket would keep its next owner from ever being read.
    class Watched(Connection):
        both = False

        def doRead(self) -> None:
            super().doRead()
            self.both |= self in reactor.getReaders() and self in reactor.getWriters()

    server = hangs_up()
    connection = Watched(reactor, lambda lost, why: None)
    with pytest.raises(psycopg2.OperationalError, match="closed the connection"):
        await connection.connect(f"postgresql://imd@127.0.0.1:{server.getHost().port}/x")
    assert not connection.both
    connection.close()
    await server.stopListening()


async def test_a_burst_beyond_the_connections_waits_its_turn(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        await together(*(storage.ping() for _ in range(200)))


@pytest.mark.parametrize("at_once", [8, 1000])
async def test_a_crowd_that_waits_when_the_server_goes_away_is_told_so(
    postgres: Postgres, store_url: str, at_once: int
) -> None:
    async with nodes(store_url) as (storage,):
        turns = DeferredSemaphore(at_once)

        async def call() -> None:
            async with turns:
                await storage.ping()

        postgres.stop()
        try:
            calls = [Deferred.fromCoroutine(call()) for _ in range(1000)]
            ends = await DeferredList(calls, consumeErrors=True)
            assert {type(end.value) for ok, end in ends if not ok} == {Unavailable}
        finally:
            postgres.start()
        await until(lambda: storage.unready is None)
        await together(*(storage.ping() for _ in range(200)))


async def test_a_call_that_is_cancelled_while_it_waits_takes_no_connection(
    store_url: str,
) -> None:
    async with nodes(store_url) as (storage,):
        turn = together(storage.ping(), storage.ping(), storage.ping(), storage.ping())
        waiting = together(storage.ping())
        waiting.cancel()
        with pytest.raises(Exception, match="Cancelled"):
            await waiting
        await turn
        await together(*(storage.ping() for _ in range(20)))
        assert storage.outages == 0


async def test_a_call_that_is_cancelled_while_it_runs_gives_its_connection_up(
    store_url: str,
) -> None:
    async with nodes(store_url) as (storage,):
        slow = Deferred.fromCoroutine(
            storage._shared.run(lambda db: db.query("SELECT pg_sleep(3)"))
        )
        await pause(0.1)
        slow.cancel()
        with pytest.raises(Unavailable):
            await slow
        await until(lambda: storage.unready is None)
        await together(*(storage.ping() for _ in range(20)))


async def test_a_statement_that_takes_too_long_is_unavailable_and_keeps_the_connection(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url) as (storage,):
        before = _backends(postgres, store_url)
        with pytest.raises(Unavailable, match="statement timeout"):
            await storage._shared.run(lambda db: db.query("SELECT pg_sleep(20)"))
        await storage.ping()
        assert _backends(postgres, store_url) == before
        assert storage.outages == 0


_RAISE = "DO $$ BEGIN RAISE 'made up' USING ERRCODE = '{}'; END $$"


@pytest.mark.parametrize(
    "code",
    ["08006", "25006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "58030"],
)
async def test_what_may_pass_is_unavailable(store_url: str, code: str) -> None:
    async with nodes(store_url, lanes=1) as (storage,):
        with pytest.raises(Unavailable, match="made up"):
            await storage._shared.run(lambda db: db.query(_RAISE.format(code)))
        await insist(storage.ping)


@pytest.mark.parametrize("code", ["22003", "23505", "42P01", "42883", "P0001", "XX000"])
async def test_what_will_not_pass_is_a_defect(store_url: str, code: str) -> None:
    async with nodes(store_url, lanes=1) as (storage,):
        with pytest.raises(psycopg2.Error, match="made up"):
            await storage._shared.run(lambda db: db.query(_RAISE.format(code)))
        assert storage.unready is None
        assert storage.outages == 0


class _Client:
    """A session that notes what became of its messages."""

    def __init__(self) -> None:
        self.frames: list[dict[str, object]] = []

    def settle(self, frame: bytes) -> None:
        self.frames.append(msgspec.json.decode(frame))

    def close(self, code: Close, reason: str) -> None:
        raise AssertionError(f"{code}: {reason}")


async def test_messages_sent_while_the_server_dies_are_acknowledged_once_and_in_order(
    postgres: Postgres, store_url: str
) -> None:
    client: Any = _Client()
    async with nodes(store_url) as (storage,):
        for conversation in (10, 11):
            await befriend(storage, 1, conversation + 100, conversation)
        messaging = Messaging(
            storage,
            Routing(Delivery(Registry())),
            reactor,
            lambda: 5,
            Limits(lane_batch=7),
            lanes=2,
        )
        for number in range(300):
            for conversation in (10, 11):
                messaging.submit(client, f"{conversation}", text(conversation, 1, number))
            await pause(0.003)
            if number == 60:
                _terminate(postgres, store_url)
            if number == 120:
                postgres.kill()
            if number == 180:
                postgres.start()
        assert await messaging.idle(15)
        for conversation in (10, 11):
            acks = [f["seq"] for f in client.frames if f["id"] == str(conversation)]
            assert acks == list(range(1, 301))
            page = await storage.history(1, conversation, limit=500, max_bytes=10**7)
            assert [m.id for m in page.items] == [text(conversation, 1, n).id for n in range(300)]
        assert {frame["type"] for frame in client.frames} == {"ack"}


async def test_a_defect_is_no_outage(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        with pytest.raises(ValueError, match="NUL"):
            await storage.create_user(1, "a\0b", "hash", 1)
        with pytest.raises(psycopg2.DataError):
            await storage.create_user(2**70, "name", "hash", 1)
        assert storage.unready is None
        assert storage.outages == 0
