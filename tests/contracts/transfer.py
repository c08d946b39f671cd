"""What every ``Transfer`` has to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from imd.hints import AnyHint, Notify, Push, Replace, Revoke
from imd.interfaces.nodes import Arrivals, Transfer

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object


def push(seq: int, size: int = 20) -> Push:
    return Push((11, 12), 7, seq, b"x" * size)


class Seen:
    """Arrivals that remembers, and fails when it is told to."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[AnyHint]]] = []
        self.losses = 0
        self.gone: list[str] = []
        self.is_broken = False

    @property
    def hints(self) -> list[AnyHint]:
        """All hints so far."""
        return [hint for _, hints in self.batches for hint in hints]

    def received(self, source: str, hints: Sequence[AnyHint]) -> None:
        """See ``Arrivals``."""
        if self.is_broken:
            raise ZeroDivisionError("as told")
        self.batches.append((source, list(hints)))

    def lost(self) -> None:
        """See ``Arrivals``."""
        self.losses += 1
        if self.is_broken:
            raise ZeroDivisionError("as told")

    def unreachable(self, node: str) -> None:
        """See ``Arrivals``."""
        self.gone.append(node)
        if self.is_broken:
            raise ZeroDivisionError("as told")


class Startable(Transfer, Protocol):
    """A transfer that can be started and stopped."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class TransferContract(Case):
    """Mix with a TestCase that has ``make`` and ``settle``."""

    def make(self, node: str, arrivals: Arrivals) -> Startable:
        """A node that was not started yet; all that one test makes can reach each other."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everything happen that does not wait for time."""
        raise NotImplementedError

    def start(self, *names: str) -> list[tuple[Startable, Seen]]:
        """Nodes that are attached and have forgotten how they got there."""
        nodes = [(self.make(name, seen), seen) for name, seen in ((n, Seen()) for n in names)]
        for transfer, _ in nodes:
            transfer.start()
        self.settle()
        for _, seen in nodes:
            seen.losses = 0
        return nodes

    def stop(self, transfer: Startable) -> None:
        done = Deferred.fromCoroutine(transfer.stop())
        self.settle()
        self.successResultOf(done)

    def test_all_kinds_of_hints_arrive_in_order_with_their_source(self) -> None:
        (a, _), (_, seen) = self.start("a", "b")
        hints = [push(1), Notify((11,), b"{}"), Revoke(11, (1, 2)), Replace(11, 3, 2**51), push(2)]
        for hint in hints:
            a.forward("b", hint)
        self.settle()
        self.assertEqual(seen.hints, hints)
        self.assertEqual({source for source, _ in seen.batches}, {"a"})

    def test_hints_of_one_turn_arrive_together(self) -> None:
        (a, _), (_, seen) = self.start("a", "b")
        for seq in range(100):
            a.forward("b", push(seq))
        self.assertEqual(seen.batches, [], "nothing is carried while the caller is at work")
        self.settle()
        self.assertEqual(len(seen.batches), 1)
        self.assertEqual(len(seen.hints), 100)

    def test_hint_for_all_reaches_all_others_in_order_with_their_own(self) -> None:
        (a, seen_a), (_, seen_b), (_, seen_c) = self.start("a", "b", "c")
        a.forward("b", push(1))
        a.forward(None, push(2))
        a.forward("b", push(3))
        self.settle()
        self.assertEqual(seen_a.hints, [])
        self.assertEqual(seen_b.hints, [push(1), push(2), push(3)])
        self.assertEqual(seen_c.hints, [push(2)])

    def test_node_that_never_was_is_unreachable_once_for_a_burst(self) -> None:
        ((a, seen),) = self.start("a")
        for seq in range(10):
            a.forward("nobody", push(seq))
        self.assertEqual(seen.gone, [], "the caller is not called while it is at work")
        self.settle()
        self.assertEqual(seen.gone, ["nobody"])
        self.assertEqual(seen.losses, 0)

    def test_node_that_leaves_is_unreachable_for_all_others_once(self) -> None:
        (a, seen_a), (b, seen_b), (_, seen_c) = self.start("a", "b", "c")
        self.stop(b)
        self.assertEqual((seen_a.gone, seen_b.gone, seen_c.gone), (["b"], [], ["b"]))
        a.forward("c", push(1))
        a.forward(None, push(2))
        self.settle()
        self.assertEqual(seen_c.hints, [push(1), push(2)])
        self.assertEqual(seen_a.gone, ["b"])

    def test_node_that_comes_back_is_reached_again_and_looks_for_what_it_missed(self) -> None:
        (a, _), (b, seen) = self.start("a", "b")
        self.stop(b)
        losses = seen.losses
        b.start()
        self.settle()
        self.assertEqual(seen.losses, losses + 1)
        a.forward("b", push(1))
        b.forward("a", push(2))
        self.settle()
        self.assertEqual(seen.hints, [push(1)])

    def test_node_is_attached_between_start_and_stop(self) -> None:
        node = self.make("a", Seen())
        self.assertFalse(node.attached)
        node.start()
        self.settle()
        self.assertTrue(node.attached)
        self.stop(node)
        self.assertFalse(node.attached)

    def test_node_reaches_those_that_are_attached_as_itself_is(self) -> None:
        (a, _), (b, _) = self.start("a", "b")
        self.assertEqual((a.reaches("b"), b.reaches("a"), a.reaches("nobody")), (True, True, False))
        self.stop(b)
        self.assertEqual((a.reaches("b"), b.reaches("a")), (False, False))
        b.start()
        self.settle()
        self.assertEqual((a.reaches("b"), b.reaches("a")), (True, True))

    def test_what_is_forwarded_while_detached_is_lost_and_its_receivers_told_later(self) -> None:
        ((_, seen_b),) = self.start("b")
        seen = Seen()
        late = self.make("late", seen)
        late.forward("b", push(1))
        late.forward(None, push(2))
        self.settle()
        self.assertEqual(seen.gone, [])
        self.assertEqual(seen_b.losses, 0)
        late.start()
        self.settle()
        self.assertEqual(seen_b.losses, 1)
        self.assertEqual(seen_b.hints, [])

    def test_node_that_fails_at_a_hint_harms_no_other(self) -> None:
        (a, _), (_, broken), (_, seen) = self.start("a", "b", "c")
        broken.is_broken = True
        a.forward(None, push(1))
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(seen.hints, [push(1)])
        broken.is_broken = False
        a.forward("b", push(2))
        self.settle()
        self.assertEqual(broken.hints, [push(2)])

    def test_node_that_fails_at_bad_news_goes_on(self) -> None:
        (a, broken), (b, seen) = self.start("a", "b")
        broken.is_broken = True
        a.forward("nobody", push(1))
        a.forward("b", push(2))
        self.settle()
        self.assertEqual(seen.hints, [push(2)])
        self.stop(b)
        b.start()
        self.settle()
        broken.is_broken = False
        self.assertEqual(broken.gone, ["nobody", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        a.forward("b", push(3))
        self.settle()
        self.assertEqual(seen.hints, [push(2), push(3)])

    def test_what_was_forwarded_before_stop_arrives_and_no_news_come_after_it(self) -> None:
        (a, seen_a), (_, seen_b) = self.start("a", "b")
        a.forward("b", push(1))
        self.stop(a)
        self.assertEqual(seen_b.hints, [push(1)])
        a.forward("b", push(2))
        self.settle()
        self.assertEqual((seen_a.losses, seen_a.gone, seen_a.hints), (0, [], []))
