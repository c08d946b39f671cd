"""Coroutines on Twisted's clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.tasks import sleep, spawn


class TasksTests(SynchronousTestCase):
    def test_a_spawned_coroutine_runs_at_once_and_to_its_end(self) -> None:
        gate: Deferred[None] = Deferred()
        steps: list[str] = []

        async def work() -> None:
            steps.append("begun")
            await gate
            steps.append("done")

        done = spawn(work(), Logger(), "work")
        self.assertEqual(steps, ["begun"])
        gate.callback(None)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(steps, ["begun", "done"])

    def test_what_a_spawned_coroutine_raises_is_logged_and_reaches_nobody(self) -> None:
        async def work() -> None:
            raise LookupError("a defect")

        self.assertIsNone(self.successResultOf(spawn(work(), Logger(), "work")))
        (failure,) = self.flushLoggedErrors(LookupError)
        self.assertEqual(str(failure.value), "a defect")

    def test_sleep_takes_its_time_and_not_less(self) -> None:
        clock = Clock()
        done = sleep(clock, 2)
        clock.advance(1.9)
        self.assertNoResult(done)
        clock.advance(0.1)
        self.assertIsNone(self.successResultOf(done))
