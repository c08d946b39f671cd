"""Which sync is under way, and whether another has to follow (R4 of protocol §5)."""

from __future__ import annotations

from collections.abc import Container


class Syncs:
    """The syncs of one session; at most one at a time."""

    def __init__(self) -> None:
        self.req: int | None = None
        self._full = False
        self._again = False
        self._missing: set[int] = set()
        self._ignored: set[int] = set()

    def begin(self, req: int, full: bool) -> None:
        """Request ``req`` asks for all heads (``full``), or for those that changed."""
        self.req, self._full = req, full

    def wanted(self) -> bool:
        """There is a reason for a sync: may it begin?  If not, it will follow the present one."""
        self._again = self.req is not None
        return not self._again

    def unknown(self, conversation: int) -> bool:
        """Somebody spoke of a conversation that we have not heard of: may a sync begin?"""
        if conversation in self._ignored:
            return False
        self._missing.add(conversation)
        return self.wanted()

    def finished(self, known: Container[int]) -> bool | None:
        """All heads have come.  Does another sync follow, and if so, a full one?

        What was missing among changed heads is looked for among all; what is missing there
        is none of ours.
        """
        self.req = None
        self._missing = {id for id in self._missing if id not in known}
        if self._full:
            self._ignored |= self._missing
            self._missing.clear()
        again, self._again = self._again, False
        if self._missing:
            return True
        return False if again else None
