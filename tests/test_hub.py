"""All connections of a process: entering and leaving, fencing, the lease, and the end."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close
from imd.limits import Limits
from imd.status.memory import MemoryUserStatus
from tests.application import Application, Client, Frame, send


class HubTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **limits: Any) -> None:
        self.app = Application(self, Limits(**limits))
        self.hub = self.app.hub
        self.elsewhere = MemoryUserStatus("elsewhere", self.app.clock, self.app.board)
        self.app.do(self.elsewhere.beat())

    def begin(self) -> None:
        self.hub.start()
        self.addCleanup(self.drain)

    def drain(self) -> None:
        done = Deferred.fromCoroutine(self.hub.drain(0))
        self.app.clock.pump([0.1] * 20)
        self.successResultOf(done)

    def entries(self, client: Client) -> list[tuple[int, int]]:
        user = client.welcome["user"]["id"]
        found = self.app.do(self.app.status.lookup((user,)))
        return [(entry.device, entry.session) for entry in found]

    def token(self, client: Client) -> str:
        token: str = client.welcome["token"]
        return token


class SessionsTests(HubTests):
    def test_a_session_is_reachable_from_its_login_to_its_end(self) -> None:
        self.app.do(self.app.status.beat())
        alice = self.app.login("alice")
        me = alice.connection.identity
        self.assertEqual(list(self.app.registry), [alice.connection])
        self.assertEqual(self.entries(alice), [(me.device, me.session)])
        alice.gone()
        self.assertEqual(list(self.app.registry), [])
        self.assertEqual(self.entries(alice), [])
        self.assertEqual(len(self.hub), 0)

    def test_a_session_that_is_closed_gets_no_pushes_while_it_is_closing(self) -> None:
        alice = self.app.login("alice")
        alice.connection.close(Close.INTERNAL, "x")
        self.assertEqual(list(self.app.registry), [])
        self.assertEqual(len(self.hub), 1)
        alice.gone()
        self.assertEqual(len(self.hub), 0)

    def test_of_two_sessions_of_a_device_here_the_newer_stays(self) -> None:
        first = self.app.login("alice")
        second = self.app.resume(self.token(first))
        (welcome,) = second.take("welcome")
        self.assertGreater(welcome["session"], first.welcome["session"])
        self.assertEqual((first.wire.closed, second.wire.closed), (Close.REPLACED, None))
        first.gone()
        self.assertEqual(list(self.app.registry), [second.connection])

    def test_an_older_session_that_comes_in_late_is_the_one_that_goes(self) -> None:
        alice = self.app.login("alice")
        token = self.token(alice)
        alice.gone()
        older = self.app.do(self.app.accounts.login_with_token(token))
        newer = self.app.resume(token)
        late = self.app.connect()
        self.app.accounts.login_with_token = self.answer(older)  # type: ignore[method-assign]
        late.say({"type": "hello", "req": 1, "token": token})
        self.assertEqual(late.take(), [])
        self.assertEqual((late.wire.closed, newer.wire.closed), (Close.REPLACED, None))
        self.assertEqual(list(self.app.registry), [newer.connection])

    def test_a_crowd_that_has_gone_while_it_waited_for_its_turn_is_through_at_once(self) -> None:
        token = self.token(self.app.login("alice"))
        self.app.storage.held.add("open_session")
        crowd = [self.app.resume(token) for _ in range(self.app.limits.logins + 500)]
        self.app.storage.held.clear()
        for client in crowd:
            client.gone()
        self.app.storage.answer(len(crowd))
        self.app.clock.pump([0.0] * 1000)
        self.assertEqual(len(self.app.resume(token).take("welcome")), 1)

    def test_a_login_that_was_given_up_stops_nobody_who_came_after_it(self) -> None:
        alice, _, conversation = self.app.pair()
        token = self.token(alice)
        alice.gone()
        self.app.storage.held.add("open_session")
        given_up = self.app.resume(token)
        given_up.gone()
        self.app.storage.held.clear()
        alice = self.app.resume(token)
        self.app.storage.answer()
        alice.text(conversation)
        self.assertEqual((alice.take("ack"), alice.wire.closed), ([], Close.RESYNC))
        alice.gone()
        alice = self.app.resume(token)
        alice.text(conversation)
        self.assertEqual(len(alice.take("ack")), 1)

    @staticmethod
    def answer(value: Any) -> Any:
        async def login_with_token(token: str) -> Any:
            return value

        return login_with_token

    def test_a_newer_session_of_the_device_on_another_node_wins(self) -> None:
        self.app.do(self.app.status.beat())
        alice = self.app.login("alice")
        me = alice.connection.identity
        alice.gone()
        self.app.do(self.elsewhere.register(me.user.id, me.device, 99))
        again = self.app.resume(self.token(alice))
        self.assertEqual(again.take(), [])
        self.assertEqual(again.wire.closed, Close.REPLACED)
        self.assertEqual(list(self.app.registry), [])
        self.assertEqual(self.entries(alice), [(me.device, 99)])

    def test_an_older_session_of_the_device_on_another_node_loses(self) -> None:
        self.app.do(self.app.status.beat())
        alice = self.app.login("alice")
        me = alice.connection.identity
        alice.gone()
        self.app.do(self.elsewhere.register(me.user.id, me.device, 1))
        again = self.app.resume(self.token(alice))
        (welcome,) = again.take("welcome")
        self.assertEqual(self.entries(alice), [(me.device, welcome["session"])])

    def test_a_session_that_is_replaced_while_it_is_registered_takes_itself_out(self) -> None:
        self.app.do(self.app.status.beat())
        token = self.token(self.app.login("alice"))
        self.app.status.held.add("register")
        first = self.app.resume(token)
        second = self.app.resume(token)
        self.assertEqual(first.wire.closed, Close.REPLACED)
        self.app.status.answer(2)
        self.app.turn()
        self.assertEqual(first.take("welcome"), [])
        self.assertEqual(len(second.take("welcome")), 1)
        self.assertEqual(list(self.app.registry), [second.connection])

    def test_without_user_status_everything_goes_on(self) -> None:
        self.app.status.fail("register", times=2)
        self.app.status.fail("unregister")
        alice, bob, conversation = self.app.pair()
        alice.text(conversation)
        self.assertEqual(len(bob.take("msg")), 1)
        alice.gone()
        self.assertEqual(list(self.app.registry), [bob.connection])

    def test_the_welcome_announces_the_limits(self) -> None:
        self.make(inflight=3, text_bytes=5, file_bytes=7, frame_bytes=11, heartbeat_seconds=13)
        welcome = self.app.login("alice").welcome
        limits = {"inflight": 3, "text_bytes": 5, "file_bytes": 7, "frame_bytes": 11, "batch": 64}
        self.assertEqual((welcome["limits"], welcome["heartbeat"]), (limits, 13))


class TimeTests(HubTests):
    def test_timeouts_are_looked_at_once_a_second(self) -> None:
        self.make(hello_seconds=3)
        self.begin()
        silent = self.app.connect()
        self.app.clock.pump([0.5] * 6)
        self.assertIsNone(silent.wire.closed)
        self.app.clock.pump([0.5] * 3)
        self.assertEqual(silent.wire.closed, Close.NO_HELLO)

    def test_a_defect_in_one_connection_stops_the_time_of_no_other(self) -> None:
        self.make(hello_seconds=3)
        self.begin()
        clients = [self.app.connect() for _ in range(10)]
        clients[4].wire.disconnect = self.broken  # type: ignore[method-assign]
        self.app.clock.pump([0.5] * 20)
        closed = [client.wire.closed for client in clients]
        self.assertEqual(closed.count(Close.NO_HELLO), 9)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def broken(self, *args: Any) -> Any:
        raise LookupError("a defect")

    def test_a_defect_in_one_connection_keeps_no_frame_from_the_others(self) -> None:
        clients = [self.app.login(name) for name in "abcd"]
        clients[1].wire.fault = LookupError("a defect")
        for n, client in enumerate(clients):
            client.connection.received(json.dumps({"type": "ping", "n": n}).encode())
        self.app.turn()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        for n, client in enumerate(clients):
            pongs = [frame["n"] for frame in client.take("pong")]
            self.assertEqual(pongs, [] if n == 1 else [n])

    def test_the_lease_is_renewed_and_entries_come_back_when_it_was_lost(self) -> None:
        self.begin()
        alice = self.app.login("alice")
        before = self.entries(alice)
        self.assertEqual(len(before), 1)
        self.app.clock.pump([1.0] * 60)
        self.assertEqual(self.entries(alice), before)
        self.app.board.leases.clear()
        self.app.board.entries.clear()
        self.assertEqual(self.entries(alice), [])
        self.app.clock.pump([1.0] * 6)
        self.assertEqual(self.entries(alice), before)

    def test_the_lease_is_renewed_again_after_user_status_was_away_or_broken(self) -> None:
        self.begin()
        alice = self.app.login("alice")
        self.app.status.fail("beat", times=5)
        self.app.clock.pump([1.0] * 30)
        self.assertEqual(len(self.entries(alice)), 1)
        self.app.status.fail("beat", times=2, error=LookupError("a defect"))
        self.app.clock.pump([1.0] * 30)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)
        self.assertEqual(len(self.entries(alice)), 1)


class DrainTests(HubTests):
    def drained(self, seconds: float) -> Deferred[None]:
        return Deferred.fromCoroutine(self.hub.drain(seconds))

    def test_a_drain_of_nothing_is_over_at_once_and_stops_the_clocks(self) -> None:
        self.hub.start()
        self.successResultOf(self.drained(20))
        self.assertEqual(self.app.clock.getDelayedCalls(), [])

    def test_reading_ends_first_then_commits_are_awaited_then_clients_are_sent_away(self) -> None:
        alice, bob, conversation = self.app.pair()
        self.app.storage.held.add("append")
        id = alice.text(conversation)
        alice.take(), bob.take()
        done = self.drained(20)
        self.assertEqual((alice.wire.reading, bob.wire.reading), (False, False))
        self.app.clock.pump([0.1] * 30)
        self.assertEqual((alice.wire.closed, bob.wire.closed), (None, None))
        self.app.storage.answer()
        self.app.clock.pump([0.1] * 3)
        heard: list[list[Frame]] = [alice.take(), bob.take()]
        self.assertEqual([frame["type"] for frame in heard[0]], ["ack", "bye"])
        self.assertEqual([frame["type"] for frame in heard[1]], ["msg", "bye"])
        self.assertEqual(heard[0][0]["id"], id)
        # Each has a place of its own, in whichever order.
        self.assertEqual({frames[1]["retry"] for frames in heard}, {1000, 1004})
        self.assertEqual((alice.wire.closed, bob.wire.closed), (Close.DRAINING, Close.DRAINING))
        self.assertNoResult(done)
        alice.gone()
        self.assertNoResult(done)
        bob.gone()
        self.assertIsNone(self.successResultOf(done))

    def test_a_client_that_begins_to_read_during_a_drain_is_not_read_again(self) -> None:
        alice, _, _ = self.app.pair()
        alice.connection.paused()
        self.app.storage.held.add("append")
        self.drained(20)
        alice.connection.resumed()
        self.assertFalse(alice.wire.reading)
        self.assertTrue(self.hub.draining)
        late = self.app.connect()
        self.hub.send_away(late.connection)
        self.assertEqual(late.take()[-1]["type"], "bye")
        self.assertEqual(late.wire.closed, Close.DRAINING)

    def test_a_drain_waits_neither_for_storage_nor_for_clients_for_ever(self) -> None:
        alice, _, conversation = self.app.pair()
        self.app.storage.held.add("append")
        alice.text(conversation)
        done = self.drained(4)
        self.app.clock.pump([0.1] * 25)
        self.assertEqual(alice.wire.closed, Close.DRAINING)
        self.assertEqual(alice.take("ack"), [])
        self.assertNoResult(done)
        self.app.clock.pump([0.1] * 20)
        self.assertIsNone(self.successResultOf(done))
        alice.gone()

    def test_what_was_read_but_not_begun_is_neither_stored_nor_acknowledged(self) -> None:
        self.make(inflight=1)
        alice, bob, conversation = self.app.pair()
        self.app.storage.held.add("append")
        alice.say(send(conversation, "one"), send(conversation, "two"))
        bob.take()
        self.drained(4)
        self.app.storage.answer()
        self.app.clock.pump([0.1] * 5)
        self.assertEqual(len(alice.take("ack")), 1)
        self.assertEqual([frame["body"]["text"] for frame in bob.take("msg")], ["one"])

    def test_a_defect_in_one_connection_does_not_keep_the_others_from_being_sent_away(self) -> None:
        clients = [self.app.login(name) for name in "abcd"]
        clients[2].wire.disconnect = self.broken  # type: ignore[method-assign]
        done = self.drained(2)
        for client in clients:
            client.gone()
        self.assertIsNone(self.successResultOf(done))
        closed = [client.wire.closed for client in clients]
        self.assertEqual(closed, [4000, 4000, None, 4000])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def broken(self, *args: Any) -> Any:
        raise LookupError("a defect")
