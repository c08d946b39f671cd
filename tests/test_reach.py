"""A node out of reach is missing until it is back, or has been dead for the length of a lease."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.reach import LEASE_SECONDS, Reach
from imd.status import memory, redis
from imd.status.memory import MemoryUserStatus
from tests.application import Told
from tests.nodes import Post, World


class ReachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.clock, self.post = self.world.clock, Post()
        self.status = Told(MemoryUserStatus("here", self.clock, self.world.board))
        self.east = MemoryUserStatus("east", self.clock, self.world.board)
        self.reach = Reach(self.post, self.status, self.clock)

    def look(self) -> bool:
        """Whether somebody is missing still."""
        self.world.do(self.reach.look())
        return self.reach.degraded

    def test_nobody_is_asked_while_nobody_is_missing(self) -> None:
        self.assertFalse(self.look())
        self.assertEqual(self.status.calls, [])

    def test_a_node_that_cannot_send_itself_is_degraded(self) -> None:
        self.post.attached = False
        self.assertTrue(self.look())
        self.assertEqual(self.status.calls, [])

    def test_a_node_is_missing_for_as_long_as_it_beats_and_a_lease_beyond(self) -> None:
        self.reach.miss("east")
        for _ in range(100):
            self.world.do(self.east.beat())
            self.clock.advance(1)
            self.assertTrue(self.look())
        self.clock.advance(LEASE_SECONDS - 0.1)
        self.assertTrue(self.look())
        self.clock.advance(0.2)
        self.assertFalse(self.look())

    def test_a_living_node_that_lost_its_lease_for_a_moment_stays_missing(self) -> None:
        self.reach.miss("east")
        self.clock.advance(1)
        self.assertTrue(self.look())
        self.world.do(self.east.beat())
        self.clock.advance(14.5)
        self.assertTrue(self.look())

    def test_a_node_that_is_reached_again_is_forgotten_and_others_are_not(self) -> None:
        self.reach.miss("east")
        self.reach.miss("west")
        self.post.reached = {"east"}
        self.assertTrue(self.look())
        self.assertEqual(self.status.calls, [("living", (("west",),))])
        self.post.reached = {"west"}
        self.assertFalse(self.look())

    def test_while_user_status_is_away_any_node_may_live(self) -> None:
        self.reach.miss("east")
        self.clock.advance(5 * LEASE_SECONDS)
        self.status.fail("living")
        self.assertTrue(self.look())
        self.clock.advance(LEASE_SECONDS)
        self.assertFalse(self.look())

    def test_it_waits_as_long_as_leases_last(self) -> None:
        self.assertEqual(LEASE_SECONDS, memory.LEASE_SECONDS)
        self.assertEqual(LEASE_SECONDS * 1000, redis.LEASE_MS)
