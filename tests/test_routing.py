"""A hint reaches the sessions of this node at once, and those of others after a look-up."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd import routing
from imd.delivery import Delivery
from imd.hints import AnyHint, Notify, Receipt, Replace, Revoke
from imd.interfaces.feed import FeedHead
from imd.recent import Recent
from imd.registry import Registry
from imd.routing import Forwarding, Routing
from imd.status.memory import Board, MemoryUserStatus
from tests.application import Listener, Told
from tests.nodes import Post, World, push


class RoutingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.registry, self.clock, self.post = Registry(), Clock(), Post()
        board = Board()
        here = MemoryUserStatus("here", self.clock, board)
        self.status = Told(here)
        for node, user in (("here", 1), ("east", 1), ("east", 2), ("west", 3)):
            status = MemoryUserStatus(node, self.clock, board)
            self.world.do(status.beat())
            self.world.do(status.register(user, user * 10 + len(node), 1))
        self.world.do(MemoryUserStatus("west", self.clock, board).register(2, 99, 1))
        self.recent = Recent()
        self.forwarding = Forwarding(
            "here",
            self.status,  # type: ignore[arg-type]
            self.post,
            self.recent,
            self.clock,
        )
        self.routing = Routing(Delivery(self.registry), self.forwarding)

    def sent(self) -> list[tuple[str | None, AnyHint]]:
        """What was forwarded since the last time, by name of the node."""
        self.clock.advance(0)
        sent, self.post.sent = self.post.sent, []
        return sorted(sent, key=lambda each: each[0] or "")

    def test_one_node_alone_tells_its_own_sessions(self) -> None:
        alice = Listener(1)
        self.registry.add(alice)
        alone = Routing(Delivery(self.registry))
        alone.tell(push(7, 1, 1))
        alone.tell_node("east", Replace(1, 1, 2))
        self.assertEqual((alice.pushed, alice.closed), ([{"seq": 1}], None))

    def test_sessions_here_are_told_at_once_and_but_for_one(self) -> None:
        alice, other = Listener(1), Listener(1, 2)
        self.registry.add(alice)
        self.registry.add(other)
        self.routing.tell(push(7, 1, 1), but=alice)
        self.assertEqual((alice.pushed, other.pushed), ([], [{"seq": 1}]))

    def test_each_other_node_of_any_user_hears_once_and_of_all_users(self) -> None:
        """What a node was told it holds for told, so it has to hear of everybody concerned."""
        hint = push(7, 1, 1, 2, 9)
        self.routing.tell(hint)
        self.assertEqual(self.sent(), [("east", hint), ("west", hint)])

    def test_whom_nobody_has_is_sent_nowhere(self) -> None:
        self.routing.tell(push(7, 1, 9))
        self.assertEqual(self.sent(), [])

    def test_every_kind_of_hint_finds_its_users(self) -> None:
        for hint in (
            Notify((3,), b"1"),
            Receipt((3,), 7, 1, 1, 1),
            Revoke(3, (1,)),
            Replace(3, 1, 1),
        ):
            self.routing.tell(hint)
            self.assertEqual(self.sent(), [("west", hint)])

    def test_one_node_is_told_directly_unless_it_is_this_one(self) -> None:
        hint = Replace(1, 1, 2)
        self.routing.tell_node("east", hint)
        self.routing.tell_node("here", hint)
        self.assertEqual(self.post.sent, [("east", hint)])
        self.assertEqual(self.status.calls, [])

    def test_hints_that_come_during_a_look_up_share_the_next_in_their_order(self) -> None:
        self.status.held.add("lookup")
        hints = [push(7, n, 3) for n in range(4)]
        self.routing.tell(hints[0])
        self.clock.advance(0)
        for hint in hints[1:]:
            self.routing.tell(hint)
            self.clock.advance(0)
        self.assertEqual(self.status.waiting, 1)
        self.status.answer()
        self.assertEqual(self.sent(), [("west", hints[0])])
        self.status.answer()
        self.assertEqual(self.sent(), [("west", hint) for hint in hints[1:]])
        self.assertEqual(self.status.count("lookup"), 2)

    def test_nothing_of_a_look_up_is_kept_for_the_next(self) -> None:
        for _ in range(3):
            self.routing.tell(push(7, 1, 3))
            self.sent()
        self.assertEqual(self.status.count("lookup"), 3)

    def test_many_users_are_looked_up_in_parts(self) -> None:
        self.routing.tell(push(7, 1, *range(3, 3 + routing.LOOKUP + 1)))
        self.assertEqual([node for node, _ in self.sent()], ["west"])
        asked = [len(users) for _, (users,) in self.status.calls]
        self.assertEqual(asked, [routing.LOOKUP, 1])

    def test_without_user_status_all_nodes_are_told(self) -> None:
        self.status.fail("lookup")
        hints = [push(7, n, 9) for n in range(2)]
        for hint in hints:
            self.routing.tell(hint)
        self.assertEqual(self.sent(), [(None, hint) for hint in hints])

    def test_a_defect_in_a_look_up_costs_one_batch_of_hints(self) -> None:
        self.status.held.add("lookup")
        self.status.fail("lookup", error=LookupError("a defect"))
        self.routing.tell(push(7, 1, 3))
        self.clock.advance(0)
        self.routing.tell(push(7, 2, 3))
        self.status.held.clear()
        self.status.answer()
        self.assertEqual(self.sent(), [("west", push(7, 2, 3))])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.routing.tell(push(7, 3, 3))
        self.assertEqual(self.sent(), [("west", push(7, 3, 3))])

    def test_who_cannot_send_now_looks_nobody_up(self) -> None:
        self.post.attached = False
        self.routing.tell(push(7, 1, 3))
        self.assertEqual(self.sent(), [(None, push(7, 1, 3))])
        self.assertEqual(self.status.calls, [])

    def test_what_waits_for_a_look_up_is_bounded(self) -> None:
        self.patch(routing, "MAX_WAITING", 2)
        hints = [push(7, n, 3) for n in range(3)]
        for hint in hints:
            self.routing.tell(hint)
        self.assertEqual(len(self.forwarding), 2)
        self.assertEqual(self.sent(), [(None, hints[2]), ("west", hints[0]), ("west", hints[1])])

    def test_what_was_committed_here_was_pushed_here(self) -> None:
        self.routing.tell(push(7, 3, 9))
        self.assertTrue(self.recent.has_head(FeedHead(7, 3, (9,))))
