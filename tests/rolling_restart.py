"""All processes of a cluster are restarted one after the other, and nobody loses anything:
``python -m tests.rolling_restart --rounds 20``.

Pairs of users write to each other through a balancer of their own choice of connector, all the
time, while every transfer and every connector is ended by SIGTERM and started again.  With
``--old`` every other process runs an older version, another half of them in each round.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
import psycopg2  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.endpoints import clientFromString  # noqa: E402
from twisted.internet.interfaces import IProtocolFactory  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from imd.client import Client  # noqa: E402
from imd.connector.returns import RATE  # noqa: E402
from imd.storage.postgres_schema import migrate  # noqa: E402
from tests.cluster import Cluster, befriend  # noqa: E402
from tests.outages import sleep, until  # noqa: E402
from tests.process import ROOT, Server, reactor  # noqa: E402
from tests.servers import Postgres, Redis  # noqa: E402
from tests.talk import Talk  # noqa: E402

#: Restarts of every process, in the command.
ROUNDS = 20
#: Pairs of users, each of whom writes ten messages a second: 200 a second.
PAIRS = 10
#: Seconds in which a client has to be back.
BACK = 10.0
#: Seconds between the restarts of two processes.
CALM = 2.0


class Somewhere:
    """An endpoint that dials the connectors in turn, as a balancer does."""

    def __init__(self, servers: Sequence[Server], first: int) -> None:
        self._turn: Iterator[Server] = itertools.islice(itertools.cycle(servers), first, None)

    async def _connect(self, factory: IProtocolFactory) -> object:
        server = next(self._turn)
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")
        return await endpoint.connect(factory)

    def connect(self, factory: IProtocolFactory) -> Deferred[object]:
        """See ``IStreamClientEndpoint``."""
        return Deferred.fromCoroutine(self._connect(factory))


class Absences(Struct):
    """When clients were away, and when they logged in again."""

    gaps: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)

    def watch(self, client: Client) -> None:
        """Count a client from now on."""
        left = [0.0]

        def changed(state: str) -> None:
            now = reactor.seconds()
            if state != "ready":
                left[0] = left[0] or now
            elif left[0]:
                self.gaps.append(now - left[0])
                self.logins.append(now)
                left[0] = 0.0

        client.on_state(changed)

    @property
    def burst(self) -> int:
        """The most logins in one second."""
        times = sorted(self.logins)
        return max((sum(t <= u < t + 1 for u in times) for t in times), default=0)


class Result(Struct):
    """What was said, and what came of it."""

    rounds: int
    seconds: float
    said: int
    shown: int
    lost: int
    duplicated: int
    codes: list[int]
    absences: Absences

    def check(self, back: float = BACK) -> None:
        """Everything that has to hold; a client may be away for so many seconds."""
        assert (self.lost, self.duplicated) == (0, 0)
        assert self.absences.gaps, "no client has noticed the restarts"
        assert max(self.absences.gaps) <= back
        assert self.absences.burst <= RATE
        assert set(self.codes) == {-signal.SIGTERM}


async def clients_of(cluster: Cluster, pairs: int) -> list[tuple[Client, Client]]:
    """Pairs of clients that are connected, half of them at each connector."""
    made = []
    for n in range(2 * pairs):
        endpoint = Somewhere(cluster.connectors, n)
        url = cluster.connectors[0].url
        client = Client(url, f"user{n}", "secret", register=True, endpoint=endpoint)  # type: ignore[arg-type]
        client.start()
        await client.ready()
        made.append(client)
    return list(itertools.pairwise(made))[::2]


async def restart(server: Server) -> int:
    """End a process in good order and start it again; its exit code."""
    code = await server.kill(signal.SIGTERM)
    await server.start()
    return code or 0


def versions(cluster: Cluster, old: Path, turn: int) -> None:
    """Let every other process run the old sources from its next start on."""
    for n, server in enumerate(cluster.processes):
        server.sources = old if (n + turn) % 2 else ROOT


async def roll(cluster: Cluster, rounds: int, pairs: int, old: Path = ROOT) -> Result:
    """Chat while everything is restarted; what came of it."""
    couples = await clients_of(cluster, pairs)
    absences, talks = Absences(), list[Talk]()
    for one, other in couples:
        conversation = await befriend(one, other)
        await until(lambda: all(conversation in c.conversations for c in (one, other)))  # noqa: B023
        talks += [Talk(one, other, conversation), Talk(other, one, conversation)]
        absences.watch(one)
        absences.watch(other)
    began = reactor.seconds()
    for talk in talks:
        talk.start()
    codes = []
    for turn in range(rounds):
        versions(cluster, old, turn)
        for server in cluster.processes:
            codes.append(await restart(server))
            await sleep(CALM)
    for talk in talks:
        talk.stop()
    seconds = reactor.seconds() - began
    await until(lambda: all(talk.is_settled for talk in talks))
    for client in itertools.chain(*couples):
        await client.stop()
    return _result(rounds, seconds, talks, codes, absences)


def _result(
    rounds: int, seconds: float, talks: Sequence[Talk], codes: list[int], absences: Absences
) -> Result:
    said = shown = lost = doubled = 0
    for talk in talks:
        texts = [text for text, _ in talk.shown]
        said += len(talk.messages)
        shown += len(texts)
        lost += len(talk.messages) - len(set(texts))
        doubled += len(texts) - len(set(texts))
        talk.check()
    return Result(rounds, seconds, said, shown, lost, doubled, codes, absences)


async def measured(rounds: int, pairs: int, old: Path = ROOT) -> Result:
    """A cluster of its own, restarted so often; half of it runs the sources in ``old``."""
    postgres, redis = Postgres(), Redis()
    postgres.start()
    redis.start()
    connection = psycopg2.connect(postgres.url())
    migrate(connection, lambda line: None)
    connection.close()
    cluster = Cluster(postgres.url(), redis)
    try:
        versions(cluster, old, 1)
        await cluster.start()
        return await roll(cluster, rounds, pairs, old)
    finally:
        await cluster.close()
        redis.close()
        postgres.close()


def show(result: Result) -> None:
    """Print what came of it."""
    gaps = sorted(result.absences.gaps)
    rate = result.said / result.seconds
    print(f"{result.rounds} rounds, {len(result.codes)} restarts in {result.seconds:.0f} s")
    print(f"{result.said} messages at {rate:.0f}/s, {result.shown} shown")
    print(f"{result.lost} lost, {result.duplicated} duplicated")
    middle, longest = gaps[len(gaps) // 2], gaps[-1]
    print(f"{len(gaps)} absences: p50 {middle:.2f} s, longest {longest:.2f} s (at most {BACK:g})")
    print(f"{result.absences.burst} logins in the worst second (at most {RATE})")


@contextlib.contextmanager
def checkout(old: str) -> Iterator[Path]:
    """Sources of another version: a directory that has them, or a revision of this repository."""
    if not old or Path(old).is_dir():
        yield Path(old).resolve() if old else ROOT
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory(prefix="imd-old-") as top:
        path = Path(top, "imd")
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), old], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


async def _main(rounds: int, pairs: int, old: str) -> None:
    with checkout(old) as sources:
        result = await measured(rounds, pairs, sources)
    show(result)
    result.check()


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.rolling_restart", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="restarts of every process")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of users who write")
    parser.add_argument(
        "--old", default="", help="a directory or a revision with an older version, for half of it"
    )
    given = parser.parse_args(argv)
    react(lambda _: Deferred.fromCoroutine(_main(given.rounds, given.pairs, given.old)))


if __name__ == "__main__":
    main(sys.argv[1:])
