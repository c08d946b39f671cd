"""The way of a message: which steps are logged, with ids alone, and how they are found again."""

from __future__ import annotations

import json
import uuid
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.hints import Push, Receipt, Revoke
from imd.journey import EVENT, Journey
from imd.model import Appended, Cursor, Identity, NewMessage, Outcome, User
from imd.ops.logs import Lines
from imd.steps import steps

ID = "01931d2e-7c11-7000-8000-0123456789ab"
MESSAGE = NewMessage(7, 1, 11, uuid.UUID(ID).bytes, "text", b'{"text":"canary"}')
PUSH = Push((1, 2), 7, 3, b"canary")


class JourneyTests(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        observer = Lines(self, "node#1", lambda: self.now)
        self.journey = Journey(Logger("imd.journey", observer=observer))  # type: ignore[arg-type]

    def write(self, fields: dict[str, Any]) -> bool:
        """As a sink."""
        self.now += 1
        self.lines.append(json.dumps(fields | {"time": f"t{self.now:02.0f}"}))
        return True

    def walk(self) -> None:
        """All steps of a message."""
        self.journey.accepted(ID, MESSAGE)
        self.journey.decided(ID, MESSAGE, Appended(Outcome.NEW, 3, 5, (1, 2)))
        for hint in (PUSH, Revoke(2, (1,)), Receipt((1, 2), 7, 2, 3, 3)):
            self.journey.forwarded("node#2", hint)
        self.journey.pushed(PUSH, Identity(User(2, "bob"), 22))
        self.journey.reached(Cursor(7, 2, 3, 2))
        self.journey.reached(Cursor(7, 2, 4, 4))

    def test_steps_have_ids_and_nothing_else(self) -> None:
        self.walk()
        fields = [json.loads(line) for line in self.lines]
        named = ["accepted", "committed", "forwarded", "pushed"]
        self.assertEqual([each["step"] for each in fields[:4]], named)
        self.assertEqual({each["event"] for each in fields}, {EVENT})
        self.assertEqual(fields[3]["message"], "message 7:3 pushed")
        self.assertNotIn("canary", "".join(self.lines))
        self.assertNotIn("bob", "".join(self.lines))

    def test_a_message_is_found_by_its_id_and_by_its_place(self) -> None:
        self.walk()
        self.journey.pushed(Push((2,), 7, 9, b""), Identity(User(2, "bob"), 22))
        wanted = [
            "  t01  node#1  accepted  user 1 device 11",
            "  t02  node#1  committed  user 1 device 11",
            "  t03  node#1  forwarded  to node#2",
            "  t04  node#1  pushed  user 2 device 22",
            "  t05  node#1  delivered  user 2",
            "  t08  node#1  read  user 2",
        ]
        self.assertEqual(steps(reversed(self.lines), ID), wanted)
        self.assertEqual(steps(self.lines, "", (7, 3)), wanted[1:])

    def test_a_refusal_is_a_step_and_no_member_is_taken_for_its_receiver(self) -> None:
        self.journey.accepted(ID, MESSAGE)
        self.journey.decided(ID, MESSAGE, Appended(Outcome.FORBIDDEN))
        self.journey.reached(Cursor(7, 2, 3, 3))
        self.assertEqual(
            [line.split()[2] for line in steps(self.lines, ID)], ["accepted", "forbidden"]
        )


class LinesTests(SynchronousTestCase):
    """What is read."""

    STEP: dict[str, Any] = {"event": "message", "step": "committed", "conversation": 7, "seq": 3}  # noqa: RUF012

    def test_the_journal_names_fields_in_its_own_way_and_may_say_them_as_text(self) -> None:
        journal = {f"IMD_{name.upper()}": str(value) for name, value in self.STEP.items()}
        (line,) = steps([json.dumps(journal | {"MESSAGE": "x", "IMD_TIME": "t"})], "", (7, 3))
        self.assertIn("committed", line)

    def test_what_stands_before_an_object_is_passed_over(self) -> None:
        self.assertEqual(
            len(steps([f"Nov 26 host imd[1]: {json.dumps(self.STEP)}"], "", (7, 3))), 1
        )

    def test_lines_that_are_no_steps_are_passed_over(self) -> None:
        others: list[Any] = [[], {"event": "session"}, self.STEP | {"step": 5}]
        others += [self.STEP | {"seq": "x"}, self.STEP | {"seq": 4}, self.STEP | {"seq": None}]
        lines = ["", "text", "{", '[{"a": 1}]', *map(json.dumps, others)]
        self.assertEqual(steps(lines, "", (7, 3)), [])
        self.assertEqual(steps(lines, ID), [])

    def test_nothing_in_a_line_steers_a_terminal(self) -> None:
        (line,) = steps([json.dumps(self.STEP | {"node": "\x1b[31m"})], "", (7, 3))
        self.assertTrue(line.isprintable())
