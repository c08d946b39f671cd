"""The checker of the campaign finds every kind of wrong: here it is made, one at a time."""

from __future__ import annotations

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd.transfer.backlog import Backlog
from tests.campaign import history as h
from tests.campaign.checker import check
from tests.campaign.evidence import Apart, Cursor, Entry, Evidence, Gauge, Log, Probe, Revoked, Row
from tests.campaign.gauges import look
from tests.campaign.sample import MALLORY, SYNC, change, device, drop, evidence, put

ONE = (7, 1, 1, "a", b"one")
TWO = (7, 2, 1, "b", b"two")


class CheckerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.found: Evidence = evidence()

    def of(self, name: str) -> list[h.AnyEvent]:
        return device(self.found, name)

    def assert_caught(self, oracle: int) -> None:
        violations = check(self.found)
        self.assertIn(oracle, {violation.oracle for violation in violations}, violations)


class CorrectRunTests(CheckerTestCase):
    def test_a_correct_run_has_no_violation(self) -> None:
        self.assertEqual(check(self.found), [])

    def test_a_message_is_shown_again_after_a_crash_before_it_was_handled(self) -> None:
        again = h.Place(7, 0, 3, 2, 3, ((1, 3, 0), (2, 2, 2)))
        crashed = [h.Crashed(45.0), h.Began(46.0, (again,))]
        put(self.of("bob-2"), *crashed, h.Displayed(46.1, 7, 3, 2, "c", b"yes"))
        # The sync comes before the crash in the history, so the new life asks once more.
        put(self.of("bob-2"), h.Asked(SYNC + 1), h.Synced(SYNC + 1.1))
        self.assertEqual(check(self.found), [])

    def test_a_message_may_be_lost_with_the_program_before_it_was_stored(self) -> None:
        put(self.of("bob-2"), h.Wrote(55.0, 7, "d", b"x", 3), h.Crashed(55.1))
        self.assertEqual(check(self.found), [])

    def test_a_message_may_be_lost_long_before_a_crash_if_nothing_was_stored_since(self) -> None:
        put(self.of("bob-2"), h.Wrote(55.0, 7, "d", b"x", 3), h.Crashed(95.1))
        self.assertEqual(check(self.found), [])

    def test_two_devices_that_give_the_same_answer_share_a_row(self) -> None:
        wrote = h.Wrote(31.0, 7, "c", b"yes", 2)
        told = [h.Acked(31.2, 7, "c", 3), h.Settled(31.2, "c", 3)]
        put(self.of("bob-2"), wrote, h.Kept(31.1, 7, "c"), *told)
        self.assertEqual(check(self.found), [])

    def test_an_answer_may_be_refused_to_one_device_and_then_accepted_from_another(self) -> None:
        refused = [h.Nacked(29.0, "c", "forbidden"), h.Settled(29.0, "c", 0)]
        put(self.of("bob-2"), h.Wrote(28.0, 7, "c", b"yes", 2), h.Kept(28.1, 7, "c"), *refused)
        self.assertEqual(check(self.found), [])


class LossTests(CheckerTestCase):
    def test_an_acked_message_that_is_not_stored(self) -> None:
        del self.found.rows[1]
        self.assert_caught(1)

    def test_an_ack_of_a_missing_row(self) -> None:
        put(self.of("alice-1"), h.Acked(55.0, 7, "a", 9))
        self.assert_caught(1)

    def test_two_acks_that_disagree(self) -> None:
        put(self.of("alice-1"), h.Acked(55.0, 7, "a", 2))
        self.assert_caught(1)

    def test_a_message_that_one_device_never_got(self) -> None:
        events = self.of("bob-2")
        for kind in (h.Stored, h.Displayed):
            drop(events, kind, 2)
        change(events, h.Ended, 0, places=(h.Place(7, 0, 2, 2, 2),))
        self.assert_caught(16)

    def test_a_message_that_was_stored_and_never_shown(self) -> None:
        change(self.of("bob-2"), h.Ended, 0, places=(h.Place(7, 0, 3, 2, 3),))
        self.assert_caught(16)

    def test_a_conversation_that_a_device_never_heard_of(self) -> None:
        change(self.of("bob-2"), h.Ended, 0, places=())
        self.assert_caught(16)

    def test_an_outbox_that_is_not_empty(self) -> None:
        change(self.of("bob-2"), h.Ended, 0, outbox=("d",))
        self.assert_caught(16)

    def test_a_message_that_nobody_answered(self) -> None:
        put(self.of("bob-2"), h.Wrote(55.0, 7, "d", b"x", 3), h.Kept(55.1, 7, "d"))
        self.assert_caught(16)

    def test_a_message_that_vanished_before_the_outbox(self) -> None:
        put(self.of("bob-2"), h.Wrote(55.0, 7, "d", b"x", 3))
        self.assert_caught(16)

    def test_a_message_that_vanished_although_a_later_one_was_stored(self) -> None:
        wrote = [h.Wrote(55.0, 7, "d", b"x", 3), h.Wrote(55.0, 7, "e", b"y", 3)]
        told = [h.Kept(55.1, 7, "e"), h.Settled(55.2, "e", 0), h.Crashed(55.3)]
        put(self.of("bob-2"), *wrote, *told)
        self.assert_caught(16)

    def test_a_client_that_gave_up(self) -> None:
        self.of("bob-2").append(h.Failed(60.0, "4502"))
        self.assert_caught(16)

    def test_a_gap_in_the_seqs(self) -> None:
        self.found.rows[2] = structs.replace(self.found.rows[2], seq=4)
        self.assert_caught(3)

    def test_a_last_seq_that_is_not_the_last(self) -> None:
        self.found.logs[0] = Log(7, 4, 1, (1, 2))
        self.assert_caught(3)

    def test_a_gap_in_the_middle_of_the_run(self) -> None:
        self.found.probes.append(Probe(42.0, (), (7,)))
        self.assert_caught(3)

    def test_a_sync_that_leaves_a_conversation_out(self) -> None:
        events = self.of("bob-2")
        news = (h.Seen, h.Stored, h.Displayed)
        events[:] = [e for e in events if not (isinstance(e, news) and e.seq == 3)]
        change(events, h.Told, 1, last=2)
        self.assert_caught(13)

    def test_a_sync_that_misses_what_another_device_has_just_heard(self) -> None:
        put(self.of("bob-2"), h.Asked(55.0), h.Synced(55.2))
        row = Row(7, 4, 1, 11, "d", b"four", 54.9)
        self.found.rows.append(row)
        put(self.of("alice-1"), h.Acked(54.999, 7, "d", 4))
        self.assert_caught(13)

    def test_a_sync_that_misses_what_a_probe_has_read(self) -> None:
        self.found.probes.append(Probe(54.9, (), (), ((7, 4),)))
        put(self.of("bob-2"), h.Asked(55.0), h.Synced(55.2))
        self.assert_caught(13)

    def test_a_sync_that_misses_a_cursor(self) -> None:
        put(self.of("bob-1"), h.Cursors(54.9, 7, 1, 3, 1))
        put(self.of("bob-2"), h.Asked(55.0), h.Synced(55.2))
        self.assert_caught(13)

    def test_a_crash_that_forgets_what_the_token_covers(self) -> None:
        put(self.of("bob-2"), h.Crashed(51.0), h.Began(52.0, (h.Place(7, 0, 2, 2, 2),)))
        put(self.of("bob-2"), h.Asked(53.0), h.Synced(53.1))
        self.assert_caught(13)


class RepetitionTests(CheckerTestCase):
    def test_a_message_that_is_shown_twice(self) -> None:
        put(self.of("bob-2"), h.Displayed(55.0, *TWO))
        self.assert_caught(5)

    def test_a_message_that_is_shown_again_although_it_was_handled(self) -> None:
        again = h.Place(7, 0, 3, 3, 3)
        put(self.of("bob-2"), h.Crashed(55.0), h.Began(56.0, (again,)), h.Displayed(56.1, *TWO))
        self.assert_caught(5)

    def test_a_message_that_is_skipped_by_a_crash(self) -> None:
        events = self.of("bob-2")
        events[:] = [e for e in events if not (type(e) is h.Displayed and e.seq == 3)]
        put(events, h.Crashed(55.0), h.Began(56.0, (h.Place(7, 0, 3, 3, 3),)))
        self.assert_caught(5)

    def test_messages_that_are_shown_in_another_order(self) -> None:
        events = self.of("bob-2")
        places = [n for n, event in enumerate(events) if type(event) is h.Displayed]
        first, second = places[:2]
        events[first], events[second] = events[second], events[first]
        self.assert_caught(5)

    def test_a_message_that_is_stored_twice_by_a_device(self) -> None:
        put(self.of("bob-2"), h.Stored(55.0, *TWO))
        self.assert_caught(5)

    def test_a_message_that_is_withdrawn(self) -> None:
        put(self.of("bob-2"), h.Cut(55.0, 7, 2))
        self.assert_caught(5)

    def test_a_message_that_is_stored_twice_in_the_database(self) -> None:
        self.found.rows.append(Row(7, 4, 1, 11, "b", b"two", 45.0))
        self.found.logs[0] = Log(7, 4, 1, (1, 2))
        self.assert_caught(2)


class TruthTests(CheckerTestCase):
    def test_a_body_that_was_altered_in_the_database(self) -> None:
        self.found.rows[0] = structs.replace(self.found.rows[0], body=b"won")
        self.assert_caught(2)

    def test_a_message_that_nobody_sent(self) -> None:
        self.found.rows.append(Row(7, 4, 1, 11, "z", b"four", 45.0))
        self.assert_caught(2)

    def test_a_message_under_the_name_of_another(self) -> None:
        self.found.rows[0] = structs.replace(self.found.rows[0], sender=2)
        self.assert_caught(2)

    def test_a_body_that_was_altered_on_the_way(self) -> None:
        change(self.of("bob-1"), h.Seen, 0, body=b"won")
        self.assert_caught(4)

    def test_a_body_that_was_altered_on_the_screen(self) -> None:
        change(self.of("bob-1"), h.Displayed, 0, body=b"won")
        self.assert_caught(4)

    def test_a_sender_that_was_altered(self) -> None:
        change(self.of("bob-1"), h.Stored, 0, sender=2)
        self.assert_caught(4)

    def test_a_message_that_a_device_has_and_the_database_has_not(self) -> None:
        put(self.of("bob-1"), h.Seen(55.0, 7, 4, 1, "d", b"four"))
        self.assert_caught(4)


class OrderTests(CheckerTestCase):
    def test_messages_of_a_device_in_another_order_than_its_outbox(self) -> None:
        first = drop(self.of("alice-1"), h.Kept, 0)
        put(self.of("alice-1"), first)
        self.assert_caught(6)
        # Not between the two: nothing was refused that is sent again.
        self.found.apart += [Apart(7, 60.0, 70.0, 60.0, 70.0), Apart(7, 0.0, 1.0, 0.0, 1.0)]
        self.assert_caught(6)

    def test_a_message_that_was_refused_unheard_may_be_sent_again_after_another(self) -> None:
        first = drop(self.of("alice-1"), h.Kept, 0)
        put(self.of("alice-1"), first)
        self.found.apart.append(Apart(7, 5.0, 5.0, 4.0, 55.0))
        self.assertNotIn(6, {violation.oracle for violation in check(self.found)})

    def test_an_answer_that_stands_before_what_it_answers(self) -> None:
        change(self.of("bob-1"), h.Wrote, 0, have=3)
        self.assert_caught(7)

    def test_an_ack_before_the_commit(self) -> None:
        change(self.of("alice-1"), h.Acked, 0, at=9.9)
        self.assert_caught(8)

    def test_a_push_before_the_commit(self) -> None:
        change(self.of("bob-2"), h.Seen, 0, at=9.9)
        self.assert_caught(8)

    def test_a_head_beyond_the_log(self) -> None:
        put(self.of("bob-2"), h.Told(55.0, 7, 4, True))
        self.assert_caught(8)


class ReceiptTests(CheckerTestCase):
    def test_a_stored_cursor_that_goes_back(self) -> None:
        self.found.probes.append(Probe(42.0, (Cursor(7, 2, 1, 0),), ()))
        self.assert_caught(9)

    def test_a_shown_cursor_that_goes_back(self) -> None:
        put(self.of("alice-2"), h.Shown(55.0, 7, 2, 1, 0))
        self.assert_caught(9)

    def test_more_read_than_delivered(self) -> None:
        self.found.cursors[1] = Cursor(7, 2, 1, 2)
        self.assert_caught(9)

    def test_a_cursor_beyond_the_log(self) -> None:
        self.found.cursors[1] = Cursor(7, 2, 4, 2)
        self.assert_caught(9)

    def test_a_mark_beyond_what_is_stored(self) -> None:
        change(self.of("bob-2"), h.Marked, 0, delivered=2)
        self.assert_caught(10)

    def test_a_mark_for_what_was_stored_but_not_shown(self) -> None:
        displayed = drop(self.of("bob-2"), h.Displayed, 1)
        put(self.of("bob-2"), displayed)
        self.assert_caught(10)

    def test_read_although_nobody_looked(self) -> None:
        drop(self.of("bob-1"), h.Looked, 0)
        self.assert_caught(10)

    def test_a_receipt_beyond_what_was_marked(self) -> None:
        change(self.of("alice-1"), h.Cursors, 0, delivered=3)
        self.assert_caught(11)

    def test_a_receipt_that_comes_before_the_mark(self) -> None:
        change(self.of("alice-1"), h.Cursors, 0, at=39.2)
        self.assert_caught(11)

    def test_a_shown_receipt_beyond_what_was_marked(self) -> None:
        change(self.of("alice-1"), h.Shown, 0, read=3)
        self.assert_caught(11)

    def test_a_stored_cursor_that_nobody_marked(self) -> None:
        self.found.cursors[1] = Cursor(7, 2, 3, 2)
        self.assert_caught(11)

    def test_a_cursor_that_was_stored_before_it_was_marked(self) -> None:
        self.found.probes[0] = Probe(12.0, (Cursor(7, 2, 2, 0),), ())
        self.assert_caught(11)

    def test_a_view_of_a_cursor_that_is_behind_in_the_end(self) -> None:
        change(self.of("alice-2"), h.Ended, 0, peers=((7, 2, 2, 1),))
        self.assert_caught(17)

    def test_a_message_that_is_never_marked_delivered(self) -> None:
        self.found.cursors[0] = Cursor(7, 1, 2, 0)
        self.assert_caught(17)


class SecrecyTests(CheckerTestCase):
    def test_a_message_that_leaks_to_a_stranger(self) -> None:
        put(self.of("mallory"), h.Seen(55.0, *ONE))
        self.assert_caught(12)

    def test_a_head_that_leaks_to_a_stranger(self) -> None:
        put(self.of("mallory"), h.Told(55.0, 7, 3, True))
        self.assert_caught(12)

    def test_a_receipt_that_leaks_to_a_stranger(self) -> None:
        put(self.of("mallory"), h.Cursors(55.0, 7, 2, 1, 1))
        self.assert_caught(12)

    def test_a_stranger_who_writes(self) -> None:
        sent = h.Wrote(44.0, 7, "m", b"boo", 0)
        put(self.of("mallory"), sent, h.Kept(44.1, 7, "m"), h.Acked(45.1, 7, "m", 4))
        self.found.rows.append(Row(7, 4, MALLORY, 31, "m", b"boo", 45.0))
        self.assert_caught(12)

    def test_a_message_of_one_who_is_no_friend_any_more(self) -> None:
        self.found.apart.append(Apart(7, 15.0, 25.0))
        self.assert_caught(12)

    def test_a_refused_message_that_is_stored(self) -> None:
        put(self.of("alice-1"), h.Nacked(55.0, "b", "forbidden"))
        self.assert_caught(11)


class ServerTests(CheckerTestCase):
    def test_a_traceback(self) -> None:
        self.found.output["connector-0"] += "\nTraceback (most recent call last):\n  …"
        self.assert_caught(14)

    def test_a_process_that_ended(self) -> None:
        self.found.accidents.append("connector-0 has ended by itself")
        self.assert_caught(14)

    def test_a_frame_that_the_server_does_not_understand(self) -> None:
        put(self.of("bob-1"), h.Blamed(55.0, "mark needs delivered or read"))
        self.assert_caught(14)

    def test_a_deadlock(self) -> None:
        self.found.output["postgres"] += "\nERROR:  deadlock detected"
        self.assert_caught(15)

    def test_a_unique_violation(self) -> None:
        self.found.output["postgres"] += "\nERROR:  duplicate key value violates unique …"
        self.assert_caught(15)

    def test_a_session_that_nobody_can_find(self) -> None:
        del self.found.entries[0]
        self.assert_caught(18)

    def test_a_session_under_an_older_counter(self) -> None:
        self.found.entries[0] = Entry(1, 11, 4, "n", True)
        self.assert_caught(18)

    def test_a_session_on_a_dead_node(self) -> None:
        self.found.entries[0] = Entry(1, 11, 5, "n", False)
        self.assert_caught(18)

    def test_a_session_of_nobody(self) -> None:
        self.found.entries.append(Entry(1, 19, 5, "n", True))
        self.assert_caught(18)

    def test_a_sweep_that_never_ends(self) -> None:
        self.found.quiet = SYNC + 1
        put(self.of("bob-1"), h.Told(55.0, 7, 3, True))
        self.assert_caught(19)


class BoundsTests(CheckerTestCase):
    def test_a_queue_beyond_its_limit(self) -> None:
        self.found.gauges["connector-0"] = [Gauge("messages in lanes", 2001, 2000)]
        self.assert_caught(14)

    def test_a_message_that_a_revoked_device_stored(self) -> None:
        self.found.revoked.append(Revoked(21, 24.9))
        self.assert_caught(12)

    def test_a_revoked_device_that_hears_on(self) -> None:
        self.found.revoked.append(Revoked(22, 1.0))
        put(self.of("bob-2"), h.Failed(60.0, "logged out"))
        self.assert_caught(12)

    def test_a_revoked_device_that_is_never_told(self) -> None:
        self.found.revoked.append(Revoked(22, 59.0))
        self.assert_caught(12)

    def test_a_revoked_device_may_stay_behind(self) -> None:
        self.found.revoked.append(Revoked(12, 58.0))
        events = self.of("alice-2")
        change(events, h.Ended, 0, places=(), peers=(), outbox=("z",))
        put(events, h.Failed(59.0, "logged out"))
        self.found.entries = [each for each in self.found.entries if each.device != 12]
        self.assertEqual(check(self.found), [])

    def test_repairs_while_everything_is_well(self) -> None:
        self.found.calm = True
        events = self.of("bob-2")
        # What the device knows already is none.
        put(events, h.Told(55.0, 7, 3, True))
        self.assertEqual(check(self.found), [])
        seen = next(
            n for n, each in enumerate(events) if isinstance(each, h.Seen) and each.seq == 3
        )
        events.insert(seen, h.Told(30.1, 7, 3, True))
        self.assert_caught(19)

    def test_a_queue_that_grows_is_seen_from_within(self) -> None:
        queue: Backlog[bytes] = Backlog(2)
        queue._items.extend([(b"x", 1)] * 3)
        seen = [gauge for gauge in look() if gauge.value > gauge.limit]
        self.assertIn("hints in a backlog", {gauge.name for gauge in seen})

    def test_deferreds_that_nobody_calls_are_seen_from_within(self) -> None:
        before = {gauge.name: gauge.value for gauge in look()}
        forgotten = [Deferred[None]() for _ in range(1000)]
        after = {gauge.name: gauge.value for gauge in look()}
        self.assertGreaterEqual(after["deferreds"] - before["deferreds"], len(forgotten))
