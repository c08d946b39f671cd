"""From hints to the sessions of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.logger import Logger

from imd import wire
from imd.errors import Close
from imd.hints import AnyHint, Notify, Push, Receipt, Replace, Revoke
from imd.interfaces.sessions import LiveSession
from imd.journey import Journey
from imd.registry import Registry
from imd.times import Times


class Delivery:
    """Tells the sessions in a registry what they have to hear."""

    _log = Logger()

    def __init__(
        self, registry: Registry, times: Times | None = None, journey: Journey | None = None
    ) -> None:
        self._registry = registry
        self._journey = journey
        self._times = times
        #: Frames about conversations that were handed to sessions.
        self.pushes = 0

    def deliver(self, hint: AnyHint, but: LiveSession | None = None) -> bool:
        """Carry a hint out for every session it concerns, except ``but``.

        False if none of its users has a session here.
        """
        match hint:
            case Push(users, conversation, _, frame):
                before = self.pushes
                found = self._push(users, conversation, frame, but)
                if self._journey is not None:
                    self._tell_journey(self._journey, hint, but)
                if self._times is not None and self.pushes > before:
                    self._times.pushed(frame)
                return found
            case Receipt(users, conversation, user, delivered, read):
                if self._times is not None:
                    self._times.receipt(conversation, user, delivered)
                frame = wire.encode(wire.Receipt(conversation, user, delivered, read))
                return self._push(users, conversation, frame, but)
            case Notify(users, frame):
                return self._notify(users, frame)
            case Revoke(user, devices):
                return self._revoke(user, devices)
            case _:
                return self._replace(hint)

    def _push(
        self, users: Iterable[int], conversation: int, frame: bytes, but: LiveSession | None
    ) -> bool:
        found = False
        for user in users:
            for session in self._registry.sessions(user):
                found = True
                if session is not but:
                    self.pushes += 1
                    self._tell(session, session.push, conversation, frame)
        return found

    def _tell_journey(self, journey: Journey, hint: Push, but: LiveSession | None) -> None:
        for user in hint.users:
            for session in self._registry.sessions(user):
                if session is not but:
                    journey.pushed(hint, session.identity)

    def _notify(self, users: Iterable[int], frame: bytes) -> bool:
        found = False
        for user in users:
            for session in self._registry.sessions(user):
                found = True
                self._tell(session, session.notify, frame)
        return found

    def _revoke(self, user: int, devices: Sequence[int]) -> bool:
        sessions = self._registry.sessions(user)
        for session in sessions:
            if session.identity.device in devices:
                reason = "this device was logged out"
                self._tell(session, session.close, Close.BAD_CREDENTIALS, reason)
        return bool(sessions)

    def _replace(self, hint: Replace) -> bool:
        sessions = self._registry.sessions(hint.user)
        for session in sessions:
            me = session.identity
            if me.device == hint.device and me.session < hint.session:
                reason = "replaced by a newer session of this device"
                self._tell(session, session.close, Close.REPLACED, reason)
        return bool(sessions)

    def _tell(self, session: LiveSession, call: Callable[..., None], *args: Any) -> None:
        """A defect in one session must reach neither the others nor whoever has committed; but
        the session has missed something, and must not go on as if it had not.
        """
        try:
            call(*args)
        except Exception:
            self._log.failure("a session could not be told")
            session.close(Close.INTERNAL, "this is a defect of the server; it was logged")
