"""Cursors on their way into storage: merged by maximum, one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd import marks
from imd.interfaces.storage import AdvanceResult
from imd.marks import Marks
from imd.model import Cursor, CursorChange
from tests.application import Told


class Cursors:
    """Storage in which every cursor grows."""

    async def advance(self, cursors: Sequence[Cursor], at: int) -> AdvanceResult:
        return AdvanceResult(tuple(CursorChange(cursor, ()) for cursor in cursors), None)


class MarksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.storage = Told(Cursors())
        self.stored: list[int] = []
        self.marks = Marks(self.storage, self.clock, lambda: 17, self.note)

    def note(self, result: AdvanceResult) -> None:
        self.stored += [change.cursor.delivered for change in result.changes]

    def put(self, delivered: int, read: int = 0) -> None:
        self.marks.put(Cursor(7, 1, delivered, read))

    def batches(self) -> list[list[Cursor]]:
        return [list(args[0]) for _, args in self.storage.calls]

    def test_marks_of_one_turn_become_the_greatest_of_each_value(self) -> None:
        self.put(3, 3)
        self.put(9, 1)
        self.put(5, 2)
        self.assertEqual(len(self.marks), 1)
        self.clock.advance(0)
        self.assertEqual(self.batches(), [[Cursor(7, 1, 9, 3)]])
        self.assertEqual(self.storage.calls[0][1][1], 17)
        self.assertEqual(len(self.marks), 0)

    def test_cursors_of_others_and_elsewhere_stay_apart(self) -> None:
        self.put(3)
        self.marks.put(Cursor(8, 1, 4, 0))
        self.marks.put(Cursor(7, 2, 5, 0))
        self.clock.advance(0)
        expected = [Cursor(7, 1, 3, 0), Cursor(8, 1, 4, 0), Cursor(7, 2, 5, 0)]
        self.assertEqual(self.batches(), [expected])

    def test_what_comes_while_a_batch_is_in_flight_becomes_one_more(self) -> None:
        self.storage.held.add("advance")
        self.put(1)
        self.clock.advance(0)
        for delivered in (2, 3, 4):
            self.put(delivered)
            self.clock.advance(0)
        self.assertEqual(len(self.marks), 2)
        self.storage.answer()
        self.storage.answer()
        self.assertEqual(self.batches(), [[Cursor(7, 1, 1, 0)], [Cursor(7, 1, 4, 0)]])

    def test_what_has_piled_up_is_stored_in_batches_in_its_order(self) -> None:
        self.patch(marks, "BATCH", 2)
        cursors = [Cursor(conversation, 1, 1, 0) for conversation in range(5)]
        for cursor in cursors:
            self.marks.put(cursor)
        self.clock.advance(0)
        self.assertEqual(self.batches(), [cursors[:2], cursors[2:4], cursors[4:]])
        self.assertEqual(len(self.marks), 0)

    def test_a_batch_waits_for_storage_as_long_as_it_takes(self) -> None:
        self.storage.fail("advance", times=100)
        self.put(1)
        self.clock.advance(0)
        for _ in range(99):
            self.clock.advance(marks.RETRY_SECONDS)
        self.assertEqual(self.stored, [])
        self.put(2)
        self.clock.advance(marks.RETRY_SECONDS)
        self.assertEqual(self.stored, [1, 2])

    def test_memory_is_bounded_and_what_waits_still_grows(self) -> None:
        self.patch(marks, "MAX_WAITING", 2)
        for conversation in (1, 2, 3):
            self.marks.put(Cursor(conversation, 1, 1, 0))
        self.marks.put(Cursor(2, 1, 5, 0))
        self.clock.advance(0)
        self.assertEqual(self.batches(), [[Cursor(1, 1, 1, 0), Cursor(2, 1, 5, 0)]])
