"""Several connections for calls that may run at the same time, and the news of how they fare."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imd.errors import ConfigError, Unavailable
from imd.storage.postgres_link import Connection, Link

T = TypeVar("T")

#: Seconds that a call may take, waiting included (the server's own limit is a little lower).
CALL_SECONDS = 5.0


class Outages:
    """Counts the links that are down; one log line when the first goes, one when all are back,
    and one for each reason for which the server must not be used.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._down: set[Link] = set()
        self._told = ""
        #: Called when the server answers, but must not be used until somebody corrects it.
        self.refused: Callable[[ConfigError], None] = lambda error: None
        #: How often PostgreSQL went away.
        self.count = 0

    def lost(self, link: Link, why: str) -> None:
        """See ``imd.storage.postgres_link.Watch``."""
        is_first = not self._down
        self._down.add(link)
        self.count += is_first
        if is_first or (link.refusal is not None and why != self._told):
            self._told = why
            self._log.warn("PostgreSQL cannot be used: {why}", why=why)
        if link.refusal is not None and not link.refusal.may_pass:
            self.refused(link.refusal)

    def back(self, link: Link) -> None:
        """See ``imd.storage.postgres_link.Watch``."""
        if link in self._down:
            self._down.remove(link)
            if not self._down:
                self._log.info("PostgreSQL is back")


class Pool:
    """Some links; a call takes one that is free, or waits its turn."""

    def __init__(self, links: Iterable[Link], reactor: Any) -> None:
        self.links = tuple(links)
        self._free = list(self.links)
        self._reactor = reactor
        self._waiting: deque[Deferred[Link]] = deque()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do ``work`` on a connection of its own; see ``Link.run``."""
        end = self._reactor.seconds() + CALL_SECONDS
        link = self._take() or await self._turn()
        try:
            return await link.run(work, max(0.0, end - self._reactor.seconds()))
        finally:
            self._give(link)

    def _take(self) -> Link | None:
        """A free link, one that is connected if there is one."""
        if not self._free:
            return None
        link = next((link for link in self._free if link.ready), self._free[0])
        self._free.remove(link)
        return link

    def _give(self, link: Link) -> None:
        if self._waiting:
            self._waiting.popleft().callback(link)
        else:
            self._free.append(link)

    async def _turn(self) -> Link:
        turn: Deferred[Link] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        expiry = self._reactor.callLater(CALL_SECONDS, self._expire, turn)
        try:
            return await turn
        finally:
            if expiry.active():
                expiry.cancel()

    def _expire(self, turn: Deferred[Link]) -> None:
        self._waiting.remove(turn)
        turn.errback(Unavailable(f"PostgreSQL: all {len(self.links)} connections are busy"))
