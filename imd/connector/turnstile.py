"""Work that many want done at once: a little of it in each turn of the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from imd.tasks import Clock


class Turnstile:
    """Lets ``most`` calls through in each turn, at once if it can be; the others wait, in order.

    So when thousands come at the same time everything else has its turns between them.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = self._free = most
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, call: Callable[[], None]) -> None:
        """Call now or later; what it raises is up to the caller."""
        self._waiting.append(call)
        self._let()

    def _let(self) -> None:
        while self._waiting and self._free:
            if self._free == self._most:
                self._clock.callLater(0, self._renew)
            self._free -= 1
            self._waiting.popleft()()

    def _renew(self) -> None:
        self._free = self._most
        self._let()
