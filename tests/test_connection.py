"""A client connection: frames in order, effects performed, reading stopped and resumed."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close, Code
from imd.limits import Limits
from tests.application import WALL, Application, Client, send


class ConnectionTests(SynchronousTestCase):
    def make(self, **limits: Any) -> None:
        self.app = Application(self, Limits(**limits))

    def held(self, *names: str) -> None:
        self.app.storage.held |= set(names)

    def answer(self) -> None:
        self.app.storage.answer()
        self.app.turn()

    def kinds(self, client: Client) -> list[str]:
        return [frame["type"] for frame in client.take()]

    def errors(self, client: Client) -> list[str]:
        return [frame["code"] for frame in client.take("error", "nack")]


class LoginTests(ConnectionTests):
    def test_the_welcome_comes_first_and_then_the_heads(self) -> None:
        self.make()
        client = self.app.connect()
        hello = {"type": "hello", "req": "r", "user": "alice", "password": "x", "device": "d"}
        client.say(hello | {"register": True})
        welcome, heads = client.take()
        self.assertEqual((welcome["type"], welcome["req"]), ("welcome", "r"))
        self.assertEqual((welcome["now"], welcome["roster"], welcome["caps"]), (WALL, 0, []))
        self.assertEqual((heads["type"], heads["done"]), ("heads", True))
        self.assertTrue(client.wire.large)
        self.assertTrue(client.connection.known)

    def test_a_token_is_told_after_a_password_only_and_logs_in_from_then_on(self) -> None:
        self.make()
        first = self.app.login("alice")
        again = self.app.resume(first.welcome["token"], since="e:1", tail=5)
        (welcome,) = again.take("welcome")
        self.assertNotIn("token", welcome)
        self.assertEqual(welcome["device"], first.welcome["device"])

    def test_bad_credentials_are_refused_and_closed_4501(self) -> None:
        self.make()
        self.app.login("alice")
        for fields in ({"token": "x"}, {"user": "alice", "password": "no", "device": "d"}):
            client = self.app.connect()
            client.say({"type": "hello", "req": 3} | fields)
            (error,) = client.take()
            self.assertEqual((error["req"], error["code"]), (3, Code.UNAUTHORIZED))
            self.assertEqual(client.wire.closed, Close.BAD_CREDENTIALS)
            self.assertFalse(client.connection.known)

    def test_frames_that_come_with_the_hello_wait_for_the_welcome(self) -> None:
        self.make()
        token = self.app.login("alice").welcome["token"]
        self.held("open_session")
        client = self.app.resume(token)
        client.say({"type": "ping", "n": 5})
        self.assertEqual(self.kinds(client), [])
        self.assertFalse(client.wire.reading)
        self.answer()
        self.assertEqual(self.kinds(client)[0], "welcome")
        self.assertTrue(client.wire.reading)

    def test_a_client_that_leaves_while_it_is_checked_is_not_entered(self) -> None:
        self.make()
        token = self.app.login("alice").welcome["token"]
        self.held("open_session")
        client = self.app.resume(token)
        client.gone()
        self.answer()
        self.assertEqual(client.take(), [])
        self.assertNotIn(client.connection, list(self.app.registry))

    def test_a_client_that_leaves_while_its_welcome_is_made_gets_no_heads(self) -> None:
        self.make()
        token = self.app.login("alice").welcome["token"]
        self.held("epoch")
        client = self.app.resume(token)
        client.gone()
        before = self.app.storage.count("heads")
        self.answer()
        self.assertEqual((client.take(), self.app.storage.count("heads")), ([], before))
        self.assertEqual(len(self.app.registry), 0)

    def test_without_storage_a_login_is_closed_4001(self) -> None:
        self.make()
        token = self.app.login("alice").welcome["token"]
        for method in ("open_session", "epoch", "heads"):
            self.app.storage.fail(method)
            client = self.app.resume(token)
            client.take()
            self.assertEqual(client.wire.closed, Close.STORAGE_UNAVAILABLE, method)
            self.assertNotIn(client.connection, list(self.app.registry))

    def test_a_defect_in_a_login_is_logged_and_closed_4005(self) -> None:
        self.make()
        self.app.storage.fail("open_session", error=LookupError("a defect"))
        client = self.app.resume("x")
        self.assertEqual(self.errors(client), [Code.INTERNAL])
        self.assertEqual(client.wire.closed, Close.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)


class FramesTests(ConnectionTests):
    def test_frames_of_a_batch_are_handled_in_order_and_answered_in_one_message(self) -> None:
        self.make()
        alice, _, conversation = self.app.pair()
        alice.take()
        alice.wire.messages.clear()
        frames = [send(conversation, str(n)) for n in range(5)]
        alice.say(json.dumps([*frames, {"type": "ping", "n": 1}]))
        pong, *acks = alice.take()
        self.assertEqual(pong["type"], "pong")
        self.assertEqual([ack["seq"] for ack in acks], [1, 2, 3, 4, 5])
        self.assertEqual([ack["id"] for ack in acks], [frame["id"] for frame in frames])
        self.assertEqual(len(alice.wire.messages), 1)

    def test_a_pong_has_a_token_once_all_heads_are_out(self) -> None:
        self.make()
        alice, _, _ = self.app.pair()
        alice.say({"type": "ping", "n": 1})
        self.assertIn("since", alice.take("pong")[0])
        self.held("heads")
        again = self.app.resume(alice.welcome["token"])
        again.say({"type": "ping", "n": 2})
        (pong,) = again.take("pong")
        self.assertEqual((pong["n"], pong["now"], "since" in pong), (2, WALL, False))
        self.answer()
        again.say({"type": "ping", "n": 3})
        self.assertIn("since", again.take("pong")[0])

    def test_before_the_first_commit_there_is_no_token_to_tell(self) -> None:
        self.make()
        alice = self.app.login("alice")
        alice.say({"type": "ping", "n": 1})
        self.assertNotIn("since", alice.take("pong")[0])

    def test_marks_fetches_syncs_and_calls_are_answered(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        alice.text(conversation, "hi")
        bob.take()
        bob.say({"type": "mark", "conv": conversation, "delivered": 1})
        self.assertEqual(alice.take("receipt"), bob.take("receipt"))
        bob.say({"type": "fetch", "req": 1, "conv": conversation, "limit": 5})
        bob.say({"type": "sync", "req": 2, "tail": 5})
        bob.say({"type": "call", "req": 3, "method": "account.get"})
        frames = {frame.get("req"): frame["type"] for frame in bob.take()}
        self.assertEqual(frames, {1: "msgs", 2: "heads", 3: "result"})

    def test_what_cannot_be_answered_is_refused_by_its_number_and_the_session_stays(self) -> None:
        self.make()
        alice, _, conversation = self.app.pair()
        fetch = {"type": "fetch", "req": 1, "conv": conversation, "limit": 5}
        sync = {"type": "sync", "req": 2}
        call = {"type": "call", "req": 3, "method": "account.get"}
        for method, frame in (("history", fetch), ("heads", sync), ("find_user", call)):
            self.app.storage.fail(method)
            alice.say(frame)
            (error,) = alice.take()
            self.assertEqual((error["req"], error["code"]), (frame["req"], Code.UNAVAILABLE))
        alice.say(fetch | {"conv": conversation + 1})
        self.assertEqual(self.errors(alice), [Code.NOT_FOUND])
        self.app.storage.fail("history", error=LookupError("a defect"))
        alice.say(fetch)
        self.assertEqual(self.errors(alice), [Code.INTERNAL])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        alice.say(fetch)
        self.assertEqual(self.kinds(alice), ["msgs"])

    def test_what_is_no_json_or_no_text_ends_the_session(self) -> None:
        self.make()
        for name in ("alice", "bob"):
            client = self.app.login(name)
            if name == "alice":
                client.say("not json")
            else:
                client.connection.violated("binary")
            self.assertEqual(client.wire.closed, Close.PROTOCOL_VIOLATION)
            self.assertNotIn(client.connection, list(self.app.registry))
            client.say({"type": "ping", "n": 1})
            self.assertEqual(client.take("pong"), [])

    def test_a_defect_in_a_frame_ends_its_session_and_no_other(self) -> None:
        """Also when it comes up while the messages of others are acknowledged."""
        self.make(inflight=1)
        alice, bob, conversation = self.app.pair()
        carol = self.app.login("carol")
        other = self.app.befriend(bob, carol)
        self.app.messaging.mark = self.broken  # type: ignore[method-assign]
        self.held("append")
        poison = {"type": "mark", "conv": conversation, "read": 1}
        alice.say(send(conversation, "one"), send(conversation, "two"), poison)
        carol.take()
        bob.text(other, "three")
        for _ in range(3):
            self.answer()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(alice.wire.closed, Close.INTERNAL)
        self.assertEqual([frame["seq"] for frame in bob.take("ack")], [1])
        self.assertEqual(len(carol.take("msg")), 1)
        self.assertIsNone(bob.wire.closed)

    def broken(self, *args: Any) -> None:
        raise LookupError("a defect")


class BackPressureTests(ConnectionTests):
    def test_requests_that_come_while_others_are_at_work_wait_and_are_answered(self) -> None:
        self.make(fetches=2)
        alice, _, conversation = self.app.pair()
        self.held("history")
        fetches = [{"type": "fetch", "req": n, "conv": conversation, "limit": 1} for n in range(5)]
        alice.say(*fetches)
        self.assertEqual(self.app.storage.waiting, 2)
        self.assertFalse(alice.wire.reading)
        self.answer()
        self.assertEqual(self.app.storage.waiting, 2)
        for _ in range(4):
            self.answer()
        self.assertEqual([frame["req"] for frame in alice.take("msgs")], [0, 1, 2, 3, 4])
        self.assertTrue(alice.wire.reading)

    def test_a_full_process_reads_no_more_sends_but_everything_else(self) -> None:
        self.make(pending=1)
        alice, bob, conversation = self.app.pair()
        self.held("append")
        alice.text(conversation, "one")
        bob.text(conversation, "two")
        bob.say({"type": "ping", "n": 1})
        self.assertFalse(bob.wire.reading)
        self.answer()
        self.assertEqual(len(bob.take("pong")), 1)
        self.assertTrue(bob.wire.reading)
        self.answer()
        self.assertEqual([ack["seq"] for ack in bob.take("ack")], [2])

    def test_what_was_held_for_its_rate_comes_when_its_time_has_come(self) -> None:
        self.make(rate=2, burst=1)
        alice, _, conversation = self.app.pair()
        for n in range(3):
            alice.text(conversation, str(n))
        self.assertEqual(len(alice.take("ack")), 1)
        self.assertFalse(alice.wire.reading)
        self.app.pass_seconds(0.5)
        self.assertEqual(len(alice.take("ack")), 1)
        self.app.pass_seconds(0.5)
        self.assertEqual(len(alice.take("ack")), 1)
        self.assertTrue(alice.wire.reading)

    def test_a_client_that_goes_while_it_is_held_leaves_no_timer(self) -> None:
        self.make(rate=1, burst=1)
        alice, _, conversation = self.app.pair()
        for n in range(3):
            alice.text(conversation, str(n))
        self.assertEqual(len(self.app.clock.getDelayedCalls()), 1)
        alice.gone()
        self.assertEqual(self.app.clock.getDelayedCalls(), [])

    def test_a_client_that_does_not_read_is_not_read_either_and_is_told_heads_later(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        alice.text(conversation, "one")
        bob.take()
        bob.connection.paused()
        self.assertFalse(bob.wire.reading)
        self.assertFalse(bob.connection.writing)
        for n in range(5):
            alice.text(conversation, str(n))
        bob.say({"type": "mark", "conv": conversation, "delivered": 1})
        self.assertEqual(bob.take(), [])
        bob.connection.resumed()
        frames = bob.take()
        self.assertEqual([f["type"] for f in frames], ["head", *["receipt"] * 3])
        self.assertEqual(frames[0]["last"], 6)
        self.assertTrue(bob.wire.reading)
        self.assertEqual([r["delivered"] for r in alice.take("receipt")], [1])

    def test_a_sync_waits_for_a_client_that_does_not_read(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        alice.text(conversation)
        bob.take()
        self.held("heads")
        bob.say({"type": "sync", "req": 2, "tail": 5}, {"type": "sync", "req": 3, "tail": 5})
        bob.connection.paused()
        self.answer()
        self.answer()
        bob.connection.resumed()
        kinds = [(f["type"], f["req"]) for f in bob.take("heads", "msgs")]
        self.assertEqual(sorted(kinds), [("heads", 2), ("heads", 3), ("msgs", 2), ("msgs", 3)])
        bob.say({"type": "sync", "req": 4})
        bob.connection.paused()
        self.answer()
        bob.gone()
        bob.take()
        self.assertNotIn(bob.connection, list(self.app.registry))

    def test_a_refresh_that_storage_cannot_do_closes_4001(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        bob.connection.paused()
        alice.text(conversation)
        self.app.storage.fail("heads")
        bob.connection.resumed()
        self.app.turn()
        self.assertEqual(bob.wire.closed, Close.STORAGE_UNAVAILABLE)

    def test_events_are_dropped_while_the_client_does_not_read(self) -> None:
        self.make()
        alice, bob = self.app.login("alice"), self.app.login("bob")
        bob.connection.paused()
        alice.call("friend.add", user="bob")
        self.assertEqual(bob.take(), [])
        bob.connection.resumed()
        self.assertEqual(bob.take(), [])

    def test_nothing_is_read_any_more_once_the_server_is_about_to_stop(self) -> None:
        self.make(rate=1, burst=1)
        alice, _, conversation = self.app.pair()
        for n in range(3):
            alice.text(conversation, str(n))
        alice.take()
        alice.connection.stop_reading()
        self.app.pass_seconds(5)
        self.assertEqual(alice.take("ack"), [])
        self.assertFalse(alice.wire.reading)


class EndTests(ConnectionTests):
    def test_what_was_said_before_a_close_goes_out_before_it(self) -> None:
        self.make()
        alice = self.app.login("alice")
        alice.connection.close(Close.DRAINING, "bye")
        self.assertEqual(alice.wire.frames[-1], {"type": "bye", "code": 4000, "retry": 1000})
        self.assertEqual(alice.wire.closed, Close.DRAINING)

    def test_who_is_closed_because_storage_is_away_is_told_when_to_come_back(self) -> None:
        self.make(commit_seconds=2)
        alice, _, conversation = self.app.pair()
        self.app.storage.fail("append", times=1000)
        alice.text(conversation)
        self.app.clock.pump([0.25] * 12)
        self.assertEqual(alice.wire.frames[-1], {"type": "bye", "code": 4001, "retry": 1000})
        self.assertEqual(alice.wire.closed, Close.STORAGE_UNAVAILABLE)

    def test_who_cannot_log_in_meanwhile_is_told_later_times_until_somebody_can(self) -> None:
        self.make()
        retries = []
        for _ in range(3):
            self.app.storage.fail("open_session")
            late = self.app.connect()
            late.say({"type": "hello", "req": 1, "token": "x"})
            self.app.turn()
            retries.append(late.take("bye")[0]["retry"])
            self.assertEqual(late.wire.closed, Close.STORAGE_UNAVAILABLE)
            self.app.clock.advance(40)
        self.assertEqual(retries, [1000, 2500, 5000])
        self.app.login("alice").connection.close(Close.STORAGE_UNAVAILABLE, "away")
        self.assertEqual(self.app.hub.returns.after(Close.DRAINING), 1004)

    def test_a_closed_session_gets_no_more_pushes_and_is_closed_once(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        bob.connection.close(Close.DRAINING, "bye")
        bob.take()
        bob.wire.closed = None
        bob.connection.close(Close.INTERNAL, "again")
        bob.connection.push(conversation, b"{}")
        bob.connection.notify(b"{}")
        alice.text(conversation)
        self.assertEqual((bob.take(), bob.wire.closed), ([], None))

    def test_messages_of_a_client_that_is_gone_are_still_committed(self) -> None:
        self.make()
        alice, bob, conversation = self.app.pair()
        self.held("append")
        alice.text(conversation, "last words")
        bob.take()
        alice.gone()
        self.answer()
        self.assertEqual([frame["seq"] for frame in bob.take("msg")], [1])

    def test_silence_is_noticed_and_every_frame_breaks_it(self) -> None:
        self.make(silence_seconds=10)
        alice, bob, _ = self.app.pair()
        self.app.pass_seconds(8)
        alice.say({"type": "ping", "n": 1})
        self.app.pass_seconds(4)
        self.assertEqual((alice.wire.closed, bob.wire.closed), (None, Close.SILENCE))
        self.app.pass_seconds(8)
        self.assertEqual(alice.wire.closed, Close.SILENCE)

    def test_the_time_in_which_we_did_not_read_is_no_silence(self) -> None:
        self.make(silence_seconds=10, paused_seconds=60)
        alice = self.app.login("alice")
        alice.connection.paused()
        self.app.pass_seconds(30)
        alice.connection.resumed()
        self.app.pass_seconds(9)
        self.assertIsNone(alice.wire.closed)
        self.app.pass_seconds(3)
        self.assertEqual(alice.wire.closed, Close.SILENCE)

    def test_a_client_that_keeps_to_its_rate_again_is_forgiven(self) -> None:
        self.make(rate=2, burst=2, rate_held_seconds=3)
        alice, _, conversation = self.app.pair()
        for _ in range(4):
            for n in range(5):
                alice.text(conversation, str(n))
            self.app.pass_seconds(3)
        self.assertIsNone(alice.wire.closed)
        self.assertEqual(len(alice.take("ack")), 20)

    def test_a_flood_that_comes_in_pieces_is_one_flood(self) -> None:
        """Each read of the socket takes less than ``rate_held_seconds`` to work off."""
        self.make(rate=2, burst=2, rate_held_seconds=3, inflight=2)
        alice, _, conversation = self.app.pair()
        self.refill(alice, conversation, 5)
        self.app.pass_seconds(5)
        self.assertEqual(alice.wire.closed, Close.ABUSIVE_RATE)
        self.assertGreaterEqual(alice.take("bye")[0]["retry"], 30_000)

    def test_a_client_that_keeps_to_its_window_is_slowed_down_and_not_closed(self) -> None:
        self.make(rate=2, burst=2, rate_held_seconds=3, inflight=2)
        alice, _, conversation = self.app.pair()
        self.refill(alice, conversation, 2)
        self.app.pass_seconds(10)
        self.assertIsNone(alice.wire.closed)
        self.assertEqual(len(alice.take("ack")), 22)

    def test_a_flood_that_is_over_is_forgiven(self) -> None:
        self.make(rate=2, burst=2, rate_held_seconds=5, inflight=2)
        alice, _, conversation = self.app.pair()
        for _ in range(4):
            for n in range(8):
                alice.text(conversation, str(n))
            self.app.pass_seconds(4)
        self.assertIsNone(alice.wire.closed)

    def refill(self, client: Client, conversation: int, count: int) -> None:
        """Whenever the socket is read there is more."""

        def more() -> None:
            if client.wire.closed is None and client.wire.reading:
                frames = [send(conversation, str(n)) for n in range(count)]
                client.connection.received(json.dumps(frames).encode())
                self.app.clock.callLater(0, more)

        def set_reading(reading: bool) -> None:
            client.wire.reading = reading
            if reading:
                self.app.clock.callLater(0, more)

        client.wire.set_reading = set_reading  # type: ignore[method-assign]
        more()
