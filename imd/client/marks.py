"""Telling the server what was stored and what was displayed: R7 of protocol §5."""

from __future__ import annotations

from msgspec import UNSET

from imd import wire
from imd.client.effects import Turn
from imd.client.values import Conversation
from imd.throttle import TokenBucket

#: Marks a second, and at once: a server lets 50 frames a second pass that are no messages,
#: and 200 at once, and what has to wait there holds up all that comes after it.
RATE = 40.0
BURST = 150.0


class Marks:
    """Marks that wait ``delay`` seconds for others of the same conversation."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._pace = TokenBucket(RATE, BURST)
        self._owed: dict[int, Conversation] = {}
        #: Cursors that went out in this session; the server's receipts lag behind them.
        self._sent: dict[int, tuple[int, int]] = {}
        self.due: float | None = None

    def owe(self, mine: Conversation) -> None:
        """R7: a mark is due if the server is behind, and was not told in this session."""
        delivered, read = self._sent.get(mine.id, (0, 0))
        behind = mine.delivered > max(mine.told_delivered, delivered)
        if behind or mine.read > max(mine.told_read, read):
            self._owed[mine.id] = mine
        else:
            # Another device of mine may have told it meanwhile.
            self._owed.pop(mine.id, None)

    def send(self, turn: Turn, now: float) -> None:
        """R7: send the marks that have waited long enough."""
        if not self._owed:
            self.due = None
        elif self.due is None and self._delay:
            self.due = now + self._delay
        elif self.due is None or now >= self.due:
            while self._owed and not self._pace.wait(now):
                mine = self._owed.pop(next(iter(self._owed)))
                turn.frames.append(_mark(mine))
                self._sent[mine.id] = (mine.delivered, mine.read)
            self.due = now + max(self._delay, 1 / RATE) if self._owed else None

    def lost(self) -> None:
        """The session is gone; what the next one has to be told is seen after its heads."""
        self._owed.clear()
        self._sent.clear()
        self.due = None


def _mark(mine: Conversation) -> wire.Mark:
    return wire.Mark(
        mine.id,
        mine.delivered if mine.delivered > mine.told_delivered else UNSET,
        mine.read if mine.read > mine.told_read else UNSET,
    )
