"""Keeps a client connected, and performs what the rules decide.

Inputs may come many at a time; once the reactor is through with what it has, all that they
led to is done in one go: one transaction, one write to the socket (see ``Turn``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from imd import wire
from imd.client.connection import Connection, ConnectionFactory
from imd.client.effects import Hangup, Notice, Reconnect, Stop, Turn
from imd.client.errors import LoginFailed
from imd.client.installation import Options
from imd.client.login import Login
from imd.client.rules import Rules
from imd.client.store import ClientStore
from imd.client.timer import Timer

#: Seconds for an attempt to connect, handshakes included, and for a goodbye.
CONNECT_SECONDS = 20.0
GOODBYE_SECONDS = 2.0
#: What may be sent before the server has told its limits (protocol §8).
_UNTOLD = wire.Limits(inflight=0, text_bytes=0, file_bytes=0, frame_bytes=4096, batch=1)


class Surroundings(Struct, frozen=True):
    """What a link takes from the world: where to connect to, time, chance."""

    reactor: Any
    endpoint: IStreamClientEndpoint
    wall_ms: Callable[[], int]
    chance: Callable[[], float]


class Application(Protocol):
    """Whoever is told what happens."""

    def told(self, notice: Notice) -> None:
        """A notice of the rules, other than those about the connection itself."""

    def disconnected(self, after: float) -> None:
        """There is no session now; the next attempt is made after so many seconds."""

    def failed(self, error: Exception) -> None:
        """It is over, and nothing more will be tried."""


class Link:
    """The connection of one installation, made again whenever it breaks."""

    _log = Logger()

    def __init__(
        self,
        url: str,
        around: Surroundings,
        store: ClientStore,
        login: Login,
        options: Options,
        application: Application,
    ) -> None:
        self._around = around
        self._clock = around.reactor
        self._store = store
        self._application = application
        self._factory = ConnectionFactory(url, self, login.agent, around.reactor)
        self.rules = Rules(store.load(), login, store.messages, options)
        self._connection: Connection | None = None
        self._attempt: Deferred[Any] | None = None
        self._limits = _UNTOLD
        self._turns = Timer(self._clock, self._turn)
        self._ticks = Timer(self._clock, self._tick)
        self._retry = Timer(self._clock, self._connect)
        self._patience = Timer(self._clock, self._give_up)
        self._running = False
        self._ended: Deferred[None] | None = None

    # -- for the application

    def start(self) -> None:
        """Connect now."""
        self._running = True
        self._connect()

    async def stop(self) -> None:
        """Store what is known, close the connection, and try nothing more."""
        if not self._running:
            return
        self._turn()
        self._running = False
        self._cancel_timers()
        if self._attempt is not None or self._connection is not None:
            ended = self._ended = Deferred()
            self._patience.start(GOODBYE_SECONDS)
            self._leave()
            await ended

    def _leave(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        elif self._connection is not None:
            self._connection.finish()

    def _cancel_timers(self) -> None:
        for timer in (self._turns, self._ticks, self._retry, self._patience):
            timer.cancel()

    def touched(self) -> Rules:
        """The rules, for an input: what follows from it is done at the end of this turn."""
        if self._turns.due is None and self._running:
            self._turns.start(0)
        return self.rules

    @property
    def now(self) -> float:
        """Seconds of the reactor's clock."""
        return float(self._clock.seconds())

    @property
    def file_bytes(self) -> int:
        """The most bytes of a file that the server takes; 0 as long as it has not told."""
        return self._limits.file_bytes

    # -- connecting

    def _connect(self) -> None:
        self._patience.start(CONNECT_SECONDS)
        self._attempt = attempt = self._around.endpoint.connect(self._factory)
        attempt.addCallbacks(self._reached, self._unreachable)
        attempt.addErrback(lambda f: self._log.failure("connecting failed", f))

    def _reached(self, connection: Connection) -> None:
        self._attempt = None
        self._connection = connection
        if connection.state == connection.STATE_CLOSED:
            # It was refused before the endpoint told us that it was there.
            self.closed(None, "closed at once")
        elif not self._running:
            self._leave()

    def _unreachable(self, failure: Failure) -> None:
        self._attempt = None
        self.closed(None, failure.getErrorMessage())

    def _give_up(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        elif self._connection is not None:
            self._connection.abort()

    # -- Owner

    def opened(self, connection: Connection) -> None:
        """See ``Owner``."""
        self._patience.cancel()
        self._connection = connection
        self._limits = _UNTOLD
        self.touched().connected(self.now, self._around.wall_ms())

    def received(self, frames: Sequence[wire.AnyServerFrame]) -> None:
        """See ``Owner``."""
        for frame in frames:
            if type(frame) is wire.Welcome:
                self._limits = frame.limits
        self.touched().frames(frames, self.now)

    def closed(self, code: int | None, reason: str) -> None:
        """See ``Owner``."""
        if self._attempt is not None:
            # The endpoint has not handed this one over yet; ``_reached`` comes back here.
            return
        self._connection = None
        self._patience.cancel()
        self._ticks.cancel()
        if self._running:
            self.touched().disconnected(code, reason, self._around.chance())
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)

    # -- turns

    def _turn(self) -> None:
        self._turns.cancel()
        turn = self.rules.take()
        try:
            if turn.writes:
                self._store.write(turn.writes)
        except Exception as error:
            self._log.failure("the store cannot be written; the client stops")
            self._end(error)
            return
        self._speak(turn)
        self._arm()

    def _speak(self, turn: Turn) -> None:
        if turn.frames and self._connection is not None:
            limits = self._limits
            self._connection.transmit(turn.frames, limits.batch, limits.frame_bytes)
        for notice in turn.notices:
            own = _OWN.get(type(notice))
            if own is None:
                self._application.told(notice)
            else:
                own(self, notice)

    def _hang_up(self, notice: Hangup) -> None:
        self._log.debug("hanging up: {reason}", reason=notice.reason)
        if self._connection is not None:
            self._connection.abort()

    def _reconnect(self, notice: Reconnect) -> None:
        if self._running:
            self._retry.start(notice.after)
            self._application.disconnected(notice.after)

    def _stopped(self, notice: Stop) -> None:
        self._end(LoginFailed(notice.code, notice.close, notice.reason))

    def _end(self, error: Exception) -> None:
        if not self._running:
            return
        self._running = False
        if self._connection is not None:
            self._connection.abort()
        self._cancel_timers()
        self._application.failed(error)

    # -- timers

    def _arm(self) -> None:
        """See to it that ``tick`` is called in time; too early does no harm."""
        deadline = self.rules.deadline
        if deadline is None or not self._running:
            return
        due = self._ticks.due
        if due is None or due > deadline:
            self._ticks.start(max(0.0, deadline - self.now))

    def _tick(self) -> None:
        self.rules.tick(self.now)
        self._turn()


_OWN: dict[type[Any], Callable[[Link, Any], None]] = {
    Hangup: Link._hang_up,
    Reconnect: Link._reconnect,
    Stop: Link._stopped,
}
