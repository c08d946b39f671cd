"""Sending many bytes: from a store to a client, as fast as the client reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from imd.tasks import Clock

#: Bytes that are read, and then written, at once.
CHUNK = 262144
#: Seconds a client may take for one chunk.
STALL_SECONDS = 60


@implementer(IPushProducer)
class Sending:
    """The body of an answer.  ``read`` gives some bytes at an offset."""

    def __init__(
        self, request: Request, read: Callable[[int, int], Awaitable[bytes]], clock: Clock
    ) -> None:
        self._request = request
        self._read = read
        self._clock = clock
        self._is_gone = False
        self._paused: Deferred[None] | None = None
        request.notifyFinish().addErrback(self._lost)

    async def run(self, start: int, end: int) -> None:
        """Send the bytes from ``start`` to ``end``; a client that does not read is cut off."""
        self._request.registerProducer(self, True)
        while start < end and await self._may_write():
            data = await self._read(start, min(CHUNK, end - start))
            start += len(data)
            if not data:
                break
            if not self._is_gone:
                self._request.write(data)
        if not self._is_gone:
            self._finish(start == end)

    def _finish(self, is_whole: bool) -> None:
        self._request.unregisterProducer()
        if is_whole:
            self._request.finish()
        else:
            # The length was promised: only a break says that it is not kept.
            self._request.loseConnection()

    async def _may_write(self) -> bool:
        if self._paused is not None:
            deadline = self._clock.callLater(STALL_SECONDS, self._late)
            await self._paused
            if deadline.active():
                deadline.cancel()
        return not self._is_gone

    def _late(self) -> None:
        self._request.channel.forceAbortClient()

    def _lost(self, reason: Any) -> None:
        self._is_gone = True
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        """It goes on."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._lost(ConnectionDone())
