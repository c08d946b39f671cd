"""A commit lane: messages wait here in order, and are committed in batches.

One batch of a lane is in flight at a time; what comes meanwhile waits, so load itself
makes the batches larger.  A batch is retried as it is until it commits.  When that
takes too long, every session that has a message in it is closed and whatever else it
queued is dropped: a lane commits a *prefix* of each session's stream, never a part with
holes, which is what keeps a sender's order across reconnects (protocol §1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct
from twisted.logger import Logger

from imd.counts import SIZES, Histogram
from imd.errors import Unavailable
from imd.interfaces.sessions import LiveSession
from imd.interfaces.storage import AppendResult, MessageStorage
from imd.limits import Limits
from imd.model import NewMessage
from imd.tasks import Clock, sleep, spawn

#: Delay before a batch is tried again, in seconds: the first, doubled each time, and the longest.
RETRY_SECONDS, LONGEST_RETRY = 0.05, 1.0


class Origin(LiveSession, Protocol):
    """The session that submitted a message."""

    @property
    def gone(self) -> bool:
        """Whether it has ended, so that nobody hears any more what becomes of its messages."""

    def settle(self, frame: bytes) -> None:
        """One submitted message ended; ``frame`` is its ``ack`` or ``nack``."""


class Pending(Struct, gc=False):
    """A message that waits for its commit; ``id`` is the client's spelling of its id."""

    origin: Origin
    id: str
    message: NewMessage
    #: When it was taken, by the monotonic clock.
    since: float = 0.0
    #: Whether storage did not answer an attempt to commit it, which may yet take effect.
    in_doubt: bool = False


class Outcomes(Protocol):
    """Who hears how batches ended."""

    def committed(self, batch: Sequence[Pending], result: AppendResult) -> None:
        """The batch is in the log."""

    def poisoned(self, pending: Pending) -> None:
        """This message can never be stored; the defect is logged."""

    def failed(self, batch: Sequence[Pending]) -> None:
        """Storage did not take the batch for ``commit_seconds``."""


class Lane:
    """Messages of some conversations, committed in the order they were put in."""

    _log = Logger()

    def __init__(
        self,
        storage: MessageStorage,
        clock: Clock,
        now_ms: Callable[[], int],
        limits: Limits,
        outcomes: Outcomes,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._now_ms = now_ms
        self._limits = limits
        self._outcomes = outcomes
        self._queue: deque[Pending] = deque()
        self._running = False
        self._in_flight = 0
        #: Messages in each commit that was tried.
        self.batches = Histogram(SIZES)
        #: How long commits took, repetitions included.
        self.commits = Histogram()

    def __len__(self) -> int:
        """Messages that wait or are being committed."""
        return len(self._queue) + self._in_flight

    def put(self, pending: Pending) -> None:
        """Queue a message.  What comes in the same turn of the reactor leaves together."""
        self._queue.append(pending)
        if not self._running:
            self._running = True
            self._clock.callLater(0, self._start)

    def _start(self) -> None:
        spawn(self._run(), self._log, "commit lane")

    async def _run(self) -> None:
        try:
            while self._queue:
                batch = self._take()
                self._in_flight = len(batch)
                await self._settle(batch)
        finally:
            self._in_flight = 0
            self._running = False

    async def _settle(self, batch: Sequence[Pending]) -> None:
        begin = self._clock.seconds()
        self.batches.add(len(batch))
        try:
            result = await self._commit(batch)
        except Exception:
            await self._bisect(batch)
            return
        self._in_flight -= len(batch)
        self.commits.add(self._clock.seconds() - begin)
        if result is None:
            self._outcomes.failed(batch)
        else:
            self._outcomes.committed(batch, result)

    async def _bisect(self, batch: Sequence[Pending]) -> None:
        """Find the message that storage cannot take, so that it does not block the others."""
        if len(batch) == 1:
            self._log.failure("message {id} cannot be stored", id=batch[0].id)
            self._in_flight -= 1
            self._outcomes.poisoned(batch[0])
            return
        middle = len(batch) // 2
        # The rest waits again: if storage goes away now, what its senders have there is purged.
        self._queue.extendleft(reversed(batch[middle:]))
        self._in_flight = middle
        await self._settle(batch[:middle])

    def _take(self) -> list[Pending]:
        batch: list[Pending] = []
        size = 0
        limits, queue = self._limits, self._queue
        while queue and len(batch) < limits.lane_batch:
            size += len(queue[0].message.body)
            if batch and size > limits.lane_bytes:
                break
            batch.append(queue.popleft())
        return batch

    async def _commit(self, batch: Sequence[Pending]) -> AppendResult | None:
        """Commit, however often it takes; None after ``commit_seconds`` without success."""
        messages = [pending.message for pending in batch]
        end = self._clock.seconds() + self._limits.commit_seconds
        delay = RETRY_SECONDS
        while True:
            try:
                return await self._storage.append(messages, self._now_ms())
            except Unavailable as error:
                left = end - self._clock.seconds()
                if left <= 0:
                    if not error.is_outage:
                        self._log.warn("messages cannot be stored: {error}", error=error)
                    return None
                for pending in batch:
                    pending.in_doubt = True
                await sleep(self._clock, min(delay, left))
                delay = min(2 * delay, LONGEST_RETRY)

    def purge(self, origin: Origin) -> None:
        """Drop everything that waits for ``origin``, and keep the order of the rest."""
        if any(pending.origin is origin for pending in self._queue):
            kept = [pending for pending in self._queue if pending.origin is not origin]
            self._queue = deque(kept)
