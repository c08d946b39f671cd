"""Waiting until something is so, for as long as a scenario allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Broken(Exception):
    """The client did not do what the scenario demands; the message says what."""


#: Real seconds that a client and its driver may take to start, or to stop.
PATIENCE = 120.0


class Pace:
    """Protocol seconds: ``scale`` real ones each; upper bounds are ``slack`` real ones longer."""

    def __init__(self, reactor: Any, scale: float, slack: float) -> None:
        self.reactor = reactor
        self.scale = scale
        self.slack = slack
        self._changed: list[Deferred[None]] = []

    def now(self) -> float:
        """Real seconds."""
        return float(self.reactor.seconds())

    def changed(self) -> None:
        """Something happened: whoever waits looks again."""
        waiting, self._changed = self._changed, []
        for each in waiting:
            each.callback(None)

    async def until(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """What ``look`` finds within protocol seconds; raises ``Broken`` if it stays None."""
        found = await self._look(look, self.now() + seconds * self.scale + self.slack)
        if found is None:
            raise Broken(f"{what}: not within {seconds:g} s")
        return found

    async def patient(self, look: Callable[[], T | None], what: str) -> T:
        """As ``until``, for what takes real time: programs that start and stop."""
        found = await self._look(look, self.now() + PATIENCE)
        if found is None:
            raise Broken(f"{what}: not within {PATIENCE:g} real seconds")
        return found

    async def never(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """What ``look`` finds within protocol seconds, which should be None."""
        return await self._look(look, self.now() + seconds * self.scale)

    async def _look(self, look: Callable[[], T | None], end: float) -> T | None:
        while (found := look()) is None and self.now() < end:
            change: Deferred[None] = Deferred()
            self._changed.append(change)
            call = self.reactor.callLater(max(0.0, end - self.now()), self.changed)
            await change
            if call.active():
                call.cancel()
        return found
