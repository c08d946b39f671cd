"""One session's state machine: what happened goes in as a method call, what to do comes out.

    CONNECTED --hello--> AUTHENTICATING --admitted--> REGISTERING --registered--> READY
        |                      |                           |                        |
        +----------------------+------------ any of the closes of protocol §9 ------+--> CLOSED

Nothing here does I/O or knows the time: ``now`` (seconds, monotonic) is an argument, and
every method returns the effects to perform, in order.  The caller's duties:

- perform effects in the order given, across calls as well;
- before ``receive`` ask ``wait``, and while it is not 0 leave the frame, and all frames
  after it, where they are, and stop reading the socket (protocol §8);
- report ``settled`` once for each ``Submit``, ``answered`` once for each ``Request``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import msgspec
from msgspec import UNSET

from imd import decoding, wire
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
from imd.errors import Close, Code, Refusal, SessionRefused
from imd.limits import Limits
from imd.model import NOBODY, Cursor, Identity, NewMessage


class State(Enum):
    """Where a session stands (protocol §4)."""

    CONNECTED = "connected"
    AUTHENTICATING = "authenticating"
    REGISTERING = "registering"
    READY = "ready"
    CLOSED = "closed"


#: What ``wait`` returns when only an event, not time, can let the frame in.
UNTIL_EVENT = math.inf

#: Hints that wait for the end of a login.
MOST_EARLY = 16

#: How long a client that was closed for its rate has to stay away, ms (protocol §9).
RATE_RETRY = 30_000


class Bucket(Protocol):
    """A token bucket."""

    def wait(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""


class Session:
    """The conversation with one client connection.  See the module for the caller's duties."""

    __slots__ = (
        "_bad",
        "_dirty",
        "_early",
        "_held_since",
        "_inflight",
        "_limits",
        "_opened",
        "_others",
        "_paused_since",
        "_refreshing",
        "_requests",
        "_sends",
        "heard",
        "identity",
        "state",
        "synced",
    )

    def __init__(self, limits: Limits, others: Bucket, now: float) -> None:
        self._limits = limits
        self._others = others
        self._opened = now
        #: When the client was heard last; the caller sets it on every message.
        self.heard = now
        self.state = State.CONNECTED
        #: Whether all heads after the last ``welcome`` were sent.
        self.synced = False
        self.identity = NOBODY
        self._sends = others
        self._inflight = 0
        self._requests = 0
        self._bad = 0
        self._held_since: float | None = None
        self._paused_since: float | None = None
        # None instead of an empty set: most sessions are never paused, and there are many.
        self._dirty: set[int] | None = None
        self._early: tuple[bytes, ...] = ()
        self._refreshing = False

    # -- frames from the client

    def wait(self, frame: wire.AnyClientFrame | decoding.Malformed, now: float) -> float:
        """Seconds until ``frame`` may be received: 0 is now, ``UNTIL_EVENT`` after some event."""
        if self._paused_since is not None or self.state in _BUSY:
            return UNTIL_EVENT
        if self.state is not State.READY:
            return 0
        if type(frame) is wire.Send:
            if self._inflight >= self._limits.inflight:
                return UNTIL_EVENT
            return self._hold(self._sends.wait(now), now)
        if isinstance(frame, _REQUESTS) and self._requests >= self._limits.fetches:
            return UNTIL_EVENT
        return self._hold(self._others.wait(now), now)

    def _hold(self, seconds: float, now: float) -> float:
        if seconds and self._held_since is None:
            self._held_since = now
        return seconds

    def control(self, now: float) -> Effects:
        """A WebSocket ping or pong.  They cannot be held back, so too many end the session."""
        if self.state is State.CLOSED or not self._others.wait(now):
            return ()
        return self.close(Close.ABUSIVE_RATE, "too many pings", RATE_RETRY)

    def drained(self) -> None:
        """Every frame that had come was received: the client keeps to its rate again."""
        self._held_since = None

    def receive(self, frame: wire.AnyClientFrame | decoding.Malformed) -> Effects:
        """One frame of the client, in the order of arrival."""
        if self.state is State.READY or type(frame) is decoding.Malformed:
            return _INPUTS[type(frame)](self, frame)
        if self.state is not State.CONNECTED:
            return ()
        if not isinstance(frame, wire.Hello):
            return self._violation("the first frame has to be hello")
        return self._hello(frame)

    def not_json(self, reason: str) -> Effects:
        """A message that is not JSON, not text, or holds a frame of an unknown type."""
        return self._violation(reason)

    def _violation(self, reason: str) -> Effects:
        return self.close(Close.PROTOCOL_VIOLATION, reason)

    def _hello(self, frame: wire.Hello) -> Effects:
        fault = _hello_fault(frame)
        if fault is not None:
            return self._malformed(decoding.Malformed(fault, frame.req))
        unknown = [cap for cap in frame.caps or () if cap.startswith("!")]
        if unknown:
            return self.close(Close.VERSION, f"this server does not know {unknown[0]}")
        self.state = State.AUTHENTICATING
        return (Authenticate(frame),)

    def _second_hello(self, _: wire.Hello) -> Effects:
        return self._violation("hello may be said once")

    def _malformed(self, frame: decoding.Malformed) -> Effects:
        if self.state is State.CLOSED:
            return ()
        self._bad += 1
        if self._bad >= self._limits.bad_frames:
            return self._violation("too many malformed frames")
        if frame.id is not UNSET and frame.req is UNSET:
            return (_nack(frame.id, Code.BAD_REQUEST, frame.message),)
        error = wire.Error(Code.BAD_REQUEST, frame.message, frame.req)
        return (Reply(wire.encode(error), Code.BAD_REQUEST),)

    def _send(self, frame: wire.Send) -> Effects:
        uuid = wire.uuid_bytes(frame.id)
        if uuid is None:
            return (_nack(frame.id, Code.BAD_ID, "id has to be a UUID"),)
        try:
            body = decoding.decode_body(frame.kind, frame.body)
        except decoding.BadValue as error:
            return self._malformed(decoding.Malformed(f"body: {error}", id=frame.id))
        text = body.text
        if text is not UNSET and not _fits(text, self._limits.text_bytes):
            return (_nack(frame.id, Code.TOO_LARGE, f"text: {self._limits.text_bytes} bytes"),)
        file = body.file if isinstance(body, wire.FileBody) else None
        self._inflight += 1
        message = NewMessage(
            frame.conversation,
            self.identity.user.id,
            self.identity.device,
            uuid,
            frame.kind,
            wire.encode(body),
            file,
            self.identity.session,
        )
        return (Submit(frame.id, message),)

    def _mark(self, frame: wire.Mark) -> Effects:
        if frame.delivered is UNSET and frame.read is UNSET:
            return self._malformed(decoding.Malformed("mark needs delivered or read"))
        read = 0 if frame.read is UNSET else frame.read
        delivered = read if frame.delivered is UNSET else max(read, frame.delivered)
        return (Advance(Cursor(frame.conversation, self.identity.user.id, delivered, read)),)

    def _fetch(self, frame: wire.Fetch) -> Effects:
        if frame.after is not UNSET and frame.before is not UNSET:
            fault = decoding.Malformed("fetch takes after or before, not both", frame.req)
            return self._malformed(fault)
        return self._request(frame)

    def _request(self, frame: wire.Fetch | wire.Sync | wire.Call) -> Effects:
        self._requests += 1
        return (Request(frame),)

    def _ping(self, frame: wire.Ping) -> Effects:
        return (Pong(frame.n, self.clean),)

    @property
    def clean(self) -> bool:
        """Whether everything pushed so far went out, so that a newer sync token is honest."""
        return self.synced and not self._dirty and not self._refreshing

    @property
    def ready(self) -> bool:
        """Whether the client is logged in and was told so."""
        return self.state is State.READY

    @property
    def writable(self) -> bool:
        """Whether the client reads what is sent."""
        return self._paused_since is None

    # -- answers of the application

    def admitted(self, identity: Identity, sends: Bucket) -> Effects:
        """The credentials are good; ``sends`` is the bucket that all sessions of the user share."""
        if self.state is State.AUTHENTICATING:
            self.state = State.REGISTERING
            self.identity = identity
            self._sends = sends
        return ()

    def refused(self, req: int | str, refusal: Refusal) -> Effects:
        """The credentials are not good, or cannot be checked now."""
        if self.state is State.CLOSED:
            return ()
        frame = wire.encode(wire.Error(refusal.code, refusal.message, req))
        error = Reply(frame, refusal.code)
        return (error, *self.close(*_close_of(refusal)))

    def registered(self, welcome: wire.Welcome) -> Effects:
        """The session is entered in the registry and in user status."""
        if self.state is not State.REGISTERING:
            return ()
        self.state = State.READY
        early, self._early = self._early, ()
        return (Reply(wire.encode(welcome)), *map(Reply, early))

    def settled(self) -> None:
        """One submitted message ended in ``ack`` or ``nack``."""
        self._inflight -= 1

    def answered(self) -> None:
        """One request was answered."""
        self._requests -= 1

    # -- pushes, and a client that does not read them

    def push(self, conversation: int, frame: bytes) -> Effects:
        """Something happened in ``conversation``.

        Before READY nothing is sent: the heads are read after that, and have it.
        """
        if self.state is not State.READY:
            return ()
        if self._paused_since is None:
            return (Reply(frame),)
        if self._dirty is None:
            self._dirty = set()
        self._dirty.add(conversation)
        return ()

    def notify(self, frame: bytes) -> Effects:
        """A hint for the client, dropped while it does not read; before READY it waits."""
        if self.state is State.REGISTERING and len(self._early) < MOST_EARLY:
            self._early += (frame,)
        if self.state is not State.READY or self._paused_since is not None:
            return ()
        return (Reply(frame),)

    def paused(self, now: float) -> None:
        """The transport's buffer is full: the client reads too slowly, or not at all."""
        if self._paused_since is None:
            self._paused_since = now

    def resumed(self) -> Effects:
        """The transport's buffer is empty again."""
        self._paused_since = None
        return self._refresh()

    def refreshed(self) -> Effects:
        """A ``Refresh`` was performed; it may have filled the buffer again."""
        self._refreshing = False
        return () if self._paused_since is not None else self._refresh()

    def _refresh(self) -> Effects:
        if not self._dirty or self._refreshing or self.state is State.CLOSED:
            return ()
        dirty, self._dirty = self._dirty, None
        self._refreshing = True
        return (Refresh(tuple(sorted(dirty))),)

    # -- time and the end

    def tick(self, now: float) -> Effects:
        """Time has passed; call it about once a second."""
        limits = self._limits
        if self.state is State.CONNECTED:
            if now - self._opened > limits.hello_seconds:
                return self.close(Close.NO_HELLO, "no hello in time")
        elif self.state is State.READY:
            if self._paused_since is not None:
                if now - self._paused_since > limits.paused_seconds:
                    return self.close(Close.SLOW_CONSUMER, "the client does not read")
            elif self._held_since is not None:
                if now - self._held_since > limits.rate_held_seconds:
                    return self.close(Close.ABUSIVE_RATE, "too many messages", RATE_RETRY)
            elif now - self.heard > limits.silence_seconds:
                return self.close(Close.SILENCE, "nothing heard from the client")
        return ()

    def close(self, code: Close, reason: str, retry: int | None = None) -> Effects:
        """End the session from this side."""
        if self.state is State.CLOSED:
            return ()
        self.state = State.CLOSED
        return (CloseWith(code, reason, retry),)

    def lost(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED


def _nack(id: str, code: Code, message: str) -> Reply:
    return Reply(wire.encode(wire.Nack(id, code, message)), code)


def _fits(text: str, limit: int) -> bool:
    """Whether ``text`` takes at most ``limit`` bytes of UTF-8; 1 to 4 a character."""
    return len(text) * 4 <= limit or len(text.encode()) <= limit


def _hello_fault(frame: wire.Hello) -> str | None:
    named = (frame.user, frame.password, frame.device)
    if frame.token is not UNSET:
        clean = all(field is UNSET for field in named) and frame.register is UNSET
        return None if clean else "hello takes a token or user, password and device, not both"
    if any(field is UNSET for field in named):
        return "hello needs a token, or user, password and device"
    return None


def _close_of(refusal: Refusal) -> tuple[Close, str] | tuple[Close, str, int]:
    if isinstance(refusal, SessionRefused):
        return refusal.close, refusal.message
    if refusal.retry_after is not None:
        # What passes by itself is no verdict on the credentials: 4501 would be for good.
        retry = max(RATE_RETRY, math.ceil(refusal.retry_after * 1000))
        return Close.ABUSIVE_RATE, refusal.message, retry
    if refusal.code is Code.UNAVAILABLE:
        return Close.STORAGE_UNAVAILABLE, refusal.message
    if refusal.code is Code.INTERNAL:
        return Close.INTERNAL, refusal.message
    return Close.BAD_CREDENTIALS, refusal.message


_BUSY = frozenset((State.AUTHENTICATING, State.REGISTERING))
_REQUESTS = (wire.Fetch, wire.Sync, wire.Call)
_INPUTS: dict[type[msgspec.Struct], Callable[..., Effects]] = {
    wire.Hello: Session._second_hello,
    wire.Send: Session._send,
    wire.Mark: Session._mark,
    wire.Fetch: Session._fetch,
    wire.Sync: Session._request,
    wire.Call: Session._request,
    wire.Ping: Session._ping,
    decoding.Malformed: Session._malformed,
}
