"""Work that is done again and again, with a pause after each time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from imd.errors import Unavailable
from imd.tasks import Clock, spawn


class Rounds:
    """Does ``work`` until it is stopped; if that is ``Unavailable`` the next round makes up for it.

    ``pause`` says how many seconds lie between the end of a round and the next; a random share in
    it keeps nodes from all working at once.  ``what`` is what the log calls the work.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        pause: Callable[[], float],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._what = what
        self._work = work
        self._pause = pause
        self._clock = clock
        self._log = log
        self._timer: IDelayedCall | None = None
        #: A round that takes long should look at this, and end early.
        self.is_running = False

    def start(self, at_once: bool = False) -> None:
        """Begin the first round after a pause, or now."""
        self.is_running = True
        if at_once:
            self._begin()
        else:
            self._later()

    def stop(self) -> None:
        """Begin no more; harmless when repeated."""
        self.is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        self._timer = self._clock.callLater(self._pause(), self._begin)

    def _begin(self) -> None:
        self._timer = None
        spawn(self._round(), self._log, self._what)

    async def _round(self) -> None:
        try:
            await self._work()
        except Unavailable as error:
            self._log.warn("{what} waits: {error}", what=self._what, error=error)
        finally:
            if self.is_running:
                self._later()
