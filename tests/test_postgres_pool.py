"""Calls that share connections: who gets one, who waits, and what is said of outages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import ConfigError, Unavailable
from imd.storage.postgres_pool import CALL_SECONDS, Outages, Pool


class FakeLink:
    """A link that takes any call, and notes how much time it was given."""

    def __init__(self, ready: bool = True) -> None:
        self.ready = ready
        self.seconds: list[float] = []

    async def run(self, work: Callable[[Any], Awaitable[Any]], seconds: float) -> Any:
        self.seconds.append(seconds)
        return await work(None)


class PoolTests(SynchronousTestCase):
    """Two links."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.links = [FakeLink(), FakeLink()]
        self.pool = self.make(self.links)
        self.running: list[Deferred[int]] = []

    def make(self, links: Any) -> Pool:
        return Pool(links, self.clock)

    def call(self) -> Deferred[int]:
        async def work(connection: object) -> int:
            done: Deferred[int] = Deferred()
            self.running.append(done)
            return await done

        return Deferred.fromCoroutine(self.pool.run(work))

    def test_calls_beyond_the_links_wait_in_order(self) -> None:
        calls = [self.call() for _ in range(4)]
        self.assertEqual(len(self.running), 2)
        self.running[1].callback(1)
        self.assertEqual(self.successResultOf(calls[1]), 1)
        self.running[2].callback(2)
        self.assertEqual(self.successResultOf(calls[2]), 2)
        self.running[3].callback(3)
        self.assertEqual(self.successResultOf(calls[3]), 3)
        self.assertNoResult(calls[0])
        self.running[0].callback(0)
        self.assertEqual(self.successResultOf(calls[0]), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whoever_gets_no_turn_in_time_is_refused(self) -> None:
        calls = [self.call() for _ in range(3)]
        self.clock.advance(CALL_SECONDS)
        error = self.failureResultOf(calls[2], Unavailable).value
        self.assertIn("all 2 connections are busy", str(error))
        self.running[0].callback(0)
        self.assertEqual(self.successResultOf(calls[0]), 0)
        self.call()
        self.assertEqual(len(self.running), 3)

    def test_the_time_spent_waiting_counts(self) -> None:
        for _ in range(3):
            self.call()
        self.clock.advance(2)
        self.running[0].callback(0)
        self.assertEqual(self.links[0].seconds, [CALL_SECONDS, CALL_SECONDS - 2])

    def test_a_link_that_is_connected_is_preferred(self) -> None:
        links = [FakeLink(ready=False), FakeLink()]
        self.pool = self.make(links)
        self.call()
        self.assertEqual([len(link.seconds) for link in links], [0, 1])


class Answer:
    """A link, as far as an outage goes."""

    def __init__(self, refusal: ConfigError | None = None) -> None:
        self.refusal = refusal


class OutageTests(SynchronousTestCase):
    """Any number of links, one outage."""

    def test_an_outage_lasts_until_all_are_back(self) -> None:
        outages = Outages()
        a: Any = Answer()
        b: Any = Answer()
        outages.lost(a, "gone")
        outages.lost(b, "gone")
        outages.lost(a, "still gone")
        outages.back(a)
        outages.lost(a, "gone again")
        self.assertEqual(outages.count, 1)
        outages.back(a)
        outages.back(b)
        outages.lost(b, "gone")
        self.assertEqual(outages.count, 2)

    def test_a_first_connection_is_no_end_of_an_outage(self) -> None:
        link: Any = Answer()
        outages = Outages()
        outages.back(link)
        self.assertEqual(outages.count, 0)

    def test_a_server_that_must_not_be_used_is_told_of_once_for_each_reason(self) -> None:
        lines: list[str] = []
        outages = Outages()
        outages._log = Logger(observer=lambda event: lines.append(formatEvent(event)))
        told: list[ConfigError] = []
        outages.refused = told.append
        a: Any = Answer()
        outages.lost(a, "connection refused")
        for why in ("fsync is off", "fsync is off", "schema 3"):
            a.refusal = ConfigError("store", why)
            outages.lost(a, why)
        a.refusal = ConfigError("store", "a standby", may_pass=True)
        outages.lost(a, "a standby")
        self.assertEqual(
            [line.removeprefix("PostgreSQL cannot be used: ") for line in lines],
            ["connection refused", "fsync is off", "schema 3", "a standby"],
        )
        self.assertEqual(len(told), 3)
        self.assertEqual(outages.count, 1)
