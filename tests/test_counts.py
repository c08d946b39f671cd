"""What is counted: histograms, how long messages take, how late the reactor is."""

from __future__ import annotations

from math import inf

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd import wire
from imd.counts import Histogram
from imd.ops.lag import INTERVAL, REMEMBER, Lag
from imd.times import EACH, MOST_AWAITED, PATIENCE, Times


class HistogramTests(SynchronousTestCase):
    """Buckets are cumulated as Prometheus has them."""

    def test_a_value_is_in_the_bucket_of_the_bound_that_it_does_not_exceed(self) -> None:
        histogram = Histogram((1.0, 2.0))
        for value in (-1.0, 0.5, 1.0, 1.5, 7.0):
            histogram.add(value)
        self.assertEqual([*histogram.cumulated()], [(1.0, 3), (2.0, 4), (inf, 5)])
        self.assertEqual((histogram.count, histogram.total), (5, 10.0))

    def test_several_become_one_and_stay_as_they_are(self) -> None:
        one, other = Histogram((1.0,)), Histogram((1.0,))
        one.add(0.5)
        other.add(3.0)
        whole = Histogram.merged([one, other])
        self.assertEqual([*whole.cumulated()], [(1.0, 1), (inf, 2)])
        self.assertEqual((whole.total, one.count, other.count), (3.5, 1, 1))


class TimesTests(SynchronousTestCase):
    """User 1 writes in conversation 7, user 2 is the receiver."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.times = Times(self.clock.seconds, lambda: 5000)

    def test_a_message_counts_as_received_from_its_stamp_on(self) -> None:
        msg = wire.Msg(7, 1, 1, 1, "id", 4600, "text", Raw(b'{"at":1}'))
        self.times.pushed(wire.encode(msg))
        self.assertEqual((self.times.received.count, self.times.received.total), (1, 0.4))

    def test_one_push_in_a_few_is_measured(self) -> None:
        msg = wire.Msg(7, 1, 1, 1, "id", 4600, "text", Raw(b"{}"))
        for _ in range(2 * EACH + 1):
            self.times.pushed(wire.encode(msg))
        self.assertEqual(self.times.received.count, 3)

    def test_a_head_has_no_stamp_and_what_is_no_frame_is_none(self) -> None:
        self.times.pushed(wire.encode(wire.Poke(7, 1)))
        for _ in range(EACH):
            self.times.pushed(b"nonsense")
        self.assertEqual(self.times.received.count, 0)

    def test_delivered_is_when_the_receiver_has_the_message_that_was_awaited(self) -> None:
        self.times.awaits(7, 5, 1, 0.0)
        self.clock.advance(2)
        self.times.awaits(7, 6, 1, 1.5)
        self.times.receipt(8, 2, 9)
        self.times.receipt(7, 1, 9)
        self.times.receipt(7, 2, 4)
        self.assertEqual(self.times.delivered.count, 0)
        self.times.receipt(7, 2, 5)
        self.times.receipt(7, 2, 6)
        self.assertEqual((self.times.delivered.count, self.times.delivered.total), (1, 2.0))

    def test_who_was_away_does_not_count_and_does_not_stop_the_measuring(self) -> None:
        self.times.awaits(7, 5, 1, 0.0)
        self.clock.advance(PATIENCE)
        self.times.receipt(7, 2, 5)
        self.assertEqual(self.times.delivered.count, 0)
        self.times.awaits(7, 6, 1, self.clock.seconds())
        self.clock.advance(PATIENCE + 1)
        self.times.awaits(7, 7, 1, self.clock.seconds())
        self.clock.advance(1)
        self.times.receipt(7, 2, 7)
        self.assertEqual(self.times.delivered.total, 1.0)

    def test_the_memory_is_bounded_and_the_oldest_goes(self) -> None:
        for conversation in range(MOST_AWAITED + 1):
            self.times.awaits(conversation, 1, 1, 0.0)
        self.times.receipt(0, 2, 1)
        self.assertEqual(self.times.delivered.count, 0)
        self.times.receipt(MOST_AWAITED, 2, 1)
        self.assertEqual(self.times.delivered.count, 1)


class LagTests(SynchronousTestCase):
    """A clock that jumps is a reactor that was blocked."""

    def test_a_reactor_in_time_has_no_lag(self) -> None:
        clock = Clock()
        lag = Lag(clock)
        lag.start()
        clock.pump([INTERVAL] * 4)
        self.assertEqual((lag.last, lag.greatest, lag.all.count), (0.0, 0.0, 4))

    def test_a_block_is_seen_and_forgotten_after_a_while(self) -> None:
        clock = Clock()
        lag = Lag(clock)
        lag.start()
        clock.advance(INTERVAL + 3)
        self.assertEqual((lag.last, lag.greatest), (3.0, 3.0))
        clock.pump([INTERVAL] * round(REMEMBER / INTERVAL))
        self.assertEqual((lag.last, lag.greatest), (0.0, 3.0))
        clock.pump([INTERVAL] * round(REMEMBER / INTERVAL + 1))
        self.assertEqual(lag.greatest, 0.0)

    def test_stopped_it_leaves_nothing_on_the_clock(self) -> None:
        clock = Clock()
        lag = Lag(clock)
        self.successResultOf(lag_stopped(lag))
        lag.start()
        self.successResultOf(lag_stopped(lag))
        self.assertEqual(clock.getDelayedCalls(), [])


def lag_stopped(lag: Lag) -> Deferred[None]:
    return Deferred.fromCoroutine(lag.stop())
