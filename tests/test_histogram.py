"""Percentiles of many durations."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.bench.histogram import RESOLUTION, Histogram

#: How much a percentile may be above the duration it stands for.
WIDTH = 2 ** (1 / RESOLUTION)


def of(*seconds: float) -> Histogram:
    histogram = Histogram()
    for value in seconds:
        histogram.add(value)
    return histogram


class HistogramTests(SynchronousTestCase):
    """A percentile is true to about 2 %, and never too small by more than rounding."""

    def test_of_nothing_every_percentile_is_0(self) -> None:
        self.assertEqual(of().percentile(50), 0)
        self.assertEqual(set(of().summary().values()), {0})

    def test_of_one_duration_every_percentile_is_that(self) -> None:
        for seconds in [1e-6, 0.0123, 1, 5000]:
            for percent in [0.1, 50, 100]:
                self.assertAlmostEqual(of(seconds).percentile(percent) / seconds, 1, places=9)

    def test_less_than_a_microsecond_counts_as_one(self) -> None:
        histogram = of(0, -1, 1e-9, 1)
        self.assertLessEqual(histogram.percentile(75), 1e-6 * WIDTH)
        self.assertEqual((histogram.count, histogram.greatest), (4, 1))

    def test_the_same_duration_many_times_is_added_once(self) -> None:
        histogram = of(1)
        histogram.add(0.001, times=99)
        self.assertEqual(histogram.count, 100)
        self.assertApproximates(histogram.percentile(99) / 0.001, 1, 0.03)
        self.assertEqual(histogram.percentile(99.5), 1)

    def test_the_summary_is_in_milliseconds(self) -> None:
        histogram = of(*(n / 1000 for n in range(1, 1001)))
        summary = histogram.summary()
        self.assertEqual(list(summary), ["p50", "p90", "p99", "p99.9", "max"])
        for name, expected in {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}.items():
            self.assertApproximates(summary[name] / expected, 1, 0.03)
        self.assertEqual(summary["max"], 1000)

    @given(
        st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=50),
        st.sampled_from([1, 25, 50, 90, 99, 99.9, 100]),
    )
    def test_a_percentile_is_at_most_one_bucket_above_the_true_one(
        self, values: list[float], percent: float
    ) -> None:
        true = sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]
        found = of(*values).percentile(percent)
        self.assertGreaterEqual(found, true * (1 - 1e-9))
        self.assertLessEqual(found, true * WIDTH * (1 + 1e-9))
