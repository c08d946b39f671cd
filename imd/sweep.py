"""The one reconciler: whatever hints did not bring, the feed in storage does.

Every node reads the feed every few seconds, and soon after anything by which hints may have
been lost.  What its sessions were not told yet it tells them; so a hint that is lost costs
time, and never a message.  Afterwards the token of the feed is one from which every session
may sync: it was told all that came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from imd import wire
from imd.delivery import Delivery
from imd.errors import Close, Unavailable
from imd.evictions import Evictions
from imd.hints import Push, Receipt
from imd.interfaces.feed import Feed, FeedPage
from imd.interfaces.storage import AccountStorage
from imd.online import Online
from imd.reach import Reach
from imd.recent import Recent
from imd.registry import Registry
from imd.tasks import Clock, spawn

#: Seconds between two sweeps, and between two while hints are known not to come through.
INTERVAL = 4.0
SOON = 0.5
#: Seconds for which ``Recent`` keeps what was pushed, at least.
REMEMBER = 15.0
#: Seconds between two purges of the feed.
PURGE = 60.0
#: Users that others look for here in vain, remembered until the next sweep.
MAX_STRAYS = 1000


class Sweep:
    """Reads the feed and repairs; often, while ``reach`` says that hints do not come through."""

    _log = Logger()

    def __init__(
        self,
        storage: AccountStorage,
        feed: Feed,
        registry: Registry,
        online: Online,
        recent: Recent,
        reach: Reach,
        clock: Clock,
    ) -> None:
        self._feed = feed
        self._registry = registry
        self._online = online
        self._recent = recent
        self._delivery = Delivery(registry)
        self._evictions = Evictions(storage, registry)
        self._covered: Callable[[str], None] = lambda token: None
        self._reach = reach
        self._clock = clock
        self._token: str | None = None
        self._timer: IDelayedCall | None = None
        self._busy = self._wanted = self._running = self._failing = False
        self._suspicious = False
        self._ended = self._turned = self._purged = clock.seconds()
        self._strays: set[int] = set()
        #: Conversations, cursors and devices that sessions had to be told of by a sweep.
        self.repaired = 0
        #: Sweeps that went through, and that failed.
        self.done = self.failed = 0

    def start(self, covered: Callable[[str], None]) -> None:
        """Sweep now, and from now on; ``covered`` takes the token of each sweep.

        Sessions may not be let in before the first: what they miss until then nobody finds.
        """
        self._covered = covered
        self._running = True
        self._begin()

    def stop(self) -> None:
        """Begin no more sweeps."""
        self._running = False
        self._cancel()

    def soon(self) -> None:
        """Hints may have been lost: do not wait for the next interval."""
        self._wanted = True
        if self._running and not self._busy:
            self._schedule()

    def suspect(self) -> None:
        """Hints were lost, perhaps those that say that a session was replaced elsewhere."""
        self._suspicious = True
        self.soon()

    def miss(self, node: str) -> None:
        """Hints do not reach this node, nor its hints us; it may go on committing."""
        self._reach.miss(node)
        self.soon()

    def stray(self, users: Iterable[int]) -> None:
        """Others believe that these users are here."""
        if len(self._strays) < MAX_STRAYS:
            self._strays.update(users)

    # -- when

    def _schedule(self) -> None:
        self._cancel()
        hurry = self._wanted or self._failing or self._reach.degraded
        due = self._ended + (SOON if hurry else INTERVAL)
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._begin)

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _begin(self) -> None:
        self._busy, self._wanted = True, False
        spawn(self._run(), self._log, "sweep")

    async def _run(self) -> None:
        try:
            await self._sweep()
            self._failing = False
            self.done += 1
        except Unavailable as error:
            if not (self._failing or error.is_outage):
                self._log.warn("the feed cannot be read: {error}", error=error)
            self._failing = True
            self.failed += 1
        finally:
            self._busy = False
            self._ended = self._clock.seconds()
            if self._running:
                self._schedule()

    # -- what

    async def _sweep(self) -> None:
        page = await self._feed.feed(self._token)
        # Later pages may hold what is newer; only the first token covers all of them.
        token = page.token
        told: set[int] = set()
        while page.complete:
            told |= await self._repair(page)
            if page.rest is None:
                break
            page = await self._feed.feed(page.rest)
        else:
            token = page.token
            self._start_over()
        self._token = token
        self._covered(token)
        await self._compare(told)
        await self._housekeep()

    async def _repair(self, page: FeedPage) -> set[int]:
        """Tell what was not told; returns whose hints went elsewhere."""
        # What may have been missed is told before anything is awaited: the token says so.
        behind = self._behind(page)
        for hint in behind:
            self._recent.note(hint)
            self._delivery.deliver(hint)
        self.repaired += len(behind)
        for user in page.accounts:
            if await self._evictions.evict(user):
                self.repaired += 1
        return {user for hint in behind for user in hint.users}

    def _behind(self, page: FeedPage) -> list[Push | Receipt]:
        heads = [
            Push(head.members, head.conversation, head.last, _poke(head.conversation, head.last))
            for head in page.heads
            if self._here(head.members) and not self._recent.has_head(head)
        ]
        cursors = [change for change in page.cursors if not self._recent.has_cursor(change.cursor)]
        receipts = [
            Receipt(
                c.members, c.cursor.conversation, c.cursor.user, c.cursor.delivered, c.cursor.read
            )
            for c in cursors
            if self._here(c.members)
        ]
        return [*heads, *receipts]

    def _here(self, users: Sequence[int]) -> bool:
        return any(self._registry.sessions(user) for user in users)

    def _start_over(self) -> None:
        """This node was cut off for so long that nobody can tell what it has missed."""
        self._log.warn("the feed does not reach back to the last sweep; sessions have to sync")
        self._recent.forget()
        for session in tuple(self._registry):
            session.close(Close.RESYNC, "this server was cut off; connect again")

    async def _compare(self, told: set[int]) -> None:
        """Hold user status against the sessions that there are, first those of ``told``."""
        await self._online.verify(told)
        strays, self._strays = self._strays, set()
        if strays:
            await self._online.disown(strays)
        suspicious, self._suspicious = self._suspicious, False
        if suspicious:
            await self._online.verify()
        await self._reach.look()

    async def _housekeep(self) -> None:
        now = self._clock.seconds()
        if now - self._turned >= REMEMBER:
            self._turned = now
            self._recent.turn()
        if now - self._purged >= PURGE:
            self._purged = now
            await self._feed.purge()


def _poke(conversation: int, last: int) -> bytes:
    return wire.encode(wire.Poke(conversation, last))
