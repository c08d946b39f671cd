"""The state machine of one session: what goes in, and which effects come out."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET, Raw
from twisted.trial.unittest import SynchronousTestCase

from imd import wire
from imd.decoding import Malformed
from imd.effects import (
    Advance,
    Authenticate,
    CloseWith,
    Effects,
    Pong,
    Refresh,
    Reply,
    Request,
    Submit,
)
from imd.errors import Close, Code, Refusal, SessionRefused
from imd.limits import Limits
from imd.model import NOBODY, Cursor, Identity, NewMessage, User
from imd.session import MOST_EARLY, RATE_RETRY, UNTIL_EVENT, Session, State
from imd.throttle import TokenBucket

SERVER = msgspec.json.Decoder(wire.AnyServerFrame)
UUID = "01900000-0000-7000-8000-0000000000a1"
ALICE = Identity(User(11, "alice"), 3, session=5)
HELLO = wire.Hello(1, token="t")
WELCOME = wire.Welcome(
    1, wire.UserRef(11, "alice"), 3, 5, "e", 0, 30, wire.Limits(64, 1, 1, 1, 64), 0, []
)
PUSHED = b'{"type":"head","conv":7,"last":1}'
SYNC, CALL, PING = wire.Sync(1), wire.Call(1, "friend.list"), wire.Ping(1)
MARK, FETCH = wire.Mark(7, delivered=1), wire.Fetch(1, 7, 10)


def free() -> TokenBucket:
    """A bucket that is never empty."""
    return TokenBucket(0, 1)


def connected(limits: Limits | None = None, others: TokenBucket | None = None) -> Session:
    return Session(limits or Limits(), others or free(), 0)


def authenticating(limits: Limits | None = None, others: TokenBucket | None = None) -> Session:
    session = connected(limits, others)
    session.receive(HELLO)
    return session


def registering(
    limits: Limits | None = None,
    others: TokenBucket | None = None,
    sends: TokenBucket | None = None,
) -> Session:
    session = authenticating(limits, others)
    session.admitted(ALICE, sends or free())
    return session


def ready(
    limits: Limits | None = None,
    others: TokenBucket | None = None,
    sends: TokenBucket | None = None,
) -> Session:
    session = registering(limits, others, sends)
    session.registered(WELCOME)
    return session


def send(text: str = "hi", **fields: Any) -> wire.Send:
    body = Raw(wire.encode({"text": text}))
    return wire.Send(**{"id": UUID, "conversation": 7, "kind": "text", "body": body} | fields)


def frames(effects: Effects) -> list[wire.AnyServerFrame]:
    """What the client is told."""
    return [SERVER.decode(effect.frame) for effect in effects if isinstance(effect, Reply)]


def closes(effects: Effects) -> list[Close]:
    return [effect.code for effect in effects if isinstance(effect, CloseWith)]


STATES = {
    State.CONNECTED: connected,
    State.AUTHENTICATING: authenticating,
    State.REGISTERING: registering,
    State.READY: ready,
}


class LoginTests(SynchronousTestCase):
    """CONNECTED → AUTHENTICATING → REGISTERING → READY."""

    def test_each_step_is_taken_in_its_order(self) -> None:
        session = connected()
        self.assertEqual((session.state, session.identity), (State.CONNECTED, NOBODY))
        self.assertEqual(session.receive(HELLO), (Authenticate(HELLO),))
        self.assertIs(session.state, State.AUTHENTICATING)
        self.assertEqual(session.admitted(ALICE, free()), ())
        self.assertEqual((session.state, session.identity), (State.REGISTERING, ALICE))
        self.assertFalse(session.ready)
        self.assertEqual(session.registered(WELCOME), (Reply(wire.encode(WELCOME)),))
        self.assertIs(session.state, State.READY)
        self.assertTrue(session.ready)

    def test_answers_that_come_out_of_order_change_nothing(self) -> None:
        for make in [connected, registering, ready]:
            session = make()
            before = session.state, session.identity
            self.assertEqual(session.admitted(Identity(User(9, "x"), 9), free()), ())
            self.assertEqual((session.state, session.identity), before)
        for make in [connected, authenticating, ready]:
            session = make()
            before = session.state, session.identity
            self.assertEqual(session.registered(WELCOME), ())
            self.assertEqual((session.state, session.identity), before)

    def test_hello_with_a_password_needs_user_password_and_device(self) -> None:
        whole = {"user": "alice", "password": "secret", "device": "phone"}
        session = connected()
        hello = wire.Hello(1, **whole, register=True)
        self.assertEqual(session.receive(hello), (Authenticate(hello),))
        for missing in whole:
            self.faulty(wire.Hello(4, **{k: v for k, v in whole.items() if k != missing}))
        self.faulty(wire.Hello(4))
        self.faulty(wire.Hello(4, register=True))

    def test_hello_takes_a_token_or_a_password_and_not_both(self) -> None:
        more: list[dict[str, Any]] = [{"user": "a"}, {"password": "p"}, {"device": "d"}]
        for fields in [*more, {"register": False}, {"register": True}]:
            self.faulty(wire.Hello(4, token="t", **fields))

    def faulty(self, hello: wire.Hello) -> None:
        """It is answered, and another hello may follow."""
        session = connected()
        (error,) = frames(session.receive(hello))
        assert isinstance(error, wire.Error)
        self.assertEqual((error.code, error.req), ("bad_request", 4))
        self.assertIs(session.state, State.CONNECTED)
        self.assertEqual(session.receive(HELLO), (Authenticate(HELLO),))

    def test_a_capability_the_client_cannot_do_without_is_4503(self) -> None:
        effects = connected().receive(wire.Hello(1, token="t", caps=["groups", "!groups"]))
        self.assertEqual(closes(effects), [Close.VERSION])
        self.assertIn("!groups", effects[0].reason)  # type: ignore[union-attr]

    def test_other_capabilities_may_be_unknown(self) -> None:
        hello = wire.Hello(1, token="t", caps=["groups", "typing"])
        self.assertEqual(connected().receive(hello), (Authenticate(hello),))

    def test_another_frame_first_is_4500(self) -> None:
        for frame in [send(), MARK, FETCH, SYNC, CALL, PING]:
            session = connected()
            self.assertEqual(closes(session.receive(frame)), [Close.PROTOCOL_VIOLATION])
            self.assertIs(session.state, State.CLOSED)

    def test_a_second_hello_is_4500_whoever_it_names(self) -> None:
        for hello in [HELLO, wire.Hello(2, user="bob", password="p", device="d")]:
            effects = ready().receive(hello)
            self.assertEqual(closes(effects), [Close.PROTOCOL_VIOLATION])

    def test_frames_wait_until_the_login_is_over(self) -> None:
        for make in [authenticating, registering]:
            for frame in [HELLO, send(), PING, Malformed("x")]:
                session = make()
                self.assertEqual(session.wait(frame, 0), UNTIL_EVENT)
                if not isinstance(frame, Malformed):
                    self.assertEqual(session.receive(frame), ())


class RefusedTests(SynchronousTestCase):
    """A login that fails is answered, and closes with the code that fits."""

    def test_the_code_decides_the_close(self) -> None:
        for refusal, close in [
            (Refusal(Code.UNAUTHORIZED, "m"), Close.BAD_CREDENTIALS),
            (Refusal(Code.LOCKED, "m"), Close.BAD_CREDENTIALS),
            (Refusal(Code.EXISTS, "m"), Close.BAD_CREDENTIALS),
            (Refusal(Code.UNAVAILABLE, "m"), Close.STORAGE_UNAVAILABLE),
            (Refusal(Code.INTERNAL, "m"), Close.INTERNAL),
            (SessionRefused(Close.DISABLED, Code.FORBIDDEN, "m"), Close.DISABLED),
            (SessionRefused(Close.CONNECTION_LIMIT, Code.LIMIT, "m"), Close.CONNECTION_LIMIT),
        ]:
            for make in [authenticating, registering]:
                session = make()
                effects = session.refused("r", refusal)
                self.assertEqual(frames(effects), [wire.Error(refusal.code, "m", "r")])
                self.assertEqual(effects[1:], (CloseWith(close, "m"),))
                self.assertIs(session.state, State.CLOSED)

    def test_a_refusal_after_the_end_is_not_sent(self) -> None:
        session = authenticating()
        session.lost()
        self.assertEqual(session.refused(1, Refusal(Code.UNAUTHORIZED, "m")), ())


class SendTests(SynchronousTestCase):
    """A send is submitted, refused for good, or the session closes."""

    def test_a_text_is_submitted_in_its_canonical_form(self) -> None:
        body = Raw(b'{ "text": "h\\u0069" }')
        effects = ready().receive(send(id=UUID.upper(), body=body))
        uuid = bytes.fromhex(UUID.replace("-", ""))
        message = NewMessage(7, 11, 3, uuid, "text", b'{"text":"hi"}', session=5)
        self.assertEqual(effects, (Submit(UUID.upper(), message),))

    def test_a_file_is_submitted_with_its_id(self) -> None:
        body = wire.FileBody(file=9, name="a", size=1, mime="m/m", sha256="0" * 64)
        (effect,) = ready().receive(send(kind="file", body=Raw(wire.encode(body))))
        assert isinstance(effect, Submit)
        self.assertEqual((effect.message.kind, effect.message.file), ("file", 9))
        self.assertEqual(effect.message.body, wire.encode(body))

    def test_an_id_that_is_no_uuid_is_refused_by_its_own_spelling(self) -> None:
        for id in ["", "x", UUID.replace("-", ""), f"{{{UUID}}}"]:
            (nack,) = frames(ready().receive(send(id=id)))
            assert isinstance(nack, wire.Nack)
            self.assertEqual((nack.id, nack.code), (id, "bad_id"))

    def test_a_text_may_fill_the_limit_to_the_byte(self) -> None:
        limits = Limits(text_bytes=12)
        for text in ["x" * 12, "é" * 6, "語" * 4, "😀" * 3]:
            self.assertIsInstance(ready(limits).receive(send(text))[0], Submit)
            (nack,) = frames(ready(limits).receive(send(text + "x")))
            assert isinstance(nack, wire.Nack)
            self.assertEqual((nack.id, nack.code), (UUID, "too_large"))

    def test_the_caption_of_a_file_has_the_same_limit(self) -> None:
        body = wire.FileBody(file=9, name="a", size=1, mime="m", sha256="0" * 64, text="xxxxx")
        frame = send(kind="file", body=Raw(wire.encode(body)))
        self.assertIsInstance(ready(Limits(text_bytes=5)).receive(frame)[0], Submit)
        (nack,) = frames(ready(Limits(text_bytes=4)).receive(frame))
        self.assertEqual(getattr(nack, "code", None), "too_large")

    def test_a_body_that_is_not_of_its_kind_is_refused_and_counts_as_malformed(self) -> None:
        session = ready(Limits(bad_frames=2))
        (nack,) = frames(session.receive(send(kind="file")))
        assert isinstance(nack, wire.Nack)
        self.assertEqual((nack.id, nack.code), (UUID, "bad_request"))
        effects = session.receive(send(body=Raw(b'{"text":"a","text":"b"}')))
        self.assertEqual(closes(effects), [Close.PROTOCOL_VIOLATION])

    def test_what_is_refused_does_not_fill_the_window(self) -> None:
        session = ready(Limits(inflight=1, text_bytes=1))
        for frame in [send(), send(id="x"), send(kind="file")]:
            session.receive(frame)
        self.assertEqual(session.wait(send(), 0), 0)


class FrameTests(SynchronousTestCase):
    """The other frames of a client that is logged in."""

    def test_a_mark_is_a_cursor_and_read_implies_delivered(self) -> None:
        for mark, delivered, read in [
            (wire.Mark(7, delivered=5), 5, 0),
            (wire.Mark(7, read=5), 5, 5),
            (wire.Mark(7, delivered=3, read=5), 5, 5),
            (wire.Mark(7, delivered=5, read=3), 5, 3),
            (wire.Mark(7, delivered=0, read=0), 0, 0),
        ]:
            cursor = Cursor(7, 11, delivered, read)
            self.assertEqual(ready().receive(mark), (Advance(cursor),))

    def test_a_mark_of_nothing_is_malformed(self) -> None:
        (error,) = frames(ready().receive(wire.Mark(7)))
        self.assertEqual(getattr(error, "code", None), "bad_request")

    def test_fetch_sync_and_call_are_requests(self) -> None:
        after, before = wire.Fetch(1, 7, 10, after=3), wire.Fetch(1, 7, 10, before=3)
        for frame in [FETCH, after, before, SYNC, CALL]:
            self.assertEqual(ready().receive(frame), (Request(frame),))

    def test_fetch_takes_after_or_before(self) -> None:
        (error,) = frames(ready().receive(wire.Fetch("r", 7, 10, after=1, before=3)))
        assert isinstance(error, wire.Error)
        self.assertEqual((error.code, error.req), ("bad_request", "r"))

    def test_a_ping_is_answered_and_says_whether_a_token_would_be_honest(self) -> None:
        session = ready()
        self.assertEqual(session.receive(wire.Ping(9)), (Pong(9, False),))
        session.synced = True
        self.assertEqual(session.receive(wire.Ping(9)), (Pong(9, True),))


class MalformedTests(SynchronousTestCase):
    """Broken frames are answered, the tenth closes."""

    def test_a_broken_frame_is_answered_by_its_req(self) -> None:
        for req in [7, "r", UNSET]:
            (error,) = frames(ready().receive(Malformed("why", req)))
            self.assertEqual(error, wire.Error("bad_request", "why", req))

    def test_a_broken_send_is_refused_by_its_id(self) -> None:
        (nack,) = frames(ready().receive(Malformed("why", id="i")))
        self.assertEqual(nack, wire.Nack("i", "bad_request", "why"))

    def test_what_has_both_is_no_send(self) -> None:
        (error,) = frames(ready().receive(Malformed("why", 7, "i")))
        self.assertEqual(error, wire.Error("bad_request", "why", 7))

    def test_the_tenth_of_a_session_is_4500(self) -> None:
        for make in [connected, ready]:
            session = make()
            for _ in range(9):
                self.assertEqual(len(frames(session.receive(Malformed("x")))), 1)
            effects = session.receive(Malformed("x"))
            self.assertEqual(effects, (CloseWith(Close.PROTOCOL_VIOLATION, effects[0].reason),))  # type: ignore[union-attr]
            self.assertEqual(session.receive(Malformed("x")), ())

    def test_those_before_the_login_count_as_well_and_good_ones_do_not_help(self) -> None:
        session = connected(Limits(bad_frames=3))
        session.receive(Malformed("x"))
        session.receive(HELLO)
        session.admitted(ALICE, free())
        session.registered(WELCOME)
        session.receive(wire.Mark(7))
        session.receive(PING)
        effects = session.receive(wire.Fetch(1, 7, 1, after=1, before=1))
        self.assertEqual(closes(effects), [Close.PROTOCOL_VIOLATION])

    def test_what_is_not_json_is_4500_at_once(self) -> None:
        for make in STATES.values():
            effects = make().not_json("not JSON")
            self.assertEqual(effects, (CloseWith(Close.PROTOCOL_VIOLATION, "not JSON"),))


class FlowTests(SynchronousTestCase):
    """The window, the rates, and how many requests are at work."""

    def test_the_window_is_64_sends_and_opens_one_by_one(self) -> None:
        session = ready()
        for _ in range(64):
            self.assertEqual(session.wait(send(), 0), 0)
            session.receive(send())
        self.assertEqual(session.wait(send(), 0), UNTIL_EVENT)
        self.assertEqual(session.wait(PING, 0), 0)
        session.settled()
        self.assertEqual(session.wait(send(), 0), 0)
        session.receive(send())
        self.assertEqual(session.wait(send(), 0), UNTIL_EVENT)

    def test_eight_requests_are_at_work_whatever_they_are(self) -> None:
        session = ready()
        for frame in [FETCH, SYNC, CALL, FETCH, SYNC, CALL, FETCH, SYNC]:
            self.assertEqual(session.wait(frame, 0), 0)
            session.receive(frame)
        for frame in [FETCH, SYNC, CALL]:
            self.assertEqual(session.wait(frame, 0), UNTIL_EVENT)
        self.assertEqual([session.wait(f, 0) for f in [send(), MARK, PING]], [0, 0, 0])
        session.answered()
        self.assertEqual(session.wait(CALL, 0), 0)

    def test_sends_have_the_bucket_of_the_user_and_the_rest_that_of_the_connection(self) -> None:
        session = ready(others=TokenBucket(1, 2), sends=TokenBucket(2, 1))
        self.assertEqual([session.wait(send(), 0) for _ in range(2)], [0, 0.5])
        waits = [session.wait(frame, 0) for frame in [MARK, Malformed("x"), PING]]
        self.assertEqual(waits, [0, 0, 1])

    def test_nothing_is_taken_from_a_bucket_while_the_window_is_full(self) -> None:
        session = ready(Limits(inflight=1, fetches=1), TokenBucket(1, 2), TokenBucket(1, 2))
        for frame in [send(), SYNC]:
            self.assertEqual(session.wait(frame, 0), 0)
            session.receive(frame)
            self.assertEqual({session.wait(frame, 0) for _ in range(9)}, {UNTIL_EVENT})
        session.settled()
        session.answered()
        self.assertEqual([session.wait(send(), 0), session.wait(SYNC, 0)], [0, 0])

    def test_before_the_login_no_rate_holds(self) -> None:
        session = connected(others=TokenBucket(1, 1))
        self.assertEqual({session.wait(Malformed("x"), 0) for _ in range(9)}, {0})

    def test_nothing_is_taken_in_while_the_client_does_not_read(self) -> None:
        session = ready()
        session.paused(0)
        for frame in [send(), PING, Malformed("x")]:
            self.assertEqual(session.wait(frame, 0), UNTIL_EVENT)
        session.resumed()
        self.assertEqual(session.wait(PING, 0), 0)

    def test_held_for_more_than_30_s_is_4006_with_a_time_to_stay_away(self) -> None:
        for frame in [send(), MARK]:
            session = ready(others=TokenBucket(0.001, 1), sends=TokenBucket(0.001, 1))
            self.assertEqual(session.wait(frame, 5), 0)
            for now in [10, 20]:
                self.assertGreater(session.wait(frame, now), 0)
            self.assertEqual(session.tick(40), ())
            (effect,) = session.tick(40.1)
            assert isinstance(effect, CloseWith)
            self.assertEqual((effect.code, effect.retry), (Close.ABUSIVE_RATE, RATE_RETRY))
            self.assertGreaterEqual(RATE_RETRY, 30_000)

    def test_who_is_let_in_meanwhile_and_keeps_coming_is_held_all_the_same(self) -> None:
        session = ready(sends=TokenBucket(1, 1))
        for now in range(31):
            self.assertEqual(session.wait(send(), now), 0)
            self.assertGreater(session.wait(send(), now), 0)
            self.assertEqual(session.tick(now), ())
        self.assertEqual(closes(session.tick(30.1)), [Close.ABUSIVE_RATE])

    def test_who_has_nothing_left_to_say_is_not_held_any_more(self) -> None:
        session = ready(sends=TokenBucket(0.5, 1))
        session.wait(send(), 0)
        session.wait(send(), 0)
        session.drained()
        self.assertEqual(session.tick(40), ())
        session.wait(send(), 40)
        session.wait(send(), 40)
        self.assertEqual(session.tick(70), ())

    def test_a_full_window_is_no_abuse(self) -> None:
        session = ready(Limits(inflight=1))
        session.receive(send())
        self.assertEqual(session.wait(send(), 0), UNTIL_EVENT)
        session.heard = 60
        self.assertEqual(session.tick(60), ())


class ControlTests(SynchronousTestCase):
    """Pings and pongs of WebSocket itself."""

    def test_too_many_end_the_session_in_whatever_state_and_once(self) -> None:
        for make in (connected, authenticating, registering, ready):
            session = make(others=TokenBucket(1, 2))
            now = session.heard
            self.assertEqual([session.control(now), session.control(now)], [(), ()])
            (close,) = session.control(now)
            self.assertEqual(close, CloseWith(Close.ABUSIVE_RATE, "too many pings", RATE_RETRY))
            self.assertEqual(session.control(now), ())

    def test_a_few_a_second_do_no_harm(self) -> None:
        session = ready(others=TokenBucket(1, 1))
        self.assertEqual([session.control(100.0 + second) for second in range(5)], [()] * 5)


class PushTests(SynchronousTestCase):
    """Pushes to a client that reads, and to one that does not."""

    def test_before_ready_nothing_is_pushed_for_the_heads_will_have_it(self) -> None:
        for make in [connected, authenticating, registering]:
            session = make()
            self.assertEqual(session.push(7, PUSHED), ())
            self.assertEqual(session.notify(PUSHED), ())
            session.paused(0)
            session.push(7, PUSHED)
            self.assertEqual(session.resumed(), ())

    def test_a_hint_that_comes_during_the_login_follows_the_welcome_unless_there_are_too_many(
        self,
    ) -> None:
        session = registering()
        hints = [b"%d" % n for n in range(MOST_EARLY + 1)]
        for hint in hints:
            self.assertEqual(session.notify(hint), ())
        _, *early = session.registered(WELCOME)
        self.assertEqual(early, [Reply(hint) for hint in hints[:MOST_EARLY]])

    def test_a_client_that_reads_gets_everything(self) -> None:
        session = ready()
        self.assertEqual(session.push(7, PUSHED), (Reply(PUSHED),))
        self.assertEqual(session.notify(PUSHED), (Reply(PUSHED),))

    def test_while_paused_conversations_are_remembered_once_and_hints_dropped(self) -> None:
        session = ready()
        self.assertTrue(session.writable)
        session.paused(0)
        self.assertFalse(session.writable)
        for conversation in [9, 7, 9]:
            self.assertEqual(session.push(conversation, PUSHED), ())
        self.assertEqual(session.notify(PUSHED), ())
        self.assertEqual(session.resumed(), (Refresh((7, 9)),))
        self.assertTrue(session.writable)
        self.assertEqual(session.refreshed(), ())

    def test_a_pause_in_which_nothing_happened_needs_no_refresh(self) -> None:
        session = ready()
        session.paused(0)
        self.assertEqual(session.resumed(), ())

    def test_one_refresh_at_a_time_and_what_came_meanwhile_follows(self) -> None:
        session = ready()
        session.paused(0)
        session.push(7, PUSHED)
        session.resumed()
        session.paused(1)
        session.push(8, PUSHED)
        self.assertEqual(session.resumed(), ())
        self.assertEqual(session.push(6, PUSHED), (Reply(PUSHED),))
        self.assertEqual(session.refreshed(), (Refresh((8,)),))
        self.assertEqual(session.refreshed(), ())

    def test_a_refresh_that_ends_while_paused_leaves_the_rest_to_the_next_resume(self) -> None:
        session = ready()
        session.paused(0)
        session.push(7, PUSHED)
        session.resumed()
        session.paused(1)
        session.push(8, PUSHED)
        self.assertEqual(session.refreshed(), ())
        self.assertEqual(session.resumed(), (Refresh((8,)),))

    def test_clean_is_only_who_was_told_everything(self) -> None:
        session = ready()
        self.assertFalse(session.clean)
        session.synced = True
        self.assertTrue(session.clean)
        session.paused(0)
        self.assertTrue(session.clean)
        session.push(7, PUSHED)
        self.assertFalse(session.clean)
        session.resumed()
        self.assertFalse(session.clean)
        session.refreshed()
        self.assertTrue(session.clean)


class TimeTests(SynchronousTestCase):
    """What the clock alone decides."""

    def test_no_hello_in_10_s_is_4004(self) -> None:
        session = connected()
        session.heard = 9
        self.assertEqual(session.tick(10), ())
        self.assertEqual(closes(session.tick(10.1)), [Close.NO_HELLO])

    def test_broken_frames_do_not_count_as_hello(self) -> None:
        session = connected()
        session.receive(Malformed("x"))
        self.assertEqual(closes(session.tick(10.1)), [Close.NO_HELLO])

    def test_a_login_may_take_as_long_as_storage_takes(self) -> None:
        for make in [authenticating, registering]:
            self.assertEqual(make().tick(1000), ())

    def test_75_s_of_silence_are_4003(self) -> None:
        session = ready()
        session.heard = 100
        self.assertEqual(session.tick(175), ())
        self.assertEqual(closes(session.tick(175.1)), [Close.SILENCE])

    def test_paused_for_more_than_30_s_is_4002(self) -> None:
        session = ready()
        session.paused(5)
        session.paused(20)
        self.assertEqual(session.tick(35), ())
        self.assertEqual(closes(session.tick(35.1)), [Close.SLOW_CONSUMER])

    def test_each_pause_counts_for_itself(self) -> None:
        session = ready()
        session.paused(0)
        session.resumed()
        session.paused(20)
        self.assertEqual(session.tick(50), ())

    def test_who_cannot_be_read_from_is_not_silent(self) -> None:
        limits = Limits(paused_seconds=1000, rate_held_seconds=1000)
        session = ready(limits)
        session.paused(0)
        self.assertEqual(session.tick(500), ())
        session = ready(limits, others=TokenBucket(0.001, 1))
        session.wait(PING, 0)
        session.wait(PING, 0)
        self.assertEqual(session.tick(500), ())


class EndTests(SynchronousTestCase):
    """After CLOSED nothing comes out, whatever goes in."""

    def test_a_session_closes_once(self) -> None:
        for make in STATES.values():
            session = make()
            effects = session.close(Close.DRAINING, "bye", 500)
            self.assertEqual(effects, (CloseWith(Close.DRAINING, "bye", 500),))
            self.assertEqual(session.close(Close.REPLACED, "again"), ())

    def test_after_the_end_every_input_is_ignored(self) -> None:
        for make in STATES.values():
            session = make()
            session.paused(0)
            session.push(7, PUSHED)
            session.lost()
            self.assertIs(session.state, State.CLOSED)
            self.assertFalse(session.ready)
            for frame in [HELLO, send(), MARK, FETCH, SYNC, CALL, PING, Malformed("x")]:
                self.assertEqual(session.receive(frame), ())
            effects = [
                session.not_json("x"),
                session.admitted(ALICE, free()),
                session.refused(1, Refusal(Code.INTERNAL, "m")),
                session.registered(WELCOME),
                session.push(7, PUSHED),
                session.notify(PUSHED),
                session.resumed(),
                session.refreshed(),
                session.tick(1e9),
                session.close(Close.INTERNAL, "x"),
            ]
            self.assertEqual(effects, [()] * len(effects))
            self.assertIs(session.state, State.CLOSED)

    def test_a_refresh_that_ends_after_the_close_starts_no_other(self) -> None:
        session = ready()
        session.paused(0)
        session.push(7, PUSHED)
        session.resumed()
        session.paused(0)
        session.push(8, PUSHED)
        session.resumed()
        session.close(Close.REPLACED, "x")
        self.assertEqual(session.refreshed(), ())


SMALL = Limits(inflight=3, fetches=2, bad_frames=6, text_bytes=8, other_burst=4, other_rate=5)
GOOD = (send(), send(), send(), MARK, FETCH, SYNC, CALL, PING)
BAD = (
    *(HELLO, wire.Hello(2), send("x" * 9), send(id="x"), send(kind="file"), wire.Mark(7)),
    *(Malformed("x", 1), Malformed("x", id="i")),
)
#: Steps after which a session may meet its end: before that it is to get somewhere.
LONG = 25
BUSY = (State.AUTHENTICATING, State.REGISTERING)


class AnyClient(RuleBasedStateMachine):
    """One session, a caller that keeps its duties, and everything else as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.session = Session(SMALL, TokenBucket(SMALL.other_rate, SMALL.other_burst), 0)
        self.inbox: deque[Any] = deque()
        self.closed = False
        self.logins = 0
        self.submitted = self.requested = 0
        self.pausing = self.refreshing = False
        self.dirty: set[int] = set()

    # -- the caller

    def perform(self, effects: Effects) -> None:
        for effect in effects:
            assert not self.closed, f"{effect} after the close"
            if isinstance(effect, Authenticate):
                self.logins += 1
            elif isinstance(effect, Submit):
                self.submitted += 1
            elif isinstance(effect, Request):
                self.requested += 1
            elif isinstance(effect, Refresh):
                self.refresh(effect)
            elif isinstance(effect, CloseWith):
                self.closed = True

    def refresh(self, effect: Refresh) -> None:
        assert not self.refreshing, "two refreshes at once"
        assert not self.pausing, "a refresh of a client that does not read"
        assert set(effect.conversations) == self.dirty, "a refresh of something else"
        assert effect.conversations == tuple(sorted(self.dirty))
        self.refreshing, self.dirty = True, set()

    def pump(self) -> None:
        while self.inbox and not self.session.wait(self.inbox[0], self.now):
            self.take(self.inbox.popleft())
        if not self.inbox:
            self.session.drained()

    def take(self, frame: Any) -> None:
        over = self.closed
        effects = self.session.receive(frame)
        self.perform(effects)
        if type(frame) is wire.Send and not over:
            kinds = [type(effect) for effect in effects]
            assert kinds in ([Submit], [CloseWith], [Reply]), "a send without an end"
            nacks = [told.id for told in frames(effects) if isinstance(told, wire.Nack)]
            assert nacks == [frame.id] * kinds.count(Reply)

    # -- what may happen

    @initialize(known=st.sampled_from([True, True, True, False]))
    def opens(self, known: bool) -> None:
        if known:
            self.arrives([HELLO])
            self.is_admitted()

    @precondition(lambda self: self.session.state is State.CONNECTED)
    @rule(first=st.sampled_from([HELLO, HELLO, HELLO, PING, *BAD]))
    def begins(self, first: Any) -> None:
        self.arrives([first])

    @precondition(lambda self: self.session.state is not State.CONNECTED)
    @rule(arriving=st.lists(st.sampled_from(GOOD), min_size=1, max_size=8))
    def arrives(self, arriving: list[Any]) -> None:
        self.inbox.extend(arriving)
        self.pump()

    @precondition(lambda self: self.steps > LONG)
    @rule(frame=st.sampled_from(BAD))
    def errs(self, frame: Any) -> None:
        self.arrives([frame])

    @precondition(lambda self: self.session.state in BUSY)
    @rule()
    def is_admitted(self) -> None:
        self.perform(self.session.admitted(ALICE, TokenBucket(4, 6, self.now)))
        self.perform(self.session.registered(WELCOME))
        self.pump()

    @precondition(lambda self: self.session.state in (*BUSY, State.CLOSED))
    @rule(code=st.sampled_from([Code.UNAUTHORIZED, Code.UNAVAILABLE, Code.INTERNAL]))
    def is_refused(self, code: Code) -> None:
        self.perform(self.session.refused(1, Refusal(code, "m")))

    @rule(submits=st.integers(0, 3), requests=st.integers(0, 2), refresh=st.booleans())
    def is_answered(self, submits: int, requests: int, refresh: bool) -> None:
        for _ in range(min(submits, self.submitted)):
            self.submitted -= 1
            self.session.settled()
        for _ in range(min(requests, self.requested)):
            self.requested -= 1
            self.session.answered()
        if refresh and self.refreshing:
            self.refreshed()
        self.pump()

    def refreshed(self) -> None:
        self.refreshing = False
        self.perform(self.session.refreshed())

    @rule(conversations=st.lists(st.integers(1, 5), min_size=1, max_size=3))
    def pushes(self, conversations: list[int]) -> None:
        for conversation in conversations:
            self.push(conversation)
        self.notify()

    def push(self, conversation: int) -> None:
        effects = self.session.push(conversation, PUSHED)
        self.perform(effects)
        if self.session.state is not State.READY:
            assert effects == (), "pushed to somebody who is not READY"
        elif self.pausing:
            assert effects == ()
            self.dirty.add(conversation)
        else:
            assert effects == (Reply(PUSHED),)

    def notify(self) -> None:
        effects = self.session.notify(PUSHED)
        self.perform(effects)
        assert bool(effects) == (self.session.ready and not self.pausing)

    @rule(reads=st.booleans())
    def transport(self, reads: bool) -> None:
        self.pausing = not reads
        if reads:
            self.perform(self.session.resumed())
            self.pump()
        else:
            self.session.paused(self.now)

    @rule(seconds=st.sampled_from([0.1, 0.2, 0.5, 1, 1, 2]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.pump()
        self.perform(self.session.tick(self.now))

    @precondition(lambda self: self.steps > LONG)
    @rule(seconds=st.sampled_from([11, 31, 76]))
    def much_time_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    @precondition(lambda self: self.steps > LONG)
    @rule(how=st.sampled_from(["close", "not json", "lost"]))
    def ends(self, how: str) -> None:
        if how == "close":
            self.perform(self.session.close(Close.REPLACED, "x"))
        elif how == "not json":
            self.perform(self.session.not_json("x"))
        self.session.lost()
        self.closed = True

    # -- what has to hold

    @invariant()
    def windows_are_kept(self) -> None:
        self.steps += 1
        assert self.submitted <= SMALL.inflight
        assert self.requested <= SMALL.fetches
        assert self.logins <= 1

    @invariant()
    def closed_is_closed(self) -> None:
        assert self.closed == (self.session.state is State.CLOSED)

    @invariant()
    def nothing_dirty_is_forgotten(self) -> None:
        if not self.closed:
            assert self.pausing or self.refreshing or not self.dirty
            self.session.synced = True
            assert self.session.clean == (not self.dirty and not self.refreshing)

    def teardown(self) -> None:
        """Once the client reads again, each conversation is refreshed."""
        self.transport(True)
        while self.refreshing and not self.closed:
            self.refreshed()
        assert self.closed or not self.dirty


class AnyClientTests(SynchronousTestCase):
    """``AnyClient``, as a test."""

    def test_whatever_happens_the_rules_hold(self) -> None:
        run_state_machine_as_test(AnyClient, settings=settings(max_examples=150, deadline=None))
