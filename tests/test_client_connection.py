"""The client over a WebSocket in memory: turns, batches, reconnects, callbacks, errors."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd import decoding, wire
from imd.client import Client, Disconnected, LoginFailed, Message, Refused, SqliteStore, system
from imd.client.connection import endpoint_of, packed
from imd.client.effects import ReceiptChanged
from imd.client.incoming import decode
from tests.client_driver import CONVERSATION, ME, PEER, head, item, msg, msgs, welcome
from tests.directories import directory
from tests.scripted_server import ScriptedServer, json

URL = "ws://chat.example/ws"


class ClientTestCase(SynchronousTestCase):
    """A client and its server, both driven by hand."""

    def setUp(self) -> None:
        self.server = ScriptedServer()
        self.ids = iter(f"id-{n}" for n in range(1000))
        self.got: list[Message] = []

    def make(self, **options: Any) -> Client:
        return Client(
            URL,
            "alice",
            "secret",
            endpoint=self.server,
            reactor=self.server.clock,
            wall_ms=lambda: 1_790_000_000_000,
            chance=lambda: 0.5,
            new_id=lambda: next(self.ids),
            **options,
        )

    def ready(self, *heads: wire.HeadItem, **options: Any) -> Client:
        client = self.make(**options)
        client.on_message(self.got.append)
        client.start()
        self.server.admit(*(heads or [head(0)]))
        self.assertEqual(client.state, "ready")
        return client

    def sent(self, kind: type[Any]) -> list[Any]:
        self.server.flush()
        return [frame for frame in self.server.frames() if isinstance(frame, kind)]


class ConnectionTests(ClientTestCase):
    """From start to stop."""

    def test_hello_has_the_credentials_and_ready_fires_after_the_heads(self) -> None:
        client = self.make(register=True, device="bot")
        ready = client.ready()
        client.start()
        self.assertNoResult(ready)
        hello = self.server.admit(head(0))
        self.assertEqual((hello.user, hello.device, hello.register), ("alice", "bot", True))
        self.successResultOf(ready)
        self.successResultOf(client.ready())
        self.assertEqual((client.me, client.name), (ME, "alice"))
        self.assertEqual(client.conversation_with("bob"), CONVERSATION)
        self.assertEqual(client.conversation_with(PEER), CONVERSATION)
        self.assertIsNone(client.conversation_with("carol"))

    def test_frames_of_one_turn_leave_as_one_message(self) -> None:
        client = self.ready()
        self.server.frames()
        for text in "abc":
            client.send(CONVERSATION, text)
        self.server.flush()
        (payload,) = self.server.payloads
        self.assertEqual([frame["body"]["text"] for frame in json(payload)], ["a", "b", "c"])

    def test_messages_keep_to_the_limits(self) -> None:
        frames = [b"x" * 40] * 5
        self.assertEqual([len(p) for p in packed(frames, 2, 1000)], [83, 83, 40])
        self.assertEqual([len(p) for p in packed(frames, 64, 90)], [83, 83, 40])
        self.assertEqual(list(packed([b"y" * 200], 64, 90)), [b"y" * 200])
        self.assertEqual(list(packed([], 64, 90)), [])

    def test_lost_connection_is_made_again_and_sends_go_on(self) -> None:
        client = self.ready()
        sent = client.send(CONVERSATION, "hi")
        self.assertEqual(len(self.sent(wire.Send)), 1)
        self.server.drop()
        self.assertEqual(client.state, "waiting")
        self.server.advance(0.6)
        self.server.admit(head(0))
        (frame,) = self.sent(wire.Send)
        self.server.tell(wire.Ack(frame.id, CONVERSATION, 1, 55))
        result = self.successResultOf(sent)
        self.assertEqual((result.seq, result.at, client.pending), (1, 55, 0))

    def test_what_came_before_a_close_is_told_although_no_answer_can_be_sent(self) -> None:
        client = self.ready()
        self.server.side.sendMessage(wire.encode(msg(1)))
        self.server.side.sendClose(4000)
        sent = client.send(CONVERSATION, "too late")
        self.server.arrive()
        self.assertEqual([message.seq for message in self.got], [1])
        self.server.advance(0.6)
        self.server.admit(head(1))
        (frame,) = self.sent(wire.Send)
        self.server.tell(wire.Ack(frame.id, CONVERSATION, 2, 55))
        self.assertEqual(self.successResultOf(sent).seq, 2)

    def test_refused_connection_is_tried_again(self) -> None:
        self.server.refuses = True
        client = self.make()
        client.start()
        self.server.flush()
        self.assertEqual(client.state, "waiting")
        self.server.refuses = False
        self.server.advance(0.6)
        self.server.admit()
        self.assertEqual(client.state, "ready")

    def test_attempt_that_leads_nowhere_is_given_up(self) -> None:
        self.server.silent = True
        client = self.make()
        client.start()
        self.server.advance(20.5)
        self.assertEqual(client.state, "waiting")

    def test_handshake_that_is_not_answered_is_given_up(self) -> None:
        client = self.make()
        self.server._pump = None
        original = self.server.flush
        self.server.flush = lambda: None  # type: ignore[method-assign]
        client.start()
        self.server.clock.advance(20.5)
        self.server.flush = original  # type: ignore[method-assign]
        self.server.flush()
        self.assertEqual(client.state, "waiting")

    def test_silent_server_is_left(self) -> None:
        self.ready()
        self.server.advance(29)
        self.assertEqual(self.sent(wire.Ping), [])
        self.server.advance(2)
        self.assertEqual(len(self.sent(wire.Ping)), 1)
        self.server.advance(21)
        self.assertEqual(self.server.connections, 2)

    def test_close_code_of_the_server_counts(self) -> None:
        client = self.ready()
        self.server.tell(wire.Bye(4000, 3000))
        self.server.close(4000, "draining")
        self.assertEqual(client.state, "waiting")
        self.server.advance(2.9)
        self.assertEqual(self.server.connections, 1)
        self.server.advance(0.2)
        self.assertEqual(self.server.connections, 2)

    def test_refused_login_ends_the_client(self) -> None:
        client = self.make()
        ready, sent, finished = client.ready(), client.send(CONVERSATION, "x"), client.finished()
        client.start()
        self.server.flush()
        (hello,) = self.sent(wire.Hello)
        self.server.tell(wire.Error("unauthorized", "wrong password", hello.req))
        self.server.close(4501, "wrong password")
        error = self.failureResultOf(ready, LoginFailed).value
        self.assertEqual((error.code, error.close), ("unauthorized", 4501))
        self.failureResultOf(sent, LoginFailed)
        self.successResultOf(finished)
        self.failureResultOf(client.ready(), LoginFailed)
        self.assertEqual((client.state, client.failure), ("stopped", error))
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_session_replaced_by_another_stays_closed(self) -> None:
        client = self.ready()
        self.server.close(4502, "replaced")
        self.server.advance(100)
        self.assertEqual((self.server.connections, client.state), (1, "stopped"))

    def test_stop_says_goodbye_and_leaves_nothing_behind(self) -> None:
        client = self.ready()
        sent = client.send(CONVERSATION, "x")
        stopped = Deferred.fromCoroutine(client.stop())
        self.failureResultOf(sent, Disconnected)
        self.server.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.server.side.remoteCloseCode, 1000)
        self.assertEqual(self.server.clock.getDelayedCalls(), [])
        self.successResultOf(client.stop())
        self.failureResultOf(client.ready(), Disconnected)
        self.failureResultOf(client.send(CONVERSATION, "x"), Disconnected)

    def test_what_comes_together_with_the_stop_does_not_bring_the_client_back(self) -> None:
        client, states = self.make(), []
        client.on_message(self.got.append)
        client.on_state(states.append)
        client.start()
        self.server.flush()
        (hello,) = self.server.frames()
        heads = wire.Heads(hello.req, [head(0)], True, "e1:1")
        self.server.side.sendMessage(wire.encode([welcome(hello.req), heads, msg(1)]))
        self.server._pump.flush()
        stopped = Deferred.fromCoroutine(client.stop())
        self.server.flush()
        self.successResultOf(stopped)
        self.assertEqual((client.state, states), ("stopped", ["connecting", "stopped"]))
        self.assertEqual(self.got, [])

    def test_stop_does_not_wait_for_a_server_that_is_gone(self) -> None:
        client = self.ready()
        self.server._pump = None
        stopped = Deferred.fromCoroutine(client.stop())
        self.assertNoResult(stopped)
        self.server.clock.advance(2.1)
        self.server.client.connectionLost(_lost())
        self.successResultOf(stopped)

    def test_stop_while_connecting_or_waiting(self) -> None:
        self.server.silent = True
        client = self.make()
        client.start()
        self.successResultOf(client.stop())
        self.server.silent, self.server.refuses = False, True
        client = self.make()
        client.start()
        self.server.flush()
        self.successResultOf(client.stop())
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_connection_closed_before_it_was_handed_over_is_made_again(self) -> None:
        self.server.slow = True
        client = self.make()
        client.start()
        self.server.client.connectionLost(_lost())
        self.server.hand_over()
        self.server.flush()
        self.assertEqual(client.state, "waiting")

    def test_stop_during_the_handshake_drops_the_connection(self) -> None:
        client = self.make()
        client.start()
        stopped = Deferred.fromCoroutine(client.stop())
        self.server.flush()
        self.successResultOf(stopped)

    def test_garbage_of_the_server_ends_the_connection(self) -> None:
        client = self.ready()
        self.server.raw(b"{not json")
        self.assertEqual(client.state, "waiting")

    def test_what_a_newer_server_says_is_skipped(self) -> None:
        self.ready()
        frame = json(wire.encode(msg(1))) | {"mood": "new"}
        self.server.raw(wire.encode([{"type": "novelty"}, frame, 7]))
        self.server.raw(b'{"type":"novelty"}')
        self.assertEqual([m.seq for m in self.got], [1])
        self.assertRaises(decoding.NotJson, decode, b"\xff")


class MessageTests(ClientTestCase):
    """What comes, and how it is reported back."""

    def test_message_is_delivered_after_its_callback(self) -> None:
        client = self.ready(mark_delay=0)
        gate: Deferred[None] = Deferred()
        client.on_message(lambda message: gate)
        self.server.tell(msg(1))
        self.assertEqual(self.sent(wire.Mark), [])
        gate.callback(None)
        self.assertEqual(self.sent(wire.Mark), [wire.Mark(CONVERSATION, 1)])

    def test_messages_of_one_conversation_wait_for_each_other(self) -> None:
        client = self.ready(head(0), head(0, conversation=8))
        gates: list[tuple[int, int, Deferred[None]]] = []

        @client.on_message
        async def slow(message: Message) -> None:
            gate: Deferred[None] = Deferred()
            gates.append((message.conversation, message.seq, gate))
            await gate

        self.server.tell(msg(1), msg(2), msg(1, conversation=8))
        self.assertEqual([g[:2] for g in gates], [(CONVERSATION, 1), (8, 1)])
        gates[0][2].callback(None)
        self.assertEqual(gates[2][:2], (CONVERSATION, 2))

    def test_callback_that_raises_is_logged_and_not_repeated(self) -> None:
        client = self.ready(mark_delay=0)
        client.on_message(lambda message: 1 // 0)
        self.server.tell(msg(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.sent(wire.Mark)), 1)

    def test_callback_whose_call_was_cut_off_is_no_defect(self) -> None:
        client = self.ready()
        client.on_message(lambda message: Deferred.fromCoroutine(client.call("account.get")))
        self.server.tell(msg(1))
        self.server.drop()
        self.assertEqual(client.conversations[CONVERSATION].handled, 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_messages_that_wait_are_not_handled_after_the_end(self) -> None:
        client = self.ready()
        gate: Deferred[None] = Deferred()
        client.on_message(lambda message: self.got.append(message) or gate)
        self.server.tell(msg(1), msg(2))
        self.server.close(4502)
        gate.callback(None)
        self.assertEqual([m.seq for m in self.got], [1])
        self.assertEqual(client.conversations[CONVERSATION].handled, 0)

    def test_my_own_messages_come_only_if_asked_for(self) -> None:
        for own in False, True:
            self.setUp()
            self.ready(own=own)
            self.server.tell(msg(1, ME), msg(2))
            self.assertEqual([m.seq for m in self.got], [1, 2] if own else [2])

    def test_backlog_larger_than_memory_allows_waits_on_the_server(self) -> None:
        client = self.ready()
        gate: Deferred[None] = Deferred()
        client.on_message(lambda message: gate)
        for first in range(1, 1201, 100):
            self.server.tell(*[msg(seq) for seq in range(first, first + 100)])
        conversation = client.conversations[CONVERSATION]
        self.assertEqual((conversation.have, conversation.known), (1000, 1200))
        self.server.frames()
        client.on_message(self.got.append)
        gate.callback(None)
        (fetch,) = self.sent(wire.Fetch)
        self.assertEqual(fetch.after, 1000)
        self.server.tell(msgs(fetch.req, *[item(seq) for seq in range(1001, 1201)]))
        self.assertEqual((len(self.got), conversation.handled), (1199, 1200))

    def test_read_and_receipts(self) -> None:
        client = self.ready()
        receipts: list[ReceiptChanged] = []
        client.on_receipt(receipts.append)
        sent = client.send(CONVERSATION, "hi")
        self.server.flush()
        self.server.tell(wire.Ack("id-0", CONVERSATION, 1, 5))
        mine = self.successResultOf(sent)
        self.assertEqual(client.status(mine), "sent")
        self.server.tell(wire.Receipt(CONVERSATION, PEER, 1, 0))
        self.assertEqual(client.status(mine), "delivered")
        self.server.tell(wire.Receipt(CONVERSATION, PEER, 1, 1), msg(2))
        self.assertEqual(client.status(mine), "read")
        self.assertEqual([r.read for r in receipts], [0, 1])
        client.read(self.got[0])
        self.server.advance(0.3)
        self.assertEqual(self.sent(wire.Mark), [wire.Mark(CONVERSATION, 2, 2)])

    def test_events_states_and_withdrawals_reach_their_callbacks(self) -> None:
        client = self.make()
        seen: list[Any] = []
        client.on_event(lambda name, data: seen.append((name, data)))
        client.on_state(seen.append)
        client.on_withdrawn(lambda withdrawn: seen.append(withdrawn.above))
        client.start()
        self.server.admit(head(0))
        self.server.tell(wire.Event("friend.requested", {"user": 5}), msg(1))
        self.server.drop()
        self.server.advance(1)
        self.server.flush()
        (hello,) = self.sent(wire.Hello)
        self.server.tell(welcome(hello.req, "e2"))
        (sync,) = self.sent(wire.Sync)
        self.server.tell(wire.Heads(sync.req, [head(0)], True, "e2:1"))
        (fetch,) = self.sent(wire.Fetch)
        self.server.tell(msgs(fetch.req))
        self.assertEqual(
            seen, ["connecting", "ready", ("friend.requested", {"user": 5}), "waiting", 0, "ready"]
        )


class RequestTests(ClientTestCase):
    """Sends and calls, and how they fail."""

    def test_refused_send(self) -> None:
        client = self.ready()
        sent = client.send(CONVERSATION, "hi")
        self.server.flush()
        self.server.tell(wire.Nack("id-0", "forbidden", "no friend"))
        error = self.failureResultOf(sent, Refused).value
        self.assertEqual((error.code, str(error)), ("forbidden", "forbidden: no friend"))

    def test_ids_are_sent_in_the_spelling_of_the_log(self) -> None:
        client = self.ready()
        id = "0191AAAA-0000-7000-8000-0000000000FF"
        sent = client.send(CONVERSATION, "hi", id=id)
        self.assertEqual([frame.id for frame in self.sent(wire.Send)], [id.lower()])
        self.server.tell(msg(1, ME, id.lower()))
        self.assertEqual(self.successResultOf(sent).seq, 1)

    def test_text_that_no_server_takes_is_refused_here(self) -> None:
        client = self.ready()
        self.failureResultOf(client.send(CONVERSATION, "a\0b"), Refused)
        self.assertRaises(UnicodeEncodeError, client.send, CONVERSATION, "\ud800")

    def test_reply_is_one_message_however_often(self) -> None:
        client = self.ready()
        self.server.tell(msg(1))
        one, two = client.reply(self.got[0], "x"), client.reply(self.got[0], "x")
        other = client.reply(self.got[0], "y", 1)
        first, second = self.sent(wire.Send)
        self.assertNotEqual(first.id, second.id)
        self.server.tell(wire.Ack(first.id, CONVERSATION, 2, 5))
        self.assertEqual(self.successResultOf(one), self.successResultOf(two))
        self.assertNoResult(other)

    def test_file_message(self) -> None:
        client = self.ready()
        client.send_file(
            CONVERSATION, wire.FileBody(file=5, name="a", size=1, mime="m/m", sha256="0" * 64)
        )
        (send,) = self.sent(wire.Send)
        self.assertEqual((send.kind, json(bytes(send.body))["file"]), ("file", 5))

    def test_call_waits_until_ready_and_returns_the_data(self) -> None:
        client = self.make()
        call = Deferred.fromCoroutine(client.call("user.find", user="bob"))
        client.start()
        self.server.admit()
        (frame,) = self.sent(wire.Call)
        self.assertEqual((frame.method, json(bytes(frame.params))), ("user.find", {"user": "bob"}))
        self.server.tell(wire.Result(frame.req, {"id": 12}))
        self.assertEqual(self.successResultOf(call), {"id": 12})

    def test_call_fails_with_the_code_or_with_the_connection(self) -> None:
        client = self.ready()
        calls = [Deferred.fromCoroutine(client.call("account.get")) for _ in range(2)]
        first, _ = self.sent(wire.Call)
        self.server.tell(wire.Error("forbidden", req=first.req))
        self.failureResultOf(calls[0], Refused)
        self.server.drop()
        self.failureResultOf(calls[1], Disconnected)

    def test_no_more_than_four_calls_at_once(self) -> None:
        client = self.ready()
        for _ in range(6):
            Deferred.fromCoroutine(client.call("account.get"))
        frames = self.sent(wire.Call)
        self.assertEqual(len(frames), 4)
        self.server.tell(wire.Result(frames[0].req, None))
        self.assertEqual(len(self.sent(wire.Call)), 1)

    def test_cancelled_requests_take_no_answer(self) -> None:
        client = self.ready()
        call, send = Deferred.fromCoroutine(client.call("x")), client.send(CONVERSATION, "y")
        refused = client.send(CONVERSATION, "z")
        (frame,) = self.sent(wire.Call)
        for request in (call, send, refused):
            request.cancel()
            self.failureResultOf(request)
        self.server.tell(
            wire.Result(frame.req, 1), wire.Ack("id-0", CONVERSATION, 1, 5), wire.Nack("id-1", "x")
        )
        self.assertEqual(client.state, "ready")

    def test_history(self) -> None:
        client = self.ready(head(3, delivered=3))
        history = Deferred.fromCoroutine(client.history(CONVERSATION, before=3, limit=2))
        (fetch,) = self.sent(wire.Fetch)
        self.assertEqual((fetch.before, fetch.limit), (3, 2))
        self.server.tell(msgs(fetch.req, item(1), item(2, text="two")))
        self.assertEqual([m.text for m in self.successResultOf(history)], ["x", "two"])

    def test_friends(self) -> None:
        client = self.ready()
        friends = client.friends
        for call, method, params in (
            (friends.add("bob", "hi"), "friend.add", {"user": "bob", "note": "hi"}),
            (friends.add(5), "friend.add", {"user": 5}),
            (friends.accept(5), "friend.accept", {"user": 5}),
            (friends.decline(5), "friend.decline", {"user": 5}),
            (friends.remove(5), "friend.remove", {"user": 5}),
            (friends.block(5), "friend.block", {"user": 5}),
            (friends.unblock(5), "friend.unblock", {"user": 5}),
        ):
            done = Deferred.fromCoroutine(call)
            (frame,) = self.sent(wire.Call)
            self.assertEqual((frame.method, json(bytes(frame.params))), (method, params))
            self.server.tell(wire.Result(frame.req, {}))
            self.successResultOf(done)
        listed = Deferred.fromCoroutine(friends.list())
        (frame,) = self.sent(wire.Call)
        self.server.tell(wire.Result(frame.req, {"version": 1, "items": [{"user": 5}]}))
        self.assertEqual(self.successResultOf(listed), [{"user": 5}])

    def test_calls_without_number_that_wait_for_others_fail_when_the_client_stops(self) -> None:
        client = self.make()
        calls = [Deferred.fromCoroutine(client.call("friend.list")) for _ in range(1000)]
        stopped = Deferred.fromCoroutine(client.stop())
        self.server.clock.pump([0.0] * 1000)
        self.successResultOf(stopped)
        for call in calls:
            self.failureResultOf(call, Disconnected)


class DurableTests(ClientTestCase):
    """What a client with a file remembers."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(directory(self) / "client.db")

    def test_restart_goes_on_with_token_outbox_and_unhandled_messages(self) -> None:
        client = self.make(store=self.path)
        client.on_message(lambda message: Deferred())
        client.start()
        self.server.admit(head(0), token="tok")
        sent = client.send(CONVERSATION, "pending")
        self.server.tell(msg(1))
        stopped = Deferred.fromCoroutine(client.stop())
        self.server.flush()
        self.successResultOf(stopped)
        self.failureResultOf(sent, Disconnected)
        self.server.frames()

        again = self.make(store=self.path)
        again.on_message(self.got.append)
        again.start()
        self.assertEqual([m.seq for m in self.got], [1])
        hello = self.server.admit()
        self.assertEqual((hello.token, hello.since), ("tok", "e1:1"))
        self.server.advance(0.3)
        frames = self.server.frames()
        self.assertEqual([f.id for f in frames if isinstance(f, wire.Send)], ["id-0"])
        self.assertEqual([f.delivered for f in frames if isinstance(f, wire.Mark)], [1])
        stopped = Deferred.fromCoroutine(again.stop())
        self.server.flush()
        self.successResultOf(stopped)

    def test_store_that_fails_stops_the_client_before_anything_is_sent(self) -> None:
        store = SqliteStore(self.path)
        client = self.make(store=store)
        client.start()
        self.server.admit(head(0))
        store._db.execute("DROP TABLE pending")
        sent = client.send(CONVERSATION, "x")
        self.assertEqual(self.sent(wire.Send), [])
        self.failureResultOf(sent)
        self.assertEqual(client.state, "stopped")
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class EdgeTests(SynchronousTestCase):
    """Addresses and ids."""

    def test_endpoint_of_a_url(self) -> None:
        reactor = MemoryReactorClock()
        self.assertIn("HostnameEndpoint", repr(endpoint_of("ws://127.0.0.1:8080/ws", reactor)))
        self.assertIn("Wrapper", repr(endpoint_of("wss://chat.example/ws", reactor)))
        self.assertRaises(ValueError, endpoint_of, "http://chat.example", reactor)

    def test_ids_are_uuids_of_version_7_that_sort_by_time(self) -> None:
        ids = [system.new_id() for _ in range(3)]
        for id in ids:
            self.assertEqual((len(wire.uuid_bytes(id) or b""), id[14]), (16, "7"))
            self.assertIn(id[19], "89ab")
        self.assertEqual(len(set(ids)), 3)
        self.assertTrue(0 <= system.chance() < 1)

    def test_monotonic_time_only_while_nothing_is_scheduled(self) -> None:
        reactor = MemoryReactorClock()
        before = reactor.seconds
        reactor.callLater(1, int)
        system.make_monotonic(reactor)
        self.assertEqual(reactor.seconds, before)
        idle = MemoryReactorClock()
        system.make_monotonic(idle)
        self.assertNotEqual(idle.seconds(), 0)


def _lost() -> Any:
    return Failure(ConnectionLost())
