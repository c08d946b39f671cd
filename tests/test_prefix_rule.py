"""Whatever storage does, and however a client comes back, a prefix of what it sent is in the log.

A client sends three messages over one session, loses it, and sends what was not acknowledged over
another, on the same node or on a second one.  Storage fails before or after it has committed.  All
orders of these, with all outcomes, are played over the real ``Lane``.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Unavailable
from imd.interfaces.storage import AppendResult
from imd.lane import Lane, Pending
from imd.limits import Limits
from imd.model import Appended, NewMessage, Outcome
from imd.tasks import spawn
from tests.application import Listener
from tests.interleavings import Schedule, every

MESSAGES = (1, 2, 3)
#: Attempts at an append that may fail in one run.
FAULTS = 3
#: How an append may end: it is committed, it is not, or it is and nobody is told.
COMMITTED, REFUSED, IN_DOUBT = range(3)


class Session(Listener):
    """A session of the client; ``alive`` until either side has closed it."""

    alive = True


class Model:
    """The log, one or two lanes into it, and the client; ``Outcomes`` of the lanes, too."""

    def __init__(self, schedule: Schedule, nodes: int, purge: bool) -> None:
        self._schedule = schedule
        self._purge = purge
        self.clock = clock = Clock()
        self.log: list[int] = []
        self.acked: set[int] = set()
        self.faults = FAULTS
        limits = Limits(commit_seconds=0.01, lane_batch=2)
        self._lanes = [Lane(self, clock, lambda: 1, limits, self) for _ in range(nodes)]  # type: ignore[arg-type]

    # -- storage

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        await self._schedule.step("append")
        outcome = self._schedule.choose(3) if self.faults else COMMITTED
        self.faults -= outcome != COMMITTED
        if outcome != REFUSED:
            numbers = [int.from_bytes(message.id, "big") for message in batch]
            self.log += [n for n in numbers if n not in self.log]
        if outcome != COMMITTED:
            raise Unavailable("away")
        return AppendResult(tuple(Appended(Outcome.NEW, 1, at) for _ in batch), None)

    # -- outcomes

    def committed(self, batch: Sequence[Pending], result: AppendResult) -> None:
        self.acked |= {int(pending.id) for pending in batch if pending.origin.alive}  # type: ignore[attr-defined]

    def poisoned(self, pending: Pending) -> None:
        raise NotImplementedError

    def failed(self, batch: Sequence[Pending]) -> None:
        for pending in batch:
            pending.origin.alive = False  # type: ignore[attr-defined]
            if self._purge:
                for lane in self._lanes:
                    lane.purge(pending.origin)

    # -- the client

    def put(self, lane: Lane, session: Session, numbers: Sequence[int]) -> None:
        for n in numbers:
            if session.alive:
                message = NewMessage(7, 1, 1, n.to_bytes(16, "big"), "text", b"{}")
                lane.put(Pending(session, str(n), message))

    async def client(self) -> None:
        first, second = Session(1, 1, 1), Session(1, 1, 2)
        for numbers in (MESSAGES[:1], MESSAGES[1:]):
            await self._schedule.step("send")
            self.put(self._lanes[0], first, numbers)
        await self._schedule.step("lose the connection")
        first.alive = False
        self.resend(second)
        await self._schedule.step("come back")

    def resend(self, session: Session) -> None:
        """Send again, in order, what was not acknowledged."""
        self.put(self._lanes[-1], session, [n for n in MESSAGES if n not in self.acked])

    def play(self) -> bool:
        """Whether the log was a prefix all the time."""
        prefix = True

        def settle() -> None:
            nonlocal prefix
            # As long as a lane waits before it tries again.
            self.clock.advance(0.1)
            prefix = prefix and self.log == list(MESSAGES[: len(self.log)])

        def begin() -> None:
            spawn(self.client(), Logger(), "client")

        self._schedule.run(begin, settle)
        return prefix


class PrefixRuleTests(SynchronousTestCase):
    def violations(self, nodes: int, purge: bool = True) -> tuple[int, int]:
        """In how many runs the log was not a prefix at some time, and how many there are."""

        def scenario(schedule: Schedule) -> bool:
            model = Model(schedule, nodes, purge)
            prefix = model.play()
            # The faults are over.  A client that comes back gets everything into the log.
            model.faults = 0
            model.resend(Session(1, 1, 3))
            model.clock.advance(0.1)
            self.assertEqual(model.acked, set(MESSAGES))
            if purge:
                self.assertEqual(model.log, list(MESSAGES))
            return prefix

        kept = [prefix for _, prefix in every(scenario)]
        return kept.count(False), len(kept)

    def test_a_client_that_comes_back_to_the_same_node(self) -> None:
        violations, runs = self.violations(nodes=1)
        self.assertEqual(violations, 0)
        self.assertGreater(runs, 100)

    def test_a_client_that_comes_back_to_another_node(self) -> None:
        violations, runs = self.violations(nodes=2)
        self.assertEqual(violations, 0)
        self.assertGreater(runs, 100)

    def test_without_the_purge_the_log_gets_holes(self) -> None:
        self.assertGreater(self.violations(nodes=1, purge=False)[0], 0)
