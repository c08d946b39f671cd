"""Every order in which the steps of several coroutines can happen.

What a port does, and what its answer sets off, are two steps: anything may come between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Schedule:
    """One order: which of the steps that are possible happens, each time there is a choice."""

    def __init__(self, choices: list[int], quiet: Collection[str] = ()) -> None:
        self._choices = choices
        self._quiet = quiet
        self._waiting: list[tuple[str, Deferred[None]]] = []
        self._running = False
        #: What was chosen each time, and among how many.
        self.taken: list[tuple[int, int]] = []
        self.steps: list[str] = []

    async def step(self, name: str) -> None:
        """Wait for this step's turn."""
        if self._running and name not in self._quiet:
            turn: Deferred[None] = Deferred()
            self._waiting.append((name, turn))
            await turn

    def choose(self, count: int) -> int:
        """One of so many ways to go on, and in the end each of them."""
        at = len(self.taken)
        choice = self._choices[at] if at < len(self._choices) else 0
        self.taken.append((choice, count))
        return choice

    def run(self, begin: Callable[[], None], settle: Callable[[], None]) -> None:
        """Begin, then do one step after the other; ``settle`` does what each sets off at once."""
        self._running = True
        begin()
        settle()
        while self._waiting:
            name, turn = self._waiting.pop(self.choose(len(self._waiting)))
            self.steps.append(name)
            turn.callback(None)
            settle()
        self._running = False


def every(
    scenario: Callable[[Schedule], T], quiet: Collection[str] = ()
) -> Iterator[tuple[Schedule, T]]:
    """Play a scenario once in each order; its results."""
    choices: list[int] | None = []
    while choices is not None:
        schedule = Schedule(choices, quiet)
        yield schedule, scenario(schedule)
        choices = _next(schedule.taken)


def _next(taken: list[tuple[int, int]]) -> list[int] | None:
    while taken and taken[-1][0] == taken[-1][1] - 1:
        taken.pop()
    if not taken:
        return None
    return [*(choice for choice, _ in taken[:-1]), taken[-1][0] + 1]


class Stepped:
    """A port each call of which is two steps: ``name``, and ``name answered``."""

    def __init__(self, port: Any, schedule: Schedule) -> None:
        self._port = port
        self._schedule = schedule

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._schedule.step(name)
            result = await getattr(self._port, name)(*args, **kwargs)
            await self._schedule.step(f"{name} answered")
            return result

        return call
