"""Deletes what is older than the operator keeps: in one node at a time, a few rows at a time.

A run is due once an hour.  Whichever node finds it due claims it in storage; if that node dies,
the rest is done by the run after.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from imd.interfaces.storage import ExpiryStorage
from imd.keeping import Keeping
from imd.rounds import Rounds
from imd.tasks import Clock, sleep

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
        self._rounds = Rounds("retention", self._look, self._pause, clock, self._log)
        self.messages = self.files = self.runs = 0

    def start(self) -> None:
        """Look now and then, if anything is ever to be deleted."""
        if self._keeping.messages_days or self._keeping.files_days:
            self._rounds.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._rounds.stop()

    def _pause(self) -> float:
        return LOOK_SECONDS * (0.5 + self._sources.fraction())

    async def _look(self) -> None:
        if await self._storage.claim("retention", self._sources.now_ms(), HOUR):
            await self._run()

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
        while self._rounds.is_running:
            done = await self._storage.expire_messages(after=after, cut=cut, hard=hard, limit=ROWS)
            if done is None:
                return
            self.messages += done.messages
            # One that still has something to give is looked at again.
            after = done.conversation - (done.messages == ROWS)
            await sleep(self._clock, PAUSE)

    async def _expire_files(self) -> None:
        before = self._sources.now_ms() - self._keeping.files_days * DAY
        while self._rounds.is_running:
            done = await self._storage.expire_sent_files(before=before, limit=FILES)
            self.files += done
            if done < FILES:
                return
            await sleep(self._clock, PAUSE)
