"""Percentiles of many durations in little memory."""

from __future__ import annotations

import math
from collections import Counter

#: Buckets for each doubling: a value is known to about 2 %.
RESOLUTION = 32


class Histogram:
    """Durations in seconds, in buckets that grow with the value."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.greatest = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration; anything below a microsecond counts as one."""
        value = max(seconds, 1e-6)
        self._buckets[int(math.log2(value * 1e6) * RESOLUTION)] += times
        self.count += times
        self.greatest = max(self.greatest, seconds)

    def percentile(self, percent: float) -> float:
        """The duration that ``percent`` of all do not exceed, in seconds; 0 if there are none."""
        rank = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(2 ** ((bucket + 1) / RESOLUTION) / 1e6, self.greatest)
        return 0.0

    def summary(self) -> dict[str, float]:
        """The usual percentiles, in milliseconds."""
        names = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
        found = {name: self.percentile(p) * 1e3 for name, p in names.items()}
        return found | {"max": self.greatest * 1e3}
