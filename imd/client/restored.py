"""What to do when the server's database was restored or failed over: the second half of R6.

A new ``epoch`` means that acknowledged messages may be gone and their seqs used again.
Every conversation is compared with the server's log, from the top of ours downwards, until
an id agrees: logs only grow at the end, so everything below agrees as well.  What we hold
above that point is dropped, and what I myself had sent there is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imd import wire
from imd.client.conversations import Conversations
from imd.client.effects import DropTail, Turn, Withdrawn
from imd.client.outbox import Outbox
from imd.client.values import Message

#: The messages of a conversation above a seq that are stored here, ascending.
Rows = Callable[[int, int], Sequence[Message]]
#: Ask for so many messages below a seq.
Fetch = Callable[[int, int], None]


class Comparison:
    """The conversations whose logs are being compared with those of the server."""

    def __init__(self, conversations: Conversations, outbox: Outbox, rows: Rows) -> None:
        self._conversations = conversations
        self._outbox = outbox
        self._rows = rows
        self._started: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._conversations.frozen)

    def begin(self) -> None:
        """Every log is in doubt: none takes messages, and nothing is sent, until compared."""
        self._started.clear()
        self._conversations.frozen = {c.id for c in self._conversations.all.values() if c.have}
        self._outbox.hold(bool(self))

    def lost(self) -> None:
        """The session is gone; the next one begins again, since the epoch is still new."""
        self._outbox.hold(False)

    def head(self, item: wire.HeadItem, fetch: Fetch) -> None:
        """The server told how long its log is: compare from the end of the shorter one."""
        mine = self._conversations.all[item.conversation]
        if mine.id in self._conversations.frozen and mine.id not in self._started:
            self._started.add(mine.id)
            fetch(mine.id, min(mine.have, item.last) + 1)

    def leave(self, turn: Turn) -> None:
        """All heads have come: conversations without one are no longer mine to compare."""
        for id in self._conversations.frozen - self._started:
            self._thaw(turn, id)

    def compare(self, turn: Turn, frame: wire.Msgs, fetch: Fetch, wall_ms: int) -> None:
        """A piece of the server's log, to be held against ours."""
        if not frame.items:
            self._settle(turn, frame.conversation, frame.floor - 1, wall_ms)
            return
        first = frame.items[0].seq
        ours = {row.seq: row.id for row in self._rows(frame.conversation, first - 1)}
        for item in reversed(frame.items):
            # What we no longer hold cannot differ.
            if ours.get(item.seq, item.id) == item.id:
                self._settle(turn, frame.conversation, item.seq, wall_ms)
                return
        if first > frame.floor:
            fetch(frame.conversation, first)
        else:
            self._settle(turn, frame.conversation, first - 1, wall_ms)

    def _settle(self, turn: Turn, id: int, agreed: int, wall_ms: int) -> None:
        """Up to ``agreed`` the logs are the same."""
        mine = self._conversations.all[id]
        if agreed < mine.have:
            lost = self._rows(id, agreed)
            self._conversations.cut(mine, agreed)
            turn.writes.append(DropTail(id, agreed))
            turn.notices.append(Withdrawn(id, agreed))
            me = self._conversations.me
            self._outbox.again(turn, (row for row in lost if row.sender == me), wall_ms)
        self._thaw(turn, id)

    def _thaw(self, turn: Turn, id: int) -> None:
        self._conversations.thaw(turn, self._conversations.all[id])
        self._outbox.hold(bool(self))
