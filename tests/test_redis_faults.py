"""A Redis that is away, hangs, is slow, talks nonsense, or says no: nobody waits, and it heals."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from imd.errors import Unavailable
from imd.interfaces.nodes import Entry
from imd.status import redis_dial, redis_link
from imd.status.redis import RedisUserStatus
from tests.redis_places import (
    Middle,
    Stopwatch,
    TunedRedis,
    at,
    fails,
    fails_at_once,
    logged,
    one_works,
    patiently,
    running,
    until_new,
    until_out,
    until_up,
    works,
)
from tests.redis_places import unhurried as unhurried
from tests.servers import Redis

reactor: Any = _reactor

#: Seconds after which a call has failed.
IN_TIME = 0.35


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged about outages."""
    with logged() as lines:
        yield lines


@pytest.fixture
def mine() -> Iterator[TunedRedis]:
    """A running Redis of this test alone."""
    server = TunedRedis()
    server.start()
    yield server
    server.close()


@pytest_twisted.async_yield_fixture
async def middle(empty_redis: Redis) -> AsyncIterator[Middle]:
    """Something that listens in front of the Redis of all tests."""
    between = Middle(empty_redis)
    await between.start()
    yield between
    await between.stop()


def all_fail_at_once(status: RedisUserStatus) -> None:
    """While it is known that Redis is away, calls cost nothing."""
    for call in (
        status.lookup([1]),
        status.register(1, 11, 6),
        status.unregister(1, 11, 6),
        status.beat(),
    ):
        fails_at_once(call)


async def test_a_stopped_redis_costs_nothing_and_is_used_again_when_it_returns(
    mine: TunedRedis, told: list[str]
) -> None:
    async with running("n1", url=mine.url) as (status,):
        await one_works(status)
        mine.kill()
        assert await fails(status.lookup([1])) < IN_TIME
        await until_out(status)
        all_fail_at_once(status)
        await deferLater(reactor, 2.0, lambda: None)
        mine.start()
        await until_up(status)
        assert await patiently(status.beat()) is False
        await one_works(status)
        assert status.counts.outages == 1
    assert [line.partition(" is ")[2].split()[0] for line in told] == ["out:", "back"]
    assert f"127.0.0.1:{mine.port}" in told[0]


async def test_a_redis_that_was_never_there_is_waited_for(mine: TunedRedis) -> None:
    mine.kill()
    status = RedisUserStatus(mine.url, "n1", reactor)
    fails_at_once(status.beat())
    status.start()
    try:
        assert await fails(status.beat()) < IN_TIME
        await until_out(status)
        all_fail_at_once(status)
        mine.start()
        await until_up(status)
        assert await patiently(status.beat()) is False
        await one_works(status)
    finally:
        await status.stop()
    all_fail_at_once(status)


@pytest.mark.parametrize("seconds", [0.8, 6.0])
async def test_a_frozen_redis_makes_three_calls_wait_and_no_more(
    mine: TunedRedis, told: list[str], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seconds < 1:
        # It answers the first probe, whenever it gets a processor.
        monkeypatch.setattr(redis_link, "PROBE_SECONDS", 60.0)
    async with running("n1", url=mine.url) as (status,):
        await one_works(status)
        mine.pause()
        try:
            began = reactor.seconds()
            for _ in range(3):
                assert await fails(status.lookup([1])) < IN_TIME
            assert status.counts.timeouts == 3
            all_fail_at_once(status)
            await deferLater(reactor, max(0.0, seconds + began - reactor.seconds()), lambda: None)
            all_fail_at_once(status)
        finally:
            mine.resume()
        await until_up(status)
        await one_works(status)
        assert status.counts.timeouts == 3
        # A short freeze costs no connection, and so nobody has to register again.
        assert await patiently(status.beat()) is (seconds < 1)
    assert len(told) == 2


@pytest.mark.parametrize("kind", ["ALL", "WRITE"])
async def test_a_redis_whose_clients_are_paused_is_used_again_afterwards(
    mine: TunedRedis, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It answers the first probe, whenever it gets a processor.
    monkeypatch.setattr(redis_link, "PROBE_SECONDS", 60.0)
    async with running("n1", url=mine.url) as (status,):
        assert mine.ask(f"CLIENT PAUSE 10000 {kind}") == "+OK"
        waits = [Deferred.fromCoroutine(fails(status.register(1, n, 5))) for n in range(1, 50)]
        assert max(await gatherResults(waits)) < IN_TIME
        all_fail_at_once(status)
        await until_up(status)
        await one_works(status)
        assert (status.counts.connects, status.counts.outages) == (1, 1)


async def test_a_beat_whose_answer_is_lost_is_told_by_the_next(
    empty_redis: Redis, middle: Middle
) -> None:
    async with running("n1", url=at(middle.port)) as (status,):
        assert await patiently(status.beat()) is True
        assert empty_redis.ask("FLUSHALL") == "+OK"
        middle.instead = b""
        await fails(status.beat())
        middle.instead = None
        assert empty_redis.ask("EXISTS imd:c:n1") == ":1"
        # That connection is one answer short for ever.
        await middle.cut()
        await until_new(status)
        assert await patiently(status.beat()) is False
        assert await patiently(status.beat()) is True


async def test_a_late_answer_of_a_beat_is_not_taken_for_that_of_the_next(
    empty_redis: Redis, middle: Middle
) -> None:
    async with running("n1", url=at(middle.port)) as (status,):
        assert await patiently(status.beat()) is True
        assert empty_redis.ask("FLUSHALL") == "+OK"
        middle.held = []
        await fails(status.beat())
        while not middle.held:
            await deferLater(reactor, 0.01, lambda: None)
        middle.let_go()
        assert await patiently(status.beat()) is False
        assert await patiently(status.beat()) is True
        assert status.counts.connects == 1


async def test_a_slow_redis_is_as_good_as_one_in_time(
    middle: Middle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough for an answer that is late on purpose, and by whatever else the machine does.
    monkeypatch.setattr(redis_link, "DEADLINE", 2.0)
    async with running("n1", url=at(middle.port)) as (status,):
        middle.delay = 0.1
        await one_works(status)
        middle.delay = 4.0
        calls = [Deferred.fromCoroutine(fails(status.lookup([1]))) for _ in range(3)]
        assert max(await gatherResults(calls)) < 2.1
        all_fail_at_once(status)
        middle.delay = 0.0
        await until_up(status)
        await one_works(status)


NONSENSE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"$5\r\nhel",
    b"$1073741824\r\n" + b"x" * (2 << 20),
    b"*1\r\n" * 600_000,
    b"x" * (2 << 20),
    b"+" + b"y" * 20_000 + b"\r\n",
    b"+\xff\xfe\r\n",
    b"$x\r\n*x\r\n:x\r\n",
    b":1\r\n:2\r\n:3\r\n",
    b"*-1\r\n$-1\r\n+OK\r\n",
    b"-\r\n-ERR\r\n",
    b"-ERR no\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MASTERDOWN Link with MASTER is down\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-NOSCRIPT No matching script.\r\n",
    b"*3\r\n:1\r\n-ERR x\r\n*1\r\n$-1\r\n",
    b"",
]


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: repr(answer[:24]))
@pytest.mark.parametrize("hang_up", [False, True], ids=["", "hang up"])
async def test_whatever_is_answered_nobody_waits_and_it_heals(
    middle: Middle, answer: bytes, hang_up: bool
) -> None:
    async with running("n1", url=at(middle.port)) as (status,):
        await one_works(status)
        middle.instead, middle.hang_up = answer, hang_up
        for _ in range(3):
            for call in (status.lookup([1, 2]), status.register(2, 21, 5), status.beat()):
                with Stopwatch() as watch, contextlib.suppress(Unavailable):
                    # What looks like an answer is one: nobody is there.
                    assert not await call
                assert watch.seconds < IN_TIME
        middle.instead, middle.hang_up = None, False
        # An answer that is half there is waited for like one that is not.
        await until_up(status)
        await until_right(status)


async def until_right(status: RedisUserStatus) -> None:
    """Answers that were on their way are through; then every call does what it should."""
    while True:
        with contextlib.suppress(AssertionError, Unavailable):
            return await works(status)
        await deferLater(reactor, 0.05, lambda: None)


@pytest.mark.usefixtures("unhurried")
async def test_a_full_redis_refuses_to_register_and_does_the_rest(told: list[str]) -> None:
    server = TunedRedis("--maxmemory-policy", "noeviction")
    server.start()
    try:
        async with running("n1", url=server.url) as (status,):
            await status.register(1, 11, 5)
            assert server.ask("CONFIG SET maxmemory 1") == "+OK"
            for _ in range(4):
                await fails(status.register(1, 11, 6))
            assert server.ask("CONFIG SET maxmemory 0") == "+OK"
            await status.register(1, 11, 6)
            assert await status.lookup([1]) == (Entry(1, 11, 6, "n1"),)
            assert (status.counts.errors, status.counts.connects) == (4, 1)
        assert len(told) == 1
        assert "refuses: " in told[0]
        assert "OOM" in told[0]
    finally:
        server.close()


async def test_a_replica_is_not_taken_and_a_demoted_master_is_left(
    mine: TunedRedis, redis: Redis, told: list[str]
) -> None:
    async with running("n1", url=mine.url) as (status,):
        assert mine.ask(f"REPLICAOF 127.0.0.1 {redis.port}") == "+OK"
        await fails(status.register(1, 11, 5))
        await until_out(status)
        all_fail_at_once(status)
        assert "it is not a master" in told[0] or "LOADING" in told[0]
        assert mine.ask("REPLICAOF NO ONE") == "+OK"
        await until_up(status)
        assert await patiently(status.beat()) is False
        await one_works(status)


async def test_a_busy_process_does_not_take_its_own_delay_for_that_of_redis(
    empty_redis: Redis,
) -> None:
    import time

    async with running("n1", url=empty_redis.url) as (status,):
        await patiently(status.register(1, 11, 5))
        call = Deferred.fromCoroutine(status.lookup([1]))
        await deferLater(reactor, 0, lambda: None)
        # Redis has answered by then.
        time.sleep(3)
        assert await call == (Entry(1, 11, 5, "n1"),)


async def test_stop_interrupts_whatever_goes_on(mine: TunedRedis) -> None:
    for pause in (0.0, 0.02, 0.3, 1.2):
        for hurt in (mine.pause, mine.kill):
            status = RedisUserStatus(mine.url, "n1", reactor)
            hurt()
            status.start()
            waiting = Deferred.fromCoroutine(fails(status.beat()))
            await deferLater(reactor, pause, lambda: None)
            with Stopwatch() as watch:
                await status.stop()
            assert watch.seconds < 0.1
            assert await waiting < IN_TIME
        mine.start()


ACL = (
    "resetchannels ~imd:* -@all +evalsha +eval +role +select "
    "+hget +hset +hdel +hgetall +exists +get +set +pexpire"
)


@pytest.mark.usefixtures("unhurried")
async def test_a_user_with_the_documented_rights_and_a_password_are_enough() -> None:
    from imd.status import redis as documented

    assert ACL in " ".join((documented.__doc__ or "").split())
    server = TunedRedis()
    server.start()
    try:
        assert server.ask(f"ACL SETUSER imd on >p@:/#% {ACL}") == "+OK"
        assert server.ask("CONFIG SET requirepass s3cret~pw") == "+OK"
        place = f"127.0.0.1:{server.port}"
        for login in ("imd:p%40%3A%2F%23%25", ":s3cret~pw", "default:s3cret~pw"):
            async with running("n1", url=f"redis://{login}@{place}/3") as (status,):
                await status.register(1, 11, 5)
                assert await status.register(1, 11, 4) == Entry(1, 11, 5, "n1")
                assert await status.lookup([1]) == (Entry(1, 11, 5, "n1"),)
                await status.unregister(1, 11, 5)
                assert await status.lookup([1]) == ()
                assert await status.beat() is True
    finally:
        server.close()


@pytest.mark.parametrize("login", ["", "imd:wrong@", ":wrong@", "nobody:s3cret@", "poor:s3cret@"])
async def test_without_the_right_password_and_rights_it_is_out_and_no_password_is_logged(
    told: list[str], login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What refuses it is no lack of time.
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 60.0)
    server = TunedRedis()
    server.start()
    try:
        assert server.ask(f"ACL SETUSER imd on >s3cret {ACL}") == "+OK"
        assert server.ask(f"ACL SETUSER poor on >s3cret {ACL} -evalsha -eval") == "+OK"
        assert server.ask("CONFIG SET requirepass s3cret") == "+OK"
        status = RedisUserStatus(f"redis://{login}127.0.0.1:{server.port}", "n1", reactor)
        status.start()
        assert await fails(status.beat()) < IN_TIME
        await until_out(status)
        await status.stop()
    finally:
        server.close()
    assert len(told) == 1
    assert any(code in told[0] for code in ("WRONGPASS", "NOAUTH", "NOPERM"))
    assert "s3cret" not in told[0]
    assert ":wrong" not in told[0]


async def test_a_server_that_quotes_the_password_is_not_quoted(
    middle: Middle, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 60.0)
    middle.instead = b"-ERR unknown command `AUTH`, with args beginning with: `s3cret`\r\n"
    status = RedisUserStatus(f"redis://:s3cret@127.0.0.1:{middle.port}", "n1", reactor)
    status.start()
    assert await fails(status.beat()) < IN_TIME
    await until_out(status)
    await status.stop()
    assert len(told) == 1
    assert "s3cret" not in told[0]


async def test_a_socket_of_the_file_system_and_another_database(tmp_path: Path) -> None:
    server = TunedRedis()
    path = server.directory / "redis.sock"
    server._options = ("--unixsocket", str(path), "--requirepass", "pw")
    server.start()
    try:
        async with running("n1", url=f"redis+unix://:pw@{path}?db=3") as (status,):
            await one_works(status)
            server.kill()
            await fails(status.lookup([1]))
            server.start()
            await until_new(status)
            assert await patiently(status.beat()) is False
        async with running("n1", url=f"redis://:pw@127.0.0.1:{server.port}/3") as (status,):
            await one_works(status)
    finally:
        server.close()
