"""Marks of many conversations at once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd import wire
from imd.client.effects import Turn
from imd.client.marks import BURST, RATE, Marks
from imd.client.values import Conversation


class OwedTests(SynchronousTestCase):
    def test_what_another_device_has_told_meanwhile_is_not_told_again(self) -> None:
        marks = Marks(0.2)
        mine = Conversation(1, delivered=7, read=7)
        marks.owe(mine)
        marks.send(Turn(), 0.0)
        mine.told_delivered = mine.told_read = 7
        marks.owe(mine)
        turn = Turn()
        marks.send(turn, 1.0)
        self.assertEqual(turn.frames, [])


class PaceTests(SynchronousTestCase):
    def test_marks_of_many_conversations_keep_to_what_a_server_lets_pass(self) -> None:
        marks = Marks(0.2)
        for id in range(1, 1001):
            marks.owe(Conversation(id, delivered=1))
        sent: list[int] = []
        start = now = 100.0
        marks.send(Turn(), now)
        while marks.due is not None:
            now = marks.due
            turn = Turn()
            marks.send(turn, now)
            sent += [f.conversation for f in turn.frames if isinstance(f, wire.Mark)]
            self.assertLessEqual(len(sent), BURST + RATE * (now - start) + 1)
        self.assertEqual(sent, list(range(1, 1001)))
        self.assertLess(now - start, 25)
