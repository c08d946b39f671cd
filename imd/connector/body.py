"""The body of a request as it comes in, as fast as whoever reads it takes it."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

#: Bytes that wait before the socket is read no more.  What was read at once still comes in.
#: Fewer make more, smaller pieces for the store, each of which takes a way to a thread and back.
ENOUGH = 262144


class Source(Protocol):
    """Where the bytes come from, as of ``IPushProducer``."""

    def pauseProducing(self) -> None:
        """Send nothing for now."""

    def resumeProducing(self) -> None:
        """Go on."""


class Broken(Exception):
    """The body ended before its end; ``timed_out``: because the client sent nothing more."""

    def __init__(self, timed_out: bool) -> None:
        super().__init__("the body broke off")
        self.timed_out = timed_out


class Body:
    """The bytes of a body, in order.  ``length`` is None where the client did not say."""

    def __init__(self, source: Source, length: int | None) -> None:
        self.length = length
        self.is_whole = False
        self._source = source
        self._parts: list[bytes] = []
        self._waits = 0
        self._is_paused = False
        #: Bytes since ``progress`` was asked for, and whether we made the client wait meanwhile.
        self._recent = 0
        self._held_up = False
        self._broken: Broken | None = None
        self._reader: Deferred[None] | None = None

    def hold(self) -> None:
        """Let the client wait until somebody reads."""
        self._is_paused = True
        self._source.pauseProducing()

    async def read(self) -> bytes:
        """All bytes that wait, at least one; nothing at the end.

        Raises ``Broken`` after what came before the break.
        """
        while not self._parts and not self.is_whole and self._broken is None:
            self._resume()
            self._reader = Deferred()
            await self._reader
        if self._broken is not None and not self._parts:
            raise self._broken
        parts, self._parts, self._waits = self._parts, [], 0
        self._resume()
        return b"".join(parts)

    def received(self, data: bytes) -> None:
        """More bytes; nobody wants them once the body is broken."""
        if self._broken is not None:
            return
        self._parts.append(data)
        self._waits += len(data)
        self._recent += len(data)
        if self._waits >= ENOUGH:
            self._held_up = True
            self.hold()
        self._wake()

    def end(self) -> None:
        """That was all."""
        self.is_whole = True
        self._wake()

    def lose(self, timed_out: bool = False) -> None:
        """There will be no more; harmless after the end."""
        if not self.is_whole and self._broken is None:
            self._broken = Broken(timed_out)
            self._wake()

    def progress(self, least: int) -> bool:
        """Whether so many bytes came since it was asked last, or we were who was slow."""
        held_up = self._held_up or self._is_paused
        result = self._recent >= least or held_up or self.is_whole
        self._recent, self._held_up = 0, self._is_paused
        return result

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._source.resumeProducing()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)
