"""From a commit to the sessions that have to hear of it: here at once, elsewhere by hints.

A sender's commit comes first, the look-up of who is where second, and nothing of it is kept
for the next time.  A login does the reverse: it registers, then reads the heads.  Whichever
way the two race, either the look-up finds the session or the heads hold the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.logger import Logger

from imd.delivery import Delivery
from imd.errors import Unavailable
from imd.hints import AnyHint, Replace, Revoke
from imd.interfaces.nodes import Transfer, UserStatus
from imd.interfaces.sessions import LiveSession
from imd.journey import Journey
from imd.recent import Recent
from imd.tasks import Clock, spawn

#: Hints that may wait for a look-up.
MAX_WAITING = 20_000
#: Users in one look-up.
LOOKUP = 500


class Others(Protocol):
    """The way to the sessions of other nodes."""

    def send(self, hint: AnyHint) -> None:
        """Bring a hint to every other node that has a session of its users."""

    def send_to(self, node: str, hint: AnyHint) -> None:
        """Bring a hint to one node."""


class Routing:
    """Tells all sessions concerned; ``others`` is None where there is one node only."""

    def __init__(self, delivery: Delivery, others: Others | None = None) -> None:
        self._delivery = delivery
        self._others = others

    def tell(self, hint: AnyHint, but: LiveSession | None = None) -> None:
        """Tell the sessions of this node, except ``but``, and those of all others."""
        self._delivery.deliver(hint, but)
        if self._others is not None:
            self._others.send(hint)

    def tell_node(self, node: str, hint: AnyHint) -> None:
        """Tell one other node."""
        if self._others is not None:
            self._others.send_to(node, hint)


class Forwarding:
    """Looks up where users are, and forwards hints there; one look-up at a time.

    What comes during a look-up waits for the next one, so load itself makes look-ups larger,
    and the hints for a node keep their order.
    """

    _log = Logger()

    def __init__(
        self,
        node: str,
        status: UserStatus,
        transfer: Transfer,
        recent: Recent,
        clock: Clock,
        journey: Journey | None = None,
    ) -> None:
        self._node = node
        self._status = status
        self._transfer = transfer
        self._recent = recent
        self._clock = clock
        self._journey = journey
        self._waiting: list[AnyHint] = []
        self._running = False

    def __len__(self) -> int:
        """Hints that wait for a look-up."""
        return len(self._waiting)

    def send(self, hint: AnyHint) -> None:
        """See ``Others``."""
        self._recent.note(hint)
        if not self._transfer.attached or len(self._waiting) >= MAX_WAITING:
            # No time to look anybody up, or no use in it: all are told, or told ``lost``.
            self._transfer.forward(None, hint)
            return
        self._waiting.append(hint)
        if not self._running:
            self._running = True
            self._clock.callLater(0, self._start)

    def send_to(self, node: str, hint: AnyHint) -> None:
        """See ``Others``."""
        if node != self._node:
            self._transfer.forward(node, hint)

    def _start(self) -> None:
        spawn(self._run(), self._log, "forwarding")

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._forward(batch)
            except Exception:
                # The others find in the feed what this batch would have told them.
                self._log.failure("hints were not forwarded")
        self._running = False

    async def _forward(self, batch: Sequence[AnyHint]) -> None:
        users = list({user for hint in batch for user in _users(hint)})
        try:
            nodes = await self._nodes(users)
        except Unavailable:
            # Nobody knows who is where: everybody is told, and those concerned listen.
            for hint in batch:
                self._transfer.forward(None, hint)
            return
        # A node hears of all users, also of those that user status does not have there: what a
        # node was told once, a sweep does not tell again.
        for hint in batch:
            for node in {node: None for user in _users(hint) for node in nodes.get(user, ())}:
                self._transfer.forward(node, hint)
                if self._journey is not None:
                    self._journey.forwarded(node, hint)

    async def _nodes(self, users: Sequence[int]) -> dict[int, list[str]]:
        """The other nodes on which each user is."""
        found: dict[int, list[str]] = {}
        for start in range(0, len(users), LOOKUP):
            for entry in await self._status.lookup(users[start : start + LOOKUP]):
                if entry.node != self._node:
                    found.setdefault(entry.user, []).append(entry.node)
        return found


def _users(hint: AnyHint) -> tuple[int, ...]:
    return (hint.user,) if isinstance(hint, Revoke | Replace) else hint.users
