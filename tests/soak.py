"""A cluster works for an hour while clients come and go, and nothing in it grows:
``python -m tests.soak --minutes 60 --rate 200``.

Two connectors and a transfer over a PostgreSQL and a Redis of their own.  Every minute (or more
often in a shorter run) each process is looked at from outside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct, field

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
import urllib.request  # noqa: E402

import psycopg2  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402
from twisted.internet.threads import deferToThread  # noqa: E402

from imd.storage.postgres_schema import migrate  # noqa: E402
from tests.cluster import Cluster  # noqa: E402
from tests.outages import sleep  # noqa: E402
from tests.process import PATIENCE, reactor  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402
from tests.town import Ledger, Town  # noqa: E402

#: Minutes and messages a second, in the command.
MINUTES, RATE = 60.0, 200.0
#: Seconds between two looks, at most; and how many there are, at least.
EVERY, LOOKS = 60.0, 20
#: What each thing may grow by in an hour, and still count as flat.
BOUNDS = {
    "MiB": 6.0,
    "files": 20.0,
    "timers": 60.0,
    "keys": 20.0,
    "database connections": 2.0,
}
#: Minutes below which a slope is the noise of its looks, and is not judged.
LEAST = 20.0

_PAGE = os.sysconf("SC_PAGE_SIZE")
_BACKENDS = """SELECT application_name, count(*)::int FROM pg_stat_activity
WHERE application_name LIKE 'imd:%' GROUP BY 1"""

_COUNT = "SELECT count(*)::int, count(DISTINCT id)::int FROM message WHERE conversation IN ({})"


class Series(Struct):
    """One thing that was looked at again and again."""

    name: str
    unit: str
    minutes: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, minute: float, value: float) -> None:
        """Another look."""
        self.minutes.append(minute)
        self.values.append(value)

    @property
    def slope(self) -> float:
        """Growth an hour over the second half: the median of the slopes between any two looks,
        so that a few odd ones decide nothing.
        """
        half = len(self.values) // 2
        late = list(zip(self.minutes[half:], self.values[half:], strict=True))
        slopes = [(w - v) / (u - t) for n, (t, v) in enumerate(late) for u, w in late[n + 1 :]]
        return 60 * statistics.median(slopes) if slopes else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether it grows by no more than its bound."""
        return self.slope <= BOUNDS[self.unit]

    def __str__(self) -> str:
        shown = " ".join(f"{value:g}" for value in self._some())
        return f"{self.name:34} {self.slope:+8.2f} an hour (at most {BOUNDS[self.unit]:g}): {shown}"

    def _some(self) -> Iterable[float]:
        """About ten of the values, the first and the last among them."""
        step = max(1, (len(self.values) - 1) // 9)
        return [round(value, 1) for value in (*self.values[:-1:step], *self.values[-1:])]


class Result(Struct):
    """What a run has shown."""

    minutes: float
    ledger: Ledger
    series: list[Series]
    #: Rows of the log, and how many of them differ in their id.
    rows: int
    ids: int

    @property
    def growing(self) -> list[str]:
        """What is not flat, if the run was long enough to tell."""
        return [s.name for s in self.series if not s.is_flat] if self.minutes >= LEAST else []

    def check(self) -> None:
        """Everything that has to hold."""
        ledger = self.ledger
        assert ledger.faults == []
        assert (ledger.lost, ledger.doubled) == (0, 0)
        assert self.rows == self.ids == ledger.said
        assert self.growing == []


class Looks:
    """Looks at all processes, and what they said so far."""

    def __init__(self, cluster: Cluster, postgres: Postgres, redis: Redis) -> None:
        self._cluster, self._postgres, self._redis = cluster, postgres, redis
        self._found: dict[str, Series] = {}

    @property
    def series(self) -> list[Series]:
        """All that was found, by name."""
        return [self._found[name] for name in sorted(self._found)]

    def look(self, minute: float) -> None:
        """Look at everything; blocks, and so is to be called in a thread."""
        cluster = self._cluster
        for n, transfer in enumerate(cluster.transfers):
            self._process(minute, f"transfer {n}", transfer.pid, transfer.figures)
        for n, connector in enumerate(cluster.connectors):
            self._process(minute, f"connector {n}", connector.pid, connector.port)
        self._note(minute, "Redis", "keys", int(self._redis.ask("DBSIZE").removeprefix(":")))
        for name, count in self._postgres.run(_BACKENDS):
            self._note(minute, str(name), "database connections", float(str(count)))

    def _process(self, minute: float, name: str, pid: int, port: int) -> None:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        self._note(minute, name, "MiB", pages * _PAGE / 2**20)
        self._note(minute, name, "files", len(os.listdir(f"/proc/{pid}/fd")))
        self._note(minute, name, "timers", figure(port, "imd_timers"))

    def _note(self, minute: float, name: str, unit: str, value: float) -> None:
        series = self._found.setdefault(f"{name}: {unit}", Series(f"{name}: {unit}", unit))
        series.add(minute, value)


def figure(port: int, name: str) -> float:
    """One value of ``/metrics``; blocks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        page = answer.read().decode()
    for family in text_string_to_metric_families(page):
        if family.name == name:
            return float(family.samples[0].value)
    raise LookupError(name)


async def measured(minutes: float, rate: float, users: int) -> Result:
    """A cluster of its own that works for so long."""
    postgres, redis = Postgres(), Redis()
    postgres.start()
    redis.start()
    connection = psycopg2.connect(postgres.url())
    migrate(connection, lambda line: None)
    connection.close()
    files = postgres.directory / "files"
    files.mkdir()
    cluster = Cluster(postgres.url(), redis, transfers=1, config=f'files = "{files}"\n')
    try:
        await cluster.start()
        return await _work(cluster, Looks(cluster, postgres, redis), postgres, minutes, rate, users)
    finally:
        await cluster.close()
        redis.close()
        postgres.close()


async def _work(
    cluster: Cluster, looks: Looks, postgres: Postgres, minutes: float, rate: float, users: int
) -> Result:
    town = Town(cluster, users, rate)
    await town.settle()
    town.start()
    began, every = reactor.seconds(), min(EVERY, 60 * minutes / LOOKS)
    while (past := reactor.seconds() - began) < 60 * minutes:
        await deferToThread(looks.look, past / 60)
        print(f"minute {past / 60:5.1f}: {town.ledger}", flush=True)
        await sleep(every - (reactor.seconds() - began) % every)
    await town.stop()
    places = ", ".join(map(str, town.conversations))
    (counted,) = postgres.run(_COUNT.format(places))
    rows, ids = (int(str(each)) for each in counted)
    return Result(minutes, town.ledger, looks.series, rows, ids)


def show(result: Result) -> None:
    """Print what came of it."""
    print(f"{result.minutes:g} minutes: {result.ledger}")
    print(f"{result.rows} messages in PostgreSQL, {result.ids} different")
    for series in result.series:
        print(series)
    for fault in result.ledger.faults:
        print(f"fault: {fault}")
    if result.minutes < LEAST:
        print(f"not judged: a slope needs {LEAST:g} minutes")
    else:
        print(f"growing: {', '.join(result.growing)}" if result.growing else "flat")


async def _main(minutes: float, rate: float, users: int) -> None:
    result = await measured(minutes, rate, users)
    show(result)
    result.check()


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long")
    parser.add_argument("--rate", type=float, default=RATE, help="messages a second")
    parser.add_argument("--users", type=int, default=40, help="users who write to each other")
    given = parser.parse_args(argv)
    react(lambda _: Deferred.fromCoroutine(_main(given.minutes, given.rate, given.users)))


if __name__ == "__main__":
    main(sys.argv[1:])
