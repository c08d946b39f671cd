"""One client connection: drives its session and performs what the session decides.

``Connection`` knows no WebSocket: it talks to a ``Socket``.  Frames are handled in the
order of arrival; while the session does not want the next one, it waits here with all
that follow, and the socket is not read, so that at most one read of the socket waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from imd import decoding, wire
from imd.connector.refusals import refusal_of
from imd.connector.traffic import Traffic
from imd.effects import (
    Advance,
    Authenticate,
    CloseWith,
    Effects,
    Pong,
    Refresh,
    Reply,
    Request,
    Submit,
)
from imd.errors import Close, Unavailable
from imd.model import NOBODY, Identity
from imd.session import UNTIL_EVENT, Session, State
from imd.tasks import spawn

if TYPE_CHECKING:
    from imd.connector.hub import Hub


class Socket(Protocol):
    """What a connection needs of the WebSocket below it."""

    def transmit(self, payload: bytes) -> None:
        """Send a text message."""

    def disconnect(self, code: int, reason: str) -> None:
        """Close with a close code, and drop the connection if the peer does not answer."""

    def set_reading(self, reading: bool) -> None:
        """Read from the network, or let the peer wait."""

    def opened(self) -> None:
        """The client is logged in: it may send larger messages."""


class Connection:
    """One client, from the opening of its WebSocket to the end."""

    __slots__ = (
        "_address",
        "_flooding",
        "_hub",
        "_inbox",
        "_out",
        "_pumping",
        "_reading",
        "_session",
        "_socket",
        "_timer",
        "_traffic",
        "_waiters",
    )
    _log = Logger()

    def __init__(self, hub: Hub, socket: Socket, address: str) -> None:
        self._hub = hub
        self._socket = socket
        self._address = address
        self._session = Session(hub.limits, hub.other_bucket(), hub.clock.seconds())
        # None instead of empty containers: there may be thousands of idle connections.
        self._inbox: deque[wire.AnyClientFrame | decoding.Malformed] | None = None
        self._out: list[bytes] | None = None
        self._waiters: list[Deferred[bool]] | None = None
        self._timer: IDelayedCall | None = None
        self._traffic = Traffic(hub.clock.seconds())
        self._pumping = False
        self._reading = True
        # Whether more came at once than a client that keeps to its window has to say.
        self._flooding = False

    # -- from the socket

    def received(self, payload: bytes) -> None:
        """A text message of the client."""
        session = self._session
        session.heard = self._hub.clock.seconds()
        try:
            frames = decoding.decode(payload)
        except decoding.NotJson as error:
            self._perform(session.not_json(str(error)))
            return
        self._traffic.heard(len(payload), len(frames))
        if self._inbox is None:
            self._inbox = deque(frames)
        else:
            self._inbox.extend(frames)
        self._pump()
        if self._inbox is not None and len(self._inbox) > 2 * self._hub.limits.inflight:
            self._flooding = True

    def violated(self, reason: str) -> None:
        """The client sent something that is not a text message."""
        self._perform(self._session.not_json(reason))

    def control(self) -> None:
        """A WebSocket ping or pong of the client."""
        self._perform(self._session.control(self._hub.clock.seconds()))

    def paused(self) -> None:
        """The client does not read as fast as we write."""
        self._session.paused(self._hub.clock.seconds())
        self._set_reading(False)

    def resumed(self) -> None:
        """All that was written is on its way."""
        self._perform(self._session.resumed())
        self._release(True)
        self._pump()
        self._set_reading(self._inbox is None)

    def lost(self, code: int | None = None) -> None:
        """The connection is gone; ``code`` is what the client closed it with."""
        self._session.lost()
        self._hub.leave(self, self._traffic, code)
        self._inbox = self._out = None
        self._stop_timer()
        self._release(False)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self._flooding and self._inbox is None:
            self._flooding = False
            self._session.drained()
        self._perform(self._session.tick(now))

    @property
    def writing(self) -> bool:
        """Whether the client reads what is sent."""
        return self._session.writable

    def stop_reading(self) -> None:
        """Take no more frames: the server is about to stop."""
        self._set_reading(False)
        self._inbox = None

    # -- frames in

    def _pump(self) -> None:
        """Receive frames until the session wants no more."""
        if self._pumping or self._inbox is None:
            return
        self._pumping = True
        self._stop_timer()
        try:
            while self._inbox and self._admits(self._inbox[0]):
                self._receive(self._inbox.popleft())
        finally:
            self._pumping = False
        if not self._inbox:
            self._inbox = None
            # A flood comes in pieces, a read of the socket each, with an instant between two.
            if not self._flooding:
                self._session.drained()
        self._set_reading(self._inbox is None)

    def _receive(self, frame: wire.AnyClientFrame | decoding.Malformed) -> None:
        """Handle a frame.  A defect in it must not reach the lane, which may have called this."""
        try:
            self._perform(self._session.receive(frame))
        except Exception:
            self._log.failure("a frame failed")
            self.close(Close.INTERNAL, "this is a defect of the server; it was logged")

    def _admits(self, frame: wire.AnyClientFrame | decoding.Malformed) -> bool:
        hub = self._hub
        if type(frame) is wire.Send and hub.messaging.full:
            hub.messaging.when_room(self._pump)
            return False
        wait = self._session.wait(frame, hub.clock.seconds())
        if wait and wait != UNTIL_EVENT:
            self._timer = hub.clock.callLater(wait, self._wake)
        return not wait

    def _wake(self) -> None:
        self._timer = None
        self._pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_reading(self, reading: bool) -> None:
        if reading and self._hub.draining:
            return
        # Unread bytes are no silence: the clock of the client starts when we read again.
        if reading and not self._reading:
            self._session.heard = self._hub.clock.seconds()
        if reading != self._reading and not self.gone:
            self._reading = reading
            self._socket.set_reading(reading)

    # -- effects

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _perform_reply(self, effect: Reply) -> None:
        if effect.code is not None:
            self._hub.refused[effect.code] += 1
        self.reply(effect.frame)

    def _perform_authenticate(self, effect: Authenticate) -> None:
        spawn(self._log_in(effect.hello), self._log, "login")

    def _perform_submit(self, effect: Submit) -> None:
        self._hub.messaging.submit(self, effect.id, effect.message)

    def _perform_advance(self, effect: Advance) -> None:
        self._hub.messaging.mark(effect.cursor)

    def _perform_request(self, effect: Request) -> None:
        spawn(self._answer(effect.frame), self._log, "request")

    def _perform_pong(self, effect: Pong) -> None:
        since = self._hub.messaging.token if effect.clean else None
        pong = wire.Pong(effect.n, self._hub.now_ms(), UNSET if since is None else since)
        self.reply(wire.encode(pong))

    def _perform_refresh(self, effect: Refresh) -> None:
        spawn(self._refresh(effect.conversations), self._log, "refresh")

    def _perform_close(self, effect: CloseWith) -> None:
        retry = self._hub.returns.after(effect.code) if effect.retry is None else effect.retry
        if retry is not None:
            self.reply(wire.encode(wire.Bye(effect.code, retry)))
        self.flush()
        self._traffic.code = effect.code
        self._hub.retire(self)
        self._socket.disconnect(effect.code, effect.reason)

    async def _log_in(self, hello: wire.Hello) -> None:
        session = self._session
        try:
            async with self._hub.turn(hello):
                welcome = await self._enter(hello)
        except Exception as error:
            self._perform(session.refused(hello.req, refusal_of(error)))
            return
        if welcome is not None:
            self._socket.opened()
            self._perform(session.registered(welcome))
            self._pump()
            if session.ready:
                await self._sync(hello)

    async def _enter(self, hello: wire.Hello) -> wire.Welcome | None:
        """What the client is told; None if it is gone, or was outranked."""
        session, hub = self._session, self._hub
        if self.gone:
            return None
        identity, token = await hub.log_in(hello, self._address)
        self._perform(session.admitted(identity, hub.send_bucket(identity.user.id)))
        if session.state is not State.REGISTERING:
            if token is not None:
                await hub.forget(identity)
            return None
        # The order is that of protocol §4: reachable first, then the heads.
        user = await hub.enter(self, str(hello.token) if token is None else token)
        return None if user is None else await hub.welcome(identity, user, hello.req, token)

    async def _sync(self, frame: wire.Hello | wire.Sync) -> None:
        since = None if frame.since is UNSET else frame.since
        tail = 0 if frame.tail is UNSET else frame.tail
        try:
            if await self._hub.messaging.sync(self, self.identity.user.id, frame.req, since, tail):
                self._session.synced = True
        except Unavailable:
            if isinstance(frame, wire.Sync):
                raise
            self.close(Close.STORAGE_UNAVAILABLE, "storage does not answer; come back later")

    async def _answer(self, frame: wire.Fetch | wire.Sync | wire.Call) -> None:
        try:
            if isinstance(frame, wire.Sync):
                await self._sync(frame)
            else:
                self.reply(await self._reply_to(frame))
        except Exception as error:
            refusal = refusal_of(error)
            answer = wire.Error(refusal.code, refusal.message, frame.req)
            self._perform_reply(Reply(wire.encode(answer), refusal.code))
        self._session.answered()
        self._pump()

    async def _reply_to(self, frame: wire.Fetch | wire.Call) -> bytes:
        if isinstance(frame, wire.Fetch):
            return await self._hub.messaging.fetch(self.identity.user.id, frame)
        params = b"{}" if frame.params is UNSET else bytes(frame.params)
        data = await self._hub.call(self.identity, frame.method, params, self._address)
        return wire.encode(wire.Result(frame.req, data))

    async def _refresh(self, conversations: tuple[int, ...]) -> None:
        try:
            await self._hub.messaging.refresh(self, conversations)
        except Unavailable:
            self.close(Close.STORAGE_UNAVAILABLE, "storage does not answer; come back later")
        self._perform(self._session.refreshed())

    # -- LiveSession, Origin, Reader

    @property
    def identity(self) -> Identity:
        """Who this is; ``NOBODY`` before the login."""
        return self._session.identity

    @property
    def known(self) -> bool:
        """Whether the client has logged in."""
        return self._session.identity is not NOBODY

    @property
    def gone(self) -> bool:
        """Whether the session has ended."""
        return self._session.state is State.CLOSED

    def push(self, conversation: int, frame: bytes) -> None:
        """Send a frame about ``conversation``, or remember that the client is behind there."""
        self._perform(self._session.push(conversation, frame))

    def notify(self, frame: bytes) -> None:
        """Send a hint, or drop it."""
        self._perform(self._session.notify(frame))

    def settle(self, frame: bytes) -> None:
        """A message of this client was committed or refused."""
        self._session.settled()
        self.reply(frame)
        if self._inbox is not None:
            self._pump()

    def close(self, code: Close, reason: str) -> None:
        """End the session from this side."""
        self._perform(self._session.close(code, reason))

    def writable(self) -> Awaitable[bool]:
        """Waits until the client has read enough; false when it is gone."""
        if self._session.writable or self.gone:
            return succeed(not self.gone)
        waiter: Deferred[bool] = Deferred()
        self._waiters = [*(self._waiters or ()), waiter]
        return waiter

    def _release(self, alive: bool) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            waiter.callback(alive)

    # -- frames out

    def reply(self, frame: bytes) -> None:
        """Send a frame; all frames of one turn of the reactor leave together."""
        if self._out is None:
            self._out = [frame]
            self._hub.flush_soon(self)
        else:
            self._out.append(frame)

    def flush(self) -> None:
        """Send what waits."""
        out, self._out = self._out or (), None
        self._traffic.frames_out += len(out)
        for payload in wire.batches(out):
            self._traffic.bytes_out += len(payload)
            self._socket.transmit(payload)


_PERFORM: dict[type[Any], Callable[[Connection, Any], None]] = {
    Reply: Connection._perform_reply,
    Authenticate: Connection._perform_authenticate,
    Submit: Connection._perform_submit,
    Advance: Connection._perform_advance,
    Request: Connection._perform_request,
    Pong: Connection._perform_pong,
    Refresh: Connection._perform_refresh,
    CloseWith: Connection._perform_close,
}
