"""Work on a SQLite connection, in its own thread: many jobs, one transaction.

Whatever waits when the thread becomes free is done in one transaction, so that one
``fsync`` serves all of it.  Jobs keep their order, are reported in that order by one call
into the reactor, and only after the commit.
"""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from imd.errors import Refusal, Unavailable

T = TypeVar("T")

#: Jobs in one transaction.
MOST_JOBS = 512

#: SQLite's primary result codes after which the database must not be trusted any more.
_FATAL = frozenset((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


class Job(Struct, frozen=True):
    """A function of the connection; ``guarded`` if it may raise ``Refusal`` after a write."""

    call: Callable[[sqlite3.Connection], Any]
    guarded: bool
    done: Deferred[Any]


class Jobs(Protocol):
    """Where the work is done."""

    def run(self, call: Callable[[sqlite3.Connection], T], guarded: bool = False) -> Deferred[T]:
        """Do a job in a transaction; fires after the commit.

        Fails with ``Refusal`` if the job raised that, ``Unavailable`` if SQLite did.
        """

    def close(self) -> None:
        """Finish what waits, then close the connection."""


def transact(db: sqlite3.Connection, begin: str, jobs: Sequence[Job]) -> list[Any]:
    """Do the jobs in one transaction; the value or the ``Failure`` of each.

    If one of them breaks the transaction, each is done again in one of its own.
    """
    try:
        db.execute(begin)
        outcomes = [_attempt(db, job) for job in jobs]
        db.execute("COMMIT")
        return outcomes
    except Exception as error:
        _rollback(db)
        if len(jobs) == 1:
            return [_failure(error)]
        if _is_fatal(error):
            return [_failure(error) for _ in jobs]
    return [outcome for job in jobs for outcome in transact(db, begin, [job])]


def _attempt(db: sqlite3.Connection, job: Job) -> Any:
    if not job.guarded:
        return job.call(db)
    db.execute("SAVEPOINT job")
    try:
        return job.call(db)
    except Refusal:
        db.execute("ROLLBACK TO job")
        return Failure()
    finally:
        db.execute("RELEASE job")


def _rollback(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        try:
            db.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has rolled back by itself; the error that made it do so is reported.
            return


def _failure(error: Exception) -> Failure:
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        unavailable = Unavailable(f"SQLite: {error}")
        unavailable.__cause__ = error
        return Failure(unavailable)
    return Failure(error)


def _is_fatal(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _FATAL


class InlineJobs:
    """Does each job at once, in a transaction of its own."""

    def __init__(self, db: sqlite3.Connection, begin: str) -> None:
        self._db = db
        self._begin = begin

    def run(self, call: Callable[[sqlite3.Connection], T], guarded: bool = False) -> Deferred[T]:
        """See ``Jobs``."""
        (outcome,) = transact(self._db, self._begin, [Job(call, guarded, Deferred())])
        return fail(outcome) if isinstance(outcome, Failure) else succeed(outcome)

    def close(self) -> None:
        """See ``Jobs``."""
        self._db.close()


class ThreadJobs:
    """Does jobs in a thread of its own.

    ``broken`` is called, once, when the disk failed under the database: what the disk holds
    is then unknown, and the process should end (a failed ``fsync`` must not be repeated).
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        begin: str,
        reactor: IReactorFromThreads,
        broken: Callable[[str], None],
    ) -> None:
        self._db = db
        self._begin = begin
        self._reactor = reactor
        self._broken: Callable[[str], None] | None = broken
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._work, name="imd-sqlite", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[sqlite3.Connection], T], guarded: bool = False) -> Deferred[T]:
        """See ``Jobs``."""
        if self._closed:
            return fail(Unavailable("SQLite: closed"))
        job = Job(call, guarded, Deferred())
        self._queue.put(job)
        return job.done

    def close(self) -> None:
        """See ``Jobs``.  Blocks until the thread has ended."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def _work(self) -> None:
        open_ = True
        while open_:
            jobs, open_ = self._take()
            if jobs:
                outcomes = transact(self._db, self._begin, jobs)
                self._reactor.callFromThread(self._report, jobs, outcomes)

    def _take(self) -> tuple[list[Job], bool]:
        """What waits, at least one; false if it was asked to end."""
        jobs: list[Job] = []
        try:
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_JOBS:
                    return jobs, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, True
        return jobs, False

    def _report(self, jobs: Sequence[Job], outcomes: Sequence[Any]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self._check(outcome)
                job.done.errback(outcome)
            else:
                job.done.callback(outcome)

    def _check(self, failure: Failure) -> None:
        cause = None if failure.value is None else failure.value.__cause__
        if self._broken is not None and _is_fatal(cause):
            broken, self._broken = self._broken, None
            broken(str(failure.value))
