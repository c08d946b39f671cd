"""Nodes in one process: what one commits the sessions of the others hear, by hint or by sweep."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close
from imd.hints import Revoke
from imd.status.memory import LEASE_SECONDS
from imd.sweep import INTERVAL, SOON
from tests.nodes import World, push


class NodesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self)
        self.here, self.there = self.world.node("here"), self.world.node("there")
        self.sender = self.here.enter(1)
        self.receiver = self.there.enter(2)

    def commit(self, seq: int) -> None:
        """A message of the sender is in the log; then the others are told."""
        self.world.feed.head(7, seq, 1, 2)
        self.here.cluster.routing.tell(push(7, seq, 1, 2), but=self.sender)

    def test_a_message_arrives_at_once_and_a_sweep_has_nothing_to_add(self) -> None:
        self.commit(1)
        self.world.turn()
        self.assertEqual(self.receiver.pushed, [{"seq": 1}])
        self.world.clock.advance(INTERVAL)
        self.assertEqual(self.receiver.pushed, [{"seq": 1}])
        self.assertEqual(self.sender.pushed, [])
        self.assertEqual((self.here.tokens[-1], self.there.tokens[-1]), ("1", "1"))

    def test_who_is_not_in_user_status_hears_with_the_next_sweep_and_then_at_once(self) -> None:
        self.world.board.entries.clear()
        self.commit(1)
        self.world.turn()
        self.assertEqual(self.receiver.pushed, [])
        self.world.clock.advance(INTERVAL)
        self.assertEqual(len(self.receiver.pushed), 1)
        self.commit(2)
        self.world.turn()
        self.assertEqual(self.receiver.pushed[1:], [{"seq": 2}])

    def test_who_is_missing_in_user_status_hears_beside_one_who_is_not(self) -> None:
        """A node that heard on account of one user tells the other one too."""
        other = self.there.enter(1, device=9)
        del self.world.board.entries[2]
        self.commit(1)
        self.world.clock.pump([0, 0, INTERVAL])
        self.assertEqual((len(other.pushed), len(self.receiver.pushed)), (1, 1))

    def test_a_node_out_of_the_hall_sweeps_often_and_the_others_hear_when_it_is_back(self) -> None:
        self.world.do(self.here.transfer.stop())
        self.commit(1)
        self.world.turn()
        self.assertEqual(self.receiver.pushed, [])
        # The others know that it may go on committing.
        self.world.clock.advance(SOON)
        self.assertEqual(len(self.receiver.pushed), 1)
        self.world.clock.advance(INTERVAL)
        before = self.here.feed.count("feed")
        self.world.clock.pump([SOON] * 10)
        self.assertEqual(self.here.feed.count("feed"), before + 10)
        self.here.transfer.start()

    def test_while_a_node_out_of_the_hall_lives_what_it_commits_is_found_soon(self) -> None:
        self.world.do(self.here.transfer.stop())
        for _ in range(4 * int(LEASE_SECONDS)):
            self.beat()
            self.world.clock.advance(SOON)
        self.commit(1)
        self.world.clock.advance(SOON)
        self.assertEqual(len(self.receiver.pushed), 1)
        # Back in the hall it is heard again, and all is as before.
        self.here.transfer.start()
        self.world.clock.pump([SOON] * 4)
        before = self.there.feed.count("feed")
        self.world.clock.pump([SOON] * 16)
        self.assertEqual(self.there.feed.count("feed"), before + 2)

    def beat(self) -> None:
        for node in self.here, self.there:
            self.world.do(node.cluster.online.beat())

    def test_a_newer_session_elsewhere_closes_the_older_here(self) -> None:
        newer = self.there.enter(1, session=2)
        self.world.turn()
        self.assertEqual((self.sender.closed, newer.closed), (Close.REPLACED, None))

    def test_a_lost_lease_is_noticed_and_what_was_missed_is_looked_for(self) -> None:
        self.world.clock.pump([1.0] * (int(LEASE_SECONDS) + 1))
        self.commit(1)
        self.world.turn()
        self.assertEqual(self.receiver.pushed, [])
        self.world.do(self.there.cluster.online.beat())
        self.world.clock.advance(SOON)
        self.assertEqual(len(self.receiver.pushed), 1)

    def test_a_revoked_device_is_closed_by_hint_and_without_it(self) -> None:
        self.here.cluster.routing.tell(Revoke(2, (1,)))
        self.world.turn()
        self.assertEqual(self.receiver.closed, Close.BAD_CREDENTIALS)
        other = self.there.enter(3)
        self.world.feed.entries.append(3)
        self.world.clock.advance(INTERVAL)
        self.assertEqual(other.closed, Close.BAD_CREDENTIALS)
