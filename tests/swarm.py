"""Clients without number that log in by token and say nothing: the processes of ``tests.storm``.

``python -m tests.swarm FIRST COUNT URL...`` keeps so many connected, and prints a line of figures
a few times a second.  They come back as R9 of the protocol has it: after a growing pause with full
jitter, or when ``bye`` says so.  The first connection of all is to the first URL; later ones are to
any of them, as a balancer has it.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
from twisted.internet.defer import Deferred, TimeoutError  # noqa: E402
from twisted.internet.task import LoopingCall, react  # noqa: E402

from imd import wire  # noqa: E402
from imd.bench.peer import BenchError, Frames, Peer, connect  # noqa: E402
from imd.client.installation import ANSWER_TIMEOUT  # noqa: E402
from imd.client.link import CONNECT_SECONDS  # noqa: E402
from imd.client.login import BACKOFF_BASE, BACKOFF_LONGEST  # noqa: E402
from tests.process import reactor  # noqa: E402

#: First connections of one process on their way at once: a storm is what comes later.
CALM = 8
#: Seconds between two lines, and between two signs of life of a client.
EVERY, HEARTBEAT = 0.2, 30.0


class Figures(Struct):
    """What one process of the swarm has seen so far, and how many are connected now."""

    online: int = 0
    #: Sessions that ended.
    lost: int = 0
    #: Attempts that led to none.
    failed: int = 0


def token_of(number: int) -> str:
    """The token of a client."""
    return f"storm-token-{number:032}"


class Fly:
    """One client.  It never gives up."""

    def __init__(self, number: int, urls: Sequence[str], figures: Figures) -> None:
        self._number = number
        self._urls = urls
        self._figures = figures
        self._attempts = 0
        self._retry: float | None = None
        self._gone: Deferred[None] = Deferred()

    async def arrive(self) -> None:
        """The first session, with the first of the servers."""
        peer = await self._session(self._urls[0])
        Deferred.fromCoroutine(self._live(peer))

    async def _live(self, peer: Peer) -> None:
        while True:
            await self._stay(peer)
            peer = await self._return()

    async def _stay(self, peer: Peer) -> None:
        self._figures.online += 1
        beat = LoopingCall(peer.say, wire.Ping(1))
        beat.start(HEARTBEAT, now=False)
        await self._gone
        beat.stop()
        self._figures.online -= 1
        self._figures.lost += 1

    async def _return(self) -> Peer:
        while True:
            await _sleep(self._pause())
            try:
                return await self._session(random.choice(self._urls))
            except (BenchError, TimeoutError):
                self._figures.failed += 1

    def _pause(self) -> float:
        told, self._retry = self._retry, None
        pause = min(BACKOFF_LONGEST, BACKOFF_BASE**self._attempts) * random.random()
        self._attempts += 1
        return pause if told is None else told

    async def _session(self, url: str) -> Peer:
        gone: Deferred[None] = Deferred()
        self._gone = gone
        opening = Deferred.fromCoroutine(connect(reactor, url, lambda reason: _fire(gone)))
        peer = await opening.addTimeout(CONNECT_SECONDS, reactor)
        hear = peer.hear

        def heard(frames: Frames) -> None:
            for frame in frames:
                if isinstance(frame, wire.Bye):
                    self._retry = frame.retry / 1000
            hear(frames)

        peer.hear = heard
        login = Deferred.fromCoroutine(peer.login(token=token_of(self._number)))
        try:
            await login.addTimeout(ANSWER_TIMEOUT, reactor)
        except TimeoutError:
            peer.hang_up()
            raise
        self._attempts = 0
        return peer


def _fire(gone: Deferred[None]) -> None:
    if not gone.called:
        gone.callback(None)


def _sleep(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def _main(first: int, count: int, urls: Sequence[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures = Figures()
    LoopingCall(_print, figures).start(EVERY)
    flies = iter([Fly(first + n, urls, figures) for n in range(count)])

    async def bring() -> None:
        for fly in flies:
            await fly.arrive()

    for _ in range(CALM):
        Deferred.fromCoroutine(bring())
    await Deferred()


def _print(figures: Figures) -> None:
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> None:
    """Run until killed."""
    first, count, *urls = argv
    react(lambda _: Deferred.fromCoroutine(_main(int(first), int(count), urls)))


if __name__ == "__main__":
    main(sys.argv[1:])
