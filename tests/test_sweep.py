"""Whatever hints did not bring, the feed does; and a token covers only what was told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd import sweep
from imd.delivery import Delivery
from imd.errors import Close
from imd.hints import Receipt
from imd.interfaces.feed import FeedHead
from imd.model import Cursor
from imd.online import Online
from imd.reach import LEASE_SECONDS, Reach
from imd.recent import Recent
from imd.registry import Registry
from imd.routing import Routing
from imd.status.memory import MemoryUserStatus
from imd.sweep import INTERVAL, PURGE, REMEMBER, SOON, Sweep
from tests.application import Listener, Told
from tests.nodes import Post, World, push

POKE = {"type": "head", "conv": 7, "last": 3}


class SweepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = world = World(self)
        self.clock, self.log, self.devices = world.clock, world.feed, world.devices.of
        self.feed: Any = Told(world.feed)
        self.storage: Any = Told(world.devices)
        self.status: Any = Told(MemoryUserStatus("here", self.clock, world.board))
        self.registry, self.recent = Registry(), Recent()
        self.delivery = Delivery(self.registry)
        self.online = Online("here", self.registry, self.status, Routing(self.delivery))
        self.world.do(self.online.beat())
        self.status.calls.clear()
        self.post = Post()
        self.tokens: list[str] = []
        self.sweep = Sweep(
            self.storage,
            self.feed,
            self.registry,
            self.online,
            self.recent,
            Reach(self.post, self.status, self.clock),
            self.clock,
        )
        self.addCleanup(self.nothing_is_left)

    def nothing_is_left(self) -> None:
        self.sweep.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self) -> None:
        self.sweep.start(self.tokens.append)

    def enter(self, user: int, device: int = 1, session: int = 1) -> Listener:
        live = Listener(user, device, session)
        self.world.do(self.online.enter(live))
        self.devices.setdefault(user, []).append(device)
        return live

    @property
    def sweeps(self) -> int:
        return int(self.feed.count("feed"))

    def count_in(self, seconds: float) -> int:
        """How many sweeps begin within this time."""
        before = self.sweeps
        self.clock.pump([0.125] * round(seconds * 8))
        return self.sweeps - before


class RepairTests(SweepTests):
    def test_the_first_sweep_brings_a_token_and_nothing_else(self) -> None:
        alice = self.enter(1)
        self.log.head(7, 3, 1, 2)
        self.start()
        self.assertEqual((self.tokens, alice.pushed), (["1"], []))

    def test_what_no_hint_has_brought_is_told(self) -> None:
        alice, bob = self.enter(1), self.enter(2)
        self.start()
        self.log.head(7, 3, 1, 2)
        self.log.cursor(7, 2, (3, 1), 1, 2)
        self.clock.advance(INTERVAL)
        receipt = {"type": "receipt", "conv": 7, "user": 2, "delivered": 3, "read": 1}
        self.assertEqual(alice.pushed, [POKE, receipt])
        self.assertEqual(bob.pushed, [POKE, receipt])
        self.assertEqual((self.tokens, self.sweep.repaired), (["0", "2"], 2))

    def test_each_sweep_begins_where_the_last_ended(self) -> None:
        alice = self.enter(1)
        self.start()
        self.log.head(7, 3, 1, 2)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(len(alice.pushed), 1)
        self.assertEqual(
            [args for name, args in self.feed.calls], [(None,), ("0",), ("1",), ("1",)]
        )

    def test_what_was_pushed_is_not_told_again_and_what_came_after_it_is(self) -> None:
        alice = self.enter(1)
        self.start()
        self.recent.note(push(7, 3, 1))
        self.recent.note(Receipt((1,), 7, 2, 3, 1))
        self.log.head(7, 3, 1, 2)
        self.log.cursor(7, 2, (3, 1), 1, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual(alice.pushed, [])
        self.log.head(7, 4, 1, 2)
        self.log.cursor(7, 2, (4, 1), 1, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual([frame["type"] for frame in alice.pushed], ["head", "receipt"])

    def test_a_feed_that_repeats_itself_repeats_nothing_to_clients(self) -> None:
        alice = self.enter(1)
        self.start()
        for _ in range(3):
            self.log.head(7, 3, 1, 2)
            self.log.cursor(7, 2, (3, 1), 1, 2)
            self.clock.advance(INTERVAL)
        self.assertEqual(len(alice.pushed), 2)

    def test_what_concerns_nobody_here_costs_nothing(self) -> None:
        self.start()
        self.log.head(7, 3, 1, 2)
        self.log.cursor(7, 2, (3, 1), 1, 2)
        self.log.entries.append(1)
        self.clock.advance(INTERVAL)
        self.assertEqual((self.sweep.repaired, self.storage.calls, self.status.calls), (0, [], []))
        self.assertFalse(self.recent.has_head(FeedHead(7, 3, (1, 2))))
        self.assertFalse(self.recent.has_cursor(Cursor(7, 2, 3, 1)))

    def test_whoever_no_hint_has_reached_is_entered_in_user_status_again(self) -> None:
        self.enter(1)
        self.start()
        self.world.board.entries.clear()
        self.log.head(7, 3, 1, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual(list(self.world.board.entries), [1])

    def test_the_token_comes_only_after_everything_was_told(self) -> None:
        alice = self.enter(1)
        self.start()
        self.log.head(7, 3, 1, 2)
        self.feed.held.add("feed")
        self.clock.advance(INTERVAL)
        self.assertEqual((self.tokens, alice.pushed), (["0"], []))
        # Whoever comes meanwhile is told as well.
        bob = self.enter(2)
        self.feed.answer()
        self.assertEqual((self.tokens, alice.pushed, bob.pushed), (["0", "1"], [POKE], [POKE]))

    def test_a_defect_in_a_session_does_not_keep_the_token_from_the_others(self) -> None:
        alice, bob = self.enter(1), self.enter(2)
        alice.push = None  # type: ignore[assignment]
        self.start()
        self.log.head(7, 3, 1, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual((alice.closed, bob.pushed, self.tokens[-1]), (Close.INTERNAL, [POKE], "1"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class PagesTests(SweepTests):
    def setUp(self) -> None:
        super().setUp()
        self.log.most = 2
        self.alice = self.enter(1)
        self.start()
        for conversation in range(5):
            self.log.head(conversation, 3, 1, 2)

    def test_all_pages_are_read_at_once_and_the_token_is_that_of_the_first(self) -> None:
        self.feed.held.add("feed")
        self.clock.advance(INTERVAL)
        for page in range(3):
            self.assertEqual((len(self.alice.pushed), self.tokens), (2 * page, ["0"]))
            self.log.head(9, page, 1, 2)
            self.feed.answer()
        # The first page was read when one more was there, which it did not hold.
        self.assertEqual((len(self.alice.pushed), self.tokens), (6, ["0", "6"]))
        self.feed.held.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual([frame["conv"] for frame in self.alice.pushed], [0, 1, 2, 3, 4, 9, 9, 9])
        self.assertEqual(self.tokens[-1], "8")

    def test_a_page_that_cannot_be_read_leaves_the_token_and_repeats_nothing(self) -> None:
        self.feed.held.add("feed")
        self.clock.advance(INTERVAL)
        self.feed.answer()
        self.feed.fail("feed")
        self.feed.answer()
        self.assertEqual((len(self.alice.pushed), self.tokens), (2, ["0"]))
        self.feed.held.clear()
        self.clock.advance(SOON)
        self.assertEqual((len(self.alice.pushed), self.tokens), (5, ["0", "5"]))

    def test_what_was_forgotten_before_it_was_read_sends_all_sessions_to_sync(self) -> None:
        self.feed.held.add("feed")
        self.clock.advance(INTERVAL)
        self.feed.answer()
        self.log.floor = 5
        self.feed.answer()
        self.assertEqual((self.alice.closed, self.tokens), (Close.RESYNC, ["0", "5"]))


class DevicesTests(SweepTests):
    def test_sessions_of_devices_that_are_gone_are_closed(self) -> None:
        phone, laptop = self.enter(1, 1), self.enter(1, 2)
        self.start()
        self.devices[1] = [2]
        self.log.entries.append(1)
        self.clock.advance(INTERVAL)
        self.assertEqual((phone.closed, laptop.closed), (Close.BAD_CREDENTIALS, None))
        self.assertEqual(self.sweep.repaired, 1)

    def test_an_account_that_has_all_its_devices_loses_no_session(self) -> None:
        alice = self.enter(1)
        self.start()
        self.log.entries.append(1)
        self.clock.advance(INTERVAL)
        self.assertEqual((alice.closed, self.sweep.repaired), (None, 0))

    def test_a_device_that_is_added_while_devices_are_read_is_not_taken_for_deleted(self) -> None:
        self.enter(1, 1)
        self.start()
        self.log.entries.append(1)
        answer: Deferred[Any] = Deferred()

        async def devices(user: int) -> Any:
            before = await self.world.devices.devices(user)
            await answer
            return before

        self.storage.devices = devices
        self.clock.advance(INTERVAL)
        late = self.enter(1, 2)
        answer.callback(None)
        self.assertIsNone(late.closed)

    def test_who_was_disabled_on_another_node_goes(self) -> None:
        phone, bob = self.enter(1, 1), self.enter(2, 2)
        self.devices[1], self.devices[2] = [1], [2]
        self.start()
        self.world.devices.disabled.add(1)
        self.log.entries += [1, 2]
        self.clock.advance(INTERVAL)
        self.assertEqual((phone.closed, bob.closed), (Close.DISABLED, None))
        self.assertEqual(self.sweep.repaired, 1)

    def test_devices_that_cannot_be_read_are_looked_at_again_and_nothing_is_told_twice(
        self,
    ) -> None:
        phone, bob = self.enter(1, 1), self.enter(2)
        self.start()
        self.devices[1] = []
        self.log.entries.append(1)
        self.log.head(7, 3, 2, 3)
        self.storage.fail("devices")
        self.clock.advance(INTERVAL)
        self.assertEqual((phone.closed, bob.pushed, self.tokens), (None, [POKE], ["0"]))
        self.clock.advance(SOON)
        self.assertEqual((phone.closed, bob.pushed), (Close.BAD_CREDENTIALS, [POKE]))
        self.assertEqual(self.tokens, ["0", "2"])


class CutOffTests(SweepTests):
    def test_who_was_cut_off_for_too_long_sends_all_sessions_to_sync(self) -> None:
        lives = [self.enter(1), self.enter(2)]
        self.start()
        self.recent.note(push(7, 9, 1))
        self.log.head(7, 3, 1, 2)
        self.log.floor = 1
        self.clock.advance(INTERVAL)
        self.assertEqual([live.closed for live in lives], [Close.RESYNC] * 2)
        self.assertEqual([live.pushed for live in lives], [[], []])
        self.assertEqual(self.tokens, ["0", "1"])
        # The log may be another one, in which numbers are given once more.
        self.assertFalse(self.recent.has_head(FeedHead(7, 9, (1, 2))))

    def test_afterwards_sweeps_go_on_from_there(self) -> None:
        self.start()
        self.log.head(7, 2, 1, 2)
        self.log.floor = 1
        self.clock.advance(INTERVAL)
        alice = self.enter(1)
        self.log.head(7, 3, 1, 2)
        self.clock.advance(INTERVAL)
        self.assertEqual((alice.pushed, alice.closed), ([POKE], None))


class TimeTests(SweepTests):
    def test_sweeps_follow_each_other_at_intervals(self) -> None:
        self.start()
        self.assertEqual(self.sweeps, 1)
        self.assertEqual(self.count_in(INTERVAL - 0.25), 0)
        self.assertEqual(self.count_in(0.25), 1)
        self.assertEqual(self.count_in(3 * INTERVAL), 3)

    def test_what_may_have_been_lost_is_looked_for_soon_and_once(self) -> None:
        self.start()
        for _ in range(5):
            self.sweep.soon()
        self.assertEqual(self.count_in(SOON), 1)
        self.assertEqual(self.count_in(INTERVAL - SOON), 0)

    def test_to_ask_again_and_again_does_not_put_a_sweep_off(self) -> None:
        self.start()
        for _ in range(10):
            self.sweep.soon()
            self.clock.advance(SOON / 2)
        self.assertEqual(self.sweeps, 1 + 5)

    def test_what_is_asked_for_during_a_sweep_is_done_after_it(self) -> None:
        self.feed.held.add("feed")
        self.start()
        self.sweep.soon()
        self.assertEqual(self.count_in(2 * INTERVAL), 0)
        self.feed.held.clear()
        self.feed.answer()
        self.assertEqual(self.count_in(SOON), 1)

    def test_while_hints_may_not_come_through_sweeps_are_frequent(self) -> None:
        self.start()
        self.sweep.miss("east")
        self.assertEqual(self.count_in(LEASE_SECONDS - SOON), 2 * LEASE_SECONDS - 1)
        # Two more were due already: its lease is looked at after a sweep.
        self.assertLessEqual(self.count_in(INTERVAL), 3)

    def test_a_node_that_cannot_send_sweeps_often_until_it_can(self) -> None:
        self.post.attached = False
        self.start()
        self.assertEqual(self.count_in(4), 8)
        self.post.attached = True
        self.assertLessEqual(self.count_in(INTERVAL), 2)

    def test_a_feed_that_cannot_be_read_is_tried_again_soon(self) -> None:
        alice = self.enter(1)
        self.start()
        self.log.head(7, 3, 1, 2)
        self.feed.fail("feed", 3)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.count_in(4 * SOON), 4 - 1)
        self.assertEqual((alice.pushed, self.tokens), ([POKE], ["0", "1"]))

    def test_a_defect_does_not_end_the_sweeps(self) -> None:
        alice = self.enter(1)
        self.start()
        self.log.head(7, 3, 1, 2)
        self.feed.fail("feed", error=LookupError("a defect"))
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(alice.pushed, [POKE])

    def test_after_the_stop_nothing_begins(self) -> None:
        self.start()
        self.sweep.stop()
        self.sweep.soon()
        self.sweep.miss("east")
        self.sweep.suspect()
        self.assertEqual(self.count_in(60), 0)

    def test_before_the_start_nothing_begins(self) -> None:
        self.sweep.suspect()
        self.assertEqual(self.count_in(60), 0)

    def test_a_sweep_that_runs_at_the_stop_is_the_last(self) -> None:
        self.feed.held.add("feed")
        self.start()
        self.sweep.stop()
        self.feed.answer()
        self.assertEqual(self.count_in(60), 0)

    def test_what_was_pushed_is_remembered_for_some_time_and_the_feed_is_purged(self) -> None:
        self.start()
        self.recent.note(push(7, 3, 1))
        head = FeedHead(7, 3, (1, 2))
        self.count_in(REMEMBER)
        self.assertTrue(self.recent.has_head(head))
        self.count_in(2 * (REMEMBER + INTERVAL))
        self.assertFalse(self.recent.has_head(head))
        self.assertEqual(self.log.purges, 0)
        self.count_in(PURGE)
        self.assertEqual(self.log.purges, 1)


class StatusTests(SweepTests):
    def test_entries_of_whom_others_look_for_in_vain_are_taken_out(self) -> None:
        self.start()
        self.world.do(self.status.register(1, 1, 1))
        self.sweep.stray([1, 2])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.world.board.entries, {})
        self.status.calls.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.status.calls, [])

    def test_no_more_strays_are_remembered_than_can_be_looked_up(self) -> None:
        self.patch(sweep, "MAX_STRAYS", 3)
        self.start()
        for user in range(9):
            self.sweep.stray([user])
        self.clock.advance(INTERVAL)
        ((_, (users,)),) = self.status.calls
        self.assertEqual(len(users), 3)

    def test_who_may_have_missed_a_replacement_asks_user_status_about_all(self) -> None:
        alice = self.enter(1, 1, 5)
        self.start()
        east = MemoryUserStatus("east", self.clock, self.world.board)
        self.world.do(east.beat())
        self.world.do(east.register(1, 1, 9))
        self.sweep.suspect()
        self.clock.advance(SOON)
        self.assertEqual(alice.closed, Close.REPLACED)
        self.status.calls.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.status.calls, [])
