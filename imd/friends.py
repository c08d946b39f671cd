"""Friends: the ``friend.*`` methods of protocol §7, and who hears of what they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import UNSET, Struct

from imd import methods, names, wire
from imd.errors import Code, Refusal
from imd.events import FriendEvent
from imd.hints import Notify, Push
from imd.interfaces.storage import FriendshipResult, Storage
from imd.limits import Limits
from imd.model import Friend, FriendState, Identity, User
from imd.routing import Routing
from imd.tasks import Clock
from imd.throttle import Keyed

#: Characters of the note of a request.
NOTE_LENGTH = 200


class Sources(Protocol):
    """Where times and ids come from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""


class Friends:
    """The friend lists.  ``covered`` takes the sync token of a change once it was pushed."""

    def __init__(
        self,
        storage: Storage,
        routing: Routing,
        covered: Callable[[str | None], None],
        clock: Clock,
        sources: Sources,
        limits: Limits,
    ) -> None:
        self._storage = storage
        self._routing = routing
        self._covered = covered
        self._clock = clock
        self._sources = sources
        per_hour = limits.friend_requests_per_hour
        self._requests: Keyed[int] = Keyed(per_hour / 3600, per_hour)
        per_minute = limits.finds_per_minute
        self._finds: Keyed[int] = Keyed(per_minute / 60, per_minute)
        self.methods = frozenset(name for name in methods.METHODS if name.startswith("friend."))

    async def call(self, me: Identity, method: str, params: Any) -> Struct:
        """Call one of ``methods``.  Raises ``Refusal``."""
        if method == "friend.list":
            return await self._list(me)
        verb = method.removeprefix("friend.")
        note = ""
        if verb == "add":
            self._requests.check(me.user.id, self._clock.seconds(), "friend requests")
            note = names.label(params.note, "note", NOTE_LENGTH)
        peer = await self.find(me, params.user)
        return await self._befriend(me.user, peer, verb, note)

    async def find(self, me: Identity, who: int | str) -> User:
        """A user by id or by name in any case.  Raises ``Refusal(NOT_FOUND)``.

        Names can be guessed, so whoever tries many is held to ``limits.finds_per_minute``,
        by whichever method; ids cannot.
        """
        if isinstance(who, str):
            self._finds.check(me.user.id, self._clock.seconds(), "look-ups")
        found = await self._storage.find_user(who.casefold() if isinstance(who, str) else who)
        if found is None:
            raise Refusal(Code.NOT_FOUND, "there is no such user")
        return found

    async def _list(self, me: Identity) -> methods.Friends:
        version, friends = await self._storage.friends(me.user.id)
        return methods.Friends(version, [_item(friend) for friend in friends])

    async def renamed(self, user: User) -> None:
        """Tell the friends of a user that the display name has changed."""
        _, friends = await self._storage.friends(user.id)
        told = tuple(each.user.id for each in friends if each.state is FriendState.ACCEPTED)
        if told:
            event = wire.Event("friend.changed", FriendEvent(user.id, user.name))
            self._routing.tell(Notify(told, wire.encode(event)))

    async def _befriend(self, me: User, peer: User, verb: str, note: str) -> Struct:
        result = await self._storage.befriend(
            me.id,
            peer.id,
            verb,
            note=note,
            conversation=self._sources.new_id(),
            at=self._sources.now_ms(),
        )
        # Nothing may be awaited before this: the token covers what is pushed here.
        if result.changed:
            self._tell(me, peer, result)
        self._covered(result.token)
        if result.mine is None:
            return methods.FriendItem(peer.id, peer.name, display=peer.display)
        return _item(result.mine)

    def _tell(self, me: User, peer: User, result: FriendshipResult) -> None:
        if result.opened:
            self._open(me, peer, result)
        elif result.mine is not None and result.mine.state is FriendState.REQUESTED:
            if result.theirs is not None and result.theirs.state is FriendState.PENDING:
                self._notify(peer.id, "friend.requested", me, result.theirs.note)
        elif result.mine is not None and result.mine.state is FriendState.PENDING:
            # A block is lifted, under which a request had waited.
            self._notify(me.id, "friend.requested", peer, result.mine.note)
        else:
            self._notify(me.id, "friend.removed", peer)
            if result.noticed:
                self._notify(peer.id, "friend.removed", me)

    def _open(self, me: User, peer: User, result: FriendshipResult) -> None:
        conversation = result.conversation or 0
        poke = wire.encode(wire.Poke(conversation, 0))
        for user, other in ((me, peer), (peer, me)):
            self._notify(user.id, "friend.accepted", other, conversation=conversation)
        self._routing.tell(Push((me.id, peer.id), conversation, 0, poke))

    def _notify(
        self, user: int, event: str, other: User, note: str = "", conversation: int = 0
    ) -> None:
        data = FriendEvent(other.id, other.name, note, conversation or UNSET)
        self._routing.tell(Notify((user,), wire.encode(wire.Event(event, data))))


def _item(friend: Friend) -> methods.FriendItem:
    return methods.FriendItem(
        friend.user.id,
        friend.user.name,
        friend.state.value,
        UNSET if friend.conversation is None else friend.conversation,
        friend.user.display,
        friend.note,
    )
