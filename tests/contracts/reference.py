"""The log in as few lines as possible, to compare every storage with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imd.model import Appended, Cursor, NewMessage, Outcome


class Reference:
    """Open conversations with their members; no files, no errors, no disk."""

    def __init__(self, members: dict[int, tuple[int, int]]) -> None:
        self.members = members
        self.logs: dict[int, list[tuple[NewMessage, int]]] = {c: [] for c in members}
        self.cursors = {(c, u): (0, 0) for c, users in members.items() for u in users}

    def append(self, batch: Sequence[NewMessage], at: int) -> list[Appended]:
        """See ``MessageStorage.append``."""
        return [self._append(message, at) for message in batch]

    def _append(self, message: NewMessage, at: int) -> Appended:
        members = self.members.get(message.conversation, ())
        if message.sender not in members:
            return Appended(Outcome.FORBIDDEN)
        log = self.logs[message.conversation]
        for seq, (old, then) in enumerate(log, 1):
            if (old.sender, old.id) == (message.sender, message.id):
                same = (old.kind, old.body) == (message.kind, message.body)
                return Appended(Outcome.DUPLICATE, seq, then) if same else _CONFLICT
        log.append((message, at))
        return Appended(Outcome.NEW, len(log), at, members)

    def advance(self, cursors: Iterable[Cursor]) -> dict[Cursor, set[int]]:
        """See ``MessageStorage.advance``.  All are merged before any value is looked at."""
        wanted: dict[tuple[int, int], tuple[int, int]] = {}
        for cursor in cursors:
            key = cursor.conversation, cursor.user
            delivered, read = wanted.get(key, (0, 0))
            wanted[key] = max(delivered, cursor.delivered), max(read, cursor.read)
        before = dict(self.cursors)
        for key in wanted.keys() & before.keys():
            last = len(self.logs[key[0]])
            d, r = (value if value <= last else 0 for value in wanted[key])
            self.cursors[key] = max(before[key][0], d, r), max(before[key][1], r)
        return {
            Cursor(*key, *value): set(self.members[key[0]])
            for key, value in self.cursors.items()
            if value != before[key]
        }


_CONFLICT = Appended(Outcome.CONFLICT)
