"""A lane commits a prefix of what a session sent, whatever else goes wrong meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close, Unavailable
from imd.interfaces.storage import AppendResult
from imd.lane import Lane, Pending
from imd.limits import Limits
from imd.model import NOBODY, Appended, NewMessage, Outcome


class Origin:
    """A session that sends, and is told nothing."""

    identity = NOBODY
    gone = False

    def push(self, conversation: int, frame: bytes) -> None: ...

    def notify(self, frame: bytes) -> None: ...

    def close(self, code: Close, reason: str) -> None: ...

    def settle(self, frame: bytes) -> None: ...


class Storage:
    """Cannot take ``poison``, and is away for as long as a batch begins with ``away``."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        ids = [message.id.decode() for message in batch]
        if "poison" in ids:
            raise ValueError("cannot be encoded")
        if ids[0] == "away":
            raise Unavailable("away")
        self.rows += ids
        return AppendResult(tuple(Appended(Outcome.NEW, 1, at) for _ in batch), None)


class Outcomes:
    """Does what ``Messaging`` does: whoever failed is withdrawn."""

    def __init__(self) -> None:
        self.lane: Lane
        self.refused: list[str] = []

    def committed(self, batch: Sequence[Pending], result: AppendResult) -> None: ...

    def poisoned(self, pending: Pending) -> None:
        self.refused.append(pending.id)

    def failed(self, batch: Sequence[Pending]) -> None:
        for pending in batch:
            self.lane.purge(pending.origin)


class PrefixTests(SynchronousTestCase):
    def commit(self, *sent: tuple[Origin, str]) -> tuple[list[str], list[str]]:
        clock, storage, outcomes = Clock(), Storage(), Outcomes()
        lane = outcomes.lane = Lane(storage, clock, lambda: 17, Limits(), outcomes)  # type: ignore[arg-type]
        for origin, id in sent:
            message = NewMessage(7, 1, 1, id.encode(), "text", b"{}")
            lane.put(Pending(origin, id, message))
        clock.pump([0.1] * 300)
        self.assertEqual(len(lane), 0)
        # A message that cannot be stored is a defect, and logged as one.
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        return storage.rows, outcomes.refused

    def test_a_half_that_storage_does_not_take_drops_what_its_senders_have_in_the_other(
        self,
    ) -> None:
        alice, bob, carol = Origin(), Origin(), Origin()
        rows, refused = self.commit(
            (alice, "away"), (alice, "a2"), (bob, "poison"), (alice, "a3"), (carol, "c1")
        )
        self.assertEqual((rows, refused), (["c1"], ["poison"]))

    def test_one_that_cannot_be_stored_stops_nobody_wherever_it_stands(self) -> None:
        for place in range(9):
            ids = [str(n) for n in range(8)]
            ids.insert(place, "poison")
            rows, refused = self.commit(*((Origin(), id) for id in ids))
            self.assertEqual((rows, refused), ([str(n) for n in range(8)], ["poison"]))
