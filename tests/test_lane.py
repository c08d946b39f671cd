"""A commit lane: order, batches, retries, and what it does when storage stays away."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Unavailable
from imd.interfaces.storage import AppendResult
from imd.lane import Lane, Pending
from imd.limits import Limits
from imd.model import Appended, NewMessage, Outcome
from tests.application import Listener, Told


class Log:
    """Storage that takes everything, but for messages whose body is poison."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        if any(message.body == b"poison" for message in batch):
            raise ValueError("cannot be encoded")
        self.rows += [message.id.decode() for message in batch]
        return AppendResult(tuple(Appended(Outcome.NEW, 1, at) for _ in batch), None)


class Outcomes:
    """What became of the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.in_doubt: set[str] = set()
        self.poison: list[str] = []
        self.given_up: list[list[str]] = []
        self.lane: Lane

    def committed(self, batch: Sequence[Pending], result: AppendResult) -> None:
        assert len(result.decisions) == len(batch)
        self.batches.append([pending.id for pending in batch])
        self.in_doubt |= {pending.id for pending in batch if pending.in_doubt}

    def poisoned(self, pending: Pending) -> None:
        self.poison.append(pending.id)

    def failed(self, batch: Sequence[Pending]) -> None:
        self.given_up.append([pending.id for pending in batch])
        for pending in batch:
            self.lane.purge(pending.origin)


class LaneTests(SynchronousTestCase):
    def make(self, **limits: float) -> None:
        self.clock = Clock()
        self.log = Log()
        self.storage = Told(self.log)
        self.outcomes = Outcomes()
        self.lane = self.outcomes.lane = Lane(
            self.storage, self.clock, lambda: 17, Limits(**limits), self.outcomes
        )
        self.alice, self.bob = Listener(1), Listener(2)

    def put(self, *ids: str, origin: Listener | None = None, body: bytes = b"{}") -> None:
        for id in ids:
            message = NewMessage(7, 1, 1, id.encode(), "text", body)
            self.lane.put(Pending(origin or self.alice, id, message))

    def attempts(self) -> list[list[str]]:
        return [[m.id.decode() for m in args[0]] for _, args in self.storage.calls]

    def test_messages_of_one_turn_leave_together_and_in_order(self) -> None:
        self.make()
        self.put("a", "b", "c")
        self.assertEqual(self.storage.calls, [])
        self.assertEqual(len(self.lane), 3)
        self.clock.advance(0)
        self.assertEqual(self.outcomes.batches, [["a", "b", "c"]])
        self.assertEqual(len(self.lane), 0)
        self.assertEqual(self.storage.calls[0][1][1], 17)

    def test_a_batch_grows_while_another_is_in_flight(self) -> None:
        self.make()
        self.storage.held.add("append")
        self.put("a")
        self.clock.advance(0)
        for id in "bcde":
            self.put(id)
            self.clock.advance(0)
        self.assertEqual(self.attempts(), [["a"]])
        self.assertEqual(len(self.lane), 5)
        self.storage.answer()
        self.assertEqual(self.attempts(), [["a"], ["b", "c", "d", "e"]])
        self.storage.answer()
        self.assertEqual(self.outcomes.batches, [["a"], ["b", "c", "d", "e"]])

    def test_after_all_is_done_the_lane_starts_afresh(self) -> None:
        self.make()
        for id in "ab":
            self.put(id)
            self.clock.advance(0)
        self.assertEqual(self.outcomes.batches, [["a"], ["b"]])

    def test_a_batch_holds_so_many_messages_and_no_more(self) -> None:
        self.make(lane_batch=2)
        self.put("a", "b", "c", "d", "e")
        self.clock.advance(0)
        self.assertEqual(self.outcomes.batches, [["a", "b"], ["c", "d"], ["e"]])

    def test_a_batch_holds_so_many_bytes_but_always_one_message(self) -> None:
        self.make(lane_bytes=10)
        self.put("a", "b", "c", body=b"12345")
        self.put("d", body=b"x" * 50)
        self.put("e", body=b"12345")
        self.clock.advance(0)
        self.assertEqual(self.outcomes.batches, [["a", "b"], ["c"], ["d"], ["e"]])

    def test_the_same_batch_is_tried_again_each_time_after_twice_the_delay(self) -> None:
        self.make()
        self.storage.fail("append", times=4)
        self.put("a", "b")
        self.clock.advance(0)
        self.put("later")
        for delay in (0.05, 0.1, 0.2, 0.4):
            before = len(self.storage.calls)
            self.clock.advance(delay * 0.9)
            self.assertEqual(len(self.storage.calls), before)
            self.clock.advance(delay * 0.11)
            self.assertGreater(len(self.storage.calls), before)
        self.assertEqual(self.attempts(), [["a", "b"]] * 5 + [["later"]])
        self.assertEqual(self.log.rows, ["a", "b", "later"])

    def test_a_batch_never_waits_longer_than_a_second_once_storage_is_back(self) -> None:
        self.make(commit_seconds=100)
        self.storage.fail("append", times=20)
        self.put("a")
        self.clock.pump([0.05] * 400)
        self.assertEqual(len(self.attempts()), 21)
        self.assertEqual(self.log.rows, ["a"])

    def test_a_lane_gives_up_after_commit_seconds_and_not_before(self) -> None:
        self.make(commit_seconds=3)
        self.storage.fail("append", times=1000)
        self.put("a", "b")
        for _ in range(29):
            self.clock.advance(0.1)
        self.assertEqual(self.outcomes.given_up, [])
        self.clock.advance(0.2)
        self.assertEqual(self.outcomes.given_up, [["a", "b"]])
        self.assertEqual(len(self.lane), 0)

    def test_giving_up_is_a_line_in_the_log_unless_the_outage_has_one_already(self) -> None:
        for is_outage, lines in ((False, 1), (True, 0)):
            self.make(commit_seconds=1)
            self.storage.fail("append", times=1000, error=Unavailable("away", is_outage))
            with capturedLogs() as events:
                self.put("a")
                self.clock.pump([0.1] * 20)
            self.assertEqual(self.outcomes.given_up, [["a"]])
            self.assertEqual(len(events), lines)

    def test_who_failed_in_part_fails_in_whole_and_the_others_go_on(self) -> None:
        """A prefix of each session's stream is committed, never a part with holes."""
        self.make(commit_seconds=1, lane_batch=2)
        self.storage.fail("append", times=6)
        self.put("a1", "a2", "a3")
        self.put("b1", origin=self.bob)
        self.put("a4")
        self.put("b2", origin=self.bob)
        for _ in range(20):
            self.clock.advance(0.1)
        self.assertEqual(self.outcomes.given_up, [["a1", "a2"]])
        self.assertEqual(self.log.rows, ["b1", "b2"])

    def test_to_purge_somebody_who_has_nothing_queued_changes_nothing(self) -> None:
        self.make()
        self.put("a", "b")
        self.lane.purge(self.bob)
        self.assertEqual(len(self.lane), 2)
        self.clock.advance(0)
        self.assertEqual(self.log.rows, ["a", "b"])

    def test_a_message_that_storage_cannot_take_does_not_hold_up_its_neighbours(self) -> None:
        for at in range(5):
            self.make()
            self.put(*"abcde"[:at])
            self.put("!", body=b"poison")
            self.put(*"abcde"[at:])
            self.clock.advance(0)
            self.assertEqual(self.outcomes.poison, ["!"])
            self.assertEqual(self.log.rows, list("abcde"))
            self.assertEqual(len(self.lane), 0)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_was_tried_before_is_known_to_be_in_doubt_also_when_its_batch_is_halved(
        self,
    ) -> None:
        self.make()
        self.storage.fail("append")
        self.put("a", "b")
        self.put("!", body=b"poison")
        self.clock.advance(0)
        self.put("later")
        self.clock.advance(0.05)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.log.rows, ["a", "b", "later"])
        self.assertEqual(self.outcomes.in_doubt, {"a", "b"})

    def test_a_lane_lives_on_after_a_defect_in_what_hears_of_it(self) -> None:
        self.make()
        broken, whole = [1], self.outcomes.committed

        def committed(batch: Sequence[Pending], result: AppendResult) -> None:
            if broken:
                raise LookupError(broken.pop())
            whole(batch, result)

        self.outcomes.committed = committed  # type: ignore[method-assign]
        self.put("a")
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(len(self.lane), 0)
        self.put("b")
        self.clock.advance(0)
        self.assertEqual(self.outcomes.batches, [["b"]])
