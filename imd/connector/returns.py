"""When clients may come back that are closed because the server, or storage, goes away.

Each gets a place of its own in time, so that however many are closed at once, no more than
``RATE`` a second return to this process.  Chance is added, so that several processes which
close at the same time do not get them all at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imd.errors import Close

#: Clients that come back in a second: below half of what one process can log in by token.
RATE = 250
#: Seconds over which chance spreads them, at least; and at most, in a long outage.
SPREAD, LONGEST_SPREAD = 2.0, 30.0
#: How the spread grows with the time for which storage has been away: clients come back within
#: this part of the time that they have lost anyway.
PART = 1 / 8

#: Codes with which all clients may be closed at once.
_ALL = frozenset((Close.DRAINING, Close.STORAGE_UNAVAILABLE, Close.RESYNC))


class Seconds(Protocol):
    """A monotonic clock."""

    def seconds(self) -> float:
        """Now."""


class Returns:
    """Gives out times; ``fraction`` is a source of random numbers in 0..1."""

    def __init__(self, clock: Seconds, fraction: Callable[[], float]) -> None:
        self._clock = clock
        self._fraction = fraction
        #: The next place that nobody has.
        self._free = 0.0
        #: Since when storage has let nobody in, as far as clients have noticed.
        self._away_since: float | None = None

    def served(self) -> None:
        """Somebody was let in: storage is there."""
        self._away_since = None

    def after(self, code: Close) -> int | None:
        """Milliseconds until a client that is closed now may return; None for codes that close
        single clients, which know by themselves what to do.
        """
        if code not in _ALL:
            return None
        now = self._clock.seconds()
        if code is Close.STORAGE_UNAVAILABLE and self._away_since is None:
            self._away_since = now
        place = max(now, self._free)
        self._free = place + 1 / RATE
        return round((place - now + self._fraction() * self._spread(now)) * 1000)

    def _spread(self, now: float) -> float:
        away = 0.0 if self._away_since is None else now - self._away_since
        return min(LONGEST_SPREAD, max(SPREAD, away * PART))
