"""Who waits for what in a client: messages to be committed, calls to be answered, the session."""

from __future__ import annotations

from typing import Any

from msgspec import UnsetType
from twisted.internet.defer import Deferred

from imd import wire
from imd.client import effects
from imd.client.errors import Refused
from imd.client.values import Sent


class Results:
    """Deferreds that the notices of the rules fire; those that were cancelled are left alone."""

    def __init__(self) -> None:
        self._sends: dict[str, list[Deferred[Sent]]] = {}
        self._calls: dict[int | str | UnsetType, Deferred[Any]] = {}
        self._ready: list[Deferred[None]] = []

    def sent(self, id: str, result: Deferred[Sent]) -> None:
        """``result`` waits for the message ``id``."""
        self._sends.setdefault(id, []).append(result)

    def called(self, req: int) -> Deferred[Any]:
        """The answer to the request ``req``."""
        answer: Deferred[Any] = Deferred()
        self._calls[req] = answer
        return answer

    def ready(self, done: Deferred[None]) -> None:
        """``done`` waits for a session that knows all conversations."""
        self._ready.append(done)

    def synced(self) -> None:
        """There is such a session."""
        waiting, self._ready = self._ready, []
        for done in waiting:
            done.callback(None)

    def acked(self, notice: effects.Acked) -> None:
        """A message was committed."""
        for result in self._sends.pop(notice.id, ()):
            if not result.called:
                result.callback(Sent(notice.id, notice.conversation, notice.seq, notice.at))

    def refused(self, notice: effects.SendRefused) -> None:
        """A message never will be."""
        for result in self._sends.pop(notice.id, ()):
            if not result.called:
                result.errback(Refused(notice.code, notice.message))

    def answered(self, notice: effects.Answered) -> None:
        """A request was answered."""
        answer = self._calls.pop(notice.req, None)
        frame = notice.frame
        if answer is None or answer.called:
            return
        if isinstance(frame, wire.Error):
            message = frame.message if isinstance(frame.message, str) else ""
            answer.errback(Refused(frame.code, message))
        else:
            answer.callback(frame)

    def fail_calls(self, error: Exception) -> None:
        """No request will be answered any more: their session is gone."""
        calls, self._calls = self._calls, {}
        for answer in calls.values():
            if not answer.called:
                answer.errback(error)

    def fail(self, error: Exception) -> None:
        """Nothing will come any more."""
        self.fail_calls(error)
        waiting, self._ready = self._ready, []
        sends, self._sends = self._sends, {}
        for done in waiting:
            done.errback(error)
        for results in sends.values():
            for result in results:
                if not result.called:
                    result.errback(error)
