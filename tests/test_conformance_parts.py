"""The pure parts of the conformance kit: scenario files, logs, and what no client may do."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.conformance.checks import CHECKS, seldom
from imd.conformance.logs import Logs
from imd.conformance.play import scenarios
from imd.conformance.script import ScriptError, filled, match, parse
from imd.conformance.verbs import VERBS
from imd.conformance.waiting import Broken, Pace
from imd.conformance.watch import Watch

ID = "01910000-0000-7000-8000-000000000001"
LIMITS = {"inflight": 1, "batch": 2, "frame_bytes": 200}


class ScriptTests(SynchronousTestCase):
    """Scenario files."""

    def test_steps_have_verbs_values_and_line_numbers(self) -> None:
        text = 'rule: R1\ntitle: t\n\n# why\nsend 7 {"a":\n  [1]}\n\nwait 1\n'
        (scenario,) = parse("x", text)
        self.assertEqual((scenario.name, scenario.rule, scenario.title), ("x", "R1", "t"))
        first, second = scenario.steps
        self.assertEqual((first.line, first.verb, first.values), (5, "send", (7, {"a": [1]})))
        self.assertEqual((second.line, second.verb, second.values), (8, "wait", (1,)))

    def test_each_makes_a_scenario_of_every_value(self) -> None:
        found = parse("x", 'rule: R9\ntitle: t\neach: {"code": [1, 2]}\n\nclose "$code"\n')
        self.assertEqual([each.name for each in found], ["x[1]", "x[2]"])
        self.assertEqual([each.bound for each in found], [{"code": 1}, {"code": 2}])

    def test_faults_are_named(self) -> None:
        for text, fault in (
            ("rule: R1\n\n", "no title"),
            ("rule: R1\ncolour: red\n\n", "colour"),
            ("nonsense\n\n", "nonsense"),
            ("rule: R1\ntitle: t\n\nwait soon\n", "x:4"),
        ):
            error = self.assertRaises(ScriptError, parse, "x", text)
            self.assertIn(fault, str(error))

    def test_variables_are_filled_in(self) -> None:
        self.assertEqual(filled({"a": ["$x", "y"], "n": 1}, {"x": 5}), {"a": [5, "y"], "n": 1})
        self.assertRaises(ScriptError, filled, "$x", {})

    def test_patterns_match_and_bind(self) -> None:
        for pattern, value, found in (
            ({"a": 1}, {"a": 1, "b": 2}, {}),
            ({"a": 1}, {"a": 2}, None),
            ({"a": None}, {"b": 2}, {}),
            ({"a": "$x"}, {"a": 3}, {"x": 3}),
            ({"a": "$x"}, {}, None),
            (["$x", "$x"], [1, 1], {"x": 1}),
            (["$x", "$x"], [1, 2], None),
            ([1], [1, 2], None),
        ):
            self.assertEqual(match(pattern, value, {}), found, (pattern, value))
        self.assertIsNone(match("$x", 2, {"x": 1}))

    def test_all_verbs_of_the_scenarios_exist(self) -> None:
        used = {step.verb for scenario in scenarios() for step in scenario.steps}
        self.assertEqual(used - VERBS.keys() - CHECKS.keys(), set())


class LogsTests(SynchronousTestCase):
    """What the server knows."""

    def make(self, count: int = 3) -> Logs:
        logs = Logs()
        logs.change(7)
        for number in range(count):
            logs.append(7, str(number))
        return logs

    def seqs(self, logs: Logs, page: int = 200, **fields: Any) -> tuple[list[int], bool]:
        answer = logs.run({"req": 1, "conv": 7, "limit": 2, **fields}, page)
        return [item["seq"] for item in answer["items"]], answer["more"]

    def test_fetches_read_upwards_and_downwards(self) -> None:
        logs = self.make()
        self.assertEqual(self.seqs(logs, after=0), ([1, 2], True))
        self.assertEqual(self.seqs(logs, page=1, after=2), ([3], False))
        self.assertEqual(self.seqs(logs, before=3), ([1, 2], False))
        self.assertEqual(self.seqs(logs), ([2, 3], True))
        logs.change(7, floor=3)
        self.assertEqual(self.seqs(logs), ([3], True))

    def test_heads_are_those_that_changed(self) -> None:
        logs = self.make()
        token = logs.token
        self.assertEqual(logs.heads(token), [])
        logs.mark({"conv": 7, "read": 2})
        (head,) = logs.heads(token)
        self.assertEqual((head["delivered"], head["read"], head["last"]), (2, 2, 3))
        logs.epoch = "e2"
        self.assertEqual(len(logs.heads(token)), 1)
        self.assertEqual(len(logs.heads(None)), 1)

    def test_a_message_is_committed_once(self) -> None:
        logs = self.make()
        send = {"id": ID, "conv": 7, "kind": "text", "body": {"text": "x"}}
        self.assertEqual(logs.commit(send), (4, False))
        self.assertEqual(logs.commit(send), (4, True))
        self.assertEqual(logs.msg(7, 4)["id"], ID)

    def test_friends_are_the_other_members(self) -> None:
        (friend,) = self.make().friends()["items"]
        self.assertEqual((friend["name"], friend["conv"]), ("bob", 7))


class WatchTests(SynchronousTestCase):
    """What no client may do."""

    def setUp(self) -> None:
        self.watch = Watch()

    def say(self, *frames: dict[str, Any]) -> None:
        value: Any = frames[0] if len(frames) == 1 else list(frames)
        self.watch.message(json.dumps(value).encode(), list(frames))

    def begin(self) -> None:
        self.say({"type": "hello", "req": 1, "token": "t"})
        self.watch.told({"type": "welcome", "req": 1, "limits": LIMITS})

    def send(self, id: str = ID, text: str = "x") -> None:
        body = {"text": text}
        self.say({"type": "send", "id": id, "conv": 7, "kind": "text", "body": body})

    def fault(self, start: str) -> None:
        """There is exactly one fault, and it is this one."""
        (fault,) = self.watch.faults
        self.assertTrue(fault.startswith(start), fault)

    def test_a_good_client_has_no_faults(self) -> None:
        self.begin()
        item = {"conv": 7, "delivered": 0, "floor": 1}
        self.watch.told({"type": "heads", "req": 1, "items": [item], "next": "e1:1"})
        self.send()
        self.watch.told({"type": "ack", "id": ID, "conv": 7, "seq": 1})
        self.say({"type": "fetch", "req": 2, "conv": 7, "limit": 9, "after": 1})
        items = [{"seq": 2, "id": "b"}]
        self.watch.told({"type": "msgs", "req": 2, "conv": 7, "items": items, "floor": 1})
        self.say({"type": "mark", "conv": 7, "delivered": 2})
        self.watch.told({"type": "pong", "n": 1})
        self.watch.told({"type": "pong", "n": 1, "since": "e1:2"})
        self.watch.told({"type": "receipt"})
        self.watch.session()
        self.say({"type": "hello", "req": 1, "token": "t", "since": "e1:2"})
        self.watch.reported({"shown": {"conv": 7, "seq": 1}})
        self.watch.reported({"sent": {"id": ID}})
        self.assertEqual(self.watch.faults, [])

    def test_hello_comes_first_and_once(self) -> None:
        self.say({"type": "ping", "n": 1})
        self.fault("§4: ping")
        self.watch.faults.clear()
        self.say({"type": "hello", "req": 1, "token": "t"})
        self.fault("§4: hello twice")

    def test_frames_are_well_formed_and_not_too_many(self) -> None:
        self.begin()
        self.say({"type": "ping", "n": 1, "colour": "red"})
        self.fault("§2: a malformed")
        self.watch.faults.clear()
        self.watch.message(b"nonsense", [])
        self.fault("§2")
        self.watch.faults.clear()
        self.say(*[{"type": "ping", "n": 1}] * 3)
        self.fault("§2: 3 frames")
        self.watch.faults.clear()
        self.send(text="x" * 200)
        self.fault("§8")

    def test_requests_in_flight_are_few(self) -> None:
        self.begin()
        for req in range(9):
            self.say({"type": "call", "req": req, "method": "friend.list"})
        self.fault("§8: 9 requests")

    def test_sends_wait_for_the_welcome(self) -> None:
        self.say({"type": "hello", "req": 1, "token": "t"})
        self.send()
        self.assertTrue(self.watch.faults[0].startswith("R2"))

    def test_sends_have_ids_of_their_own_and_a_window(self) -> None:
        self.begin()
        self.send()
        self.watch.told({"type": "nack", "id": ID})
        self.send()
        self.fault("R2: ")
        self.watch.faults.clear()
        self.watch.session()
        self.begin()
        self.send(text="y")
        self.fault("R1: ")
        self.watch.faults.clear()
        self.send(ID[:-1] + "2")
        self.fault("R1: 2 sends")
        self.watch.faults.clear()
        self.watch.session()
        self.begin()
        self.send("01910000-0000-4000-8000-000000000001")
        self.fault("R1: ")

    def test_tokens_are_those_of_the_server(self) -> None:
        self.say({"type": "hello", "req": 1, "token": "t", "since": "e1:9"})
        self.fault("R6")

    def test_marks_cover_what_was_given(self) -> None:
        self.begin()
        self.watch.told({"type": "msg", "conv": 7, "seq": 2, "id": "b"})
        self.say({"type": "mark", "conv": 7, "delivered": 2})
        self.fault("R7: ")
        self.watch.faults.clear()
        self.watch.told({"type": "msg", "conv": 7, "seq": 1, "id": "a"})
        self.say({"type": "mark", "conv": 7, "delivered": 2})
        self.assertEqual(self.watch.faults, [])
        self.watch.installation()
        self.say({"type": "mark", "conv": 7, "read": 1})
        self.fault("R7: read")

    def test_nothing_is_shown_or_settled_twice(self) -> None:
        self.watch.reported({"shown": {"conv": 7, "seq": 2}})
        self.watch.reported({"shown": {"conv": 7, "seq": 1}})
        self.fault("R5: 7/1")
        self.watch.faults.clear()
        self.watch.reported({"failed": {"id": ID}})
        self.watch.reported({"sent": {"id": ID}})
        self.fault("R5: the outcome")
        self.watch.faults.clear()
        self.watch.lifetime()
        self.watch.reported({"shown": {"conv": 7, "seq": 1}})
        self.assertEqual(self.watch.faults, [])


class SeldomTests(SynchronousTestCase):
    """How often frames may come, on a machine that may be late."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.session = SimpleNamespace(frames=[], gone=False)
        self.stage: Any = SimpleNamespace(
            pace=Pace(self.clock, 1.0, 0.0), session=self.session, bound={}, last=0.0
        )
        pattern = {"type": "mark", "delivered": 10}
        self.done = Deferred.fromCoroutine(seldom(self.stage, pattern, 0.1))

    def mark(self, first: int, last: int, seconds: float) -> None:
        """Marks come at once after so long."""
        self.clock.advance(seconds)
        self.session.frames += [
            {"type": "mark", "conv": 7, "delivered": n} for n in range(first, last + 1)
        ]
        self.stage.pace.changed()

    def test_those_that_are_held_up_and_come_together_had_their_time(self) -> None:
        self.mark(1, 5, 0.5)
        self.assertNoResult(self.done)
        self.mark(6, 10, 0.5)
        self.successResultOf(self.done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_than_there_was_time_for_are_a_fault(self) -> None:
        self.mark(1, 10, 0.5)
        self.assertIn("7 of mark in 0.50 s", str(self.failureResultOf(self.done, Broken).value))

    def test_the_last_one_has_to_come(self) -> None:
        self.mark(1, 9, 1.0)
        self.clock.advance(5)
        self.failureResultOf(self.done, Broken)
