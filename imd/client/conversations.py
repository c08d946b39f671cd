"""The logs of the conversations, without holes and without repeats (R3, R4, R7 and R8 of §5)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

from imd import wire
from imd.client.effects import Deliver, ReceiptChanged, SaveConversation, SaveMessage, Turn
from imd.client.marks import Marks
from imd.client.values import Conversation, Message, Peer


class Repair(Struct, frozen=True):
    """How holes are found and mended; times in seconds."""

    #: Messages kept while what comes before them is missing, in each conversation (R3).
    buffer: int = 200
    #: A hole that lasts so long is fetched (R3).
    gap: float = 0.3
    #: How long to wait after the server refused a fetch, or had nothing to give.
    retry: float = 1.0
    #: Items asked for at once (protocol §8: at most 200).
    page: int = 200
    #: Fetches in flight; the server takes 8 requests, and the application needs some.
    fetches: int = 3
    #: Marks wait so long for others of the same conversation (R7); 0 is no wait.
    mark_delay: float = 0.2
    #: Messages of one conversation that the application has not handled; more wait on the
    #: server, since a slow application must not fill our memory.
    unhandled: int = 1000
    #: Mark as delivered what is stored, without waiting for the application to handle it.
    mark_stored: bool = False


class Conversations:
    """All conversations of the user, and what has to be fetched or marked in them."""

    def __init__(self, saved: Iterable[Conversation], repair: Repair) -> None:
        self._all = {conversation.id: conversation for conversation in saved}
        self._repair = repair
        self.me = 0
        #: Conversations that take no messages now: their log is being compared (R6).
        self.frozen: set[int] = set()
        self._buffers: dict[int, dict[int, Message]] = {}
        self._gaps: dict[int, float] = {}
        self._gap_due: float | None = None
        self._fetch: dict[int, None] = {}
        self._fetching: set[int] = set()
        self.marks = Marks(repair.mark_delay)
        self._hard: dict[int, None] = {}
        self._soft: dict[int, None] = {}

    @property
    def all(self) -> Mapping[int, Conversation]:
        """Every conversation by id; to be read, not changed."""
        return MappingProxyType(self._all)

    def __contains__(self, conversation: int) -> bool:
        return conversation in self._all

    @property
    def deadline(self) -> float | None:
        """When a hole has lasted long enough, or marks are due."""
        times = [time for time in (self._gap_due, self.marks.due) if time is not None]
        return min(times, default=None)

    # -- messages

    def message(self, turn: Turn, message: Message, now: float) -> None:
        """R3: a message of a known conversation, from wherever it comes."""
        conversation = self._all[message.conversation]
        if message.seq > conversation.known:
            conversation.known = message.seq
            self._soft[conversation.id] = None
        if message.seq <= conversation.have or self._full(conversation):
            return
        if message.seq == conversation.have + 1 and conversation.id not in self.frozen:
            self._append(turn, conversation, message)
            self._drain(turn, conversation)
        else:
            buffer = self._buffers.setdefault(conversation.id, {})
            if len(buffer) < self._repair.buffer:
                buffer[message.seq] = message
            self._behind(conversation, now + self._repair.gap)

    def _full(self, mine: Conversation) -> bool:
        return mine.have - mine.handled >= self._repair.unhandled

    def _append(self, turn: Turn, conversation: Conversation, message: Message) -> None:
        conversation.have = message.seq
        self._hard[conversation.id] = None
        turn.writes.append(SaveMessage(message))
        turn.notices.append(Deliver(message))
        if self._repair.mark_stored:
            self.handled(message)

    def _drain(self, turn: Turn, conversation: Conversation) -> None:
        """Take what was waiting for ``have`` to come this far; forget what is done with."""
        buffer = self._buffers.get(conversation.id)
        while (
            buffer
            and not self._full(conversation)
            and (message := buffer.pop(conversation.have + 1, None)) is not None
        ):
            self._append(turn, conversation, message)
        if conversation.known <= conversation.have:
            self._buffers.pop(conversation.id, None)
            self._gaps.pop(conversation.id, None)
            self._fetch.pop(conversation.id, None)

    # -- holes

    def _behind(self, conversation: Conversation, due: float) -> None:
        """There is something above ``have``: fetch it at ``due``, unless it comes by itself."""
        if conversation.id in self._gaps or conversation.id in self._fetch:
            return
        if conversation.id not in self._fetching:
            self._gaps[conversation.id] = due
            self._gap_due = due if self._gap_due is None else min(due, self._gap_due)

    def _fetch_soon(self, conversation: Conversation) -> None:
        if conversation.id not in self._fetching:
            self._gaps.pop(conversation.id, None)
            self._fetch[conversation.id] = None

    def poke(self, conversation: int, last: int) -> None:
        """R4: the server says that there is something up to ``last``."""
        mine = self._all[conversation]
        if last > mine.known:
            mine.known = last
            self._soft[conversation] = None
        if mine.known > mine.have:
            self._fetch_soon(mine)

    def tick(self, now: float) -> None:
        """R3: holes that lasted long enough are to be fetched."""
        if self._gap_due is not None and now >= self._gap_due:
            for id in [id for id, due in self._gaps.items() if due <= now]:
                self._fetch_soon(self._all[id])
            self._gap_due = min(self._gaps.values(), default=None)

    def next_fetch(self) -> tuple[int, int, int] | None:
        """The next fetch to send: conversation, ``after`` and limit; None if there is none now."""
        while self._fetch and len(self._fetching) < self._repair.fetches:
            id = next(iter(self._fetch))
            del self._fetch[id]
            if id in self.frozen or self._full(self._all[id]):
                continue
            self._fetching.add(id)
            return id, self._all[id].have, self._repair.page
        return None

    def tail(self, turn: Turn, frame: wire.Msgs, now: float) -> None:
        """Messages that came along with the heads; R4: if they do not reach ``have``, fetch."""
        mine = self._run(turn, frame, now)
        if mine.known > mine.have:
            self._fetch_soon(mine)

    def fetched(self, turn: Turn, frame: wire.Msgs, now: float) -> None:
        """R4: the answer to a fetch of ours; go on until ``have`` is ``known``."""
        before = self._all[frame.conversation].have
        self._fetching.discard(frame.conversation)
        mine = self._run(turn, frame, now)
        if mine.known <= mine.have or self._full(mine):
            return
        if mine.have > before or frame.more:
            self._fetch_soon(mine)
        else:
            self._nothing_there(mine, now)

    def _run(self, turn: Turn, frame: wire.Msgs, now: float) -> Conversation:
        mine = self._all[frame.conversation]
        self.floor(turn, mine, frame.floor)
        for item in frame.items:
            self.message(turn, received(mine.id, item), now)
        return mine

    def _nothing_there(self, mine: Conversation, now: float) -> None:
        """The log was read, and ends at ``have``: what we had heard was more than there is."""
        waiting = self._buffers.get(mine.id, ())
        mine.known = max(waiting, default=mine.have)
        if mine.known > mine.have:
            self._behind(mine, now + self._repair.retry)

    def fetch_failed(self, conversation: int, again: bool, now: float) -> None:
        """The server refused our fetch; ``again`` tells whether it may change its mind."""
        self._fetching.discard(conversation)
        mine = self._all[conversation]
        if again:
            self._behind(mine, now + self._repair.retry)
        else:
            mine.known = mine.have
            self._buffers.pop(conversation, None)

    def floor(self, turn: Turn, mine: Conversation, floor: int) -> None:
        """R4: below ``floor`` the history has expired, and nobody will ever get it."""
        if floor <= mine.floor and floor <= mine.have + 1:
            return
        mine.floor = max(mine.floor, floor)
        self._soft[mine.id] = None
        if floor > mine.have + 1 and mine.id not in self.frozen:
            mine.have = floor - 1
            mine.known = max(mine.known, mine.have)
            mine.handled = max(mine.handled, mine.have)
            self._hard[mine.id] = None
            buffer = self._buffers.get(mine.id, {})
            for seq in [seq for seq in buffer if seq <= mine.have]:
                del buffer[seq]
            self._drain(turn, mine)

    # -- heads and receipts

    def head(self, turn: Turn, item: wire.HeadItem, restored: bool) -> Conversation:
        """R4: what the server says of a conversation; R8 if it is the first time.

        ``restored`` says that the server may have lost something since: its word replaces ours.
        """
        mine = self._all.get(item.conversation)
        if mine is None:
            mine = self._begin(item)
        mine.kind = item.kind
        mine.known = item.last if restored else max(mine.known, item.last)
        self._soft[mine.id] = None
        self.floor(turn, mine, item.floor)
        self._my_cursors(turn, mine, item.delivered, item.read, restored)
        self._peers(turn, mine, item.peers, restored)
        return mine

    def _begin(self, item: wire.HeadItem) -> Conversation:
        """R8: nothing below my ``delivered`` was missed; the rest is history to ask for."""
        base = max(item.delivered, item.floor - 1)
        mine = Conversation(item.conversation, base=base, have=base, handled=base)
        mine.delivered, mine.read = item.delivered, item.read
        self._all[mine.id] = mine
        self._hard[mine.id] = None
        return mine

    def _my_cursors(
        self, turn: Turn, mine: Conversation, delivered: int, read: int, restored: bool = False
    ) -> None:
        """R7: note what the server knows of me, and tell it again where it is behind."""
        told = (delivered, read)
        if not restored:
            told = max(delivered, mine.told_delivered), max(read, mine.told_read)
        mine.told_delivered, mine.told_read = told
        self._soft[mine.id] = None
        if read > mine.read:
            mine.read = read
            turn.notices.append(ReceiptChanged(mine.id, self.me, delivered, read))
        self._owe(mine)

    def _peers(
        self, turn: Turn, mine: Conversation, peers: Iterable[wire.PeerHead], restored: bool
    ) -> None:
        old = {} if restored else {peer.user: peer for peer in mine.peers}
        mine.peers = tuple(
            self._merge(turn, mine, old.get(peer.user), Peer(peer.user, peer.name), peer)
            for peer in peers
        )

    def _merge(
        self,
        turn: Turn,
        mine: Conversation,
        old: Peer | None,
        named: Peer,
        cursors: wire.PeerHead | wire.Receipt,
    ) -> Peer:
        """Cursors only grow (protocol §6); whoever did grow is reported."""
        old = old or named
        delivered, read = max(old.delivered, cursors.delivered), max(old.read, cursors.read)
        if (delivered, read) != (old.delivered, old.read):
            turn.notices.append(ReceiptChanged(mine.id, old.user, delivered, read))
        return Peer(old.user, named.name, delivered, read)

    def receipt(self, turn: Turn, frame: wire.Receipt) -> bool:
        """A member's cursors; False if we do not know that member."""
        mine = self._all[frame.conversation]
        if frame.user == self.me:
            self._my_cursors(turn, mine, frame.delivered, frame.read)
            return True
        if not any(peer.user == frame.user for peer in mine.peers):
            return False
        self._soft[mine.id] = None
        mine.peers = tuple(
            self._merge(turn, mine, peer, peer, frame) if peer.user == frame.user else peer
            for peer in mine.peers
        )
        return True

    # -- marks

    def handled(self, message: Message) -> None:
        """R7: the application is done with ``message``, and with all before it."""
        mine = self._all[message.conversation]
        if not mine.handled < message.seq <= mine.have:
            return
        full, mine.handled = self._full(mine), message.seq
        room = mine.have - mine.handled <= self._repair.unhandled // 2
        # A hole that is young, or was fetched in vain, has its time already (R3).
        if room and mine.known > mine.have and (full or mine.id not in self._gaps):
            self._fetch_soon(mine)
        # My own messages need no mark; the next one of the others will cover them.
        if message.sender != self.me:
            mine.delivered = max(mine.delivered, message.seq)
        self._hard[mine.id] = None
        self._owe(mine)

    def displayed(self, conversation: int, seq: int) -> None:
        """R7: everything up to ``seq`` was displayed to the user."""
        mine = self._all[conversation]
        seq = min(seq, mine.have)
        if seq > mine.read:
            mine.read = seq
            mine.delivered = max(mine.delivered, seq)
            self._hard[mine.id] = None
            self._owe(mine)

    def _owe(self, mine: Conversation) -> None:
        if mine.id not in self.frozen:
            self.marks.owe(mine)

    # -- sessions

    def lost(self) -> None:
        """The session is gone, and with it whatever had not been stored."""
        self._buffers.clear()
        self._gaps.clear()
        self._fetch.clear()
        self._fetching.clear()
        self.marks.lost()
        self.frozen.clear()
        self._gap_due = None

    def synced(self, waited: bool, now: float) -> None:
        """R4 and R7 after the heads: fetch what is missing, tell what the server missed.

        ``waited`` says that messages may still come along with the heads.
        """
        for mine in self._all.values():
            self._owe(mine)
            if mine.known > mine.have and waited:
                self._behind(mine, now + self._repair.gap)
            elif mine.known > mine.have:
                self._fetch_soon(mine)

    def cut(self, mine: Conversation, above: int) -> None:
        """R6: the log of the server differs from ours above ``above``."""
        for field in ("base", "have", "handled", "delivered", "read"):
            setattr(mine, field, min(getattr(mine, field), above))
        self._hard[mine.id] = None

    def thaw(self, turn: Turn, mine: Conversation) -> None:
        """R6: the log was compared; what waited for that may go in."""
        self.frozen.discard(mine.id)
        self.floor(turn, mine, mine.floor)
        self._drain(turn, mine)
        self._owe(mine)
        if mine.known > mine.have:
            self._fetch_soon(mine)

    def save(self, turn: Turn, everything: bool) -> None:
        """R6: write what has changed; before a new sync token that is ``everything``.

        What the server would tell again from the old token can wait for a write that is
        needed anyway, so a receipt alone costs no commit.
        """
        if everything:
            self._hard |= self._soft
            self._soft.clear()
        for id in self._hard:
            turn.writes.append(SaveConversation(copy.copy(self._all[id])))
            self._soft.pop(id, None)
        self._hard.clear()


def received(conversation: int, item: wire.Item | wire.Msg) -> Message:
    """The message in a frame; its body is copied, or it would keep the whole batch alive."""
    return Message(
        conversation,
        item.seq,
        item.sender,
        item.device,
        item.id,
        item.at,
        item.kind,
        bytes(item.body),
    )
