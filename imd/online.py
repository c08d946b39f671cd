"""Keeps user status true to the sessions of this node.

User status is a hint, too: without it sessions go on, and senders reach them through the
sweep.  So no failure of it ends anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from imd.errors import Close, Unavailable
from imd.hints import Replace
from imd.interfaces.nodes import Entry, UserStatus
from imd.interfaces.sessions import LiveSession
from imd.registry import Registry, outrank
from imd.routing import Routing
from imd.tasks import spawn

#: Sessions that are entered at the same time.
AT_ONCE = 100


class Online:
    """The sessions of this node, here and in user status.

    ``renewed`` is called when the lease of this node had been lost: what was sent to it
    meanwhile went nowhere.
    """

    _log = Logger()

    def __init__(
        self,
        node: str,
        registry: Registry,
        status: UserStatus,
        routing: Routing,
        renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._registry = registry
        self._status = status
        self._routing = routing
        self._renewed = renewed
        #: User status lacks some of our sessions, or may do so.
        self._doubtful = False
        #: Sessions by user and device that have ended, and that user status may still have.
        self._left: dict[tuple[int, int], int] = {}
        #: Renewals of the lease that succeeded, that failed, and that found it lost.
        self.renewals = self.missed = self.lost = 0

    async def enter(self, session: LiveSession) -> bool:
        """Make a session reachable: first here, then in user status (protocol §4).

        False: it was outranked by a newer one of the same device, or is gone meanwhile.
        """
        return self._registry.add(session) and await self._register(session)

    async def leave(self, session: LiveSession) -> None:
        """A session ends; it need not have been entered."""
        if self._registry.remove(session):
            await self._unregister(session)

    async def beat(self) -> None:
        """Renew the lease; where sessions may be missing in user status, enter all again."""
        try:
            if not await self._status.beat():
                self._doubtful = True
                self.lost += 1
                self._renewed()
        except Unavailable:
            self.missed += 1
            return
        self.renewals += 1
        await self._make_up()
        if self._doubtful:
            self._doubtful = False
            await self.verify()

    async def verify(self, users: Collection[int] | None = None) -> None:
        """Enter the sessions of ``users`` (None: of all) once more, which closes those that were
        outranked elsewhere while nobody could tell us.  If that fails, the next beat does it.
        """
        if users is None:
            rest = list(self._registry)
        else:
            rest = [session for user in users for session in self._registry.sessions(user)]
        while rest and not self._doubtful:
            # Many at once: one after the other they would take longer than the lease lives.
            batch, rest = rest[:AT_ONCE], rest[AT_ONCE:]
            await gatherResults(
                [spawn(self._enter_again(each), self._log, "entering again") for each in batch]
            )

    async def _enter_again(self, session: LiveSession) -> None:
        await self._register(session)

    def outranked(self, session: LiveSession) -> None:
        """Storage has a newer session of the device, and takes nothing from this one any more.

        Where the newer one lives, this ends for good.  But it may never have lived: a login that
        waited while its client gave it up and came back counts as newer than what came of that.
        Then the client has to come once more.
        """
        spawn(self._yield(session), self._log, "yielding to a newer session")

    async def _yield(self, session: LiveSession) -> None:
        if await self._register(session):
            session.close(Close.RESYNC, "a newer session of this device has ended; come back")

    async def disown(self, users: Iterable[int]) -> None:
        """Others look for these users here: take out entries of sessions that are gone."""
        with suppress(Unavailable):
            for entry in await self._status.lookup(tuple(users)):
                if entry.node == self._node and not self._has(entry):
                    await self._status.unregister(entry.user, entry.device, entry.session)

    def _has(self, entry: Entry) -> bool:
        return any(
            (s.identity.device, s.identity.session) == (entry.device, entry.session)
            for s in self._registry.sessions(entry.user)
        )

    async def _register(self, session: LiveSession) -> bool:
        """False: the session was outranked, or has ended meanwhile."""
        me = session.identity
        try:
            other = await self._status.register(me.user.id, me.device, me.session)
        except Unavailable:
            other, self._doubtful = None, True
        if session not in self._registry.sessions(me.user.id):
            await self._unregister(session)
            return False
        if other is not None and other.session > me.session:
            outrank(session)
            return False
        if other is not None and other.node != self._node:
            self._routing.tell_node(other.node, Replace(me.user.id, me.device, me.session))
        return True

    async def _unregister(self, session: LiveSession) -> None:
        me = session.identity
        await self._take_out(me.user.id, me.device, me.session)

    async def _take_out(self, user: int, device: int, session: int) -> None:
        try:
            await self._status.unregister(user, device, session)
        except Unavailable:
            self._left[user, device] = session

    async def _make_up(self) -> None:
        """Take out those who left while user status was away."""
        left, self._left = list(self._left.items()), {}
        while left:
            batch, left = left[:AT_ONCE], left[AT_ONCE:]
            taking = [self._take_out(*who, session) for who, session in batch]
            await gatherResults([Deferred.fromCoroutine(each) for each in taking])
