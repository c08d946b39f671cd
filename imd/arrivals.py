"""What comes from other nodes, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence

from imd.delivery import Delivery
from imd.hints import AnyHint, Replace, Revoke
from imd.recent import Recent
from imd.sweep import Sweep


class Incoming:
    """What comes from other nodes goes to the sessions here; ``imd.interfaces.nodes.Arrivals``.

    ``sweep`` has to be set before anything can come.
    """

    sweep: Sweep

    def __init__(self, delivery: Delivery, recent: Recent) -> None:
        self._delivery = delivery
        self._recent = recent

    def received(self, source: str, hints: Sequence[AnyHint]) -> None:
        """See ``Arrivals``."""
        for hint in hints:
            self._recent.note(hint)
            if not self._delivery.deliver(hint) and not isinstance(hint, Revoke | Replace):
                self.sweep.stray(hint.users)

    def lost(self) -> None:
        """See ``Arrivals``."""
        self.sweep.suspect()

    def unreachable(self, node: str) -> None:
        """See ``Arrivals``."""
        self.sweep.miss(node)
