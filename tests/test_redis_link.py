"""The connection to Redis on a clock of its own: when it is tried again, and what is left."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Unavailable
from imd.status.redis import RENEW_SECONDS, RedisUserStatus
from imd.status.redis_link import LAST_DELAY, PROBES, RedisLink
from imd.status.redis_scripts import LOOKUP


class Connection:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self.asked: list[Deferred[Any]] = []

    async def ask(self, *command: Any) -> Any:
        answer: Deferred[Any] = Deferred()
        self.asked.append(answer)
        return await answer

    def abort(self) -> None:
        asked, self.asked = self.asked, []
        for answer in asked:
            if not answer.called:
                answer.errback(Unavailable("lost"))
        if not self.lost.called:
            self.lost.callback(None)


class Dialer:
    """Gives connections when it is told to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.dials: list[Deferred[Any]] = []
        self.times: list[float] = []

    async def dial(self) -> Any:
        self.times.append(self._clock.seconds())
        self.dials.append(Deferred())
        return await self.dials[-1]

    def fail(self) -> None:
        self.dials[-1].errback(ValueError("no way"))

    def give(self) -> Connection:
        connection = Connection()
        self.dials[-1].callback(connection)
        return connection

    def __str__(self) -> str:
        return "nowhere"


class RedisLinkTests(SynchronousTestCase):
    """``RedisLink`` with a scripted dialer."""

    chance = 1.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.dialer = Dialer(self.clock)
        self.link = RedisLink(self.dialer, self.clock, lambda: self.chance)  # type: ignore[arg-type]

    def call(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.link.run(LOOKUP, ("k",)))

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.link.stop()))

    def gap(self) -> float:
        """The seconds from a failed attempt to the next."""
        self.dialer.fail()
        failed = self.clock.seconds()
        self.clock.pump([1 / 128] * 130)
        return self.dialer.times[-1] - failed

    def outage(self) -> Connection:
        """A connection on which three calls were not answered."""
        connection = self.dialer.give()
        for _ in range(3):
            call = self.call()
            self.clock.pump([0.23, 0.02])
            self.failureResultOf(call, Unavailable)
        return connection

    def test_attempts_are_made_ever_more_seldom_until_it_is_one_a_second(self) -> None:
        for chance, first, last in ((1.0, 0.1, LAST_DELAY), (0.0, 0.05, LAST_DELAY / 2)):
            self.setUp()
            self.chance = chance
            with capturedLogs() as events:
                self.link.start()
                gaps = [self.gap() for _ in range(20)]
                self.stop()
            self.assertLess(abs(gaps[0] - first), 0.011)
            self.assertLess(abs(gaps[-1] - last), 0.011)
            self.assertEqual(gaps, sorted(gaps))
            self.assertEqual([e["log_level"] for e in events], [LogLevel.warn])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_connection_that_does_not_last_is_not_made_again_at_once_for_ever(self) -> None:
        self.link.start()
        for _ in range(10):
            self.dialer.give().abort()
            self.clock.pump([0.01] * 101)
        gap = self.dialer.times[-1] - self.dialer.times[-2]
        self.assertGreater(gap, 0.5)
        self.clock.advance(1)
        connection = self.dialer.give()
        self.clock.advance(6)
        connection.abort()
        before = self.clock.seconds()
        self.clock.pump([0.01] * 10)
        self.assertGreater(self.dialer.times[-1], before)

    def test_while_it_is_silent_one_probe_a_second_is_sent_and_nothing_else(self) -> None:
        self.link.start()
        connection = self.outage()
        self.assertFalse(self.link.up)
        self.failureResultOf(self.call(), Unavailable)
        for number in range(PROBES):
            self.assertEqual(len(connection.asked), 3 + 1 + number)
            self.failureResultOf(self.call(), Unavailable)
            self.clock.advance(1)
        self.assertTrue(connection.lost.called)
        self.clock.advance(1)
        self.assertEqual(len(self.dialer.dials), 2)
        self.dialer.give()
        self.assertTrue(self.link.up)
        self.stop()

    def test_an_answer_to_a_probe_ends_the_outage_on_the_same_connection(self) -> None:
        self.link.start()
        connection = self.outage()
        connection.asked[-1].callback(b"")
        self.assertTrue(self.link.up)
        call = self.call()
        connection.asked[-1].callback(b"x")
        self.assertEqual(self.successResultOf(call), b"x")
        self.assertEqual((self.link.counts.connects, self.link.counts.outages), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_misses_in_a_row_are_an_outage(self) -> None:
        self.link.start()
        connection = self.dialer.give()
        for _ in range(4):
            for _ in range(2):
                call = self.call()
                self.clock.pump([0.23, 0.02])
                self.failureResultOf(call, Unavailable)
            call = self.call()
            connection.asked[-1].callback(b"")
            self.successResultOf(call)
        self.assertEqual(self.link.counts.outages, 0)
        self.assertEqual(self.link.counts.timeouts, 8)
        self.assertEqual(self.link.counts.unavailable, 8)

    def test_a_call_that_is_cancelled_by_its_owner_is_no_miss(self) -> None:
        self.link.start()
        self.dialer.give()
        for _ in range(5):
            call = self.call()
            call.cancel()
            self.failureResultOf(call)
        self.assertEqual(self.link.counts.timeouts, 0)
        self.assertTrue(self.link.up)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_leaves_nothing_behind_wherever_it_comes(self) -> None:
        def dialing() -> None:
            pass

        def pausing() -> None:
            self.dialer.fail()

        def connected() -> None:
            self.dialer.give()

        def silent() -> None:
            self.outage()

        for state in (dialing, pausing, connected, silent):
            self.setUp()
            self.link.start()
            waiting = self.call()
            state()
            self.stop()
            self.failureResultOf(waiting, Unavailable)
            self.failureResultOf(self.call(), Unavailable)
            self.clock.advance(PROBES + 1)
            self.assertEqual(self.clock.getDelayedCalls(), [], state.__name__)
            self.assertEqual(len(self.dialer.dials), 1)


class Beats(SynchronousTestCase):
    """``RedisUserStatus.beat`` with a scripted connection."""

    def test_all_sessions_are_entered_again_every_eight_hours(self) -> None:
        clock = Clock()
        status = RedisUserStatus("redis://h", "n1", clock)
        dialer = Dialer(clock)
        status._link = RedisLink(dialer, clock)  # type: ignore[arg-type]
        status.start()
        connection = dialer.give()

        def beat(answer: int) -> bool:
            beating = Deferred.fromCoroutine(status.beat())
            connection.asked[-1].callback(answer)
            renewed: bool = self.successResultOf(beating)
            return renewed

        self.assertFalse(beat(0))
        self.assertTrue(beat(1))
        clock.advance(RENEW_SECONDS - 1)
        self.assertTrue(beat(1))
        clock.advance(1)
        self.assertFalse(beat(1))
        self.assertTrue(beat(1))
