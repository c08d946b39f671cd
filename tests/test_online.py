"""User status is kept true to the sessions of a node, and its failures end nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd import online
from imd.delivery import Delivery
from imd.errors import Close
from imd.hints import AnyHint, Replace
from imd.interfaces.nodes import Entry
from imd.online import Online
from imd.registry import Registry
from imd.routing import Routing
from imd.status.memory import MemoryUserStatus
from tests.application import Listener, Told
from tests.nodes import World


class Sent:
    """What is sent to other nodes."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, AnyHint]] = []

    def send(self, hint: AnyHint) -> None:
        raise NotImplementedError

    def send_to(self, node: str, hint: AnyHint) -> None:
        self.hints.append((node, hint))


class OnlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.registry, self.sent, self.renewals = Registry(), Sent(), 0
        memory = MemoryUserStatus("here", self.world.clock, self.world.board)
        self.status: Any = Told(memory)
        self.east = MemoryUserStatus("east", self.world.clock, self.world.board)
        routing = Routing(Delivery(self.registry), self.sent)
        self.online = Online("here", self.registry, self.status, routing, self.renew)
        self.world.do(memory.beat())
        self.world.do(self.east.beat())

    def renew(self) -> None:
        self.renewals += 1

    def enter(self, live: Listener) -> object:
        return self.world.do(self.online.enter(live))

    def entries(self, *users: int) -> list[Entry]:
        return list(self.world.do(self.east.lookup(users)))  # type: ignore[call-overload]

    def test_a_session_is_here_before_it_is_in_user_status(self) -> None:
        alice = Listener(1)
        self.status.held.add("register")
        entering = Deferred.fromCoroutine(self.online.enter(alice))
        self.assertEqual(self.registry.sessions(1), (alice,))
        self.assertEqual(self.entries(1), [])
        self.status.answer()
        self.assertTrue(self.successResultOf(entering))
        self.assertEqual(self.entries(1), [Entry(1, 1, 1, "here")])

    def test_who_leaves_is_taken_out_of_both_and_who_was_never_in_of_none(self) -> None:
        alice = Listener(1)
        self.enter(alice)
        self.world.do(self.online.leave(alice))
        self.assertEqual((self.registry.sessions(1), self.entries(1)), ((), []))
        self.world.do(self.online.leave(alice))
        self.assertEqual(self.status.count("unregister"), 1)

    def test_an_older_session_of_the_device_does_not_even_get_to_user_status(self) -> None:
        self.enter(Listener(1, 1, 5))
        late = Listener(1, 1, 4)
        self.assertFalse(self.enter(late))
        self.assertEqual(late.closed, Close.REPLACED)
        self.assertEqual(self.status.count("register"), 1)

    def test_a_newer_session_elsewhere_closes_the_one_here(self) -> None:
        self.world.do(self.east.register(1, 1, 9))
        alice = Listener(1, 1, 5)
        self.assertFalse(self.enter(alice))
        self.assertEqual(alice.closed, Close.REPLACED)
        self.assertEqual(self.entries(1), [Entry(1, 1, 9, "east")])

    def test_what_storage_says_is_newer_replaces_a_session_for_good_only_if_it_lives(self) -> None:
        alice = Listener(1, 1, 5)
        self.enter(alice)
        self.world.do(self.east.register(1, 1, 6))
        self.online.outranked(alice)
        self.assertEqual(alice.closed, Close.REPLACED)

    def test_a_session_comes_back_that_storage_says_is_not_the_newest_though_no_other_lives(
        self,
    ) -> None:
        for faults in 0, 1:
            alice = Listener(1, 1, 5)
            self.enter(alice)
            self.status.fail("register", faults)
            self.online.outranked(alice)
            self.assertEqual(alice.closed, Close.RESYNC)
            self.world.do(self.online.leave(alice))

    def test_an_older_session_elsewhere_is_told_that_it_was_replaced(self) -> None:
        self.world.do(self.east.register(1, 1, 4))
        self.assertTrue(self.enter(Listener(1, 1, 5)))
        self.assertEqual(self.sent.hints, [("east", Replace(1, 1, 5))])
        self.assertEqual(self.entries(1), [Entry(1, 1, 5, "here")])

    def test_an_older_entry_of_this_node_is_told_nothing(self) -> None:
        self.world.do(
            MemoryUserStatus("here", self.world.clock, self.world.board).register(1, 1, 4)
        )
        self.assertTrue(self.enter(Listener(1, 1, 5)))
        self.assertEqual(self.sent.hints, [])

    def test_a_session_that_ends_while_it_is_entered_leaves_nothing(self) -> None:
        for faults in (0, 1):
            alice = Listener(1)
            self.status.held.add("register")
            entering = Deferred.fromCoroutine(self.online.enter(alice))
            self.status.held.clear()
            self.status.fail("unregister", faults)
            self.world.do(self.online.leave(alice))
            self.status.answer()
            self.assertFalse(self.successResultOf(entering))
            self.assertEqual(self.entries(1), [])

    def test_without_user_status_a_session_is_entered_and_leaves_all_the_same(self) -> None:
        alice = Listener(1)
        self.status.fail("register")
        self.assertTrue(self.enter(alice))
        self.status.fail("unregister")
        self.world.do(self.online.leave(alice))
        self.assertEqual(self.registry.sessions(1), ())

    def test_who_could_not_be_taken_out_is_taken_out_with_a_later_beat(self) -> None:
        alice, bob = Listener(1), Listener(2)
        self.enter(alice)
        self.enter(bob)
        self.status.fail("unregister", 2)
        self.world.do(self.online.leave(alice))
        self.assertEqual(self.entries(1), [Entry(1, 1, 1, "here")])
        self.world.do(self.online.beat())
        self.world.do(self.online.beat())
        self.assertEqual((self.entries(1), self.entries(2)), ([], [Entry(2, 1, 1, "here")]))
        self.assertEqual(self.status.count("unregister"), 3)
        self.world.do(self.online.beat())
        self.assertEqual(self.status.count("unregister"), 3)

    def test_who_could_not_be_entered_is_entered_with_the_next_beat(self) -> None:
        """Also while the lease lives on, which user status does not take from anybody."""
        self.status.fail("register")
        self.enter(Listener(1))
        self.assertEqual(self.entries(1), [])
        self.world.do(self.online.beat())
        self.assertEqual(self.entries(1), [Entry(1, 1, 1, "here")])
        self.assertEqual(self.renewals, 0)
        self.world.do(self.online.beat())
        self.assertEqual(self.status.count("register"), 2)

    def test_who_was_outranked_while_nobody_could_tell_is_closed_by_the_next_beat(self) -> None:
        self.status.fail("register")
        alice = Listener(1, 1, 5)
        self.enter(alice)
        self.world.do(self.east.register(1, 1, 9))
        self.world.do(self.online.beat())
        self.assertEqual(alice.closed, Close.REPLACED)

    def test_after_the_lease_was_lost_all_are_entered_again(self) -> None:
        for user in (1, 2):
            self.enter(Listener(user))
        self.world.board.entries.clear()
        self.world.board.leases.pop("here")
        self.world.do(self.online.beat())
        self.assertEqual([e.user for e in self.entries(1, 2)], [1, 2])
        self.assertEqual(self.renewals, 1)

    def test_what_user_status_did_not_take_then_it_is_given_with_the_beat_after(self) -> None:
        self.patch(online, "AT_ONCE", 2)
        for user in range(1, 6):
            self.enter(Listener(user))
        self.world.board.entries.clear()
        self.world.board.leases.pop("here")
        self.status.calls.clear()
        self.status.fail("register", 1)
        self.world.do(self.online.beat())
        # No more is tried of a user status that does not answer.
        self.assertEqual(self.status.count("register"), 2)
        self.world.do(self.online.beat())
        self.assertEqual(len(self.entries(*range(1, 6))), 5)
        self.assertEqual(self.status.count("register"), 7)

    def test_many_are_entered_at_the_same_time(self) -> None:
        for user in range(1, 6):
            self.enter(Listener(user))
        self.patch(online, "AT_ONCE", 3)
        self.status.held.add("register")
        verifying = Deferred.fromCoroutine(self.online.verify())
        self.assertEqual(self.status.waiting, 3)
        self.status.answer(3)
        self.assertEqual(self.status.waiting, 2)
        self.status.answer(2)
        self.successResultOf(verifying)

    def test_a_defect_in_one_session_keeps_the_others_out_of_nothing(self) -> None:
        lives = [Listener(user, 1, 5) for user in (1, 2)]
        for live in lives:
            self.enter(live)
        self.world.board.entries.clear()
        self.status.fail("register", error=LookupError("a defect"))
        self.world.do(self.online.verify())
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual([e.user for e in self.entries(1, 2)], [2])

    def test_some_users_are_verified_without_the_others(self) -> None:
        for user in (1, 2):
            self.enter(Listener(user))
        self.world.board.entries.clear()
        self.world.do(self.online.verify({2, 9}))
        self.assertEqual([e.user for e in self.entries(1, 2)], [2])

    def test_a_beat_that_is_not_answered_changes_nothing(self) -> None:
        self.status.fail("beat")
        self.world.do(self.online.beat())
        self.assertEqual(self.renewals, 0)

    def test_entries_of_sessions_that_are_gone_are_taken_out_and_no_others(self) -> None:
        self.enter(Listener(1, 1, 5))
        memory = MemoryUserStatus("here", self.world.clock, self.world.board)
        self.world.do(memory.register(1, 2, 5))
        self.world.do(memory.register(2, 3, 5))
        self.world.do(self.east.register(2, 4, 5))
        self.world.do(self.online.disown({1, 2}))
        left = [Entry(1, 1, 5, "here"), Entry(2, 4, 5, "east")]
        self.assertEqual(self.entries(1, 2), left)

    def test_a_look_up_that_is_not_answered_disowns_nobody(self) -> None:
        self.status.fail("lookup")
        self.world.do(self.online.disown({1}))
        self.assertEqual(self.status.count("unregister"), 0)
