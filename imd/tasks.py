"""Starting our coroutines from Twisted's callbacks, and waiting on Twisted's clock."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

K = TypeVar("K")


class Clock(Protocol):
    """What we need of ``IReactorTime``; ``twisted.internet.task.Clock`` has it too."""

    def seconds(self) -> float:
        """Monotonic seconds."""

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> IDelayedCall:
        """Call later."""


def spawn(coro: Coroutine[Any, Any, None], log: Logger, what: str) -> Deferred[None]:
    """Run a coroutine that nobody awaits; what it raises is a defect and is logged."""
    return Deferred.fromCoroutine(coro).addErrback(
        lambda failure: log.failure("{what} failed", failure, what=what)
    )


class Turns(Generic[K]):
    """For each key a lock, which is kept only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, DeferredLock] = WeakValueDictionary()

    def of(self, key: K) -> DeferredLock:
        """The lock, to be used with ``async with``; whoever came first goes first."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = DeferredLock()
        return lock


def sleep(clock: Clock, seconds: float) -> Deferred[None]:
    """A Deferred that fires after ``seconds``; cancelled, it leaves nothing on the clock."""
    done: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, done.callback, None)
    return done
