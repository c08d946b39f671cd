"""What clients see while a part of a cluster is away: ``python -m tests.outages --seconds 20``.

Two pairs of users write to each other across two connectors, all the time.  Meanwhile
PostgreSQL, Redis or all transfers go away and come back, or a transfer or a connector hangs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
import psycopg2  # noqa: E402
from twisted.internet.defer import Deferred, maybeDeferred  # noqa: E402
from twisted.internet.task import deferLater, react  # noqa: E402
from twisted.internet.threads import deferToThread  # noqa: E402

from imd.bench.histogram import Histogram  # noqa: E402
from imd.client import Client  # noqa: E402
from imd.storage.postgres_schema import migrate  # noqa: E402
from tests.cluster import Cluster, befriend, online  # noqa: E402
from tests.process import Server, reactor  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402
from tests.talk import Talk, Times  # noqa: E402

#: Seconds that an outage lasts in the tests.
SECONDS = 6.0
#: Seconds of calm before, and after it is over.
CALM = 1.0
#: Seconds in which everything has to be as before.
PATIENCE = 120.0


def is_received(talks: Sequence[Talk], before: float) -> bool:
    """Whether all that was said before a time was received."""
    return all(t.received for talk in talks for t in talk.messages if t.said < before)


def is_sent_by_the_first(talks: Sequence[Talk], before: float) -> bool:
    """Whether all that was said before a time at the first connector was acknowledged."""
    return all(t.sent for talk in talks[0::2] for t in talk.messages if t.said < before)


class Outage(Struct):
    """Something that goes away and comes back."""

    name: str
    begin: Callable[[], Awaitable[object]]
    end: Callable[[], Awaitable[object]]
    #: Lines in the log of every connector that has noticed both, and what they begin with.
    lines: int
    about: tuple[str, ...] = ()
    #: What goes on while it lasts: of the first half this is so before it ends.
    goes_on: Callable[[Sequence[Talk], float], bool] = lambda talks, before: True


def outages(cluster: Cluster, postgres: Postgres, redis: Redis) -> dict[str, Outage]:
    """Those that a cluster has to live through, by name."""

    async def transfers_die() -> None:
        for transfer in cluster.transfers:
            await transfer.kill()

    async def transfers_start() -> None:
        for transfer in cluster.transfers:
            await transfer.start()

    def freeze(server: Server, number: int) -> Callable[[], Awaitable[object]]:
        return lambda: maybeDeferred(os.kill, server.pid, number)

    def frozen(name: str, server: Server, goes_on: Callable[..., bool]) -> Outage:
        stop, cont = freeze(server, signal.SIGSTOP), freeze(server, signal.SIGCONT)
        return Outage(name, stop, cont, 0, goes_on=goes_on)

    def gone(name: str, server: Postgres | Redis, goes_on: Callable[..., bool]) -> Outage:
        kill, start = lambda: _aside(server.kill), lambda: _aside(server.start)
        return Outage(name, kill, start, 2, (f"{name} ",), goes_on)

    links, about = 2 * len(cluster.transfers), ("a transfer ", "attached to a transfer; ")
    made = (
        gone("PostgreSQL", postgres, lambda talks, before: True),
        gone("Redis", redis, is_received),
        Outage("transfers", transfers_die, transfers_start, links, about, is_received),
        frozen("one transfer", cluster.transfers[0], is_received),
        frozen("one connector", cluster.connectors[1], is_sent_by_the_first),
    )
    return {outage.name: outage for outage in made}


def _aside(blocking: Callable[[], object]) -> Deferred[object]:
    """Do it in a thread, so that the clients here notice nothing of it."""
    return deferToThread(blocking)


class Report(Struct):
    """What clients saw of an outage, and what the connectors said of it."""

    name: str
    seconds: float
    began: float
    ended: float
    talks: Sequence[Talk]
    #: How often sessions were closed, by code; None stands for a connection that broke.
    closes: Counter[int | None]
    #: The answers of ``/readyz`` in the middle of it and afterwards.
    ready: Sequence[str]
    ready_again: Sequence[str]
    #: What each connector has logged since it began.
    logs: Sequence[Sequence[str]]

    @property
    def recovery(self) -> float:
        """Seconds from its end until all that was said before had been delivered."""
        before = [t.delivered for t in self._messages() if t.said < self.ended]
        return max(0.0, max(before) - self.ended)

    def _messages(self) -> list[Times]:
        return [times for talk in self.talks for times in talk.messages]

    def phases(self) -> dict[str, list[Times]]:
        """The messages: delivered before it began, said after it had ended, or neither."""
        found: dict[str, list[Times]] = {"before": [], "during": [], "after": []}
        for times in self._messages():
            late = "after" if times.said >= self.ended else "during"
            found["before" if times.delivered < self.began else late].append(times)
        return found

    def delays(self, phase: str, what: str) -> Histogram:
        """Seconds from saying to ``sent``, ``received`` or ``delivered``."""
        histogram = Histogram()
        for times in self.phases()[phase]:
            histogram.add(getattr(times, what) - times.said)
        return histogram


class Log:
    """What a server prints from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._mark = len(server.output)

    @property
    def lines(self) -> list[str]:
        """What all lines say so far, without time and place; but for sessions that ended."""
        lines = self._server.output[self._mark :].splitlines()
        said = [line.partition("] ")[2] or line for line in lines]
        return [line for line in said if not line.startswith("session ")]

    def about(self, *beginnings: str) -> list[str]:
        """Those that begin so."""
        return [line for line in self.lines if line.startswith(beginnings)]


async def live_through(cluster: Cluster, outage: Outage, seconds: float) -> Report:
    """Chat, have an outage, chat on until all is delivered; raises if that never comes."""
    talks, clients, closes = await _talks(cluster)
    for talk in talks:
        talk.start()
    await sleep(CALM)
    logs = [Log(server) for server in cluster.connectors]
    began = reactor.seconds()
    await outage.begin()
    await sleep(seconds / 2)
    middle = reactor.seconds()
    ready = [await readyz(server, seconds / 2) for server in cluster.connectors]
    await sleep(max(0.0, began + seconds - reactor.seconds()))
    await until(lambda: outage.goes_on(talks, middle))
    await outage.end()
    ended = reactor.seconds()
    await _settle(talks)
    await until(lambda: all(len(log.about(*outage.about)) >= outage.lines for log in logs))
    again = [await readyz(server) for server in cluster.connectors]
    for client in clients:
        await client.stop()
    lines = [log.lines for log in logs]
    return Report(outage.name, seconds, began, ended, talks, closes, ready, again, lines)


async def _talks(cluster: Cluster) -> tuple[list[Talk], list[Client], Counter[int | None]]:
    talks: list[Talk] = []
    clients: list[Client] = []
    closes: Counter[int | None] = Counter()
    run = f"{reactor.seconds():.3f}"
    for pair in "ab":
        two = [await online(s, f"{pair}{n}-{run}") for n, s in enumerate(cluster.connectors)]
        talks += await _both_ways(*two)
        clients += two
    for client in clients:
        _count_closes(client, closes)
    return talks, clients, closes


async def _both_ways(one: Client, other: Client) -> list[Talk]:
    conversation = await befriend(one, other)
    await until(lambda: all(conversation in client.conversations for client in (one, other)))
    return [Talk(one, other, conversation), Talk(other, one, conversation)]


def _count_closes(client: Client, closes: Counter[int | None]) -> None:
    link = client._link
    closed = link.closed

    def counted(code: int | None, reason: str) -> None:
        # An attempt that fails ends no session.
        if client.state == "ready":
            closes[code] += 1
        closed(code, reason)

    link.closed = counted  # type: ignore[method-assign]


async def _settle(talks: Sequence[Talk]) -> None:
    """Go on for a while, until something new has been delivered, and then until everything has."""
    await sleep(CALM)
    said = [len(talk.messages) for talk in talks]
    both = list(zip(talks, said, strict=True))
    await until(lambda: all(talk.delivered >= count for talk, count in both))
    for talk in talks:
        talk.stop()
    await until(lambda: all(talk.is_settled for talk in talks))


def sleep(seconds: float) -> Deferred[None]:
    """Wait, for an outage to last."""
    return deferLater(reactor, seconds, lambda: None)


async def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    end = reactor.seconds() + patience
    while not true():
        assert reactor.seconds() < end, "this never became true"
        await sleep(0.02)


async def readyz(server: Server, seconds: float = PATIENCE) -> str:
    """What ``/readyz`` says, within so many seconds: status and reason."""
    url = f"http://127.0.0.1:{server.port}/readyz"

    def ask() -> str:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as a:
                return f"{a.status} {a.read().decode().strip()}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode().strip()}"
        except OSError:
            return "no answer"

    return str(await deferToThread(ask))


class Live:
    """A cluster with a PostgreSQL and a Redis of its own, all of which may be killed."""

    def __init__(self, limits: str = "") -> None:
        self._postgres, self._redis = Postgres(), Redis()
        self._postgres.start()
        self._redis.start()
        connection = psycopg2.connect(self._postgres.url())
        migrate(connection, lambda line: None)
        connection.close()
        self._cluster = Cluster(self._postgres.url(), self._redis, limits=limits)
        #: The outages that can be had.
        self.outages = outages(self._cluster, self._postgres, self._redis)

    async def start(self) -> None:
        """Start everything."""
        await self._cluster.start()

    async def close(self) -> None:
        """End everything."""
        await self._cluster.close()
        self._redis.close()
        self._postgres.close()

    async def through(self, name: str, seconds: float = SECONDS) -> Report:
        """Have an outage; whatever it is, nothing is lost, doubled or out of order."""
        report = await live_through(self._cluster, self.outages[name], seconds)
        for talk in report.talks:
            talk.check()
        return report


# -- the command


def show(report: Report) -> None:
    """Print a report."""
    print(f"{report.name} away for {report.seconds:g} s")
    print(f"{'ms':8}{'sent':>21}{'received':>24}{'delivered':>24}")
    print(" " * 8 + "     p50    p99    max   " * 3)
    for phase in ("before", "during", "after"):
        cells = [_cells(report.delays(phase, w)) for w in ("sent", "received", "delivered")]
        print(f"{phase:8}" + "   ".join(cells))
    closes = ", ".join(f"{n} × {code or 'broken'}" for code, n in report.closes.items())
    print(f"closes: {closes or 'none'}; all delivered {report.recovery:.1f} s after its end")
    print(f"readyz: {' | '.join(report.ready)}\n")


def _cells(histogram: Histogram) -> str:
    values = histogram.percentile(50), histogram.percentile(99), histogram.greatest
    return "".join(f"{value * 1e3:7.0f}" for value in values)


async def _main(seconds: float, names: Sequence[str]) -> None:
    live = Live()
    try:
        await live.start()
        for name in names or live.outages:
            report = await live.through(name, seconds)
            show(report)
    finally:
        await live.close()


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each lasts")
    parser.add_argument("names", nargs="*", help="the outages to have; all if none is named")
    given = parser.parse_args(argv)
    react(lambda _: Deferred.fromCoroutine(_main(given.seconds, given.names)))


if __name__ == "__main__":
    main(sys.argv[1:])
