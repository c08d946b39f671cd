"""What was pushed lately is remembered as long as it has to be, and no longer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.hints import Notify, Receipt
from imd.interfaces.feed import FeedHead
from imd.model import Cursor
from imd.recent import Recent
from tests.nodes import push


class RecentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recent = Recent()

    def has(self, conversation: int, last: int) -> bool:
        return self.recent.has_head(FeedHead(conversation, last, (1, 2)))

    def got(self, delivered: int, read: int) -> bool:
        return self.recent.has_cursor(Cursor(7, 1, delivered, read))

    def test_a_message_stands_for_all_before_it(self) -> None:
        self.assertFalse(self.has(7, 0))
        self.recent.note(push(7, 5, 1))
        self.recent.note(push(7, 3, 1))
        self.assertEqual([self.has(7, n) for n in (0, 5, 6)], [True, True, False])
        self.assertFalse(self.has(8, 0))

    def test_an_empty_conversation_that_was_told_is_known(self) -> None:
        self.recent.note(push(7, 0, 1))
        self.assertTrue(self.has(7, 0))
        self.assertFalse(self.has(7, 1))

    def test_a_cursor_is_known_when_both_its_parts_are(self) -> None:
        self.assertFalse(self.got(0, 0))
        self.recent.note(Receipt((2,), 7, 1, 5, 2))
        self.recent.note(Receipt((2,), 7, 1, 3, 3))
        self.assertTrue(self.got(5, 3))
        self.assertFalse(self.got(6, 3))
        self.assertFalse(self.got(5, 4))

    def test_what_is_noted_lives_through_one_turn_and_not_through_two(self) -> None:
        self.recent.note(push(7, 5, 1))
        self.recent.note(Receipt((2,), 7, 1, 5, 2))
        self.recent.turn()
        self.assertTrue(self.has(7, 5) and self.got(5, 2))
        self.recent.note(push(7, 4, 1))
        self.recent.note(Receipt((2,), 7, 1, 4, 3))
        self.assertTrue(self.has(7, 5) and self.got(5, 3))
        self.recent.turn()
        self.assertTrue(self.has(7, 4) and self.got(4, 3))
        self.assertFalse(self.has(7, 5) or self.got(5, 3))

    def test_all_is_forgotten_at_once_when_the_log_is_another(self) -> None:
        self.recent.note(push(7, 5, 1))
        self.recent.note(Receipt((2,), 7, 1, 5, 2))
        self.recent.forget()
        self.assertFalse(self.has(7, 0) or self.got(0, 0))

    def test_other_hints_leave_nothing(self) -> None:
        self.recent.note(Notify((1,), b"1"))
        self.assertFalse(self.has(7, 0))
