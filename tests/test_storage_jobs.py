"""Many jobs in one transaction, and what happens to the others when one fails."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Code, Refusal, Unavailable
from imd.storage import jobs
from imd.storage.jobs import InlineJobs, Job, ThreadJobs, transact
from tests.directories import directory

Call = Callable[[sqlite3.Connection], Any]


def insert(number: int) -> Call:
    """A job that writes a number and returns it."""

    def call(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return call


def insert_and_raise(number: int, error: Exception) -> Call:
    """A job that writes a number and fails."""

    def call(db: sqlite3.Connection) -> None:
        insert(number)(db)
        raise error

    return call


def disk_error(code: int) -> sqlite3.OperationalError:
    """An error with an (extended) result code of SQLite."""
    error = sqlite3.OperationalError(f"disk I/O error {code}")
    error.sqlite_errorcode = code
    return error


class Connection(sqlite3.Connection):
    """Notes the statements that begin and end transactions; may fail at one of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements: list[str] = []
        self.fail_at = ""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        word = sql.split()[0]
        if word in ("BEGIN", "COMMIT") or sql == "ROLLBACK":
            self.statements.append(sql)
        if word == self.fail_at:
            raise sqlite3.OperationalError(f"cannot {sql}")
        return super().execute(sql, *args)


class Case(SynchronousTestCase):
    """With a database of one table of numbers."""

    def setUp(self) -> None:
        self.path = directory(self) / "db"
        self.db = self.connect()
        self.db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY CHECK (n >= 0))")

    def connect(self) -> Connection:
        db = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, factory=Connection, timeout=0
        )
        self.addCleanup(db.close)
        return db

    def numbers(self) -> list[int]:
        """What another connection sees."""
        return [n for (n,) in self.connect().execute("SELECT n FROM t ORDER BY n")]

    def transact(self, *calls: Call, guarded: bool = False) -> list[Any]:
        made = [Job(call, guarded, Deferred()) for call in calls]
        return transact(self.db, "BEGIN IMMEDIATE", made)

    def assertFailed(self, outcome: Any, error: type[Exception]) -> Exception:
        self.assertIsInstance(outcome, Failure)
        self.assertIs(outcome.type, error)
        found: Exception = outcome.value
        return found


class TransactTests(Case):
    """``transact``."""

    def test_all_jobs_are_one_transaction(self) -> None:
        self.assertEqual(self.transact(*map(insert, range(5))), list(range(5)))
        self.assertEqual(self.db.statements, ["BEGIN IMMEDIATE", "COMMIT"])
        self.assertEqual(self.numbers(), list(range(5)))

    def test_job_that_fails_is_the_only_one_that_fails(self) -> None:
        error = ValueError("a defect")
        outcomes = self.transact(insert(1), insert_and_raise(2, error), insert(3))
        self.assertEqual([outcomes[0], outcomes[2]], [1, 3])
        self.assertIs(self.assertFailed(outcomes[1], ValueError), error)
        self.assertEqual(self.numbers(), [1, 3])
        self.assertEqual(self.db.statements.count("COMMIT"), 2)
        self.assertFalse(self.db.in_transaction)

    def test_refusal_undoes_what_its_job_has_done_and_nothing_else(self) -> None:
        refusal = Refusal(Code.LIMIT, "no more")
        outcomes = self.transact(insert(1), insert_and_raise(2, refusal), insert(3), guarded=True)
        self.assertIs(self.assertFailed(outcomes[1], Refusal), refusal)
        self.assertEqual(self.numbers(), [1, 3])
        self.assertEqual(self.db.statements, ["BEGIN IMMEDIATE", "COMMIT"])

    def test_refusal_of_a_job_that_only_reads_stops_no_other(self) -> None:
        def refuse(db: sqlite3.Connection) -> None:
            raise Refusal(Code.NOT_FOUND, "nothing")

        outcomes = self.transact(insert(1), refuse, insert(3))
        self.assertFailed(outcomes[1], Refusal)
        self.assertEqual(self.numbers(), [1, 3])

    def test_defect_in_a_guarded_job_stops_no_other(self) -> None:
        outcomes = self.transact(
            insert(1), insert_and_raise(2, ValueError()), insert(3), guarded=True
        )
        self.assertFailed(outcomes[1], ValueError)
        self.assertEqual(self.numbers(), [1, 3])

    def test_commit_that_fails_is_tried_again_job_by_job(self) -> None:
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.execute(
            "CREATE TABLE late (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"
        )
        outcomes = self.transact(
            insert(1), lambda db: db.execute("INSERT INTO late VALUES (9)"), insert(3)
        )
        self.assertFailed(outcomes[1], sqlite3.IntegrityError)
        self.assertEqual(self.numbers(), [1, 3])

    def test_engine_that_does_not_answer_is_unavailable(self) -> None:
        other = self.connect()
        other.execute("BEGIN EXCLUSIVE")
        for outcome in self.transact(insert(1), insert(2)):
            error = self.assertFailed(outcome, Unavailable)
            self.assertIn("locked", str(error))
            self.assertIsInstance(error.__cause__, sqlite3.OperationalError)
        other.execute("ROLLBACK")
        self.assertEqual(self.transact(insert(1), insert(2)), [1, 2])

    def test_wrong_statements_are_defects_and_not_outages(self) -> None:
        outcomes = self.transact(insert(-1), lambda db: db.execute("SELECT ?", (1, 2)), insert(3))
        self.assertFailed(outcomes[0], sqlite3.IntegrityError)
        self.assertFailed(outcomes[1], sqlite3.ProgrammingError)
        self.assertEqual(self.numbers(), [3])

    def test_nothing_is_tried_again_on_a_disk_that_failed(self) -> None:
        called = []
        error = disk_error(sqlite3.SQLITE_IOERR_FSYNC)
        outcomes = self.transact(insert(1), insert_and_raise(2, error), called.append)
        for outcome in outcomes:
            self.assertIs(self.assertFailed(outcome, Unavailable).__cause__, error)
        self.assertEqual(called, [])
        self.assertEqual(self.numbers(), [])
        self.assertEqual(self.db.statements, ["BEGIN IMMEDIATE", "ROLLBACK"])

    def test_rollback_that_fails_hides_no_error(self) -> None:
        self.db.fail_at = "ROLLBACK"
        (outcome,) = self.transact(insert_and_raise(1, ValueError("first")))
        self.assertFailed(outcome, ValueError)


class InlineJobsTests(Case):
    """``InlineJobs``."""

    def test_each_job_is_done_at_once(self) -> None:
        inline = InlineJobs(self.db, "BEGIN IMMEDIATE")
        self.assertEqual(self.successResultOf(inline.run(insert(1))), 1)
        self.assertEqual(self.numbers(), [1])
        self.failureResultOf(inline.run(insert(1)), sqlite3.IntegrityError)
        inline.close()
        self.assertRaises(sqlite3.ProgrammingError, self.db.execute, "SELECT 1")


class Reactor:
    """Runs what came from threads when the test says so."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], Any]] = queue.SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:
        self._calls.put((call, args))

    def run(self) -> None:
        """Wait for one call, at most two minutes, and make it."""
        call, args = self._calls.get(timeout=120)
        call(*args)

    @property
    def is_idle(self) -> bool:
        return self._calls.empty()


class ThreadJobsTests(Case):
    """``ThreadJobs``."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()
        self.broken: list[str] = []
        made: Any = self.reactor
        self.jobs = ThreadJobs(self.db, "BEGIN IMMEDIATE", made, self.broken.append)
        self.is_open = True
        self.addCleanup(self.close)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.jobs.close()

    def hold(self) -> Callable[[], None]:
        """Keep the thread busy until what this returns is called."""
        started, released = threading.Event(), threading.Event()

        def wait(db: sqlite3.Connection) -> None:
            started.set()
            released.wait(120)

        self.jobs.run(wait)
        assert started.wait(120)
        return released.set

    def start(self, calls: Sequence[Call]) -> list[Deferred[Any]]:
        """Put jobs into the queue while the thread is busy, so that all of them wait together."""
        release = self.hold()
        started = [self.jobs.run(call) for call in calls]
        release()
        self.reactor.run()
        return started

    def test_work_is_done_in_a_thread_of_its_own(self) -> None:
        done = self.jobs.run(lambda db: threading.current_thread())
        self.assertNoResult(done)
        self.reactor.run()
        self.assertIsNot(self.successResultOf(done), threading.current_thread())

    def test_whatever_waits_is_committed_together_and_reported_afterwards(self) -> None:
        seen: list[tuple[int, list[int]]] = []
        started = self.start([insert(n) for n in range(20)])
        for done in started:
            done.addCallback(lambda n: seen.append((n, self.numbers())))
        self.reactor.run()
        self.assertEqual(seen, [(n, list(range(20))) for n in range(20)])
        self.assertTrue(self.reactor.is_idle)
        self.assertEqual(self.db.statements.count("COMMIT"), 2)

    def test_one_transaction_has_at_most_so_many_jobs(self) -> None:
        self.patch(jobs, "MOST_JOBS", 3)
        started = self.start([insert(n) for n in range(7)])
        done = []
        while not self.reactor.is_idle or not started[-1].called:
            self.reactor.run()
            done.append(sum(each.called for each in started))
        self.assertEqual(done, [3, 6, 7])

    def test_failure_goes_to_its_own_caller(self) -> None:
        first, second, third = self.start(
            [insert(1), insert_and_raise(2, ValueError("a defect")), insert(3)]
        )
        self.reactor.run()
        self.failureResultOf(second, ValueError)
        self.assertEqual([self.successResultOf(first), self.successResultOf(third)], [1, 3])
        self.assertEqual(self.broken, [])

    def test_disk_that_failed_is_reported_once(self) -> None:
        for code in sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
            calls = [insert(1), insert_and_raise(2, disk_error(code))]
            started = self.start(calls)
            self.reactor.run()
            for done in started:
                self.failureResultOf(done, Unavailable)
            self.assertEqual(self.broken, [f"SQLite: disk I/O error {sqlite3.SQLITE_IOERR_FSYNC}"])

    def test_full_or_busy_disk_is_an_outage_that_ends(self) -> None:
        for code in sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
            (done,) = self.start([insert_and_raise(2, disk_error(code))])
            self.reactor.run()
            self.failureResultOf(done, Unavailable)
        (done,) = self.start([insert(2)])
        self.reactor.run()
        self.assertEqual(self.successResultOf(done), 2)
        self.assertEqual(self.broken, [])

    def test_damaged_file_is_noticed(self) -> None:
        self.db.execute("PRAGMA cache_size = 1")
        (done,) = self.start([lambda db: [insert(n)(db) for n in range(5000)]])
        self.reactor.run()
        self.successResultOf(done)
        content = bytearray(self.path.read_bytes())
        content[4096:] = b"\xaa" * (len(content) - 4096)
        self.path.write_bytes(content)
        (done,) = self.start([lambda db: db.execute("SELECT sum(n + 0) FROM t").fetchone()])
        self.reactor.run()
        self.failureResultOf(done, Unavailable)
        self.assertEqual(len(self.broken), 1)
        self.assertIn("malformed", self.broken[0])

    def test_close_finishes_what_waits(self) -> None:
        release = self.hold()
        started = [self.jobs.run(insert(n)) for n in range(50)]
        threading.Timer(0.05, release).start()
        self.close()
        self.assertEqual(self.numbers(), list(range(50)))
        self.assertRaises(sqlite3.ProgrammingError, self.db.execute, "SELECT 1")
        while not self.reactor.is_idle:
            self.reactor.run()
        self.assertEqual([self.successResultOf(done) for done in started], list(range(50)))

    def test_what_comes_after_the_end_fails_at_once(self) -> None:
        self.close()
        self.failureResultOf(self.jobs.run(insert(1)), Unavailable)
