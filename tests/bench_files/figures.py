"""What a transfer costs the server, and what it does to the texts of others meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct
from twisted.internet.task import LoopingCall

from imd.bench.load import Run
from imd.bench.people import pairs
from imd.bench.subject import Subject
from imd.tasks import sleep
from tests.process import reactor

#: Texts a second, and pairs of users who write them.
RATE = 200
PAIRS = 4
#: Seconds between two looks at the memory of the server.
LOOK = 0.1
#: What a transfer may do at most: bytes of growth, and milliseconds until 99 % are sent.
MOST_GROWTH = 32 << 20
MOST_SENT_MS = 50.0


class Figures(Struct):
    """One measurement; memory in bytes, times of texts in milliseconds by percentile."""

    seconds: float
    cpu: float
    rss_before: int
    rss_greatest: int
    sent: dict[str, float]
    delivered: dict[str, float]

    @property
    def growth(self) -> int:
        """By how much the memory grew meanwhile."""
        return self.rss_greatest - self.rss_before


class Texts:
    """Texts that go on all the time, in an open loop, and what is measured beside them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._faults: list[str] = []
        self._run: Run | None = None

    async def start(self) -> None:
        """Log people in, and let them write."""
        made = await pairs(reactor, self._subject.urls, PAIRS, self._faults.append)
        self._run = Run(reactor, made, 1, RATE)
        self._run.start()

    async def beside(self, work: Callable[[], Awaitable[None]]) -> Figures:
        """The figures of the time that some work takes."""
        assert self._run is not None
        subject = self._subject
        memory = [subject.rss()]
        looking = LoopingCall(lambda: memory.append(subject.rss()))
        looking.start(LOOK, now=False)
        self._run.forget()
        cpu, start = sum(subject.cpus().values()), reactor.seconds()
        await work()
        seconds, cpu = reactor.seconds() - start, sum(subject.cpus().values()) - cpu
        looking.stop()
        times = self._run.times
        sent, delivered = times.sent.summary(), times.delivered.summary()
        return Figures(seconds, cpu, memory[0], max(memory), sent, delivered)

    async def stop(self) -> None:
        """Write no more; every text has arrived, once and in order."""
        assert self._run is not None
        self._run.stop_sending()
        while not self._run.complete:
            assert not self._faults, self._faults
            await sleep(reactor, 0.05)
        assert not self._run.verdict(), self._run.faults
