"""All client connections of this process, and the way from them into the application."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from msgspec import UNSET, Struct
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from imd import wire
from imd.connector.connection import Connection, Socket
from imd.connector.returns import Returns
from imd.connector.traffic import Total, Traffic, tell_end
from imd.errors import Close, Code, Unavailable
from imd.limits import Limits
from imd.messaging import Messaging
from imd.model import Identity, User
from imd.online import Online
from imd.session import Bucket
from imd.tasks import spawn

#: Seconds between two looks at the timeouts of all connections.
TICK = 1.0
#: Seconds between two renewals of this node's lease in user status: much less than the lease,
#: because after an outage a node cannot be found before its next beat.
BEAT = 1.0


#: Seconds that a login may wait for its turn: whoever would wait longer is told when to come back.
LOGIN_WAIT = 5.0


class Accounts(Protocol):
    """What a connection needs of ``imd.accounts.Accounts``."""

    async def login_with_token(self, token: str) -> Identity:
        """Open a session of the token's device."""

    async def authenticate(self, token: str) -> Identity:
        """Who a token belongs to."""

    async def login_with_password(
        self, name: str, password: str, label: str, address: str, register: bool
    ) -> tuple[Identity, str]:
        """Make a device, open a session of it, and return its token."""

    async def forget(self, user: int, device: int) -> None:
        """Delete a device."""

    async def call(
        self, identity: Identity | None, method: str, params: bytes, address: str
    ) -> Struct:
        """Call a method of ``imd.methods``."""


class Rates(Protocol):
    """Where the token buckets come from."""

    def sends(self, user: int) -> Bucket:
        """The one bucket of all sessions of a user."""

    def others(self) -> Bucket:
        """A new bucket for everything of one connection that is not a ``send``."""


class Hub:
    """The connections of this process.

    ``fraction`` is a source of random numbers in 0..1, ``now_ms`` the wall clock.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        accounts: Accounts,
        messaging: Messaging,
        online: Online,
        rates: Rates,
        limits: Limits,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        fraction: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.now_ms = now_ms
        self.messaging = messaging
        self.send_bucket = rates.sends
        self.other_bucket = rates.others
        self._accounts = accounts
        self._online = online
        self.returns = Returns(clock, fraction)
        self._logins = DeferredSemaphore(limits.logins)
        self._connections: set[Connection] = set()
        self._unflushed: list[Connection] = []
        self._empty: Deferred[None] | None = None
        #: Refusals by code, of requests and messages that got no further than their session.
        self.refused: Counter[Code] = Counter()
        #: What the connections have carried that are gone.
        self.ended = Total()
        #: Logins that have got their welcome.
        self.welcomed = 0
        #: No client is read any more, nor let in.
        self.draining = False
        self._loops = ((TICK, LoopingCall(self._tick)), (BEAT, LoopingCall(self._beat)))

    def __len__(self) -> int:
        return len(self._connections)

    # -- connections come and go

    def open(self, socket: Socket, address: str) -> Connection:
        """A client has connected from ``address`` (an IP address, or empty)."""
        connection = Connection(self, socket, address)
        self._connections.add(connection)
        return connection

    def retire(self, connection: Connection) -> None:
        """No more pushes for this connection; it may still be closing."""
        if connection.known:
            spawn(self._online.leave(connection), self._log, "leaving")

    def leave(self, connection: Connection, traffic: Traffic, code: int | None) -> None:
        """A connection is gone; ``code`` is what it was closed with, None without a close."""
        self.retire(connection)
        traffic.code = traffic.code or code or 0
        self.ended.add(traffic)
        if connection.known:
            tell_end(traffic, connection.identity, self.clock.seconds())
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone()

    async def enter(self, connection: Connection, token: str) -> User | None:
        """Make a session reachable; its account as it is from then on, or None if the session was
        outranked, or is gone.

        Raises ``SessionRefused`` if its device was deleted since the login: whoever did that may
        have looked for sessions of the device before this one could be found.
        """
        if not await self._online.enter(connection):
            return None
        return (await self._accounts.authenticate(token)).user

    # -- into the application

    @asynccontextmanager
    async def turn(self, hello: wire.Hello) -> AsyncIterator[None]:
        """A turn to log somebody in.

        When thousands come at once each is to be through before the next begins, instead of all
        waiting for the first steps of all others.  Raises ``Unavailable`` after ``LOGIN_WAIT``.
        """
        if hello.token is UNSET:
            # What checks passwords has queues of its own, and may be slow.
            yield
            return
        await self._next_login()
        try:
            yield
        finally:
            # In a turn of the reactor of its own: who has gone meanwhile ends as soon as the turn
            # is theirs, and a crowd of them would be a stack as deep as the crowd.
            self.clock.callLater(0, self._logins.release)

    async def _next_login(self) -> None:
        waiting: Deferred[Any] = self._logins.acquire()
        timer = self.clock.callLater(LOGIN_WAIT, waiting.cancel)
        try:
            await waiting
        except CancelledError:
            raise Unavailable("too many logins at once") from None
        finally:
            if timer.active():
                timer.cancel()

    async def log_in(self, hello: wire.Hello, address: str) -> tuple[Identity, str | None]:
        """Check the credentials of a ``hello``; the token is returned for a password only."""
        if hello.token is not UNSET:
            return await self._accounts.login_with_token(hello.token), None
        # The session has checked that these are all there when the token is not.
        user, password, label = str(hello.user), str(hello.password), str(hello.device)
        return await self._accounts.login_with_password(
            user, password, label, address, hello.register is True
        )

    async def forget(self, me: Identity) -> None:
        """Delete a device whose token nobody was there to take."""
        await self._accounts.forget(me.user.id, me.device)

    async def call(self, me: Identity, method: str, params: bytes, address: str) -> Struct:
        """Call a method of protocol §7."""
        return await self._accounts.call(me, method, params, address)

    async def welcome(
        self, me: Identity, user: User, req: int | str, token: str | None
    ) -> wire.Welcome:
        """What a client that is logged in hears first; ``user`` is what ``enter`` has returned."""
        limits = self.limits
        epoch = await self.messaging.epoch()
        self.returns.served()
        self.welcomed += 1
        return wire.Welcome(
            req=req,
            user=wire.UserRef(user.id, user.name),
            device=me.device,
            session=me.session,
            epoch=epoch,
            now=self.now_ms(),
            heartbeat=limits.heartbeat_seconds,
            limits=wire.Limits(
                limits.inflight,
                limits.text_bytes,
                limits.file_bytes,
                limits.frame_bytes,
                wire.MAX_BATCH,
            ),
            roster=user.roster,
            caps=[],
            token=UNSET if token is None else token,
        )

    # -- frames out

    def flush_soon(self, connection: Connection) -> None:
        """Flush a connection at the end of this turn of the reactor."""
        if not self._unflushed:
            self.clock.callLater(0, self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            self._guarded(connection.flush)

    # -- time, and the end

    def start(self) -> None:
        """Begin to watch the timeouts, and to renew the lease."""
        for seconds, loop in self._loops:
            loop.clock = self.clock
            loop.start(seconds)

    async def _beat(self) -> None:
        try:
            await self._online.beat()
        except Exception:
            # A loop ends for ever with what it raises, and the lease with it.
            self._log.failure("the lease was not renewed")

    def _tick(self) -> None:
        now = self.clock.seconds()
        for connection in tuple(self._connections):
            self._guarded(connection.tick, now)

    def _guarded(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception:
            self._log.failure("a connection failed")

    async def drain(self, seconds: float) -> None:
        """Send every client away after its messages are committed."""
        self.draining = True
        for connection in tuple(self._connections):
            self._guarded(connection.stop_reading)
        await self.messaging.idle(seconds / 2)
        for connection in tuple(self._connections):
            self._guarded(self.send_away, connection)
        if self._connections:
            await self._gone(seconds / 2)
        for _, loop in self._loops:
            if loop.running:
                loop.stop()

    def send_away(self, connection: Connection) -> None:
        """Close a connection because the server stops; its client comes back some time later."""
        connection.close(Close.DRAINING, "the server restarts")

    def _gone(self, seconds: float) -> Awaitable[None]:
        """Waits until no connection is left, at most ``seconds``."""
        self._empty = Deferred()
        timer = self.clock.callLater(seconds, self._all_gone)
        return self._empty.addBoth(lambda _: timer.cancel() if timer.active() else None)

    def _all_gone(self) -> None:
        if self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)
