"""Threads for whatever blocks on a disk, few and apart from all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")

#: A disk does little more at once; every transfer has at most one call under way.
THREADS = 4


class Work(Protocol):
    """Where blocking calls are made."""

    def run(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """Make a call, and give its result to the reactor."""


class Threads:
    """A pool; calls wait for their turn."""

    def __init__(self, reactor: IReactorFromThreads, threads: int = THREADS) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "imd-files")

    def start(self) -> None:
        """Start; threads begin with the first call."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for what runs.  Blocks."""
        self._pool.stop()

    def run(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """See ``Work``."""
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, call, *args)
        return done
