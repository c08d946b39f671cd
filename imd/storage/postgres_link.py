"""One connection to PostgreSQL that heals: it connects by itself, again and again.

While it is away, calls fail at once with ``Unavailable`` and the reason.  A call that takes
too long ends the connection: a stopped server process heeds no timeout of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import psycopg2
from psycopg2.extensions import STATUS_READY, TRANSACTION_STATUS_IDLE
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres import txpostgres

from imd.errors import ConfigError, Unavailable
from imd.storage.postgres_address import Address
from imd.tasks import sleep, spawn

T = TypeVar("T")
Row = tuple[Any, ...]

#: Seconds for one attempt to connect, and the delays between attempts.
CONNECT_SECONDS = 5.0
FIRST_DELAY, LAST_DELAY = 0.1, 2.0

#: How an attempt to connect fails.
#: ``ValueError``: libpq has closed the socket, and the reactor is asked to watch descriptor -1.
_EXPECTED = (psycopg2.Error, ConnectionClosed, ConfigError, OSError, ValueError)

#: Classes of SQLSTATE after which the same call may succeed later: connection, wrong server
#: (55000 is "recovery is in progress"), deadlock and timeouts, resources, operator, disk.
_PASSING = ("08", "25006", "25P03", "40", "53", "55000", "55P03", "57", "58")
#: Those after which another connection may reach a better server.
_LEAVING = ("08", "25006", "25P03", "55000", "57P", "58")


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` says that PostgreSQL cannot do it now, not that it was asked wrongly."""
    if isinstance(error, ConnectionClosed):
        return True
    if not isinstance(error, psycopg2.Error):
        return False
    if error.pgcode is not None:
        return bool(error.pgcode.startswith(_PASSING))
    # Without a code it does not come from the server, but from the library about the connection.
    return type(error) in (
        psycopg2.DatabaseError,
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
    )


class Cursor(txpostgres.Cursor):  # type: ignore[misc]
    """A cursor to which a timeout of the server is an error like others."""

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure

    def _cancel(self, deferred: Deferred[Any]) -> None:
        """Whoever waits no longer gives the connection up; to ask the server would block."""
        self._connection.close()


class Connection(txpostgres.Connection):  # type: ignore[misc]
    """A connection that can be closed in the middle of a query, and tells when it is lost."""

    cursorFactory = Cursor

    def __init__(self, reactor: Any, lost: Callable[[Connection, str], None]) -> None:
        super().__init__(reactor)
        self._lost = lost

    async def query(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Execute one statement; all its rows, none if it has no result."""
        cursor = self.cursor()
        await cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []

    async def transaction(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` between BEGIN and COMMIT, or ROLLBACK if it raises."""
        await self.query("BEGIN")
        try:
            result = await work()
        except BaseException:
            if not self.closed:
                await self.query("ROLLBACK")
            raise
        await self.query("COMMIT")
        return result

    @property
    def usable(self) -> bool:
        """Open, and in no transaction."""
        return not self.closed and self.get_transaction_status() == TRANSACTION_STATUS_IDLE

    def close(self) -> None:
        """End the connection; what runs on it fails.

        Its cursors leave the reactor first: a descriptor that stays behind would keep the
        next connection that gets its number from ever being read.
        """
        if self.pollable() is None:
            return
        for cursor in tuple(self._cursors):
            self.reactor.removeReader(cursor)
            self.reactor.removeWriter(cursor)
        super().close()

    def doRead(self) -> None:
        """Called by the reactor.  Between queries there is nothing to read but the end."""
        if self.status != STATUS_READY:
            # While it is being made, the poll itself says what to wait for.  txpostgres would
            # watch the descriptor beyond that, and libpq may close it with any poll.
            super(txpostgres.Connection, self).doRead()
            return
        try:
            super().doRead()
        except psycopg2.Error as error:
            self._lost(self, reason(error))
        except ValueError:
            # libpq has closed its socket, and psycopg2 has not noticed: there is no descriptor.
            self._lost(self, "server closed the connection unexpectedly")

    def connectionLost(self, reason: Any) -> None:
        """Called by the reactor, and by ``close``."""
        super().connectionLost(reason)
        self._lost(self, "the connection is closed")


def reason(error: BaseException) -> str:
    """The first line of an error; no more, and never the URL."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Watch(Protocol):
    """Who is told how connections fare."""

    def lost(self, link: Link, why: str) -> None:
        """``link`` is down, or still is."""

    def back(self, link: Link) -> None:
        """``link`` is up."""


Prepare = Callable[[Connection], Awaitable[None]]


class Link:
    """One connection for one call at a time; its user keeps calls apart.

    ``prepare`` makes a new connection ready; if it raises ``ConfigError``, the server must
    not be used as it is, and will be asked again.
    """

    _log = Logger()

    def __init__(self, address: Address, prepare: Prepare, reactor: Any, watch: Watch) -> None:
        self._address = address
        self._prepare = prepare
        self._reactor = reactor
        self._watch = watch
        self._connection: Connection | None = None
        self._trying: Connection | None = None
        self._attempt: list[Deferred[None]] | None = None
        self._stopped = False
        self._connecting = False
        #: Why it cannot be used, or None.
        self.down: str | None = "not connected yet"
        #: Set where the server answers, but must not be used.
        self.refusal: ConfigError | None = None

    @property
    def ready(self) -> bool:
        """Whether a call can be made now."""
        return self._connection is not None

    async def start(self) -> None:
        """Begin to connect; returns after the first attempt, however it ended."""
        self._keep()
        await self._attempted()

    def stop(self) -> None:
        """Close the connection, for good."""
        self._stopped = True
        self._drop("stopped")
        if self._trying is not None:
            self._trying.close()

    # -- calls

    async def run(self, work: Callable[[Connection], Awaitable[T]], seconds: float) -> T:
        """Do ``work`` on the connection; after ``seconds`` the connection is dropped instead.

        Raises ``Unavailable`` if PostgreSQL cannot do it now.
        """
        deadline = self._reactor.callLater(seconds, self._expire, seconds)
        try:
            await self._attempted()
            connection = self._connection
            if connection is None:
                # In a turn of its own: the end of this call lets the next one begin, and a crowd
                # that waited would be a stack as deep as the crowd.
                await sleep(self._reactor, 0)
                raise Unavailable(f"PostgreSQL: {self.down}", is_outage=True)
            return await self._work(connection, work)
        finally:
            _cancel(deadline)

    async def _work(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await work(connection)
        except Exception as error:
            if not is_passing(error):
                raise
            code = getattr(error, "pgcode", None) or ""
            if code.startswith(_LEAVING) or not connection.usable:
                self._lose(connection, reason(error))
            why = f"PostgreSQL: {self.down or reason(error)}"
            raise Unavailable(why, is_outage=self.down is not None) from error
        finally:
            if not connection.usable:
                self._lose(connection, "a call left the connection in disorder")

    def _expire(self, seconds: float) -> None:
        if self._connection is not None:
            self._drop(f"no answer within {seconds:.2g} s")
        else:
            self._wake()

    # -- the connection

    def _keep(self) -> None:
        """Connect, unless that is being done."""
        if not self._connecting and not self._stopped:
            self._connecting = True
            self._attempt = []
            spawn(self._connect(), self._log, "connecting to PostgreSQL")

    async def _connect(self) -> None:
        delay = FIRST_DELAY
        try:
            while not self._stopped and not await self._try():
                await sleep(self._reactor, delay)
                delay = min(2 * delay, LAST_DELAY)
                self._attempt = []
        finally:
            self._connecting = False

    async def _try(self) -> bool:
        """One attempt; whatever goes wrong, there will be another."""
        try:
            dsn = await self._address.dsn()
            if not self._stopped:
                await self._reach(dsn)
        except Exception as error:
            if not isinstance(error, _EXPECTED):
                self._log.failure("connecting to PostgreSQL failed")
            self._fail(error)
        finally:
            self._wake()
        return self.ready

    async def _reach(self, dsn: str) -> None:
        connection = self._trying = Connection(self._reactor, self._lose)
        deadline = self._reactor.callLater(CONNECT_SECONDS, connection.close)
        try:
            await connection.connect(dsn)
            await self._prepare(connection)
        except Exception:
            connection.close()
            if not deadline.active():
                raise TimeoutError(f"no connection within {CONNECT_SECONDS:.2g} s") from None
            raise
        finally:
            _cancel(deadline)
            self._trying = None
        self._succeed(connection)

    def _fail(self, error: Exception) -> None:
        self.refusal = error if isinstance(error, ConfigError) else None
        self.down = reason(error)
        if not self._stopped:
            self._watch.lost(self, self.down)

    def _succeed(self, connection: Connection) -> None:
        if self._stopped or connection.closed:
            connection.close()
            return
        self._connection, self.down, self.refusal = connection, None, None
        self._watch.back(self)

    def _drop(self, why: str) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._lose(self._connection, why)

    def _lose(self, connection: Connection, why: str) -> None:
        if connection is not self._connection:
            return
        self._connection, self.down = None, why
        if not self._stopped:
            self._watch.lost(self, why)
            self._keep()
        connection.close()

    async def _attempted(self) -> None:
        """Wait for the end of an attempt that is being made."""
        if self._attempt is not None:
            done: Deferred[None] = Deferred()
            self._attempt.append(done)
            await done

    def _wake(self) -> None:
        waiting, self._attempt = self._attempt, None
        for done in waiting or ():
            done.callback(None)


def _cancel(call: IDelayedCall) -> None:
    if call.active():
        call.cancel()
