"""Clients that are closed together come back soon, but not together."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.connector.returns import LONGEST_SPREAD, PART, RATE, SPREAD, Returns
from imd.errors import Close

AWAY = Close.STORAGE_UNAVAILABLE


class ReturnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.returns = Returns(self.clock, random.Random(7).random)

    def seconds(self, count: int, code: Close = AWAY) -> list[float]:
        """When so many that are closed now come back."""
        return [(self.returns.after(code) or 0) / 1000 for _ in range(count)]

    def test_a_few_come_back_within_seconds_and_not_at_once(self) -> None:
        for code in (AWAY, Close.DRAINING, Close.RESYNC):
            times = self.seconds(20, code)
            self.assertLess(max(times), SPREAD + 60 / RATE)
            self.assertGreater(max(times) - min(times), SPREAD / 2)

    def test_many_come_back_at_no_more_than_the_rate(self) -> None:
        times = sorted(self.seconds(5000))
        self.assertLess(times[-1], 5000 / RATE + SPREAD)
        most = max(sum(start <= t < start + 1 for t in times) for start in range(25))
        self.assertLess(most, 1.3 * RATE)

    def test_who_is_closed_later_comes_back_behind_those_before(self) -> None:
        self.seconds(10 * RATE, Close.RESYNC)
        self.clock.advance(1)
        self.assertGreater(min(self.seconds(5, Close.RESYNC)), 9 - 0.1)
        self.clock.advance(60)
        self.assertLess(max(self.seconds(5, Close.RESYNC)), SPREAD + 0.1)

    def test_the_longer_storage_is_away_the_rarer_they_ask(self) -> None:
        self.seconds(1)
        self.clock.advance(80)
        times = self.seconds(50)
        self.assertGreater(max(times), 80 * PART * 0.8)
        self.assertLess(max(times), 80 * PART + 1)
        self.clock.advance(3600)
        self.assertLess(max(self.seconds(50)), LONGEST_SPREAD + 1)

    def test_once_somebody_was_let_in_the_next_outage_is_a_new_one(self) -> None:
        self.seconds(1)
        self.clock.advance(3600)
        self.returns.served()
        self.assertLess(max(self.seconds(50)), SPREAD + 1)

    def test_who_is_closed_for_its_own_sake_is_told_nothing(self) -> None:
        for code in set(Close) - {AWAY, Close.DRAINING, Close.RESYNC}:
            self.assertIsNone(self.returns.after(code))
