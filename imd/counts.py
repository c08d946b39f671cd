"""What is counted while the server works: plain numbers, read only when somebody asks.

Whoever watches (``imd.ops.metrics``) reads these; nobody here knows of that.  So counting costs
an addition, and no part of imd depends on how its figures are shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

#: Upper bounds of buckets for durations, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Upper bounds of buckets for numbers of things.
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Histogram:
    """How often values fell between fixed bounds.  A value on a bound is below it."""

    __slots__ = ("_bounds", "_buckets", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = bounds
        self._buckets = [0] * (len(bounds) + 1)
        #: The sum of all values.
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value; one below zero, as of two clocks that differ, counts as zero."""
        if value < 0:
            value = 0.0
        self._buckets[bisect_left(self._bounds, value)] += 1
        self.total += value

    @classmethod
    def merged(cls, several: Iterable[Histogram]) -> Histogram:
        """One of all values in several that have the same bounds; at least one."""
        first, *others = several
        whole = cls(first._bounds)
        for each in (first, *others):
            whole._buckets = [a + b for a, b in zip(whole._buckets, each._buckets, strict=True)]
            whole.total += each.total
        return whole

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._buckets)

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity last, and how many values were not above it."""
        below = 0
        bounds = (*self._bounds, float("inf"))
        for bound, count in zip(bounds, self._buckets, strict=True):
            below += count
            yield bound, below
