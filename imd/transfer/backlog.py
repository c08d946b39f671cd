"""What waits for one destination: in order, bounded, and gone all at once when it runs over."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

#: Bytes that may wait for one destination.
MOST_BYTES = 4 * 1024 * 1024
#: Blobs on their way to one destination that are not answered yet.
MOST_FLYING = 2


class Backlog(Generic[T]):
    """The queue of one destination, of at most ``most_items`` and ``MOST_BYTES``."""

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        #: Blobs on their way.
        self.flying = 0
        #: Something was dropped, and the destination has not been told.
        self.lost = False

    @property
    def ready(self) -> bool:
        """Whether a blob should leave now."""
        return self.flying < MOST_FLYING and (self.lost or bool(self._items))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.flying or self.lost or self._items)

    def put(self, item: T, size: int) -> list[T]:
        """Queue an item of ``size`` bytes.  Returns what had to go to make room for it."""
        full = len(self._items) >= self._most_items or self._bytes + size > MOST_BYTES
        dropped = self.drop() if full else []
        self._items.append((item, size))
        self._bytes += size
        return dropped

    def take(self, most_bytes: int) -> list[T]:
        """The first items, of at most ``most_bytes`` together; at least one if there is one."""
        taken: list[T] = []
        room = most_bytes
        while self._items and (not taken or self._items[0][1] <= room):
            item, size = self._items.popleft()
            taken.append(item)
            room -= size
            self._bytes -= size
        return taken

    def drop(self) -> list[T]:
        """Empty the queue; what was in it counts as lost."""
        dropped = [item for item, _ in self._items]
        self._items.clear()
        self._bytes = 0
        self.lost = self.lost or bool(dropped)
        return dropped
