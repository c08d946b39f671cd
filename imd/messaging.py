"""The path of a message: submit, commit in a lane, acknowledge, push; marks, history, sync.

Everything a client is told was committed first (protocol §1).  Pushes are hints: a
session that cannot take one remembers that it is behind and gets a ``head`` later.

The sync token.  ``token`` covers every commit whose pushes were handed to the sessions
of this process.  Where this process is the only one that commits, that holds because
storage reports commits in order, and because the pushes of a commit happen before anything
is awaited; elsewhere a commit has no token, and the sweep of the feed brings one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import UNSET, Raw
from twisted.internet.defer import DeferredSemaphore

from imd import wire
from imd.errors import Close, Code
from imd.hints import Push, Receipt
from imd.interfaces.sessions import LiveSession
from imd.interfaces.storage import AdvanceResult, AppendResult, MessageStorage
from imd.journey import Journey
from imd.lane import Lane, Origin, Pending
from imd.limits import Limits
from imd.marks import Marks
from imd.model import Appended, Cursor, Head, Message, NewMessage, Outcome
from imd.registry import outrank
from imd.routing import Routing
from imd.tasks import Clock, sleep
from imd.times import Times

#: Heads in one ``heads`` frame.
HEADS_PAGE = 200

#: What a message in ``msgs`` takes beside its body, at most.
ITEM_BYTES = 192

_NACKS = {
    Outcome.CONFLICT: (Code.CONFLICT, "another message was sent with this id"),
    Outcome.FORBIDDEN: (Code.FORBIDDEN, "you may send only to accepted friends"),
    Outcome.NO_FILE: (Code.NO_FILE, "upload the file before sending it"),
}

_AWAY = Close.STORAGE_UNAVAILABLE, "storage does not answer; send again later"
_REVOKED = Close.BAD_CREDENTIALS, "this device was logged out"


class Reader(Protocol):
    """A session that asked for heads or history, and takes answers as fast as it reads."""

    def reply(self, frame: bytes) -> None:
        """Send an encoded frame."""

    def writable(self) -> Awaitable[bool]:
        """Waits until the client has read enough; false when it is gone."""


class Messaging:
    """Messages, cursors and heads of this process.

    ``lanes`` is how many appends may run at the same time; all messages of a conversation go
    through one lane.  Only storage whose commits have no token may have more than one.
    ``outranked`` ends a session of which storage takes nothing any more.
    """

    def __init__(
        self,
        storage: MessageStorage,
        routing: Routing,
        clock: Clock,
        now_ms: Callable[[], int],
        limits: Limits,
        lanes: int = 1,
        outranked: Callable[[LiveSession], None] = outrank,
        times: Times | None = None,
        journey: Journey | None = None,
    ) -> None:
        self._storage = storage
        self._routing = routing
        self._limits = limits
        self._clock = clock
        self._journey = journey
        self._outranked = outranked
        self.times = times or Times(clock.seconds, now_ms)
        self.lanes = [Lane(storage, clock, now_ms, limits, self) for _ in range(lanes)]
        self.marks = Marks(storage, clock, now_ms, self._advanced)
        self._syncs = DeferredSemaphore(limits.syncs)
        self._waiting_for_room: dict[Callable[[], None], None] = {}
        #: Covers what was pushed; None until the first commit of this process.
        self.token: str | None = None
        #: Messages that were refused when they were to be stored, by code.
        self.refused: Counter[Code] = Counter()
        #: Messages that storage knew already, and that nobody took for ``commit_seconds``.
        self.repeated = self.given_up = 0

    def covered(self, token: str | None) -> None:
        """Everything up to ``token`` was pushed; None says nothing."""
        if token is not None:
            self.token = token

    # -- sending

    def submit(self, origin: Origin, id: str, message: NewMessage) -> None:
        """Take a message; it ends in ``origin.settle``, or ``origin`` is closed."""
        if self._journey is not None:
            self._journey.accepted(id, message)
        lane = self.lanes[message.conversation % len(self.lanes)]
        lane.put(Pending(origin, id, message, self._clock.seconds()))

    @property
    def full(self) -> bool:
        """Whether so many messages wait for their commit that no more should be read."""
        return sum(len(lane) for lane in self.lanes) >= self._limits.pending

    def when_room(self, call: Callable[[], None]) -> None:
        """Call once when messages may be submitted again."""
        self._waiting_for_room[call] = None

    def committed(self, batch: Sequence[Pending], result: AppendResult) -> None:
        """Acknowledge and push a batch that is in the log."""
        now = self._clock.seconds()
        for pending, decision in zip(batch, result.decisions, strict=True):
            if self._journey is not None:
                self._journey.decided(pending.id, pending.message, decision)
            if self._ends(pending, decision):
                continue
            pending.origin.settle(_verdict(pending, decision))
            if decision.outcome is Outcome.NEW:
                self.times.sent.add(now - pending.since)
                self._push_message(pending, decision)
            else:
                self._count(decision.outcome)
        self.covered(result.token)
        self._call_waiting()

    def _ends(self, pending: Pending, decision: Appended) -> bool:
        """Whether the session of a message ends, which then gets no answer."""
        end, origin = _end(pending, decision), pending.origin
        if end is None and decision.outcome is not Outcome.REPLACED:
            return False
        self.withdraw(origin)
        if end is None:
            self._outranked(origin)
        else:
            origin.close(*end)
        return True

    def _count(self, outcome: Outcome) -> None:
        if outcome is Outcome.DUPLICATE:
            self.repeated += 1
        else:
            self.refused[_NACKS[outcome][0]] += 1

    def poisoned(self, pending: Pending) -> None:
        """Refuse a message that can never be stored."""
        self.refused[Code.BAD_REQUEST] += 1
        nack = wire.Nack(pending.id, Code.BAD_REQUEST, "this message cannot be stored")
        pending.origin.settle(wire.encode(nack))
        self._call_waiting()

    def failed(self, batch: Sequence[Pending]) -> None:
        """Close the sessions of a batch that storage does not take; see ``imd.lane``."""
        self.given_up += len(batch)
        for origin in {id(pending.origin): pending.origin for pending in batch}.values():
            self.withdraw(origin)
            origin.close(*_AWAY)
        self._call_waiting()

    def withdraw(self, origin: Origin) -> None:
        """Forget the messages of ``origin`` that are not being committed yet."""
        for lane in self.lanes:
            lane.purge(origin)

    async def idle(self, seconds: float) -> bool:
        """Wait until nothing waits for a commit; false if that took longer than ``seconds``."""
        end = self._clock.seconds() + seconds
        while any(self.lanes) or self.marks:
            if self._clock.seconds() >= end:
                return False
            await sleep(self._clock, 0.01)
        return True

    def _call_waiting(self) -> None:
        if self._waiting_for_room and not self.full:
            calls, self._waiting_for_room = self._waiting_for_room, {}
            for call in calls:
                call()

    def _push_message(self, pending: Pending, decision: Appended) -> None:
        message = pending.message
        self.times.awaits(message.conversation, decision.seq, message.sender, pending.since)
        frame = _msg(message, decision)
        push = Push(decision.members, message.conversation, decision.seq, frame)
        self._routing.tell(push, but=pending.origin)

    # -- cursors

    def mark(self, cursor: Cursor) -> None:
        """Take a cursor; all sessions of all members hear of it once it is stored."""
        self.marks.put(cursor)

    def _advanced(self, result: AdvanceResult) -> None:
        for change in result.changes:
            c = change.cursor
            if self._journey is not None:
                self._journey.reached(c)
            receipt = Receipt(change.members, c.conversation, c.user, c.delivered, c.read)
            self._routing.tell(receipt)
        self.covered(result.token)

    # -- reading

    async def fetch(self, user: int, frame: wire.Fetch) -> bytes:
        """The ``msgs`` answer to a ``fetch``; raises ``Refusal(NOT_FOUND)``."""
        return await self._history(
            user,
            frame.req,
            frame.conversation,
            after=None if frame.after is UNSET else frame.after,
            before=None if frame.before is UNSET else frame.before,
            limit=min(frame.limit, self._limits.fetch_items),
        )

    async def _history(
        self,
        user: int,
        req: int | str,
        conversation: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
    ) -> bytes:
        found = await self._storage.history(
            user,
            conversation,
            after=after,
            before=before,
            limit=limit,
            max_bytes=self._limits.fetch_bytes - limit * ITEM_BYTES,
        )
        items = [_item(message) for message in found.items]
        return wire.encode(wire.Msgs(req, conversation, items, found.floor, found.more))

    async def sync(
        self, reader: Reader, user: int, req: int | str, since: str | None, tail: int
    ) -> bool:
        """Stream the heads that changed after ``since``, and ``tail`` messages above the
        user's cursor for each (protocol §3); false if the client went away meanwhile.

        A turn of ``limits.syncs`` is taken for each read and given back before the client has
        to read: clients that do not must not keep the others out.
        """
        token, after, more = None, 0, True
        while more:
            async with self._syncs:
                page = await self._storage.heads(user, since=since, after=after, limit=HEADS_PAGE)
            # Later pages are newer than the first, so the first token covers them all.
            token, more = token or page.token, page.more
            if page.items:
                after = page.items[-1].conversation
            items = [_head_item(head) for head in page.items]
            reader.reply(wire.encode(wire.Heads(req, items, not more, UNSET if more else token)))
            if not await self._tails(reader, user, req, page.items, tail):
                return False
        return True

    async def _tails(
        self, reader: Reader, user: int, req: int | str, heads: Sequence[Head], tail: int
    ) -> bool:
        for head in heads:
            if tail and head.last > head.delivered:
                after = max(head.delivered, head.floor - 1)
                async with self._syncs:
                    found = await self._history(
                        user, req, head.conversation, after=after, limit=tail
                    )
                reader.reply(found)
                if not await reader.writable():
                    return False
        return await reader.writable()

    async def refresh(self, session: LiveSession, conversations: Sequence[int]) -> None:
        """Push a ``head`` and all cursors of conversations in which the session missed pushes."""
        user = session.identity.user.id
        for start in range(0, len(conversations), HEADS_PAGE):
            only = conversations[start : start + HEADS_PAGE]
            page = await self._storage.heads(user, only=only, limit=HEADS_PAGE)
            for head in page.items:
                poke = wire.Poke(head.conversation, head.last)
                session.push(head.conversation, wire.encode(poke))
                for cursor in _cursors(user, head):
                    session.push(head.conversation, _receipt(cursor))

    async def epoch(self) -> str:
        """The epoch of the log."""
        return await self._storage.epoch()


def _end(pending: Pending, decision: Appended) -> tuple[Close, str] | None:
    """How the session ends that gets no answer to this message; None if it goes on, or has to be
    looked at.
    """
    # An earlier attempt may reach storage when the friendship has begun again, after a nack.
    # That of a session which has a newer one stores nothing, so the client has to come back.
    # What it sent to that conversation after this is forbidden too, or withdrawn: the order is
    # kept.  That is not so for NO_FILE; but a file that is sent as it should be, when it is
    # complete, can be missing only for good.
    # Who is gone does not hear the nack either, and sends it again.
    if decision.outcome is Outcome.FORBIDDEN and (pending.in_doubt or pending.origin.gone):
        return _AWAY
    return _REVOKED if decision.outcome is Outcome.REVOKED else None


def _verdict(pending: Pending, decision: Appended) -> bytes:
    refusal = _NACKS.get(decision.outcome)
    if refusal is not None:
        return wire.encode(wire.Nack(pending.id, *refusal))
    dup = decision.outcome is Outcome.DUPLICATE
    message = pending.message
    return wire.encode(wire.Ack(pending.id, message.conversation, decision.seq, decision.at, dup))


def _msg(message: NewMessage, decision: Appended) -> bytes:
    return wire.encode(
        wire.Msg(
            message.conversation,
            decision.seq,
            message.sender,
            message.device,
            wire.uuid_text(message.id),
            decision.at,
            message.kind,
            Raw(message.body),
        )
    )


def _item(message: Message) -> wire.Item:
    return wire.Item(
        message.seq,
        message.sender,
        message.device,
        wire.uuid_text(message.id),
        message.at,
        message.kind,
        Raw(message.body),
    )


def _receipt(cursor: Cursor) -> bytes:
    return wire.encode(
        wire.Receipt(cursor.conversation, cursor.user, cursor.delivered, cursor.read)
    )


def _cursors(user: int, head: Head) -> list[Cursor]:
    mine = Cursor(head.conversation, user, head.delivered, head.read)
    peers = [Cursor(head.conversation, p.user, p.delivered, p.read) for p in head.peers]
    return [mine, *peers]


def _head_item(head: Head) -> wire.HeadItem:
    return wire.HeadItem(
        head.conversation,
        head.kind,
        head.last,
        head.floor,
        head.delivered,
        head.read,
        [wire.PeerHead(p.user, p.name, p.delivered, p.read) for p in head.peers],
    )
