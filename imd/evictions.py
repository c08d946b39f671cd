"""Sessions that may not go on: their device was logged out, or their account locked or erased.

Whoever does that in this process says so at once.  What other processes do is found in the feed
(``imd.sweep``), or, on a database that has none, by asking now and then whether anybody wrote.
"""

from __future__ import annotations

from twisted.logger import Logger

from imd.delivery import Delivery
from imd.errors import Close
from imd.hints import Revoke
from imd.interfaces.storage import AccountStorage, Storage
from imd.registry import Registry
from imd.rounds import Rounds
from imd.tasks import Clock

#: Seconds between two looks; what an operator does beside the server takes so long to be felt.
LOOK_SECONDS = 2.0


class Evictions:
    """Closes the sessions of a user that storage lets in no more."""

    def __init__(self, storage: AccountStorage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry
        self._delivery = Delivery(registry)

    async def evict(self, user: int) -> bool:
        """Whether any session had to go.  One that comes in meanwhile looks for itself."""
        before = self._registry.sessions(user)
        if not before:
            return False
        found = await self._storage.find_user(user)
        if found is None or found.disabled:
            for session in before:
                session.close(Close.DISABLED, "this account is disabled")
            return True
        # Whoever comes in during the read may have a device that is newer than the answer.
        known = {device.id for device in await self._storage.devices(user)}
        gone = {session.identity.device for session in before} - known
        if gone:
            self._delivery.deliver(Revoke(user, tuple(gone)))
        return bool(gone)


class Lookout:
    """Looks whether another process has written, and if so at every user who is here."""

    _log = Logger()

    def __init__(self, storage: Storage, registry: Registry, clock: Clock) -> None:
        self._storage = storage
        self._registry = registry
        self._evictions = Evictions(storage, registry)
        self._owes = False
        self._rounds = Rounds(
            "the look for what others wrote", self._look, lambda: LOOK_SECONDS, clock, self._log
        )

    def start(self) -> None:
        """Look now, and from now on."""
        self._rounds.start(at_once=True)

    def stop(self) -> None:
        """Look no more."""
        self._rounds.stop()

    async def _look(self) -> None:
        # A look that fails half-way is owed: storage says only once that somebody wrote.
        self._owes = await self._storage.touched() or self._owes
        if self._owes:
            for user in {session.identity.user.id for session in self._registry}:
                await self._evictions.evict(user)
            self._owes = False
