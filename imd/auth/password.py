"""Passwords: argon2id in a few threads of their own, so that logins cannot starve anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from imd.errors import Unavailable

T = TypeVar("T")

#: Threads, and how many calls may wait for one.
THREADS = 2
QUEUE = 256


class Pool(Protocol):
    """Where slow work is done."""

    def run(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """Call in another thread; raises ``Unavailable`` when too many wait."""


class BoundedPool:
    """A thread pool with a bounded queue."""

    def __init__(
        self, reactor: IReactorFromThreads, threads: int = THREADS, queue: int = QUEUE
    ) -> None:
        self._reactor = reactor
        self._most = threads + queue
        self._waiting = 0
        self._pool = ThreadPool(0, threads, "imd-password")

    def start(self) -> None:
        """Start; threads begin with the first call."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for what runs.  Blocks."""
        self._pool.stop()

    def run(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """See ``Pool``."""
        if self._waiting >= self._most:
            raise Unavailable("too many logins at once")
        self._waiting += 1
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, call, *args)
        return done.addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self._waiting -= 1
        return result


class Passwords:
    """Hashes and verifies; ``memory_kib`` and ``passes`` over it are the cost of new hashes."""

    def __init__(self, pool: Pool, memory_kib: int, passes: int) -> None:
        self._pool = pool
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._decoy = self._hasher.hash("decoy")

    async def hash(self, password: str) -> str:
        """The hash to store."""
        return await self._pool.run(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right.  Without an account (None) it takes as long to say no."""
        right = await self._pool.run(self._verify, stored or self._decoy, password)
        return right and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(stored)
