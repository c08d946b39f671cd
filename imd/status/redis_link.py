"""Keeps one connection to Redis, and never lets anybody wait for it long.

While Redis is away nothing is sent and every call fails at once; only this link tries, at most
about once a second.  One connection is enough: Redis works in one thread, and what is sent in
one turn of the reactor leaves in one piece.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from imd.errors import Unavailable
from imd.status.redis_reply import ErrorReply
from imd.status.redis_scripts import LOOKUP, Script, evaluate
from imd.tasks import sleep, spawn

if TYPE_CHECKING:
    from imd.status.redis_protocol import RedisConnection

#: Seconds in which a call is answered, or fails.  The last of them begin when the first are seen
#: to be over: what came in while this process was busy with other things is read before that.
DEADLINE = 0.25
_LAST_LOOK = 0.02
#: Calls in a row that were not answered in time, after which no more are sent.
MOST_MISSES = 3
#: Seconds for an answer to a probe then, and probes before the connection is given up.
PROBE_SECONDS = 1.0
PROBES = 3
#: Seconds between attempts to connect: doubled from the first to the last, less up to a half.
FIRST_DELAY = 0.05
LAST_DELAY = 1.0
#: Seconds after which a connection has proved itself, and the delays begin anew.
PROVED = 5.0


class Counts(Struct):
    """What has happened so far, for metrics."""

    calls: int = 0
    #: Calls that failed, for whatever reason; those not answered in time; those refused.
    unavailable: int = 0
    timeouts: int = 0
    errors: int = 0
    #: Connections made, and outages (while one lasts calls fail at once).
    connects: int = 0
    outages: int = 0


class Dials(Protocol):
    """Whoever makes connections; ``str`` of it names Redis in the log."""

    async def dial(self) -> RedisConnection:
        """Connect; ends by itself within some seconds."""


class RedisLink:
    """The connection, made again whenever it breaks."""

    _log = Logger()

    def __init__(
        self, dialer: Dials, clock: IReactorTime, chance: Callable[[], float] = random.random
    ) -> None:
        self._dialer = dialer
        self._clock = clock
        self._chance = chance
        self._connection: RedisConnection | None = None
        self._running = False
        self._keeper: Deferred[None] | None = None
        self._waiting: list[Deferred[RedisConnection]] = []
        self._misses = 0
        #: Since when, and why, calls fail at once; None while they do not.
        self._out_since: float | None = None
        self._why = "not started"
        #: Whether a refusal on this connection is in the log; the first says enough.
        self._has_refused = False
        self.counts = Counts()

    def start(self) -> None:
        """Connect now, and again as often as it takes."""
        self._running = True
        self._keeper = spawn(self._keep(), self._log, "the connection to Redis")

    async def stop(self) -> None:
        """Close the connection; every call fails from now on."""
        self._running = False
        self._why = "stopped"
        self._let_go(Failure(Unavailable(self._why)))
        if self._connection is not None:
            self._connection.abort()
        elif self._keeper is not None:
            self._keeper.cancel()
        if self._keeper is not None:
            await self._keeper

    @property
    def up(self) -> bool:
        """Whether calls are sent now."""
        return self._connection is not None and self._out_since is None

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any] = ()) -> Any:
        """The answer of a script; raises ``Unavailable``, after 0.25 s at the latest.

        Just after a connection was lost calls wait for the first attempt to make another.
        """
        self.counts.calls += 1
        try:
            return await self._run(script, keys, arguments)
        except Unavailable:
            self.counts.unavailable += 1
            raise

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        if self._out_since is not None or not self._running:
            raise Unavailable(f"Redis: {self._why}")
        try:
            answer = await self._in_time(self._send(script, keys, arguments))
        except TimeoutError:
            self._missed()
            raise Unavailable("Redis has not answered in time") from None
        except ErrorReply as error:
            self._refused(error)
            raise
        self._misses = 0
        return answer

    async def _in_time(self, work: Coroutine[Any, Any, Any]) -> Any:
        answer = Deferred.fromCoroutine(work)
        first = DEADLINE - _LAST_LOOK
        late = self._clock.callLater(first, self._clock.callLater, _LAST_LOOK, answer.cancel)
        try:
            return await answer
        except CancelledError:
            if late.active():
                raise
            raise TimeoutError from None
        finally:
            if late.active():
                late.cancel()

    async def _send(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        connection = self._connection or await self._next_connection()
        return await evaluate(connection, script, keys, arguments)

    def _next_connection(self) -> Deferred[RedisConnection]:
        waiting: Deferred[RedisConnection] = Deferred()
        self._waiting.append(waiting)
        return waiting

    # -- an answer that is none

    def _missed(self) -> None:
        self.counts.timeouts += 1
        self._misses += 1
        if self._misses >= MOST_MISSES and self._out_since is None:
            self._out("it does not answer")
            if self._connection is not None:
                spawn(self._probe(self._connection), self._log, "probing Redis")

    async def _probe(self, connection: RedisConnection) -> None:
        """Wait for a sign of life; a connection without one is given up."""
        for _ in range(PROBES):
            try:
                work = Deferred.fromCoroutine(evaluate(connection, LOOKUP, ()))
                await work.addTimeout(PROBE_SECONDS, self._clock)
            except TimeoutError:
                continue
            except Unavailable:
                break
            self._back(connection)
            return
        connection.abort()

    def _refused(self, error: ErrorReply) -> None:
        self.counts.errors += 1
        self._misses = 0
        if error.hopeless and self._connection is not None:
            # It has become a replica, or starts anew: there may be a better one to connect to.
            self._connection.abort()
        elif not self._has_refused:
            self._has_refused = True
            redis = str(self._dialer)
            self._log.warn("Redis at {redis} refuses: {error}", redis=redis, error=str(error))

    # -- outages

    def _out(self, why: str) -> None:
        self._why = why
        if self._out_since is None:
            self._out_since = self._clock.seconds()
            self.counts.outages += 1
            self._log.warn("Redis at {redis} is out: {why}", redis=str(self._dialer), why=why)
        self._let_go(Failure(Unavailable(f"Redis: {why}")))

    def _back(self, connection: RedisConnection) -> None:
        since, self._out_since, self._misses = self._out_since, None, 0
        if since is not None:
            seconds = round(self._clock.seconds() - since, 1)
            self._log.info(
                "Redis at {redis} is back after {seconds} s",
                redis=str(self._dialer),
                seconds=seconds,
            )
        self._let_go(connection)

    def _let_go(self, result: RedisConnection | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            # Those whose time was over have been told.
            if not one.called:
                one.callback(result)

    # -- connecting

    async def _keep(self) -> None:
        tries = 0
        while self._running:
            began = self._clock.seconds()
            await self._be_connected()
            tries = 0 if self._clock.seconds() - began > PROVED else tries + 1
            await self._pause(tries)

    async def _pause(self, tries: int) -> None:
        delay = min(LAST_DELAY, FIRST_DELAY * 2 ** min(tries, 16))
        with contextlib.suppress(CancelledError):
            if self._running:
                await sleep(self._clock, delay * (1 + self._chance()) / 2)

    async def _be_connected(self) -> None:
        """Connect, and return when that has failed, or when the connection is lost."""
        try:
            connection = await self._dialer.dial()
        except Exception as error:
            # Whatever it was: names, routes, certificates, passwords, replicas may be mended.
            if self._running:
                self._out(str(error) or type(error).__name__)
            return
        self._connection = connection
        self._has_refused = False
        self.counts.connects += 1
        self._back(connection)
        await connection.lost
        self._connection = None
