"""All clients of a connector come back at once: ``python -m tests.storm --clients 5000``.

A cluster of two connectors and a transfer over a PostgreSQL and a Redis of its own; with
``--connectors 1`` a cluster of one.  All clients are connected to the first connector, which is
killed or drained, and started again at once.  They may return to any connector.  Meanwhile users
of the last connector write to each other.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
import psycopg2  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.protocol import ProcessProtocol  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from imd.bench.histogram import Histogram  # noqa: E402
from imd.client import Client  # noqa: E402
from imd.storage.postgres_schema import migrate  # noqa: E402
from tests.cluster import Cluster, befriend, online  # noqa: E402
from tests.outages import sleep, until  # noqa: E402
from tests.process import environment, reactor  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402
from tests.swarm import Figures  # noqa: E402
from tests.talk import Talk  # noqa: E402

#: Clients, and processes that they live in.
CLIENTS, PROCESSES = 5000, 2
#: Pairs of users who write ten messages a second each.
PAIRS = 2
#: Seconds in which all have to be back, and in which 99 of 100 messages have to be sent.
BACK, SENT = 60.0, 1.0
#: Seconds for the first connections of all, and of calm before the storm.
PATIENCE, CALM = 600.0, 3.0

_PEOPLE = """
INSERT INTO account (id, name, password, created)
SELECT n, 'storm' || n, 'none', 0 FROM generate_series(1, {0}) AS n"""
_DEVICES = """
INSERT INTO device (id, account, label, token_hash, created, seen)
SELECT n, n, 'storm', sha256(convert_to('storm-token-' || lpad(n::text, 32, '0'), 'UTF8')), 0, 0
FROM generate_series(1, {0}) AS n"""


class Swarm(ProcessProtocol):
    """Some of the clients, in a process of their own."""

    def __init__(self, first: int, count: int, urls: Sequence[str]) -> None:
        self.figures = Figures()
        self._rest = b""
        words = [sys.executable, "-m", "tests.swarm", str(first), str(count), *urls]
        death = ["setpriv", "--pdeathsig", "KILL"]
        self._process: Any = reactor.spawnProcess(
            self, "/usr/bin/setpriv", [*death, *words], env=environment()
        )

    def outReceived(self, data: bytes) -> None:
        """Figures, one line each time."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self.figures = msgspec.json.decode(lines[-1], type=Figures)

    def errReceived(self, data: bytes) -> None:
        """What should not be."""
        sys.stderr.write(data.decode(errors="replace"))

    def close(self) -> None:
        """End it."""
        self._process.signalProcess("KILL")


class Result(Struct):
    """What a storm was like."""

    how: str
    clients: int
    #: Seconds from the end of the connector until half, nearly all, and all were back.
    half: float
    most: float
    all: float
    #: Attempts that failed meanwhile.
    failed: int
    before: Histogram
    during: Histogram

    def check(self) -> None:
        """Everything that has to hold."""
        assert self.all <= BACK
        assert self.during.percentile(99) <= SENT


class Storm:
    """A cluster, its clients, and the pairs who write."""

    def __init__(self, cluster: Cluster, clients: int) -> None:
        self._cluster = cluster
        self._clients = clients
        urls = [server.url for server in cluster.connectors]
        share = -(-clients // PROCESSES)
        starts = range(0, clients, share)
        self.swarms = [Swarm(1 + n, min(share, clients - n), urls) for n in starts]
        self._people: list[Client] = []
        self._talks: list[Talk] = []

    @property
    def _online(self) -> int:
        return sum(swarm.figures.online for swarm in self.swarms)

    @property
    def _lost(self) -> int:
        return sum(swarm.figures.lost for swarm in self.swarms)

    async def gather(self) -> None:
        """Everybody is connected, and the pairs write."""
        await until(lambda: self._online == self._clients, PATIENCE)
        last = self._cluster.connectors[-1]
        for pair in range(PAIRS):
            one, other = [await online(last, f"pair{pair}{side}") for side in "ab"]
            conversation = await befriend(one, other)
            await until(lambda: all(conversation in c.conversations for c in (one, other)))  # noqa: B023
            self._people += [one, other]
            self._talks += [Talk(one, other, conversation), Talk(other, one, conversation)]
        for talk in self._talks:
            talk.start()
        await sleep(CALM)

    async def rage(self, how: str) -> Result:
        """End the first connector, start it again, and wait until all are back."""
        failed = sum(swarm.figures.failed for swarm in self.swarms)
        began, number = reactor.seconds(), signal.SIGKILL if how == "kill" else signal.SIGTERM
        lost = self._lost
        server = self._cluster.connectors[0]
        ended = Deferred.fromCoroutine(server.kill(number))
        if how == "kill":
            await ended
        else:
            await until(lambda: self._lost > lost)
            began = reactor.seconds()
            await ended
        starting = Deferred.fromCoroutine(server.start())
        times: list[float] = []
        for part in (0.5, 0.99, 1.0):
            await until(lambda: self._is_back(lost, part), PATIENCE)  # noqa: B023
            times.append(reactor.seconds() - began)
        await starting
        failed = sum(swarm.figures.failed for swarm in self.swarms) - failed
        before, during = await self._messages(began)
        half, most, every = times
        return Result(how, self._clients, half, most, every, failed, before, during)

    def _is_back(self, lost: int, part: float) -> bool:
        gone = self._lost - lost >= self._clients
        return gone and self._online >= part * self._clients

    async def _messages(self, began: float) -> tuple[Histogram, Histogram]:
        """How long it took until they were sent: before, and meanwhile."""
        before, during = Histogram(), Histogram()
        for talk in self._talks:
            talk.stop()
        await until(lambda: all(talk.is_settled for talk in self._talks), PATIENCE)
        for talk in self._talks:
            talk.check()
            for times in talk.messages:
                (during if times.said >= began else before).add(times.sent - times.said)
        return before, during

    async def end(self) -> None:
        """End everybody."""
        for client in self._people:
            await client.stop()
        for swarm in self.swarms:
            swarm.close()


async def measured(how: str, clients: int, connectors: int, limits: str = "") -> Result:
    """A storm in a cluster of its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    postgres, redis = Postgres(), Redis()
    postgres.start()
    redis.start()
    connection = psycopg2.connect(postgres.url())
    migrate(connection, lambda line: None)
    connection.close()
    for statement in (_PEOPLE, _DEVICES):
        postgres.run(statement.format(clients))
    cluster = Cluster(postgres.url(), redis, connectors=connectors, transfers=1, limits=limits)
    try:
        await cluster.start()
        storm = Storm(cluster, clients)
        try:
            await storm.gather()
            return await storm.rage(how)
        finally:
            await storm.end()
    finally:
        await cluster.close()
        redis.close()
        postgres.close()


def show(result: Result) -> None:
    """Print what came of it."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{result.how}: {result.clients} clients; load {load}")
    print(f"back: half {result.half:.1f} s, 99 % {result.most:.1f} s, all {result.all:.1f} s")
    print(f"{result.failed} attempts failed")
    for name, times in (("before", result.before), ("meanwhile", result.during)):
        found = times.summary()
        shown = "  ".join(f"{each} {found[each]:.0f}" for each in ("p50", "p99", "max"))
        print(f"sent {name}: {shown} ms ({times.count} messages)")


async def _main(how: Sequence[str], clients: int, connectors: int) -> None:
    for each in how:
        result = await measured(each, clients, connectors)
        show(result)
        result.check()


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many")
    parser.add_argument("--connectors", type=int, default=2, help="connectors of the cluster")
    parser.add_argument("how", nargs="*", default=["kill", "drain"], help="kill, drain or both")
    given = parser.parse_args(argv)
    react(lambda _: Deferred.fromCoroutine(_main(given.how, given.clients, given.connectors)))


if __name__ == "__main__":
    main(sys.argv[1:])
