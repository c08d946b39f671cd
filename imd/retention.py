"""Deletes what is older than the operator keeps: in one node at a time, a few rows at a time.

A run is due once an hour.  Whichever node finds it due claims it in storage; if that node dies,
the rest is done by the run after.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from imd.errors import Unavailable
from imd.interfaces.storage import ExpiryStorage
from imd.keeping import Keeping
from imd.tasks import Clock, sleep, spawn

DAY = 86_400_000
HOUR = 3_600_000
#: Seconds between two looks whether a run is due, and between two transactions of a run.
LOOK_SECONDS = 300.0
PAUSE = 0.1
#: Messages, and files, in one transaction.
ROWS = 200
FILES = 50


class Sources(Protocol):
    """Where the time comes from, and chance."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def fraction(self) -> float:
        """A number in [0, 1)."""


class Retention:
    """The job; ``messages`` and ``files`` count what this process deleted, ``runs`` its runs."""

    _log = Logger()

    def __init__(
        self, storage: ExpiryStorage, keeping: Keeping, sources: Sources, clock: Clock
    ) -> None:
        self._storage = storage
        self._keeping = keeping
        self._sources = sources
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._is_running = False
        self.messages = self.files = self.runs = 0

    def start(self) -> None:
        """Look now and then, if anything is ever to be deleted."""
        self._is_running = bool(self._keeping.messages_days or self._keeping.files_days)
        self._later()

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        if self._is_running:
            delay = LOOK_SECONDS * (0.5 + self._sources.fraction())
            self._timer = self._clock.callLater(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        spawn(self._look(), self._log, "retention")

    async def _look(self) -> None:
        try:
            if await self._storage.claim("retention", self._sources.now_ms(), HOUR):
                await self._run()
        except Unavailable as error:
            self._log.warn("retention waits: {error}", error=error)
        finally:
            self._later()

    async def _run(self) -> None:
        messages, files = self.messages, self.files
        if self._keeping.messages_days:
            await self._expire_messages()
        if self._keeping.files_days:
            await self._expire_files()
        self.runs += 1
        self._log.info(
            "retention deleted {messages} messages and {files} files",
            messages=self.messages - messages,
            files=self.files - files,
        )

    async def _expire_messages(self) -> None:
        now, keeping = self._sources.now_ms(), self._keeping
        cut = now - keeping.messages_days * DAY
        undelivered = max(keeping.undelivered_days, keeping.messages_days)
        hard = now - undelivered * DAY if keeping.undelivered_days else 0
        after = 0
        while self._is_running:
            done = await self._storage.expire_messages(after=after, cut=cut, hard=hard, limit=ROWS)
            if done is None:
                return
            self.messages += done.messages
            # One that still has something to give is looked at again.
            after = done.conversation - (done.messages == ROWS)
            await sleep(self._clock, PAUSE)

    async def _expire_files(self) -> None:
        before = self._sources.now_ms() - self._keeping.files_days * DAY
        while self._is_running:
            done = await self._storage.expire_sent_files(before=before, limit=FILES)
            self.files += done
            if done < FILES:
                return
            await sleep(self._clock, PAUSE)
