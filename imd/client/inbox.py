"""Messages on their way to the application: one after the other in each conversation."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imd.client.errors import Disconnected
from imd.client.values import Message

_log = Logger()


async def call_back(callback: Callable[..., Any], *args: Any) -> None:
    """Call a plain or an ``async`` function of the application; what it raises is logged."""
    try:
        result = callback(*args)
        if isinstance(result, Awaitable):
            await result
    except Disconnected as error:
        _log.info("a callback was interrupted: {error}", error=error)
    except Exception:
        _log.failure("a callback failed")


class Inbox:
    """Hands messages that are ``wanted`` to ``callback``; ``handled`` when done with one.

    The next message of a conversation waits for that; those of others do not.  The rules
    let no more than ``Repair.unhandled`` messages of a conversation wait here.
    """

    def __init__(
        self, wanted: Callable[[Message], bool], handled: Callable[[Message], None]
    ) -> None:
        self.callback: Callable[[Message], Any] | None = None
        self._wanted = wanted
        self._handled = handled
        self._queues: dict[int, deque[Message]] = {}
        self._stopped = False

    def put(self, message: Message) -> None:
        """A message, in the order of its conversation."""
        if self._stopped:
            return
        queue = self._queues.get(message.conversation)
        if queue is not None:
            queue.append(message)
        elif self.callback is None or not self._wanted(message):
            self._handled(message)
        else:
            queue = self._queues[message.conversation] = deque([message])
            Deferred.fromCoroutine(self._run(message.conversation, queue)).addErrback(
                lambda failure: _log.failure("handling messages failed", failure)
            )

    async def _run(self, conversation: int, queue: deque[Message]) -> None:
        while queue:
            message = queue.popleft()
            if self.callback is not None and self._wanted(message):
                await call_back(self.callback, message)
            if self._stopped:
                return
            self._handled(message)
        del self._queues[conversation]

    def stop(self) -> None:
        """Call no more.  What a callback is doing now does not count as handled."""
        self._stopped = True
        for queue in self._queues.values():
            queue.clear()
