"""Cursors on their way into storage: merged while they wait, one batch in flight.

Clients mark often, and only the greatest value of each cursor matters, so marks that
come in one turn of the reactor, or while a batch is being stored, become one change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from msgspec import Struct
from twisted.logger import Logger

from imd.errors import Unavailable
from imd.interfaces.storage import AdvanceResult, MessageStorage
from imd.model import Cursor
from imd.tasks import Clock, sleep, spawn

#: Cursors that may wait while storage is away; clients assert theirs again anyway.
MAX_WAITING = 50_000
#: Cursors in one batch: as many as can be stored, and told of, in a few milliseconds.
BATCH = 500
#: Delay before a batch that failed is tried again, in seconds.
RETRY_SECONDS = 0.5

Key = tuple[int, int]


class Mark(Struct, gc=False):
    """The greatest values asked for."""

    delivered: int
    read: int


Stored = Callable[[AdvanceResult], None]


class Marks:
    """Collects cursors, stores them, and says what changed."""

    _log = Logger()

    def __init__(
        self, storage: MessageStorage, clock: Clock, now_ms: Callable[[], int], stored: Stored
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._now_ms = now_ms
        self._stored = stored
        self._waiting: dict[Key, Mark] = {}
        self._running = False
        self._in_flight = 0

    def __len__(self) -> int:
        """Cursors that wait or are being stored."""
        return len(self._waiting) + self._in_flight

    def put(self, cursor: Cursor) -> None:
        """Merge a cursor into what waits."""
        key = (cursor.conversation, cursor.user)
        mark = self._waiting.get(key)
        if mark is None:
            if len(self._waiting) >= MAX_WAITING:
                return
            self._waiting[key] = Mark(cursor.delivered, cursor.read)
        else:
            mark.delivered = max(mark.delivered, cursor.delivered)
            mark.read = max(mark.read, cursor.read)
        if not self._running:
            self._running = True
            self._clock.callLater(0, self._start)

    def _start(self) -> None:
        spawn(self._run(), self._log, "storing cursors")

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = {key: self._waiting.pop(key) for key in [*islice(self._waiting, BATCH)]}
                self._in_flight = len(batch)
                await self._store(batch)
        finally:
            self._in_flight = 0
            self._running = False

    async def _store(self, batch: Mapping[Key, Mark]) -> None:
        """Store a batch; without storage it waits, and goes on growing by nothing: clients
        that reconnect assert their cursors again (protocol §5 R7).
        """
        cursors = [Cursor(c, u, mark.delivered, mark.read) for (c, u), mark in batch.items()]
        while True:
            try:
                result = await self._storage.advance(cursors, self._now_ms())
            except Unavailable:
                await sleep(self._clock, RETRY_SECONDS)
            else:
                self._stored(result)
                return
