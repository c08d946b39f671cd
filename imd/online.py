"""Keeps user status true to the sessions of this node.

User status is a hint, too: without it sessions go on, and senders reach them through the
sweep.  So no failure of it ends anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.logger import Logger

from imd.errors import Close, Unavailable
from imd.hints import Replace
from imd.interfaces import Entry, LiveSession, UserStatus
from imd.registry import Registry
from imd.routing import Routing


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

    async def enter(self, session: LiveSession) -> bool:
        """Make a session reachable: first here, then in user status (protocol §4).

        False: it was outranked by a newer one of the same device, or is gone meanwhile.
        """
        if not self._registry.add(session):
            return False
        await self._register(session)
        if session in self._registry.sessions(session.identity.user.id):
            return True
        await self._unregister(session)
        return False

    async def leave(self, session: LiveSession) -> None:
        """A session ends; it need not have been entered."""
        if self._registry.remove(session):
            await self._unregister(session)

    async def beat(self) -> None:
        """Renew the lease; if it had been lost, nobody knows of our sessions any more."""
        try:
            if await self._status.beat():
                return
        except Unavailable as error:
            self._log.debug("user status does not answer: {error}", error=error)
            return
        for session in tuple(self._registry):
            await self._register(session)
        self._renewed()

    async def register_again(self, users: Iterable[int]) -> None:
        """Others did not find these users: enter what sessions they have here once more."""
        for user in users:
            for session in self._registry.sessions(user):
                await self._register(session)

    async def disown(self, users: Iterable[int]) -> None:
        """Others look for these users here: take out entries of sessions that are gone."""
        try:
            for entry in await self._status.lookup(tuple(users)):
                if entry.node == self._node and not self._has(entry):
                    await self._status.unregister(entry.user, entry.device, entry.session)
        except Unavailable as error:
            self._log.debug("user status does not answer: {error}", error=error)

    def _has(self, entry: Entry) -> bool:
        sessions = self._registry.sessions(entry.user)
        return any(
            (s.identity.device, s.identity.session) == (entry.device, entry.session)
            for s in sessions
        )

    async def _register(self, session: LiveSession) -> None:
        me = session.identity
        try:
            other = await self._status.register(me.user.id, me.device, me.session)
        except Unavailable:
            return
        if other is None:
            return
        if other.session > me.session:
            session.close(Close.REPLACED, "replaced by a newer session of this device")
        elif other.node != self._node:
            self._routing.tell_node(other.node, Replace(me.user.id, me.device, me.session))

    async def _unregister(self, session: LiveSession) -> None:
        me = session.identity
        try:
            await self._status.unregister(me.user.id, me.device, me.session)
        except Unavailable:
            self._log.debug("{user} stays in user status for now", user=me.user.id)
