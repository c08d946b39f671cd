"""What was pushed to the sessions of this node lately, so that a sweep need not push it again."""

from __future__ import annotations

from imd.hints import AnyHint, Push, Receipt
from imd.interfaces.feed import FeedHead
from imd.model import Cursor

Cursors = dict[tuple[int, int], tuple[int, int]]


class Recent:
    """The greatest seq of each conversation, and cursors, in two generations.

    ``turn`` begins a new generation and forgets the one before the last, so what is noted is
    kept for one to two times the interval between turns.
    """

    def __init__(self) -> None:
        self._seqs: dict[int, int] = {}
        self._old_seqs: dict[int, int] = {}
        self._cursors: Cursors = {}
        self._old_cursors: Cursors = {}

    def note(self, hint: AnyHint) -> None:
        """A hint was carried out here."""
        if isinstance(hint, Push):
            if hint.seq > self._seqs.get(hint.conversation, -1):
                self._seqs[hint.conversation] = hint.seq
        elif isinstance(hint, Receipt):
            key = hint.conversation, hint.user
            delivered, read = self._cursors.get(key, (0, 0))
            self._cursors[key] = max(delivered, hint.delivered), max(read, hint.read)

    def has_head(self, head: FeedHead) -> bool:
        """Whether everything up to this head was pushed."""
        id = head.conversation
        return max(self._seqs.get(id, -1), self._old_seqs.get(id, -1)) >= head.last

    def has_cursor(self, cursor: Cursor) -> bool:
        """Whether this cursor, or a later one, was pushed."""
        key = cursor.conversation, cursor.user
        known = (self._cursors.get(key, (-1, -1)), self._old_cursors.get(key, (-1, -1)))
        return (
            max(delivered for delivered, _ in known) >= cursor.delivered
            and max(read for _, read in known) >= cursor.read
        )

    def forget(self) -> None:
        """Of another log nothing was pushed yet."""
        self.turn()
        self.turn()

    def turn(self) -> None:
        """Begin a new generation."""
        self._seqs, self._old_seqs = {}, self._seqs
        self._cursors, self._old_cursors = {}, self._cursors
