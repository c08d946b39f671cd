"""Sending many bytes: part after part to a client, each made only once it has read the last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from imd.tasks import Clock

#: Seconds a client may take for one part.
STALL_SECONDS = 60


@implementer(IPushProducer)
class Sending:
    """The body of an answer."""

    def __init__(self, request: Request, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._is_gone = False
        self._paused: Deferred[None] | None = None
        request.notifyFinish().addErrback(self._lost)

    async def run(self, parts: AsyncGenerator[bytes, None]) -> None:
        """Send the parts, and finish; a client that does not read is cut off.

        Where it cannot be finished it raises what ``parts`` does.
        """
        self._request.registerProducer(self, True)
        try:
            async with aclosing(parts):
                async for part in parts:
                    if not self._is_gone:
                        self._request.write(part)
                    if not await self._may_write():
                        return
        finally:
            if not self._is_gone:
                self._request.unregisterProducer()
        self._request.finish()

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
