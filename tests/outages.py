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
from twisted.internet.task import LoopingCall, deferLater, react  # noqa: E402
from twisted.internet.threads import deferToThread  # noqa: E402

from imd.bench.histogram import Histogram  # noqa: E402
from imd.client import Client  # noqa: E402
from imd.client.effects import ReceiptChanged  # noqa: E402
from imd.client.values import Message, Sent  # noqa: E402
from imd.storage.postgres_schema import migrate  # noqa: E402
from tests.cluster import Cluster, befriend, online  # noqa: E402
from tests.process import Server, reactor  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402

#: Seconds that an outage lasts in the tests.
SECONDS = 6.0
#: Seconds of calm before, and after it is over.
CALM = 1.0
#: Seconds between two messages of one user.
EVERY = 0.1
#: Seconds in which everything has to be as before.
PATIENCE = 40.0


class Times(Struct):
    """One message: when it was said, sent, received and delivered; ``seq`` as acknowledged."""

    said: float
    sent: float = 0.0
    received: float = 0.0
    delivered: float = 0.0
    seq: int = 0


class Talk:
    """One user who writes to another."""

    def __init__(self, sender: Client, receiver: Client, conversation: int) -> None:
        self.messages: list[Times] = []
        #: Text and seq of what the receiver was shown, in that order.
        self.shown: list[tuple[str, int]] = []
        self._sender = sender
        self._receiver = receiver
        self._conversation = conversation
        self._covered = self._delivered = 0
        self._saying = LoopingCall(self._say)
        sender.on_receipt(self._receipt)
        receiver.on_message(self._show)

    def start(self) -> None:
        """Write from now on."""
        self._saying.start(EVERY)

    def stop(self) -> None:
        """Write no more."""
        self._saying.stop()

    @property
    def is_settled(self) -> bool:
        """Whether the sender knows of every message that it was delivered."""
        return self._delivered == len(self.messages)

    def check(self) -> None:
        """Nothing was lost, doubled or out of order, and both sides agree on the numbers."""
        assert [text for text, _ in self.shown] == [str(n) for n in range(len(self.messages))]
        assert [seq for _, seq in self.shown] == [times.seq for times in self.messages]

    def _say(self) -> None:
        times = Times(reactor.seconds())
        self.messages.append(times)
        sending = self._sender.send(self._conversation, str(len(self.messages) - 1))
        sending.addCallback(self._sent, times)

    def _sent(self, sent: Sent, times: Times) -> None:
        times.sent, times.seq = reactor.seconds(), sent.seq
        self._cover()

    def _show(self, message: Message) -> None:
        self.shown.append((message.text, message.seq))
        times = self.messages[int(message.text)]
        times.received = times.received or reactor.seconds()

    def _receipt(self, change: ReceiptChanged) -> None:
        if change.user == self._receiver.me:
            self._covered = max(self._covered, change.delivered)
            self._cover()

    def _cover(self) -> None:
        while not self.is_settled and 0 < self.messages[self._delivered].seq <= self._covered:
            self.messages[self._delivered].delivered = reactor.seconds()
            self._delivered += 1


class Outage(Struct):
    """Something that goes away and comes back."""

    name: str
    begin: Callable[[], Awaitable[object]]
    end: Callable[[], Awaitable[object]]
    #: Lines in the log of every connector that has noticed both.
    lines: int


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

    def frozen(name: str, server: Server) -> Outage:
        return Outage(name, freeze(server, signal.SIGSTOP), freeze(server, signal.SIGCONT), 0)

    made = (
        Outage("PostgreSQL", lambda: _aside(postgres.kill), lambda: _aside(postgres.start), 2),
        Outage("Redis", lambda: _aside(redis.kill), lambda: _aside(redis.start), 2),
        Outage("transfers", transfers_die, transfers_start, 2 * len(cluster.transfers)),
        frozen("one transfer", cluster.transfers[0]),
        frozen("one connector", cluster.connectors[1]),
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
        """All lines so far, but for those of sessions that ended."""
        lines = self._server.output[self._mark :].splitlines()
        return [line for line in lines if "] session " not in line]


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
    ready = [await readyz(server) for server in cluster.connectors]
    await sleep(max(0.0, began + seconds - reactor.seconds()))
    await outage.end()
    ended = reactor.seconds()
    await _settle(talks)
    await until(lambda: all(len(log.lines) >= outage.lines for log in logs))
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
    """Go on for a while, and until everything has arrived."""
    end = reactor.seconds() + CALM
    await until(lambda: reactor.seconds() >= end and all(map(_is_flowing, talks)))
    for talk in talks:
        talk.stop()
    await until(lambda: all(talk.is_settled for talk in talks))


def _is_flowing(talk: Talk) -> bool:
    """Whether what was said a second ago has been delivered."""
    old = [times for times in talk.messages if times.said < reactor.seconds() - 1]
    return all(times.delivered for times in old)


def sleep(seconds: float) -> Deferred[None]:
    """Wait, for an outage to last."""
    return deferLater(reactor, seconds, lambda: None)


async def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    end = reactor.seconds() + patience
    while not true():
        assert reactor.seconds() < end, "this never became true"
        await sleep(0.02)


async def readyz(server: Server) -> str:
    """What ``/readyz`` says: status and reason."""

    def ask() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=1) as a:
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
