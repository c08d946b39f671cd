"""Judging delays that are drawn at random, on a machine that adds to each what it likes.

R9 of protocol §5: before attempt ``n`` a client waits for a time that is drawn evenly between
0 and ``min(LONGEST, BASE ** n)``.  Two things are wanted: that delays spread, some being short
beside their bounds, and that they grow.  They are judged one after another until both are
certain, or one is denied.

A machine adds to each delay; ``late`` is how much it may add.

- Growth is shown by ``LONG`` delays of more than ``2 + late``, after what the machine adds to all
  of them is taken off: the shortest of them, but for a second that may have been drawn.  Delays
  that do not grow are drawn below 1: four of them would have to be late by more than the machine
  is allowed to be, and later than the others by so much.  Growth is denied when ``ENOUGH`` delays
  have passed whose bound is three times as long, and fewer were long.  If the client keeps the
  rule each is long with a chance of 2/3 or more: it is denied with the chance of at most 3
  successes in 24, which is 6e-8.
- Spread is shown by a delay below half of its bound.  Without jitter there is none, however late
  the machine is.  Spread is denied when it has a chance below ``NEVER`` that all delays of a
  client that keeps the rule have as great a share of their bounds: the product of
  ``1 - share + late / bound``.  It is looked at after each delay, and the 53rd decides at the
  latest: a client that keeps the rule is denied with a chance of at most 53 times 1e-8, or 5e-7.
"""

from __future__ import annotations

import math

#: R9: a delay is drawn from 0 to min(LONGEST, BASE ** n) seconds.
BASE, LONGEST = 1.7, 60.0
#: So many long delays show growth; fewer among so many that could have been long deny it.
LONG, ENOUGH = 4, 24
#: A chance that does not come true.
NEVER = 1e-8


def bound(power: int) -> float:
    """The longest delay before attempt ``power``, in seconds."""
    return min(LONGEST, BASE**power)


class Delays:
    """The delays before attempts 0, 1, 2 … of a client that is not admitted, in seconds."""

    def __init__(self, late: float) -> None:
        """``late``: what the machine may add to a delay.  More than a sixth of the longest delay
        is not allowed for: nothing would be long beside it.
        """
        self._late = min(late, LONGEST / 6)
        self._measured: list[float] = []

    def add(self, seconds: float) -> None:
        """The next delay, as it was measured."""
        self._measured.append(seconds)

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self._measured)

    @property
    def certain(self) -> bool:
        """Whether the delays are those of a client that keeps the rule."""
        return self._spread and self._grown

    @property
    def fault(self) -> str | None:
        """What is wrong with the delays, if that is certain."""
        if not self._grown and self._could_be_long >= ENOUGH:
            return self._told("delays that do not grow")
        if not self._spread and self._chance < NEVER:
            return self._told("delays without full jitter")
        return None

    def _told(self, what: str) -> str:
        return f"{what}: {', '.join(f'{seconds:.2f}' for seconds in self._measured)} s"

    @property
    def _grown(self) -> bool:
        long = 2 + self._late + max(0.0, min(self._measured, default=0.0) - 1)
        return sum(seconds > long for seconds in self._measured) >= LONG

    @property
    def _could_be_long(self) -> int:
        longest = 3 * (2 + self._late)
        return sum(bound(power) >= longest for power in range(self.count))

    @property
    def _shares(self) -> list[float]:
        return [seconds / bound(power) for power, seconds in enumerate(self._measured)]

    @property
    def _spread(self) -> bool:
        return any(share < 0.5 for share in self._shares)

    @property
    def _chance(self) -> float:
        shortest = min([1.0, *self._shares])
        return math.prod(
            min(1.0, 1 - shortest + self._late / bound(power)) for power in range(self.count)
        )
