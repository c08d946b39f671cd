"""A master named by sentinels, which is another one after a failover."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from imd.errors import Unavailable
from imd.interfaces.nodes import Entry
from imd.status import redis_dial
from imd.status.redis import RedisUserStatus
from tests.redis_places import (
    Middle,
    Sentinel,
    TunedRedis,
    fails,
    logged,
    patiently,
    running,
    until_up,
)

reactor: Any = _reactor


class Cluster:
    """A master, its replica, and three sentinels."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self.master: TunedRedis = self._start(stack, TunedRedis())
            source = ("--replicaof", "127.0.0.1", str(self.master.port))
            self.replica: TunedRedis = self._start(stack, TunedRedis(*source))
            self.sentinels: list[Sentinel] = [
                self._start(stack, Sentinel(self.master)) for _ in range(3)
            ]
            self._stack = stack.pop_all()

    @staticmethod
    def _start(stack: contextlib.ExitStack, server: Any) -> Any:
        stack.callback(server.close)
        server.start()
        return server

    @property
    def url(self) -> str:
        """All sentinels."""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/chat"

    async def until_agreed(self) -> None:
        """Wait until all know each other, and until the replica has what the master has."""
        for sentinel in self.sentinels:
            state = sentinel.state()
            while (state.get("num-other-sentinels"), state.get("num-slaves")) != ("2", "1"):
                await deferLater(reactor, 0.1, lambda: None)
                state = sentinel.state()
        assert self.master.ask("SET synced yes") == "+OK"
        while self.replica.ask("EXISTS synced") != ":1":
            await deferLater(reactor, 0.1, lambda: None)

    def close(self) -> None:
        """End all."""
        self._stack.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A running one."""
    servers = Cluster()
    yield servers
    servers.close()


async def until_registered(status: RedisUserStatus, master: TunedRedis) -> None:
    """Do what an application does, until the entry is on this master, and is found."""
    while True:
        with contextlib.suppress(Unavailable):
            if not await status.beat():
                await status.register(1, 11, 5)
            found = await status.lookup([1])
            if master.ask("INCR tries")[0] == ":" and master.ask("EXISTS imd:u:1") == ":1":
                assert found == (Entry(1, 11, 5, "n1"),)
                return
        await deferLater(reactor, 0.1, lambda: None)


@pytest.mark.parametrize("hurt", ["kill", "pause"])
async def test_after_a_failover_the_new_master_is_used(cluster: Cluster, hurt: str) -> None:
    await cluster.until_agreed()
    async with running("n1", url=cluster.url) as (status,):
        await patiently(status.register(1, 11, 5))
        assert cluster.master.ask("HEXISTS imd:u:1 11") == ":1"
        getattr(cluster.master, hurt)()
        await fails(status.lookup([1]))
        assert cluster.replica.ask("FLUSHALL").startswith("-READONLY")
        await until_registered(status, cluster.replica)
        assert cluster.replica.ask("ROLE") == "*3"
        if hurt == "kill":
            cluster.master.start()
        else:
            cluster.master.resume()
        # The former master comes back as if it still were one, and nobody is misled.
        for _ in range(20):
            await patiently(status.beat())
            assert await patiently(status.lookup([1])) == (Entry(1, 11, 5, "n1"),)
            await deferLater(reactor, 0.1, lambda: None)


async def test_a_change_of_masters_in_good_order_is_followed(cluster: Cluster) -> None:
    await cluster.until_agreed()
    async with running("n1", url=cluster.url) as (status,):
        await patiently(status.register(1, 11, 5))
        assert cluster.master.ask("HEXISTS imd:u:1 11") == ":1"
        while cluster.sentinels[0].ask("SENTINEL FAILOVER chat") != "+OK":
            await deferLater(reactor, 0.1, lambda: None)
        while status.counts.connects == 1:
            await deferLater(reactor, 0.1, lambda: None)
        await until_registered(status, cluster.replica)


async def test_dead_silent_and_mistaken_sentinels_are_passed_over(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough for those that are not silent.
    monkeypatch.setattr(redis_dial, "SENTINEL_SECONDS", 5.0)
    await cluster.until_agreed()
    dead, silent, good = cluster.sentinels
    dead.kill()
    silent.pause()
    mistaken = Middle(good)
    await mistaken.start()
    port = str(cluster.replica.port)
    mistaken.instead = f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n".encode()
    ports = (dead.port, silent.port, mistaken.port, good.port)
    places = ",".join(f"127.0.0.1:{port}" for port in ports)
    status = RedisUserStatus(f"redis+sentinel://{places}/chat", "n1", reactor)
    with logged() as told:
        status.start()
        await until_up(status)
    # The mistaken one was asked before the good one, but not for ever.
    assert "it is not a master" in told[0]
    await until_registered(status, cluster.master)
    await status.stop()
    await mistaken.stop()
    silent.resume()


async def test_a_name_that_no_sentinel_knows_is_told(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_dial, "SENTINEL_SECONDS", 60.0)
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 60.0)
    status = RedisUserStatus(cluster.url.replace("/chat", "/chit"), "n1", reactor)
    with logged() as told:
        status.start()
        while not told:
            await deferLater(reactor, 0.01, lambda: None)
        await status.stop()
    assert "knows no master chit" in told[0]
