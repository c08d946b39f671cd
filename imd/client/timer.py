"""A call that is made later, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from imd.tasks import Clock


class Timer:
    """Calls ``function`` once for every ``start``; a later ``start`` replaces an earlier one."""

    def __init__(self, clock: Clock, function: Callable[[], None]) -> None:
        self._clock = clock
        self._function = function
        self._call: IDelayedCall | None = None

    @property
    def due(self) -> float | None:
        """When the call will be made; None if none is."""
        return None if self._call is None else self._call.getTime()

    def start(self, delay: float) -> None:
        """Make the call after ``delay`` seconds."""
        self.cancel()
        self._call = self._clock.callLater(delay, self._fire)

    def cancel(self) -> None:
        """Do not make the call."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fire(self) -> None:
        self._call = None
        self._function()
