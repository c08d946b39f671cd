"""Lanes: appends of different conversations may overlap, those of one never do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.delivery import Delivery
from imd.interfaces.storage import AppendResult
from imd.limits import Limits
from imd.messaging import Messaging
from imd.model import Appended, NewMessage, Outcome
from imd.registry import Registry
from imd.routing import Routing


class SlowStorage:
    """Appends wait until they are told to end."""

    def __init__(self) -> None:
        self.waiting: list[tuple[list[int], Deferred[AppendResult]]] = []

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        done: Deferred[AppendResult] = Deferred()
        self.waiting.append(([m.conversation for m in batch], done))
        return await done

    def finish(self) -> None:
        batch, done = self.waiting.pop(0)
        decisions = tuple(Appended(Outcome.NEW, 1, at=1) for _ in batch)
        done.callback(AppendResult(decisions, None))


class Origin:
    """Counts what ended."""

    gone = False

    def __init__(self) -> None:
        self.settled = 0

    def settle(self, frame: bytes) -> None:
        self.settled += 1


class LaneTests(SynchronousTestCase):
    """Two lanes over one storage."""

    def setUp(self) -> None:
        self.clock, self.storage, self.origin = Clock(), SlowStorage(), Origin()
        storage: Any = self.storage
        routing = Routing(Delivery(Registry()))
        self.messaging = Messaging(storage, routing, self.clock, lambda: 1, Limits(), lanes=2)

    def submit(self, conversation: int) -> None:
        message = NewMessage(conversation, 1, 1, bytes(16), "text", b"{}")
        origin: Any = self.origin
        self.messaging.submit(origin, "id", message)
        self.clock.advance(0)

    def batches(self) -> list[list[int]]:
        return [batch for batch, _ in self.storage.waiting]

    def test_conversations_of_different_lanes_commit_at_the_same_time(self) -> None:
        self.submit(2)
        self.submit(3)
        self.assertEqual(self.batches(), [[2], [3]])

    def test_a_conversation_commits_one_batch_after_the_other(self) -> None:
        for conversation in (2, 2, 4, 2):
            self.submit(conversation)
        self.assertEqual(self.batches(), [[2]])
        self.storage.finish()
        self.assertEqual(self.batches(), [[2, 4, 2]])
        self.storage.finish()
        self.assertEqual(self.origin.settled, 4)
