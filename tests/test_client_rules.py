"""The recovery rules R1 to R9, one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from twisted.trial.unittest import SynchronousTestCase

from imd import wire
from imd.client import effects
from imd.client.conversations import Repair
from imd.client.installation import Options
from imd.client.login import Login
from imd.client.outbox import EXPIRES
from imd.client.store import MemoryStore
from tests.client_driver import (
    CONVERSATION,
    LIMITS,
    ME,
    PEER,
    Installation,
    after,
    head,
    item,
    msg,
    msgs,
)


def ids(frames: list[wire.Send]) -> list[str]:
    return [frame.id for frame in frames]


class R1OutboxTests(SynchronousTestCase):
    """Persist before the first transmission; in order; never more than the window."""

    def test_entry_is_stored_in_the_turn_that_transmits_it(self) -> None:
        client = Installation()
        client.connect()
        client.rules.send("a", 7, "text", b"{}", client.now, client.wall)
        turn = client.rules.take()
        self.assertEqual([type(w) for w in turn.writes], [effects.SavePending])
        self.assertEqual([type(f) for f in turn.frames], [wire.Send])

    def test_nothing_is_transmitted_before_the_welcome(self) -> None:
        client = Installation()
        client.send("a")
        client.rules.connected(client.now, client.wall)
        client.turn()
        self.assertEqual(client.sent(wire.Send), [])
        self.assertEqual(client.rules.pending, 1)

    def test_window_limits_what_is_without_an_ack(self) -> None:
        client = Installation()
        limits = wire.Limits(2, 100, 100, 65536, 64)
        client.connect([head(0)], limits=limits)
        for id in "abcd":
            client.send(id)
        self.assertEqual(ids(client.sent(wire.Send)), ["a", "b"])
        client.receive(wire.Ack("a", CONVERSATION, 1, 5))
        self.assertEqual(ids(client.sent(wire.Send)), ["c"])

    def test_same_id_twice_is_one_message(self) -> None:
        client = Installation()
        client.connect()
        client.send("a")
        client.send("a")
        self.assertEqual(ids(client.sent(wire.Send)), ["a"])

    def test_pending_send_survives_a_restart(self) -> None:
        client = Installation()
        client.send("a", "one")
        client.send("b", "two")
        client.restart()
        client.connect()
        sends = client.sent(wire.Send)
        self.assertEqual(ids(sends), ["a", "b"])
        self.assertEqual(bytes(sends[0].body), b'{"text":"one"}')

    def test_nack_ends_the_wait_and_the_next_one_goes_on(self) -> None:
        client = Installation()
        client.connect()
        client.send("a")
        client.receive(wire.Nack("a", "forbidden", "not a friend"), wire.Nack("zz", "internal"))
        self.assertEqual(
            client.told(effects.SendRefused),
            [effects.SendRefused("a", "forbidden", "not a friend")],
        )
        self.assertEqual(client.store.load().outbox, ())

    def test_message_too_long_for_a_frame_is_refused_here(self) -> None:
        client = Installation()
        client.connect()
        client.send("a", "x" * LIMITS.frame_bytes)
        client.send("b")
        self.assertEqual(ids(client.sent(wire.Send)), ["b"])
        self.assertEqual([r.code for r in client.told(effects.SendRefused)], ["too_large"])

    def test_entry_expires_after_a_week(self) -> None:
        client = Installation()
        client.send("a")
        client.wall += EXPIRES + 1
        client.send("b")
        client.connect()
        self.assertEqual(ids(client.sent(wire.Send)), ["b"])
        self.assertEqual([r.code for r in client.told(effects.SendRefused)], ["expired"])


class R2ResendTests(SynchronousTestCase):
    """After every welcome, and only then, all that was not acknowledged goes again."""

    def test_unacknowledged_go_again_in_order_before_new_ones(self) -> None:
        client = Installation()
        client.connect([head(0)])
        for id in "abc":
            client.send(id)
        client.receive(wire.Ack("b", CONVERSATION, 1, 5))
        client.lose()
        client.send("d")
        client.sent(wire.Send)
        client.connect()
        self.assertEqual(ids(client.sent(wire.Send)), ["a", "c", "d"])

    def test_no_resend_on_a_live_session_but_a_new_connection(self) -> None:
        client = Installation()
        client.connect()
        client.send("a")
        client.advance(19)
        self.assertEqual(ids(client.sent(wire.Send)), ["a"])
        self.assertEqual(client.told(effects.Hangup), [])
        client.advance(1.5)
        self.assertEqual(len(client.told(effects.Hangup)), 1)
        self.assertEqual(client.sent(wire.Send), [])
        self.assertIsNone(client.rules.deadline)

    def test_second_ack_of_the_same_id_changes_nothing(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.send("a")
        client.receive(wire.Ack("a", CONVERSATION, 1, 5), wire.Ack("a", CONVERSATION, 1, 5, True))
        self.assertEqual(client.told(effects.Acked), [effects.Acked("a", CONVERSATION, 1, 5)])
        self.assertEqual(client.seqs, [1])


class R3ContiguousTests(SynchronousTestCase):
    """Every message once, in order, without holes."""

    def test_messages_in_order_are_stored_and_shown(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(2))
        self.assertEqual((client.seqs, client.stored), ([1, 2], [1, 2]))

    def test_repeats_are_ignored(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(1))
        client.receive(msg(1))
        self.assertEqual(client.seqs, [1])

    def test_a_handled_message_does_not_hurry_the_fetch_of_a_young_gap(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(3))
        client.rules.handled(client.shown[0], client.now)
        client.turn()
        self.assertEqual(client.sent(wire.Fetch), [])
        client.advance(0.31)
        self.assertEqual([after(fetch) for fetch in client.sent(wire.Fetch)], [1])

    def test_early_message_waits_for_the_one_before(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(2))
        self.assertEqual(client.seqs, [])
        client.receive(msg(1))
        self.assertEqual(client.seqs, [1, 2])
        client.advance(5)
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_hole_that_lasts_is_fetched(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(4))
        client.advance(0.29)
        self.assertEqual(client.sent(wire.Fetch), [])
        client.advance(0.02)
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual((fetch.after, fetch.conversation), (1, CONVERSATION))
        client.receive(msg(5))
        client.receive(msgs(fetch.req, item(2), item(3)))
        self.assertEqual(client.seqs, [1, 2, 3, 4, 5])
        client.advance(5)
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_buffer_is_bounded_and_the_rest_is_fetched(self) -> None:
        client = Installation(options=Options(tail=0, repair=Repair(buffer=2)))
        client.connect([head(0)])
        client.receive(msg(2), msg(3), msg(4), msg(5))
        client.receive(msg(1))
        self.assertEqual(client.seqs, [1, 2, 3])
        client.advance(0.5)
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual(fetch.after, 3)

    @given(
        st.lists(st.tuples(st.sampled_from("msmmptl"), st.integers(1, 12)), min_size=1, max_size=40)
    )
    def test_loss_reordering_and_repeats_leave_one_complete_log(
        self, events: list[tuple[str, int]]
    ) -> None:
        client = Installation(options=Options(tail=0, repair=Repair(buffer=3, page=4)))
        client.connect([head(0)])
        last = 0
        for kind, n in events:
            if kind in "ms":
                last = max(last, n)
                client.receive(msg(n))
            elif kind == "p":
                last = max(last, n)
                client.receive(wire.Poke(CONVERSATION, n))
            elif kind == "t":
                client.advance(n / 10)
            else:
                client.lose()
                client.restart()
                client.connect([head(last)])
            self.assertEqual(client.seqs, list(range(1, len(client.seqs) + 1)))
            self.assertEqual(client.stored, client.seqs)
        self._serve(client, last)
        self.assertEqual(client.seqs, list(range(1, last + 1)))

    def _serve(self, client: Installation, last: int) -> None:
        """Answer every fetch from a log of ``last`` messages, until there are no more."""
        for _ in range(50):
            client.advance(0.31)
            for fetch in client.sent(wire.Fetch):
                assert isinstance(fetch.after, int)
                first, top = fetch.after + 1, min(last, fetch.after + fetch.limit)
                items = [item(seq) for seq in range(first, top + 1)]
                client.receive(msgs(fetch.req, *items, more=top < last))


class R4KnownTests(SynchronousTestCase):
    """While more is known than held: fetch."""

    def test_head_ahead_is_fetched_page_by_page(self) -> None:
        client = Installation(options=Options(tail=0, repair=Repair(page=2)))
        client.connect([head(3)])
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(1), item(2), more=True))
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual(fetch.after, 2)
        client.receive(msgs(fetch.req, item(3)))
        self.assertEqual(client.seqs, [1, 2, 3])
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_poke_is_fetched_at_once(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(wire.Poke(CONVERSATION, 2), wire.Poke(CONVERSATION, 1))
        self.assertEqual([fetch.after for fetch in client.sent(wire.Fetch)], [0])

    def test_tail_makes_a_fetch_needless(self) -> None:
        client = Installation(options=Options(tail=20))
        hello = client.connect([head(2)])
        self.assertEqual(hello.tail, 20)
        client.receive(msgs(hello.req, item(1), item(2)))
        client.advance(1)
        self.assertEqual((client.seqs, client.sent(wire.Fetch)), ([1, 2], []))

    def test_tail_that_does_not_reach_down_is_completed_at_once(self) -> None:
        client = Installation(options=Options(tail=20))
        hello = client.connect([head(4)])
        client.receive(msgs(hello.req, item(3), item(4)))
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(1), item(2)))
        self.assertEqual(client.seqs, [1, 2, 3, 4])

    def test_tail_that_does_not_come_is_fetched(self) -> None:
        client = Installation(options=Options(tail=20))
        client.connect([head(1)])
        self.assertEqual(client.sent(wire.Fetch), [])
        client.advance(0.4)
        self.assertEqual(len(client.sent(wire.Fetch)), 1)

    def test_expired_history_is_skipped(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(4))
        client.receive(wire.Poke(CONVERSATION, 9))
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(8), item(9), floor=8))
        self.assertEqual(client.seqs, [1, 8, 9])
        self.assertEqual(client.rules.conversations[CONVERSATION].floor, 8)

    def test_floor_below_what_we_hold_takes_nothing(self) -> None:
        client = Installation()
        hello = client.connect([head(0)])
        client.receive(msg(1), msg(2), wire.Poke(CONVERSATION, 1))
        client.heads(hello.req, head(2, floor=2))
        conversation = client.rules.conversations[CONVERSATION]
        self.assertEqual((conversation.floor, client.seqs), (2, [1, 2]))
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_floor_uncovers_what_was_waiting_above_it(self) -> None:
        client = Installation()
        hello = client.connect([head(0)])
        client.receive(msg(6), msg(3))
        client.heads(hello.req, head(6, floor=6))
        self.assertEqual(client.seqs, [6])

    def test_several_conversations_share_few_fetches(self) -> None:
        client = Installation()
        client.connect([head(1, conversation=c) for c in range(1, 6)])
        fetches = client.sent(wire.Fetch)
        self.assertEqual([fetch.conversation for fetch in fetches], [1, 2, 3])
        client.receive(msgs(fetches[0].req, item(1), conversation=1))
        self.assertEqual([fetch.conversation for fetch in client.sent(wire.Fetch)], [4])

    def test_log_that_is_shorter_than_we_heard_is_not_fetched_for_ever(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(wire.Poke(CONVERSATION, 5))
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req))
        client.advance(10)
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_empty_answer_below_a_waiting_message_is_asked_again_later(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(2))
        client.advance(0.4)
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req))
        client.advance(0.5)
        self.assertEqual(client.sent(wire.Fetch), [])
        client.advance(0.6)
        self.assertEqual(len(client.sent(wire.Fetch)), 1)

    def test_refused_fetch_is_repeated_only_if_that_may_help(self) -> None:
        for code, again in ("unavailable", 1), ("forbidden", 0):
            client = Installation()
            client.connect([head(1)])
            (fetch,) = client.sent(wire.Fetch)
            client.receive(wire.Error(code, req=fetch.req))
            client.advance(1.5)
            self.assertEqual(len(client.sent(wire.Fetch)), again)

    def test_fetch_without_an_answer_ends_the_session(self) -> None:
        client = Installation()
        client.connect([head(1)])
        client.advance(21)
        self.assertEqual(len(client.told(effects.Hangup)), 1)

    def test_unknown_conversation_is_found_by_a_sync(self) -> None:
        for frame in (
            msg(3),
            wire.Poke(CONVERSATION, 3),
            wire.Receipt(CONVERSATION, PEER, 1, 1),
            wire.Event("friend.accepted", {"conv": CONVERSATION}),
            wire.Event("friend.accepted", {}),
            msgs("?", item(3)),
        ):
            client = Installation()
            client.connect()
            client.receive(frame)
            (sync,) = client.sent(wire.Sync)
            self.assertEqual(sync.since, "e1:1")
            client.heads(sync.req, head(3))
            self.assertEqual(len(client.sent(wire.Fetch)), 1)

    def test_unknown_conversation_costs_one_full_sync_and_then_nothing(self) -> None:
        client = Installation()
        client.connect()
        client.lose()
        client.connect()
        client.receive(msg(1))
        (sync,) = client.sent(wire.Sync)
        client.receive(msg(2))
        client.heads(sync.req)
        (sync,) = client.sent(wire.Sync)
        self.assertIs(sync.since, UNSET)
        client.heads(sync.req)
        client.receive(msg(3))
        self.assertEqual(client.sent(wire.Sync), [])

    def test_second_reason_for_a_sync_waits_for_the_first(self) -> None:
        client = Installation()
        hello = client.connect(None)
        client.receive(wire.Event("friend.accepted", None))
        self.assertEqual(client.sent(wire.Sync), [])
        client.heads(hello.req)
        self.assertEqual(len(client.sent(wire.Sync)), 1)

    def test_receipt_of_an_unknown_member_is_looked_up(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(wire.Receipt(CONVERSATION, 99, 0, 0))
        self.assertEqual(len(client.sent(wire.Sync)), 1)

    def test_refused_sync_and_missing_heads_end_the_session(self) -> None:
        client = Installation()
        hello = client.connect(None)
        client.receive(wire.Error("unavailable", req=hello.req))
        self.assertEqual(len(client.told(effects.Hangup)), 1)
        client.lose()
        client.connect(None)
        client.receive(wire.Heads(2, [head(0)], False))
        client.advance(61)
        self.assertEqual(len(client.told(effects.Hangup)), 1)


class R5OwnMessageTests(SynchronousTestCase):
    """My own message in the log is its ack, and is shown once."""

    def test_ack_puts_my_message_into_the_log(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.send("a", "mine")
        client.receive(wire.Ack("a", CONVERSATION, 1, 77))
        (message,) = client.shown
        self.assertEqual((message.sender, message.text, message.at), (ME, "mine", 77))
        self.assertEqual(client.stored, [1])

    def test_message_in_the_log_counts_as_the_ack(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.send("a")
        client.lose()
        client.connect([head(1)])
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(1, ME, "a")), wire.Ack("a", CONVERSATION, 1, 5, True))
        self.assertEqual([n.seq for n in client.told(effects.Acked)], [1])
        self.assertEqual((client.seqs, client.rules.pending), ([1], 0))

    def test_live_message_of_mine_counts_as_the_ack(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.send("a")
        client.receive(msg(1, ME, "a"))
        self.assertEqual(len(client.told(effects.Acked)), 1)

    def test_same_id_of_somebody_else_does_not(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.send("a")
        client.receive(msg(1, PEER, "a"))
        self.assertEqual((client.rules.pending, client.seqs), (1, [1]))

    def test_entry_that_the_tail_settles_is_not_transmitted_any_more(self) -> None:
        client = Installation(options=Options(tail=20))
        hello = client.connect([head(1)], limits=wire.Limits(1, 9, 9, 65536, 64))
        client.send("z")
        client.send("a")
        client.receive(msgs(hello.req, item(1, ME, "a")), wire.Ack("z", CONVERSATION, 2, 5))
        self.assertEqual(ids(client.sent(wire.Send)), ["z"])


class R6TokenTests(SynchronousTestCase):
    """The sync token is kept with all that it stands for; a restored server is noticed."""

    def test_token_is_written_after_what_is_known_in_one_transaction(self) -> None:
        client = Installation()
        hello = client.connect(None)
        client.rules.frames([wire.Heads(hello.req, [head(3)], True, "e1:9")], client.now)
        writes = client.rules.take().writes
        conversation, account = writes
        assert isinstance(conversation, effects.SaveConversation)
        assert isinstance(account, effects.SaveAccount)
        self.assertEqual(conversation.conversation.known, 3)
        self.assertEqual(account.account.since, "e1:9")

    def test_next_session_asks_for_changes_only(self) -> None:
        client = Installation()
        self.assertIs(client.connect().since, UNSET)
        client.restart()
        self.assertEqual(client.connect().since, "e1:1")

    def test_token_of_a_pong_is_kept_together_with_receipts(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(wire.Receipt(CONVERSATION, PEER, 0, 0))
        client.receive(wire.Pong(1, 0, "e1:5"))
        saved = client.store.load()
        self.assertEqual(saved.account.since, "e1:5")

    def test_receipt_alone_costs_no_write_but_is_kept_with_the_next(self) -> None:
        client = Installation()
        client.connect([head(1, delivered=1)])
        client.rules.frames([wire.Receipt(CONVERSATION, PEER, 1, 0)], client.now)
        self.assertEqual(client.rules.take().writes, [])
        client.receive(wire.Pong(1, 0, "e1:5"))
        (saved,) = client.store.load().conversations
        self.assertEqual(saved.peers[0].delivered, 1)

    def test_token_of_a_pong_during_a_sync_is_not_taken(self) -> None:
        client = Installation()
        client.connect(None)
        client.receive(wire.Pong(1, 0, "e1:5"))
        self.assertIsNone(client.rules.account.since)

    def test_new_epoch_syncs_fully_and_keeps_a_log_that_agrees(self) -> None:
        client = self._with_log(3)
        hello = client.connect(None, epoch="e2")
        self.assertEqual(hello.since, "e1:1")
        (sync,) = client.sent(wire.Sync)
        self.assertIs(sync.since, UNSET)
        client.heads(sync.req, head(4, delivered=3), next="e2:1")
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual(fetch.before, 4)
        self.assertEqual(client.store.load().account.epoch, "e1")
        client.receive(msg(4), msgs(fetch.req, item(1), item(2), item(3)))
        self.assertEqual(client.seqs, [1, 2, 3, 4])
        self.assertEqual(client.told(effects.Withdrawn), [])
        account = client.store.load().account
        self.assertEqual((account.epoch, account.since), ("e2", "e2:1"))

    def test_new_epoch_drops_a_tail_that_differs(self) -> None:
        client = self._with_log(4)
        sync = self._restored(client, head(3, delivered=4, peer=(1, 1)))
        client.receive(msgs(sync, item(1), item(2), item(3, id="other")))
        self.assertEqual(client.told(effects.Withdrawn), [effects.Withdrawn(CONVERSATION, above=2)])
        self.assertEqual(client.stored, [1, 2])
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(3, id="other")))
        self.assertEqual([m.id for m in client.store.messages(CONVERSATION, 2)], ["other"])

    def test_my_messages_that_vanished_are_sent_again_before_new_ones(self) -> None:
        client = Installation()
        client.connect([head(0)])
        for seq, id in enumerate("abc", 1):
            client.send(id, f"text {id}")
            client.receive(wire.Ack(id, CONVERSATION, seq, 5))
        client.lose()
        client.send("d")
        client.sent(wire.Send)
        sync = self._restored(client, head(1))
        self.assertEqual(client.sent(wire.Send), [])
        client.receive(msgs(sync, item(1, ME, "a")))
        sends = client.sent(wire.Send)
        self.assertEqual(ids(sends), ["b", "c", "d"])
        self.assertEqual(bytes(sends[0].body), b'{"text":"text b"}')
        self.assertEqual([p.id for p in client.store.load().outbox], ["b", "c", "d"])

    def test_comparison_goes_down_until_an_id_agrees(self) -> None:
        client = self._with_log(3)
        sync = self._restored(client, head(3))
        client.receive(msgs(sync, item(3, id="x"), more=True))
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual(fetch.before, 3)
        client.receive(msgs(fetch.req, item(1, id="y"), item(2, id="z")))
        self.assertEqual(client.stored, [])

    def test_log_that_is_gone_altogether_is_dropped(self) -> None:
        client = self._with_log(2)
        sync = self._restored(client, head(0))
        client.receive(msgs(sync))
        self.assertEqual(client.stored, [])
        self.assertEqual(client.rules.conversations[CONVERSATION].have, 0)

    def test_conversation_that_is_gone_does_not_hold_up_the_rest(self) -> None:
        client = self._with_log(2)
        client.connect(None, epoch="e2")
        (sync,) = client.sent(wire.Sync)
        client.send("a", conversation=8)
        self.assertEqual(client.sent(wire.Send), [])
        client.heads(sync.req, head(0, conversation=8))
        self.assertEqual(ids(client.sent(wire.Send)), ["a"])
        self.assertEqual(client.store.load().account.epoch, "e2")

    def test_interrupted_comparison_begins_again(self) -> None:
        client = self._with_log(2)
        self._restored(client, head(1))
        client.lose()
        client.restart()
        sync = self._restored(client, head(1))
        client.receive(msgs(sync, item(1)))
        self.assertEqual(client.stored, [1])

    def test_refused_comparison_ends_the_session(self) -> None:
        client = self._with_log(2)
        sync = self._restored(client, head(1))
        client.receive(wire.Error("unavailable", req=sync))
        self.assertEqual(len(client.told(effects.Hangup)), 1)

    def test_poke_during_a_comparison_waits_for_its_end(self) -> None:
        client = self._with_log(2)
        sync = self._restored(client, head(2))
        client.receive(wire.Poke(CONVERSATION, 3), wire.Receipt(CONVERSATION, ME, 0, 0))
        client.advance(0.5)
        self.assertEqual(client.sent(wire.Fetch), [])
        client.receive(msgs(sync, item(1), item(2)))
        self.assertEqual([fetch.after for fetch in client.sent(wire.Fetch)], [2])

    def _with_log(self, last: int) -> Installation:
        client = Installation()
        client.connect([head(0)])
        client.receive(*[msg(seq) for seq in range(1, last + 1)])
        for message in client.shown:
            client.rules.handled(message, client.now)
        client.turn()
        client.lose()
        return client

    def _restored(self, client: Installation, item: wire.HeadItem) -> int | str:
        client.connect(None, epoch="e2")
        (sync,) = client.sent(wire.Sync)
        client.heads(sync.req, item, next="e2:1")
        (fetch,) = client.sent(wire.Fetch)
        return fetch.req


class R7MarkTests(SynchronousTestCase):
    """What is stored and handled is reported, together and in time; and again if it was lost."""

    def _handle(self, client: Installation) -> None:
        for message in client.shown:
            client.rules.handled(message, client.now)
        client.turn()

    def test_mark_waits_for_the_application_and_for_others(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(2))
        client.advance(1)
        self.assertEqual(client.sent(wire.Mark), [])
        self._handle(client)
        client.advance(0.19)
        self.assertEqual(client.sent(wire.Mark), [])
        client.advance(0.02)
        self.assertEqual(client.sent(wire.Mark), [wire.Mark(CONVERSATION, 2)])
        client.receive(wire.Receipt(CONVERSATION, ME, 1, 0))
        client.advance(5)
        self.assertEqual(client.sent(wire.Mark), [])

    def test_stored_is_enough_where_the_application_says_so(self) -> None:
        repair = Repair(mark_delay=0, mark_stored=True)
        client = Installation(options=Options(tail=0, repair=repair))
        client.connect([head(0)])
        client.receive(msg(1), msg(3))
        self.assertEqual(client.sent(wire.Mark), [wire.Mark(CONVERSATION, 1)])

    def test_my_own_message_needs_no_mark(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1, ME))
        self._handle(client)
        client.advance(1)
        self.assertEqual(client.sent(wire.Mark), [])
        self.assertEqual(client.rules.conversations[CONVERSATION].handled, 1)

    def test_displayed_is_read_up_to_what_is_stored(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1), msg(2))
        self.assertEqual(client.rules.conversations[CONVERSATION].unread, 2)
        client.rules.displayed(CONVERSATION, 9, client.now)
        client.rules.displayed(CONVERSATION, 1, client.now)
        client.rules.displayed(99, 1, client.now)
        client.turn()
        client.advance(0.3)
        self.assertEqual(client.sent(wire.Mark), [wire.Mark(CONVERSATION, 2, 2)])
        self.assertEqual(client.rules.conversations[CONVERSATION].unread, 0)

    def test_lost_mark_is_repeated_after_the_next_sync(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1))
        self._handle(client)
        client.lose()
        client.restart()
        client.connect()
        client.advance(0.3)
        self.assertEqual(client.sent(wire.Mark), [wire.Mark(CONVERSATION, 1)])

    def test_head_behind_is_corrected_and_head_ahead_is_taken(self) -> None:
        client = Installation()
        hello = client.connect([head(0)])
        client.receive(msg(1))
        self._handle(client)
        client.advance(0.3)
        client.sent(wire.Mark)
        client.heads(hello.req, head(1, delivered=1, read=1))
        self.assertEqual(client.rules.conversations[CONVERSATION].read, 1)
        client.advance(1)
        self.assertEqual(client.sent(wire.Mark), [])

    def test_my_other_device_clears_the_badge(self) -> None:
        client = Installation()
        client.connect([head(2, delivered=2)])
        client.receive(wire.Receipt(CONVERSATION, ME, 2, 2))
        self.assertEqual(
            client.told(effects.ReceiptChanged),
            [effects.ReceiptChanged(CONVERSATION, ME, 2, 2)],
        )
        self.assertEqual(client.rules.conversations[CONVERSATION].unread, 0)

    def test_handled_twice_or_too_early_counts_once(self) -> None:
        client = Installation()
        client.connect([head(0)])
        client.receive(msg(1))
        self._handle(client)
        self._handle(client)
        self.assertEqual(client.rules.conversations[CONVERSATION].handled, 1)

    def test_receipts_of_others_only_grow(self) -> None:
        client = Installation()
        client.connect([head(5, delivered=5)])
        client.receive(
            wire.Receipt(CONVERSATION, PEER, 4, 3), wire.Receipt(CONVERSATION, PEER, 2, 1)
        )
        self.assertEqual(
            client.told(effects.ReceiptChanged),
            [effects.ReceiptChanged(CONVERSATION, PEER, 4, 3)],
        )


class R8NewInstallationTests(SynchronousTestCase):
    """Start at my delivered cursor; older history is there to be asked for."""

    def test_base_is_my_delivered(self) -> None:
        client = Installation()
        client.connect([head(5, delivered=3)])
        (fetch,) = client.sent(wire.Fetch)
        self.assertEqual(fetch.after, 3)
        client.receive(msgs(fetch.req, item(4), item(5)))
        self.assertEqual(client.seqs, [4, 5])

    def test_older_history_is_answered_and_not_stored(self) -> None:
        client = Installation()
        client.connect([head(3, delivered=3)])
        req = client.rules.history(CONVERSATION, 3, 2, client.now)
        newest = client.rules.history(CONVERSATION, None, 2, client.now)
        client.turn()
        before, last = client.sent(wire.Fetch)
        self.assertEqual((before.before, last.before), (3, UNSET))
        answer = msgs(req, item(1), item(2))
        client.receive(answer, msgs(newest))
        self.assertEqual(client.told(effects.Answered)[0], effects.Answered(req, answer))
        self.assertEqual(client.stored, [])

    def test_memory_store_that_is_new_has_nothing_to_compare(self) -> None:
        client = Installation(MemoryStore())
        client.connect([head(3, delivered=3)], epoch="e9")
        self.assertEqual(client.sent(wire.Sync), [])
        self.assertEqual(client.store.load().account.epoch, "e9")


class R9ReconnectTests(SynchronousTestCase):
    """When to come back, and when not to."""

    def test_delays_grow_to_a_minute_and_are_spread(self) -> None:
        client = Installation()
        for _ in range(12):
            client.lose(random=0.5)
        delays = [notice.after for notice in client.told(effects.Reconnect)]
        self.assertEqual(delays[:3], [0.5, 1.7 * 0.5, 1.7**2 * 0.5])
        self.assertEqual(delays[-1], 30.0)
        client.lose(random=0.0)
        self.assertEqual(client.told(effects.Reconnect), [effects.Reconnect(0.0)])

    def test_delays_begin_anew_after_a_sync(self) -> None:
        client = Installation()
        for _ in range(5):
            client.lose()
        client.connect()
        client.told(effects.Reconnect)
        client.lose()
        self.assertEqual(client.told(effects.Reconnect), [effects.Reconnect(0.5)])

    def test_close_codes_decide(self) -> None:
        for code, back in (
            (None, True), (1000, True), (1006, True), (4000, True), (4499, True),
            (4500, False), (4501, False), (4502, False), (4999, False), (5000, True),
        ):  # fmt: skip
            client = Installation()
            client.connect()
            client.lose(code, "why")
            self.assertEqual(bool(client.told(effects.Reconnect)), back, code)
            stops = [] if back else [effects.Stop(code or 0, "", "why")]
            self.assertEqual(client.told(effects.Stop), stops)

    def test_bye_says_when(self) -> None:
        client = Installation()
        client.connect()
        client.receive(wire.Bye(4000, 2500))
        client.lose(4000)
        self.assertEqual(client.told(effects.Reconnect), [effects.Reconnect(2.5)])
        client.lose()
        self.assertNotEqual(client.told(effects.Reconnect), [effects.Reconnect(2.5)])

    def test_who_was_too_fast_stays_away_for_half_a_minute(self) -> None:
        client = Installation()
        client.connect()
        client.lose(4006, random=0.5)
        self.assertEqual(client.told(effects.Reconnect), [effects.Reconnect(30.5)])


class BacklogTests(SynchronousTestCase):
    """A slow application leaves its backlog on the server."""

    def make(self) -> Installation:
        repair = Repair(unhandled=2, page=2)
        return Installation(options=Options(tail=0, repair=repair))

    def test_only_so_much_is_taken_before_it_is_handled(self) -> None:
        client = self.make()
        client.connect([head(0)])
        client.receive(msg(1), msg(2), msg(3), msg(4))
        self.assertEqual(client.seqs, [1, 2])
        client.advance(2)
        self.assertEqual(client.sent(wire.Fetch), [])
        client.rules.handled(client.shown[0], client.now)
        client.turn()
        (fetch,) = client.sent(wire.Fetch)
        client.receive(msgs(fetch.req, item(3), item(4)))
        self.assertEqual(client.seqs, [1, 2, 3])
        self.assertEqual(client.sent(wire.Fetch), [])

    def test_what_waits_for_a_hole_to_close_keeps_to_it_too(self) -> None:
        client = self.make()
        client.connect([head(0)])
        client.receive(msg(2), msg(3), msg(1))
        self.assertEqual(client.seqs, [1, 2])
        client.rules.handled(client.shown[1], client.now)
        client.turn()
        self.assertEqual(len(client.sent(wire.Fetch)), 1)


class LoginTests(SynchronousTestCase):
    """Password once, then the token."""

    def test_token_replaces_the_password(self) -> None:
        client = Installation(login=Login("alice", "secret", device="bot", agent="test/1"))
        hello = client.connect(token="tok")
        self.assertEqual(
            (hello.user, hello.password, hello.device, hello.agent),
            ("alice", "secret", "bot", "test/1"),
        )
        client.restart()
        hello = client.connect()
        self.assertEqual((hello.token, hello.user, hello.register), ("tok", UNSET, UNSET))

    def test_given_token_is_used(self) -> None:
        client = Installation(login=Login(token="given"))
        self.assertEqual(client.connect().token, "given")

    def test_refused_token_falls_back_to_the_password_once(self) -> None:
        client = Installation(login=Login("alice", "secret", token="old"))
        client.rules.connected(client.now, client.wall)
        client.lose(4501)
        self.assertEqual(client.told(effects.Reconnect), [effects.Reconnect(0.0)])
        client.frames.clear()
        client.rules.connected(client.now, client.wall)
        client.turn()
        (hello,) = client.sent(wire.Hello)
        self.assertEqual(hello.password, "secret")
        client.receive(wire.Error("unauthorized", "no", hello.req))
        client.lose(4501, "no")
        self.assertEqual(client.told(effects.Stop), [effects.Stop(4501, "unauthorized", "no")])

    def test_refusal_for_another_reason_does_not_unregister(self) -> None:
        client = Installation(login=Login("alice", "secret", register=True))
        client.rules.connected(client.now, client.wall)
        client.turn()
        (hello,) = client.sent(wire.Hello)
        client.receive(wire.Error("limit", "too many", hello.req))
        client.lose(4501, "too many")
        self.assertEqual([stop.code for stop in client.told(effects.Stop)], ["limit"])

    def test_existing_account_is_logged_into_instead_of_registered(self) -> None:
        client = Installation(login=Login("alice", "secret", register=True))
        client.rules.connected(client.now, client.wall)
        client.turn()
        (hello,) = client.sent(wire.Hello)
        self.assertTrue(hello.register)
        client.receive(wire.Error("exists", "taken", hello.req))
        client.lose(4501)
        self.assertIs(client.connect().register, UNSET)

    def test_store_of_another_user_is_refused(self) -> None:
        client = Installation()
        client.connect()
        client.lose()
        client.told(effects.Reconnect)
        client.connect(None, user=wire.UserRef(99, "mallory"))
        self.assertEqual([stop.code for stop in client.told(effects.Stop)], ["conflict"])

    def test_no_welcome_in_time_ends_the_connection(self) -> None:
        client = Installation()
        client.rules.connected(client.now, client.wall)
        client.turn()
        client.rules.tick(client.now)
        client.turn()
        self.assertEqual(client.told(effects.Hangup), [])
        client.advance(21)
        self.assertEqual(len(client.told(effects.Hangup)), 1)


class HeartbeatTests(SynchronousTestCase):
    """A silent link is asked whether it is alive."""

    def test_ping_after_silence_and_hang_up_without_a_pong(self) -> None:
        client = Installation()
        client.connect()
        client.advance(29)
        self.assertEqual(client.sent(wire.Ping), [])
        client.advance(2)
        (ping,) = client.sent(wire.Ping)
        client.receive(wire.Pong(ping.n, 0))
        client.advance(48)
        self.assertEqual(len(client.sent(wire.Ping)), 1)
        self.assertEqual(client.told(effects.Hangup), [])
        client.advance(21)
        self.assertEqual(len(client.told(effects.Hangup)), 1)

    def test_tick_without_a_connection_does_nothing(self) -> None:
        client = Installation()
        client.rules.tick(client.now)
        client.turn()
        self.assertEqual((client.frames, client.notices), ([], []))


class CallTests(SynchronousTestCase):
    """Requests of the application."""

    def test_answers_carry_the_number_of_the_call(self) -> None:
        client = Installation()
        client.connect()
        one = client.rules.call("friend.list", None, client.now)
        two = client.rules.call("user.find", b'{"user":"bob"}', client.now)
        client.turn()
        self.assertEqual([c.method for c in client.sent(wire.Call)], ["friend.list", "user.find"])
        client.receive(
            wire.Error("not_found", req=two),
            wire.Result(one, {}),
            wire.Result(99, {}),
            wire.Result("x", {}),
            wire.Error("internal", req=99),
            wire.Error("internal"),
        )
        self.assertEqual([a.req for a in client.told(effects.Answered)], [two, one])

    def test_event_reaches_the_application(self) -> None:
        client = Installation()
        client.connect()
        client.receive(wire.Event("friend.requested", {"user": 5}))
        self.assertEqual(
            client.told(effects.Hinted), [effects.Hinted("friend.requested", {"user": 5})]
        )

    def test_nothing_of_an_old_session_comes_before_the_next_hello(self) -> None:
        client = Installation()
        client.connect()
        client.rules.call("account.get", None, client.now)
        client.rules.disconnected(None, "", 0.5)
        client.rules.connected(client.now, client.wall)
        client.turn()
        self.assertEqual([type(frame) for frame in client.frames], [wire.Hello])

    def test_turn_is_false_only_when_there_is_nothing_to_do(self) -> None:
        client = Installation()
        self.assertFalse(client.rules.take())
        client.rules.connected(client.now, client.wall)
        self.assertTrue(client.rules.take())

    def test_frames_after_a_hang_up_are_ignored(self) -> None:
        client = Installation()
        hello = client.connect(None)
        client.receive(wire.Error("internal", req=hello.req), msg(1))
        self.assertEqual(client.shown, [])
