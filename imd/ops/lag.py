"""How late the reactor is: whatever blocks it makes all sessions wait.

A timer measures its own lateness.  What it says is at most ``INTERVAL`` seconds old while the
reactor runs; while it does not run, nobody in this thread can ask.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall

from imd.counts import Histogram
from imd.tasks import Clock

#: Seconds between two looks.
INTERVAL = 0.25
#: Seconds for which the greatest lateness is remembered, at least; at most twice as long.
REMEMBER = 30.0


class Lag:
    """Lateness of the reactor, in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = self._turned = 0.0
        self._before = self._lately = 0.0
        #: At the last look.
        self.last = 0.0
        self.all = Histogram()

    @property
    def greatest(self) -> float:
        """The most of the last ``REMEMBER`` seconds."""
        return max(self._before, self._lately)

    def start(self) -> None:
        """Begin to look."""
        self._turned = self._clock.seconds()
        self._expect()

    async def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _expect(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._call = self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        self.last = max(0.0, now - self._due)
        self.all.add(self.last)
        if now - self._turned >= REMEMBER:
            self._turned, self._before, self._lately = now, self._lately, 0.0
        self._lately = max(self._lately, self.last)
        self._expect()
