"""Keeps user status true to the sessions of this node.

User status is a hint, too: without it sessions go on, and senders reach them through the
sweep.  So no failure of it ends anything here, or is worth a word: whoever keeps the
connection says when it is out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from imd.errors import Close, Unavailable
from imd.hints import Replace
from imd.interfaces import Entry, LiveSession, UserStatus
from imd.registry import Registry
from imd.routing import Routing

#: Users in one look-up.
LOOKUP = 500


class Online:
    """The sessions of this node, here and in user status.

    ``renewed`` is called when the lease of this node had been lost: what was sent to it
    meanwhile went nowhere.
    """

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
        """Renew the lease; if it had been lost, nobody knows of our sessions any more."""
        try:
            if await self._status.beat():
                return
        except Unavailable:
            return
        self._renewed()
        await self.verify({session.identity.user.id for session in self._registry})

    async def verify(self, users: Collection[int] | None = None) -> None:
        """Enter what sessions of ``users`` (None: of all) user status does not have, and close
        those that were outranked elsewhere while nobody could tell us.
        """
        if users is None:
            users = {session.identity.user.id for session in self._registry}
        rest = [user for user in users if self._registry.sessions(user)]
        try:
            while rest:
                await self._verify(rest[:LOOKUP])
                rest = rest[LOOKUP:]
        except Unavailable:
            return

    async def _verify(self, users: Sequence[int]) -> None:
        entries = {(e.user, e.device): e for e in await self._status.lookup(users)}
        for user in users:
            for session in self._registry.sessions(user):
                me = session.identity
                entry = entries.get((user, me.device))
                if entry is None or (entry.node, entry.session) != (self._node, me.session):
                    await self._register(session)

    async def disown(self, users: Iterable[int]) -> None:
        """Others look for these users here: take out entries of sessions that are gone."""
        try:
            for entry in await self._status.lookup(tuple(users)):
                if entry.node == self._node and not self._has(entry):
                    await self._status.unregister(entry.user, entry.device, entry.session)
        except Unavailable:
            return

    def _has(self, entry: Entry) -> bool:
        sessions = self._registry.sessions(entry.user)
        return any(
            (s.identity.device, s.identity.session) == (entry.device, entry.session)
            for s in sessions
        )

    async def _register(self, session: LiveSession) -> bool:
        """False: the session was outranked, or has ended meanwhile."""
        me = session.identity
        try:
            other = await self._status.register(me.user.id, me.device, me.session)
        except Unavailable:
            other = None
        if session not in self._registry.sessions(me.user.id):
            await self._unregister(session)
            return False
        if other is not None and other.session > me.session:
            session.close(Close.REPLACED, "replaced by a newer session of this device")
            return False
        if other is not None and other.node != self._node:
            self._routing.tell_node(other.node, Replace(me.user.id, me.device, me.session))
        return True

    async def _unregister(self, session: LiveSession) -> None:
        me = session.identity
        with suppress(Unavailable):
            await self._status.unregister(me.user.id, me.device, me.session)
