"""Every limit of protocol §8 is enforced, and at whatever value is configured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from imd import config
from imd.connector.hub import LOGIN_WAIT
from imd.connector.site import Crowd
from imd.errors import Close, Code
from imd.limits import Limits
from tests.application import Application, Client, Frame, send
from tests.limited import TESTS, limits


class LimitsTests(SynchronousTestCase):
    def make(self, **limits: Any) -> Application:
        self.app = Application(self, Limits(**limits))
        return self.app

    def pair(self, **limits: Any) -> tuple[Client, Client, int]:
        return self.make(**limits).pair()

    def hold(self, *names: str) -> None:
        self.app.storage.held |= set(names)

    def answer_all(self) -> None:
        while self.app.storage.waiting:
            self.app.storage.answer()
            self.app.turn()

    def seconds_until(self, closed: Callable[[], Any], most: float = 100) -> float:
        """Let time pass until something is so."""
        start = self.app.clock.seconds()
        while not closed():
            self.assertLess(self.app.clock.seconds() - start, most, "it never happens")
            self.app.pass_seconds(0.5)
        return self.app.clock.seconds() - start


class TableTests(LimitsTests):
    def test_every_limit_has_a_test(self) -> None:
        import tests.test_files_limits
        import tests.test_limits_served
        import tests.test_uploads  # noqa: F401

        fields = {field.name for field in msgspec.structs.fields(Limits)}
        self.assertEqual(set(TESTS), fields)

    def test_every_limit_can_be_set_in_the_file(self) -> None:
        default = Limits()
        names = [field.name for field in msgspec.structs.fields(Limits)]
        numbers = [name for name in names if name != "trusted_addresses"]
        changed: dict[str, Any] = {name: getattr(default, name) + 1 for name in numbers}
        changed["trusted_addresses"] = ("192.0.2.0/24",)
        rows = "\n".join(f"{k} = {json.dumps(v)}" for k, v in changed.items())
        with TemporaryDirectory() as directory:
            file = Path(directory) / "imd.toml"
            file.write_text(f"[limits]\n{rows}\n")
            self.assertEqual(config.load({}, str(file)).limits, Limits(**changed))


class SendingTests(LimitsTests):
    @limits("inflight")
    def test_at_the_window_reading_stops_and_nothing_is_refused(self) -> None:
        for inflight in (1, 64):
            alice, _, conversation = self.pair(inflight=inflight)
            self.hold("append")
            alice.say(*[send(conversation, str(n)) for n in range(inflight)])
            self.assertTrue(alice.wire.reading)
            alice.say(*[send(conversation, str(n)) for n in range(inflight, inflight + 10)])
            self.assertFalse(alice.wire.reading)
            self.assertEqual(len(self.app.messaging.lanes[0]), inflight)
            self.answer_all()
            self.assertTrue(alice.wire.reading)
            seqs = [frame["seq"] for frame in alice.take("ack", "nack")]
            self.assertEqual(seqs, list(range(1, inflight + 11)))

    @limits("rate", "burst")
    def test_above_the_burst_messages_wait_for_their_rate(self) -> None:
        for rate, burst in ((4, 2), (2, 10)):
            alice, _, conversation = self.pair(rate=rate, burst=burst)
            alice.say(*[send(conversation, str(n)) for n in range(burst + 8)])
            self.assertEqual(len(alice.take("ack")), burst)
            self.assertFalse(alice.wire.reading)
            self.app.pass_seconds(1)
            self.assertEqual(len(alice.take("ack")), rate)
            self.seconds_until(lambda a=alice: a.wire.reading)
            self.assertIsNone(alice.wire.closed)

    @limits("rate")
    def test_all_devices_of_a_user_share_one_rate_and_0_is_none(self) -> None:
        alice, bob, conversation = self.pair(rate=1, burst=3)
        tablet = self.app.login("alice", register=False)
        alice.say(*[send(conversation, str(n)) for n in range(3)])
        tablet.text(conversation)
        self.assertEqual((len(alice.take("ack")), tablet.take("ack")), (3, []))
        bob.text(conversation)
        self.assertEqual(len(bob.take("ack")), 1)
        alice, _, conversation = self.pair(rate=0, burst=1)
        alice.say(*[send(conversation, str(n)) for n in range(200)])
        self.assertEqual(len(alice.take("ack")), 200)

    @limits("rate_held_seconds")
    def test_who_is_held_too_long_is_closed_4006_and_told_to_wait(self) -> None:
        for seconds in (3, 30):
            alice, _, conversation = self.pair(rate=1, burst=1, rate_held_seconds=seconds)
            alice.say(*[send(conversation, str(n)) for n in range(60)])
            held = self.seconds_until(lambda a=alice: a.wire.closed)
            self.assertEqual(alice.wire.closed, Close.ABUSIVE_RATE)
            self.assertTrue(seconds < held <= seconds + 1, held)
            self.assertGreaterEqual(alice.take("bye")[0]["retry"], 30_000)

    @limits("other_rate", "other_burst")
    def test_other_frames_have_a_rate_of_their_own(self) -> None:
        for rate, burst in ((4, 3), (2, 20)):
            # The frames that made the pair count as well; their bucket fills again.
            alice, _, conversation = self.pair(other_rate=rate, other_burst=burst)
            self.app.pass_seconds(burst / rate)
            alice.say(*[{"type": "ping", "n": n} for n in range(burst + 8)])
            self.assertEqual(len(alice.take("pong")), burst)
            self.assertFalse(alice.wire.reading)
            self.app.pass_seconds(1)
            self.assertEqual(len(alice.take("pong")), rate)
            again = self.app.resume(alice.welcome["token"])
            again.text(conversation)
            self.assertEqual(len(again.take("ack")), 1)

    @limits("text_bytes")
    def test_a_text_of_more_bytes_is_refused_alone(self) -> None:
        for size in (10, 16384):
            alice, _, conversation = self.pair(text_bytes=size)
            alice.say(send(conversation, "é" * (size // 2)))
            alice.say(send(conversation, "é" * (size // 2) + "x"))
            alice.say(send(conversation, "x" * size))
            frames = alice.take("ack", "nack")
            codes = sorted(frame.get("code", "") for frame in frames)
            self.assertEqual(codes, ["", "", Code.TOO_LARGE])

    @limits("lane_batch", "lane_bytes")
    def test_a_commit_takes_so_many_messages_and_bytes(self) -> None:
        for values, sizes in (
            ({"lane_batch": 3}, [3, 3, 1]),
            ({"lane_batch": 5}, [5, 2]),
            ({"lane_bytes": 250}, [2, 2, 2, 1]),
            ({"lane_bytes": 400}, [3, 3, 1]),
        ):
            alice, _, conversation = self.pair(**values)
            frames = [send(conversation, "x" * 100) for _ in range(7)]
            self.app.storage.calls.clear()
            alice.say(json.dumps(frames))
            batches = [len(a[0]) for name, a in self.app.storage.calls if name == "append"]
            self.assertEqual(batches, sizes)
            self.assertEqual(len(alice.take("ack")), 7)

    @limits("pending")
    def test_above_so_many_uncommitted_messages_the_process_reads_no_more(self) -> None:
        for pending in (2, 7):
            alice, bob, conversation = self.pair(pending=pending)
            self.hold("append")
            alice.say(*[send(conversation, str(n)) for n in range(pending)])
            self.assertTrue(bob.wire.reading)
            bob.say(*[send(conversation, str(n)) for n in range(5)])
            self.assertFalse(bob.wire.reading)
            self.assertEqual(len(self.app.messaging.lanes[0]), pending)
            self.answer_all()
            self.assertTrue(bob.wire.reading)
            self.assertEqual(len(bob.take("ack")), 5)

    @limits("commit_seconds")
    def test_a_commit_that_takes_too_long_closes_4001(self) -> None:
        for seconds in (2, 10):
            alice, bob, conversation = self.pair(commit_seconds=seconds)
            self.app.storage.fail("append", times=1000)
            alice.text(conversation)
            took = self.seconds_until(lambda a=alice: a.wire.closed)
            self.assertEqual(alice.wire.closed, Close.STORAGE_UNAVAILABLE)
            self.assertTrue(seconds <= took <= seconds + 1, took)
            self.assertEqual(alice.take("ack", "nack"), [])
            self.assertIsNone(bob.wire.closed)


class TimeoutTests(LimitsTests):
    @limits("hello_seconds")
    def test_a_client_that_says_no_hello_is_closed_4004_whatever_else_it_says(self) -> None:
        for seconds in (2, 10):
            self.make(hello_seconds=seconds, bad_frames=1000)
            silent, talker = self.app.connect(), self.app.connect()

            def closed(silent: Client = silent, talker: Client = talker) -> bool:
                talker.say({"type": "hello", "req": 1})
                return silent.wire.closed is not None and talker.wire.closed is not None

            took = self.seconds_until(closed)
            self.assertEqual([silent.wire.closed, talker.wire.closed], [Close.NO_HELLO] * 2)
            self.assertTrue(seconds < took <= seconds + 1, took)

    @limits("silence_seconds")
    def test_a_client_that_says_nothing_is_closed_4003(self) -> None:
        for seconds in (3, 75):
            self.make(silence_seconds=seconds)
            alice = self.app.login("alice")
            took = self.seconds_until(lambda a=alice: a.wire.closed)
            self.assertEqual(alice.wire.closed, Close.SILENCE)
            self.assertTrue(seconds < took <= seconds + 1, took)

    @limits("heartbeat_seconds", "file_bytes")
    def test_what_clients_have_to_keep_to_is_announced(self) -> None:
        for seconds, size in ((5, 1000), (30, 104857600)):
            self.make(heartbeat_seconds=seconds, file_bytes=size)
            welcome = self.app.login("alice").welcome
            self.assertEqual(welcome["heartbeat"], seconds)
            self.assertEqual(welcome["limits"]["file_bytes"], size)

    @limits("paused_seconds")
    def test_a_client_that_does_not_read_costs_heads_and_then_4002(self) -> None:
        for seconds in (3, 30):
            alice, bob, conversation = self.pair(paused_seconds=seconds, rate=0)
            bob.connection.paused()
            for _ in range(50):
                alice.say(*[send(conversation, "x" * 1000) for _ in range(10)])
            self.assertEqual(bob.take(), [])
            self.assertEqual(bob.connection._session._dirty, {conversation})
            self.assertIsNone(bob.connection._out)
            took = self.seconds_until(lambda b=bob: b.wire.closed)
            self.assertEqual(bob.wire.closed, Close.SLOW_CONSUMER)
            self.assertTrue(seconds < took <= seconds + 1, took)


class ReadingTests(LimitsTests):
    def fetch(self, client: Client, conversation: int, limit: int = 200) -> list[Frame]:
        client.say({"type": "fetch", "req": 1, "conv": conversation, "limit": limit})
        (msgs,) = client.take("msgs")
        items: list[Frame] = msgs["items"]
        return items

    @limits("fetch_items")
    def test_an_answer_holds_so_many_messages(self) -> None:
        for most in (3, 20):
            alice, _, conversation = self.pair(fetch_items=most, rate=0)
            alice.say(*[send(conversation, str(n)) for n in range(30)])
            alice.take()
            self.assertEqual(len(self.fetch(alice, conversation)), most)

    @limits("fetch_bytes")
    def test_an_answer_holds_so_many_bytes(self) -> None:
        for most in (30_000, 100_000):
            alice, _, conversation = self.pair(fetch_bytes=most, rate=0)
            alice.say(*[send(conversation, "x" * 1000) for _ in range(150)])
            alice.take()
            items = self.fetch(alice, conversation, limit=100)
            self.assertLessEqual(len(json.dumps(items)), most)
            self.assertGreater(len(items), most // 20_000)

    @limits("fetches")
    def test_so_many_requests_of_a_session_are_at_work_and_the_others_wait(self) -> None:
        for most in (1, 8):
            alice, bob, conversation = self.pair(fetches=most)
            self.hold("history", "heads", "find_user")
            frames: list[Frame] = [{"type": "sync", "req": 0}]
            frames += [{"type": "call", "req": 1, "method": "account.get"}]
            frames += [
                {"type": "fetch", "req": n, "conv": conversation, "limit": 1} for n in range(2, 12)
            ]
            alice.say(*frames)
            self.assertEqual(self.app.storage.waiting, most)
            self.assertFalse(alice.wire.reading)
            self.assertTrue(bob.wire.reading)
            self.answer_all()
            self.assertEqual({f["req"] for f in alice.take()}, set(range(12)))

    @limits("logins")
    def test_so_many_logins_by_token_are_at_work_and_the_others_wait_their_turn(self) -> None:
        for most in (1, 3):
            app = self.make(logins=most)
            tokens = [app.login(name).welcome["token"] for name in "abcdef"]
            self.hold("open_session")
            clients = [app.resume(token) for token in tokens]
            clients[3].gone()
            self.assertEqual(app.storage.waiting, most)
            before = app.storage.count("open_session")
            self.answer_all()
            self.assertEqual(app.storage.count("open_session") - before, 5 - most)
            for n, client in enumerate(clients):
                self.assertEqual(len(client.take("welcome")), n != 3)

    @limits("logins")
    def test_who_waits_too_long_for_a_login_is_told_when_to_come_back(self) -> None:
        app = self.make(logins=1)
        tokens = [app.login(name).welcome["token"] for name in "ab"]
        self.hold("open_session")
        first, second = [app.resume(token) for token in tokens]
        app.pass_seconds(LOGIN_WAIT)
        self.assertEqual(second.wire.closed, Close.STORAGE_UNAVAILABLE)
        self.assertEqual(len(second.take("bye")), 1)
        self.answer_all()
        self.assertEqual(len(first.take("welcome")), 1)
        self.assertEqual(len(app.resume(tokens[1]).take()), 0)
        self.answer_all()

    @limits("syncs")
    def test_so_many_syncs_of_all_sessions_read_and_the_others_wait(self) -> None:
        for most in (1, 3):
            app = self.make(syncs=most)
            clients = [app.login(name) for name in "abcdef"]
            self.hold("heads")
            for client in clients:
                client.say({"type": "sync", "req": 1})
            self.assertEqual(app.storage.waiting, most)
            self.answer_all()
            for client in clients:
                self.assertEqual(len(client.take("heads")), 1)

    @limits("bad_frames")
    def test_so_many_malformed_frames_end_a_session(self) -> None:
        for most in (1, 10):
            self.make(bad_frames=most)
            alice = self.app.login("alice")
            for n in range(most):
                self.assertIsNone(alice.wire.closed, n)
                alice.say({"type": "ping", "n": 1, "extra": 1})
            self.assertEqual(alice.wire.closed, Close.PROTOCOL_VIOLATION)
            self.assertEqual(len(alice.take("error")), most - 1)


#: A rate passes with time; the number of devices does not.
_CLOSES = (Close.ABUSIVE_RATE, Close.BAD_CREDENTIALS)


class AccountsTests(LimitsTests):
    HOME = "192.0.2.1"

    def login(self, name: str, address: str = HOME, register: bool = False) -> str | None:
        """The code with which a login is refused."""
        client = self.app.connect(address)
        hello: Frame = {"type": "hello", "req": 1, "user": name, "password": "x", "device": "d"}
        client.say(hello | ({"register": True} if register else {}))
        codes = [frame["code"] for frame in client.take("error")]
        self.assertIn(client.wire.closed, _CLOSES if codes else (None,))
        client.gone()
        return codes[0] if codes else None

    @limits("devices")
    def test_a_user_has_so_many_devices(self) -> None:
        for most in (1, 10):
            self.make(devices=most)
            self.assertIsNone(self.login("alice", register=True))
            codes = [self.login("alice") for _ in range(most)]
            self.assertEqual(codes, [None] * (most - 1) + [Code.LIMIT])

    @limits("logins_per_minute")
    def test_so_many_logins_a_minute_come_from_an_address(self) -> None:
        for most in (2, 8):
            self.make(logins_per_minute=most)
            self.login("alice", register=True)
            codes = [self.login("alice") for _ in range(most + 1)]
            self.assertEqual(codes, [None] * most + [Code.LIMIT])
            self.app.clock.advance(60 / most)
            self.assertIsNone(self.login("alice"))

    @limits("registrations_per_hour")
    def test_so_many_new_accounts_an_hour_come_from_an_address(self) -> None:
        for most in (2, 8):
            self.make(registrations_per_hour=most)
            codes = [self.login(f"user{n}", register=True) for n in range(most + 1)]
            self.assertEqual(codes, [None] * most + [Code.LIMIT])
            self.app.clock.advance(3600 / most)
            self.assertIsNone(self.login("late", register=True))

    @limits("friend_requests_per_hour", "finds_per_minute")
    def test_a_user_makes_so_many_requests_and_look_ups(self) -> None:
        for field, method, seconds in (
            ("friend_requests_per_hour", "friend.add", 3600),
            ("finds_per_minute", "user.find", 60),
        ):
            for most in (2, 8):
                self.make(**{field: most})
                alice = self.app.login("alice")
                codes = [alice.call(method, user="nobody")["code"] for _ in range(most + 1)]
                self.assertEqual(codes, [Code.NOT_FOUND] * most + [Code.LIMIT])
                self.app.clock.advance(seconds / most)
                self.assertEqual(alice.call(method, user="nobody")["code"], Code.NOT_FOUND)

    @limits("trusted_addresses")
    def test_networks_that_are_trusted_are_not_limited(self) -> None:
        for trusted, home, other in (
            (("192.0.2.0/24",), "192.0.2.9", "127.0.0.1"),
            (("2001:db8::/32",), "2001:db8::9", "2001:db9::9"),
            (("192.0.2.0/24",), "::ffff:192.0.2.9", "::ffff:127.0.0.1"),
        ):
            self.make(trusted_addresses=trusted, logins_per_minute=1, connections_per_address=1)
            crowd = Crowd(self.app.limits)
            self.login("alice", home, register=True)
            for address, limited in ((home, False), (other, True)):
                codes = {self.login("alice", address) for _ in range(3)}
                self.assertEqual(codes, {None, Code.LIMIT} if limited else {None})
                entered = [crowd.enter(address) for _ in range(3)]
                self.assertEqual(entered, [True, True, not limited])
                self.assertIs(crowd.crowded(address), limited)


class CrowdTests(LimitsTests):
    @limits("connections_per_address")
    def test_an_address_has_so_many_connections_then_a_refusal_then_nothing(self) -> None:
        for most in (1, 256):
            crowd = Crowd(Limits(connections_per_address=most))
            address = "192.0.2.1"
            self.assertTrue(all(crowd.enter(address) for _ in range(most)))
            self.assertFalse(crowd.crowded(address))
            self.assertTrue(all(crowd.enter(address) for _ in range(most)))
            self.assertTrue(crowd.crowded(address))
            self.assertFalse(crowd.enter(address))
            self.assertTrue(crowd.enter("192.0.2.2"))
            self.assertFalse(crowd.crowded("192.0.2.2"))
            for _ in range(most):
                crowd.leave(address)
            self.assertFalse(crowd.crowded(address))
            self.assertTrue(crowd.enter(address))

    @limits("connections_per_address")
    def test_all_of_an_ipv6_network_is_one_address_and_ipv4_in_ipv6_is_not(self) -> None:
        crowd = Crowd(Limits(connections_per_address=1, trusted_addresses=()))
        for address in ("2001:db8:0:1::1", "2001:db8:0:1::2", "::ffff:192.0.2.1"):
            crowd.enter(address)
        self.assertTrue(crowd.crowded("2001:db8:0:1::3"))
        self.assertFalse(crowd.crowded("2001:db8:0:2::1"))
        self.assertFalse(crowd.crowded("::ffff:192.0.2.2"))
        self.assertFalse(crowd.crowded("192.0.2.1"))
        crowd.enter("192.0.2.1")
        self.assertTrue(crowd.crowded("::ffff:192.0.2.1"))

    @limits("connections")
    def test_a_process_has_so_many_connections_and_trust_does_not_help(self) -> None:
        for most in (1, 300):
            crowd = Crowd(Limits(connections=most))
            self.assertTrue(all(crowd.enter("127.0.0.1") for _ in range(most)))
            self.assertFalse(crowd.enter("127.0.0.1"))
            self.assertFalse(crowd.enter("192.0.2.1"))
            crowd.leave("127.0.0.1")
            self.assertTrue(crowd.enter("192.0.2.1"))
