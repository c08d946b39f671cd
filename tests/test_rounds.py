"""Work that is done again and again."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Unavailable
from imd.rounds import Rounds


class RoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[float] = []
        self.faults: list[Exception] = []
        self.held: Deferred[None] | None = None
        self.rounds = Rounds("the work", self.work, lambda: 10.0, self.clock, Logger())

    async def work(self) -> None:
        self.begun.append(self.clock.seconds())
        if self.held is not None:
            await self.held
        if self.faults:
            raise self.faults.pop()

    def test_there_is_a_pause_before_the_first_and_between_two(self) -> None:
        self.rounds.start()
        self.clock.pump([9.0, 1.0, 10.0])
        self.assertEqual(self.begun, [10.0, 20.0])

    def test_the_first_may_be_at_once(self) -> None:
        self.rounds.start(at_once=True)
        self.clock.pump([10.0])
        self.assertEqual(self.begun, [0.0, 10.0])

    def test_what_is_away_is_asked_again_and_a_defect_is_logged(self) -> None:
        self.faults = [ValueError("a defect"), Unavailable("away")]
        self.rounds.start()
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.begun, [10.0, 20.0, 30.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_once_stopped_there_is_no_other(self) -> None:
        self.rounds.start()
        self.rounds.stop()
        self.rounds.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_runs_while_it_is_stopped_is_the_last_and_can_know(self) -> None:
        self.held = Deferred()
        self.rounds.start()
        self.clock.advance(10.0)
        self.assertTrue(self.rounds.is_running)
        self.rounds.stop()
        self.assertFalse(self.rounds.is_running)
        self.held.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
