"""User status in a real Redis."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from imd.errors import Unavailable
from imd.interfaces.nodes import Entry
from imd.status import redis
from imd.status.redis import KEEP_MS, LEASE_MS, RedisUserStatus
from imd.status.redis_reply import flags
from tests.contracts.user_status import UserStatusContract
from tests.redis_places import all_of, fails, running, until_new
from tests.redis_places import unhurried as unhurried
from tests.servers import PATIENCE, Redis

reactor: Any = _reactor
pytestmark = pytest.mark.usefixtures("unhurried")


class _Board:
    """The Redis of all tests, as a contract sees it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.nodes: list[RedisUserStatus] = []

    async def node(self, name: str) -> RedisUserStatus:
        """See ``tests.contracts.user_status.Board``."""
        status = RedisUserStatus(self._redis.url, name, reactor)
        self.nodes.append(status)
        status.start()
        return status

    async def expire(self, name: str) -> None:
        """See ``tests.contracts.user_status.Board``."""
        assert self._redis.ask(f"PEXPIRE imd:c:{name} 1") == ":1"
        while self._redis.ask(f"EXISTS imd:c:{name}") != ":0":
            await deferLater(reactor, 0.001, lambda: None)


class TestRedisUserStatus(UserStatusContract):
    """The contract."""

    @pytest_twisted.async_yield_fixture
    async def board(self, empty_redis: Redis) -> AsyncIterator[_Board]:
        """Nodes that are stopped in the end."""
        board = _Board(empty_redis)
        yield board
        for node in board.nodes:
            await node.stop()


async def test_entries_are_found_with_their_nodes(empty_redis: Redis) -> None:
    async with running("n1", "n2 ü@#7", url=empty_redis.url) as (one, two):
        assert await one.register(1, 11, 5) is None
        assert await two.register(1, 12, 3) is None
        assert await two.register(2, 21, 2**52 - 1) is None
        found = await one.lookup([3, 2, 1])
        assert set(found) == {
            Entry(1, 11, 5, "n1"),
            Entry(1, 12, 3, "n2 ü@#7"),
            Entry(2, 21, 2**52 - 1, "n2 ü@#7"),
        }
        assert await one.lookup([]) == ()


async def test_the_higher_session_of_a_device_wins_whoever_comes_first(
    empty_redis: Redis,
) -> None:
    async with running("n1", "n2", url=empty_redis.url) as (one, two):
        await one.register(1, 11, 5)
        assert await two.register(1, 11, 4) == Entry(1, 11, 5, "n1")
        assert await two.register(1, 11, 6) == Entry(1, 11, 5, "n1")
        assert await one.register(1, 11, 5) == Entry(1, 11, 6, "n2")
        assert await two.register(1, 11, 6) is None
        await one.unregister(1, 11, 6)
        assert await one.lookup([1]) == (Entry(1, 11, 6, "n2"),)
        await two.unregister(1, 11, 6)
        assert await one.lookup([1]) == ()
        assert empty_redis.ask("EXISTS imd:u:1") == ":0"


async def test_two_thousand_shuffled_calls_end_with_the_highest_session(
    empty_redis: Redis,
) -> None:
    chance = random.Random(18)
    async with running("n1", "n2", "n3", url=empty_redis.url) as statuses:
        calls = [(statuses[n % 3], n) for n in range(1, 1001)]
        highest = 1000
        work = [(status.register, n) for status, n in calls]
        work += [(status.unregister, n) for status, n in calls if n != highest]
        chance.shuffle(work)
        await all_of([(call, (1, 11, n)) for call, n in work])
        assert await statuses[0].lookup([1]) == (Entry(1, 11, highest, "n2"),)


async def test_entries_of_a_dead_node_are_gone_at_once_and_removed_when_seen(
    empty_redis: Redis,
) -> None:
    async with running("n1", "n2", url=empty_redis.url) as (one, two):
        await one.register(1, 11, 5)
        await one.register(2, 21, 5)
        await two.register(2, 22, 5)
        assert empty_redis.ask("DEL imd:c:n1") == ":1"
        assert await two.lookup([1, 2]) == (Entry(2, 22, 5, "n2"),)
        assert empty_redis.ask("EXISTS imd:u:1") == ":0"
        assert empty_redis.ask("HLEN imd:u:2") == ":1"


async def test_a_lease_lasts_fifteen_seconds_and_entries_a_day(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        began = reactor.seconds()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(redis, "LEASE_MS", LEASE_MS)
            await status.beat()
        await status.register(1, 11, 5)
        for key, most in (("imd:c:n1", LEASE_MS), ("imd:u:1", KEEP_MS)):
            left = int(empty_redis.ask(f"PTTL {key}")[1:])
            passed = 1000 * (reactor.seconds() - began) + 1
            assert most - passed <= left <= most
        empty_redis.ask("PERSIST imd:c:n1")
        assert await status.beat() is True
        assert int(empty_redis.ask("PTTL imd:c:n1")[1:]) > 0


async def test_a_wiped_redis_is_noticed_by_the_next_beat(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert await status.beat() is True
        assert empty_redis.ask("FLUSHALL") == "+OK"
        assert await status.beat() is False
        assert await status.beat() is True
        await status.register(1, 11, 5)
        assert len(await status.lookup([1])) == 1


async def test_forgotten_scripts_are_sent_again(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert empty_redis.ask("SCRIPT FLUSH") == "+OK"
        await status.register(1, 11, 5)
        assert await status.lookup([1]) == (Entry(1, 11, 5, "n1"),)
        assert await status.beat() is True
        assert status.counts.unavailable == 0


async def test_a_beat_after_a_reconnect_says_so(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert await status.beat() is True
        assert empty_redis.ask("CLIENT KILL TYPE normal SKIPME yes") == ":1"
        await until_new(status)
        assert await status.beat() is False
        assert await status.beat() is True
        assert status.counts.outages == 0


async def test_calls_that_meet_a_broken_connection_wait_for_the_next(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        await status.register(1, 11, 5)
        assert empty_redis.ask("CLIENT KILL TYPE normal SKIPME yes") == ":1"
        while status.up:
            await deferLater(reactor, 0, lambda: None)
        assert await status.lookup([1]) == (Entry(1, 11, 5, "n1"),)


JUNK = ["x", "@n1", "5", "5@", "x@n1", "-5@n1", "9" * 40 + "@n1", "4503599627370496@n1"]


@pytest.mark.parametrize("junk", JUNK)
async def test_fields_that_others_wrote_are_no_entries(empty_redis: Redis, junk: str) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert empty_redis.ask(f'HSET imd:u:1 11 "{junk}"') == ":1"
        await status.register(1, 12, 7)
        assert await status.lookup([1]) == (Entry(1, 12, 7, "n1"),)
        assert empty_redis.ask(f'HSET imd:u:1 11 "{junk}"')[0] == ":"
        assert await status.register(1, 11, 1) is None
        found = sorted(await status.lookup([1]), key=lambda one: one.device)
        assert found == [Entry(1, 11, 1, "n1"), Entry(1, 12, 7, "n1")]


@pytest.mark.parametrize(
    ("device", "value"),
    [(device, "5@n1") for device in ("x", "0", "-1", "1 1", "1\\n1", "9" * 30)]
    + [("11", value) for value in ("5@\\xff", "5@n1\\n1 2 3@n1", "0@n1")],
)
async def test_what_can_be_no_entry_is_not_found(
    empty_redis: Redis, device: str, value: str
) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert empty_redis.ask(f'HSET imd:u:1 "{device}" "{value}"') == ":1"
        assert await status.lookup([1]) == ()


async def test_a_key_of_another_type_spoils_one_user_and_nothing_else(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        assert empty_redis.ask("SET imd:u:1 x") == "+OK"
        await status.register(2, 21, 5)
        for _ in range(5):
            await fails(status.register(1, 11, 5))
            await fails(status.unregister(1, 11, 5))
        assert await status.lookup([1, 2]) == (Entry(2, 21, 5, "n1"),)
        assert (status.counts.errors, status.counts.outages) == (10, 0)
        assert empty_redis.ask("RPUSH imd:l x") == ":1"
        assert empty_redis.ask("RENAME imd:l imd:c:n1") == "+OK"
        assert await status.beat() is False
        assert await status.beat() is True


async def test_small_commands_leave_at_once(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        transport = status._link._connection.transport  # type: ignore[union-attr]
        handle = transport.getHandle()
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_many_users_are_one_round_trip(empty_redis: Redis) -> None:
    async with running("n1", url=empty_redis.url) as (status,):
        users = range(1, 2001)
        await all_of([(status.register, (user, 11, user)) for user in users])
        before = _commands(empty_redis)
        found = await status.lookup(users)
        assert [one.user for one in found] == list(users)
        # Ours, and the one that asks.
        assert _commands(empty_redis) - before == 2


def _commands(redis: Redis) -> int:
    """How many commands have come in over the network."""
    with socket.create_connection(("127.0.0.1", redis.port), PATIENCE) as link:
        link.sendall(b"INFO commandstats\r\n")
        reply = link.makefile("rb")
        text = reply.read(int(reply.readline()[1:])).decode()
    inside = ("hget", "hset", "hdel", "exists", "get", "set", "pexpire")
    calls = (line.split(":calls=") for line in text.splitlines() if ":calls=" in line)
    counted = ((name.removeprefix("cmdstat_"), rest) for name, rest in calls)
    return sum(
        int(rest.split(",")[0]) for name, rest in counted if name not in (*inside, "hgetall")
    )


@pytest.mark.parametrize("reply", [None, b"1", [1], [1, 2], [1, None], [1, 0, 1], [b"1", b"0"]])
def test_an_answer_about_leases_that_is_none_is_not_believed(reply: object) -> None:
    assert flags(["n1", "n2"], [1, 0]) == [True, False]
    with pytest.raises(Unavailable):
        flags(["n1", "n2"], reply)
