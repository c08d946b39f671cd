"""From a message to its acknowledgement and pushes; cursors, history, and streams of heads."""

from __future__ import annotations

import json
import uuid
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd import messaging, wire
from imd.errors import Close, Code, Refusal
from imd.journey import Journey
from imd.limits import Limits
from imd.model import Cursor, Device, NewMessage
from tests.application import WALL, Application, Frame, Listener

ALICE, BOB, MALLORY = 1, 2, 3
CONV = 7


class Reader:
    """A client that asked for heads or history, and reads when it is told to."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.reads = True
        self._waiter: Deferred[bool] | None = None

    def reply(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def writable(self) -> Deferred[bool]:
        if self.reads:
            return succeed(True)
        self._waiter = Deferred()
        return self._waiter

    def read(self) -> None:
        """Take what was sent, and whatever comes."""
        self.reads = True
        self._go_on(True)

    def leave(self) -> None:
        self._go_on(False)

    def _go_on(self, alive: bool) -> None:
        waiter, self._waiter = self._waiter, None
        assert waiter is not None, "nobody waits for this reader"
        waiter.callback(alive)

    @property
    def stuck(self) -> bool:
        return self._waiter is not None

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


class MessagingTests(SynchronousTestCase):
    def make(self, **limits: Any) -> None:
        self.app = app = Application(self, Limits(**limits))
        for user, name in ((ALICE, "alice"), (BOB, "bob"), (MALLORY, "mallory")):
            app.do(app.storage.create_user(user, name, "hash", WALL))
        self.befriend(BOB, CONV)
        self.messaging = app.messaging
        for device, user in ((11, ALICE), (12, ALICE), (13, ALICE), (21, BOB), (31, MALLORY)):
            row = Device(device, user, "", WALL, WALL)
            add = app.storage.add_device(
                row, b"%d" % device, verified="hash", limit=9, retire_before=0
            )
            app.do(add)
        self.alice = self.enter(Listener(ALICE, device=11))
        self.laptop = self.enter(Listener(ALICE, device=12))
        self.bob = self.enter(Listener(BOB, device=21))
        self.mallory = self.enter(Listener(MALLORY, device=31))

    def befriend(self, peer: int, conversation: int) -> None:
        for user, other, verb in ((ALICE, peer, "add"), (peer, ALICE, "accept")):
            self.app.do(
                self.app.storage.befriend(
                    user, other, verb, note="", conversation=conversation, at=WALL
                )
            )

    def enter(self, listener: Listener) -> Listener:
        self.assertTrue(self.app.registry.add(listener))
        return listener

    def send(
        self,
        text: str = "hi",
        origin: Listener | None = None,
        id: str = "",
        conversation: int = CONV,
        file: int | None = None,
    ) -> str:
        """Submit a message; it is not committed before the turn ends."""
        origin = origin or self.alice
        id = id or str(uuid.uuid4())
        body = wire.encode({"text": text})
        me = origin.identity
        message = NewMessage(
            conversation,
            me.user.id,
            me.device,
            uuid.UUID(id).bytes,
            "text",
            body,
            file,
            me.session,
        )
        self.messaging.submit(origin, id, message)
        return id

    def fill(self, count: int, size: int = 1) -> None:
        for n in range(count):
            self.send(f"{n}".ljust(size, "x"))
        self.app.turn()
        self.alice.settled.clear()
        self.bob.pushed.clear()

    def mark(self, by: Listener, delivered: int, read: int = 0) -> None:
        cursor = Cursor(CONV, by.identity.user.id, delivered, read)
        self.messaging.mark(cursor)

    def fetch(self, user: int = ALICE, conversation: int = CONV, **fields: Any) -> Frame:
        frame = wire.Fetch(5, conversation, **({"limit": 200} | fields))
        answer: Frame = json.loads(self.app.do(self.messaging.fetch(user, frame)))
        return answer

    def sync(
        self, reader: Reader, user: int = BOB, since: str | None = None, tail: int = 0
    ) -> Deferred[bool]:
        return Deferred.fromCoroutine(self.messaging.sync(reader, user, 4, since, tail))


class SendingTests(MessagingTests):
    def test_a_message_is_acknowledged_and_pushed_to_all_but_the_session_it_came_from(
        self,
    ) -> None:
        self.make()
        id = self.send("hello")
        self.assertEqual(self.alice.settled, [])
        self.app.turn()
        ack = {"type": "ack", "id": id, "conv": CONV, "seq": 1, "at": WALL}
        self.assertEqual(self.alice.settled, [ack])
        msg = {"type": "msg", "conv": CONV, "seq": 1, "from": ALICE, "device": 11, "id": id}
        msg |= {"at": WALL, "kind": "text", "body": {"text": "hello"}}
        self.assertEqual(self.bob.pushed, [msg])
        self.assertEqual(self.laptop.pushed, [msg])
        self.assertEqual(self.alice.pushed + self.mallory.pushed, [])

    def test_each_step_is_told_to_a_journey(self) -> None:
        self.make()
        steps: list[str] = []

        def observe(event: Any) -> None:
            steps.append(event["step"])

        self.messaging._journey = Journey(Logger("journey", observer=observe))  # type: ignore[arg-type]
        self.send()
        self.app.turn()
        self.mark(self.bob, 1, 1)
        self.app.turn()
        self.assertEqual(steps, ["accepted", "committed", "delivered", "read"])

    def test_nobody_hears_anything_before_the_commit(self) -> None:
        self.make()
        self.app.storage.held.add("append")
        self.send()
        self.app.turn()
        self.assertEqual(self.alice.settled + self.bob.pushed, [])
        self.assertIsNone(self.messaging.token)
        self.app.storage.answer()
        self.assertEqual(len(self.alice.settled), 1)
        self.assertEqual(len(self.bob.pushed), 1)
        self.assertIsNotNone(self.messaging.token)

    def test_a_repeated_message_is_acknowledged_as_before_and_not_pushed_again(self) -> None:
        self.make()
        id = self.send("once")
        self.app.turn()
        self.app.sources.now += 1000
        self.send("once", id=id)
        self.app.turn()
        first, again = self.alice.settled
        self.assertEqual(again, first | {"dup": True})
        self.assertEqual(len(self.bob.pushed), 1)

    def test_what_the_commit_refuses_gets_its_code(self) -> None:
        self.make()
        id = self.send("one")
        self.send("two", id=id)
        self.send(conversation=8)
        self.send(file=5)
        self.send(origin=self.mallory)
        self.app.turn()
        codes = [frame.get("code") for frame in self.alice.settled]
        self.assertEqual(codes, [None, Code.CONFLICT, Code.FORBIDDEN, Code.NO_FILE])
        self.assertEqual(self.mallory.settled[0]["code"], Code.FORBIDDEN)
        self.assertEqual(len(self.bob.pushed), 1)

    def test_a_session_that_storage_knows_to_be_replaced_is_closed_without_an_answer(self) -> None:
        self.make()
        storage = self.app.storage
        old = self.enter(Listener(ALICE, device=13, session=1))
        for _ in range(2):
            self.app.do(storage.open_session(b"13", WALL))
        self.send("late", origin=old)
        self.send("mine")
        self.app.turn()
        self.assertEqual((old.closed, old.settled), (Close.RESYNC, []))
        self.assertEqual([frame["seq"] for frame in self.alice.settled], [1])
        self.assertEqual([frame["body"]["text"] for frame in self.bob.pushed], ["mine"])

    def test_a_session_whose_device_was_logged_out_elsewhere_is_closed_without_an_answer(
        self,
    ) -> None:
        self.make(lane_batch=1)
        self.app.do(self.app.storage.delete_device(ALICE, 11))
        self.send("late")
        self.send("later")
        self.send("mine", origin=self.laptop)
        self.app.turn()
        self.assertEqual((self.alice.closed, self.alice.settled), (Close.BAD_CREDENTIALS, []))
        self.assertEqual([frame["seq"] for frame in self.laptop.settled], [1])
        self.assertEqual([frame["body"]["text"] for frame in self.bob.pushed], ["mine"])

    def test_a_refusal_that_an_attempt_on_its_way_could_belie_is_left_to_a_newer_session(
        self,
    ) -> None:
        self.make(lane_batch=2)
        storage = self.app.storage
        self.app.do(storage.open_session(b"13", WALL))
        first = self.enter(Listener(ALICE, device=13, session=1))
        storage.fail("append")
        self.send("held up", origin=first)
        self.send("bob's", origin=self.bob)
        self.app.turn()
        ((_, attempt),) = [call for call in storage.calls if call[0] == "append"]
        self.send("later", origin=first)
        remove = storage.befriend(ALICE, BOB, "remove", note="", conversation=CONV, at=WALL)
        self.app.do(remove)
        self.app.pass_seconds(1, 0.1)
        self.assertEqual((first.closed, first.settled), (Close.STORAGE_UNAVAILABLE, []))
        second = self.enter(Listener(ALICE, device=13, session=2))
        self.app.do(storage.open_session(b"13", WALL))
        self.send("held up", origin=second, id=str(uuid.UUID(bytes=attempt[0][0].id)))
        self.app.turn()
        self.assertEqual([frame["code"] for frame in second.settled], [Code.FORBIDDEN])
        self.befriend(BOB, CONV)
        self.app.do(storage.append(*attempt))
        texts = [item["body"]["text"] for item in self.fetch()["items"]]
        self.assertEqual((texts, second.closed), (["bob's"], None))

    def test_what_follows_a_refusal_that_nobody_hears_is_not_stored_before_it_is_sent_again(
        self,
    ) -> None:
        self.make(lane_batch=1)
        self.send("refused", conversation=CONV)
        self.app.do(
            self.app.storage.befriend(ALICE, BOB, "remove", note="", conversation=CONV, at=WALL)
        )
        self.send("later")
        self.alice.gone = True
        self.app.storage.held.add("append")
        self.app.turn()
        self.app.storage.answer()
        self.befriend(BOB, CONV)
        self.app.storage.held.clear()
        self.app.turn()
        self.assertEqual(self.alice.settled, [])
        self.assertEqual(self.fetch()["items"], [])

    def test_a_message_that_cannot_be_stored_is_refused_for_good(self) -> None:
        self.make()
        self.app.storage.fail("append", error=ValueError("poison"))
        id = self.send()
        self.app.turn()
        (nack,) = self.alice.settled
        self.assertEqual((nack["id"], nack["code"]), (id, Code.BAD_REQUEST))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_when_storage_stays_away_its_sessions_are_closed_and_what_they_queued_is_dropped(
        self,
    ) -> None:
        self.make(commit_seconds=2, lane_batch=3)
        self.app.storage.fail("append", times=8)
        for text in ("a1", "a2"):
            self.send(text)
        self.send("laptop", origin=self.laptop)
        self.send("a3")
        self.send("b1", origin=self.bob)
        self.app.pass_seconds(3, 0.1)
        self.assertEqual(self.alice.closed, Close.STORAGE_UNAVAILABLE)
        self.assertEqual(self.laptop.closed, Close.STORAGE_UNAVAILABLE)
        self.assertIsNone(self.bob.closed)
        self.assertEqual(self.alice.settled, [])
        texts = [item["body"]["text"] for item in self.fetch()["items"]]
        self.assertEqual(texts, ["b1"])

    def test_room_is_made_known_once_and_only_when_there_is_some(self) -> None:
        self.make(pending=2)
        self.app.storage.held.add("append")
        calls: list[int] = []
        call = lambda: calls.append(1)  # noqa: E731
        self.send()
        self.assertFalse(self.messaging.full)
        self.app.turn()
        self.send()
        self.send()
        self.assertTrue(self.messaging.full)
        self.messaging.when_room(call)
        self.messaging.when_room(call)
        self.app.storage.answer()
        self.assertTrue(self.messaging.full)
        self.assertEqual(calls, [])
        self.app.storage.answer()
        self.assertEqual(calls, [1])

    def test_room_is_made_known_after_a_message_that_cannot_be_stored(self) -> None:
        self.make(pending=1)
        self.app.storage.fail("append", error=ValueError("poison"))
        self.send()
        calls: list[bool] = []
        self.messaging.when_room(lambda: calls.append(self.messaging.full))
        self.app.turn()
        self.assertEqual(calls, [False])
        self.flushLoggedErrors(ValueError)

    def test_room_is_made_known_when_storage_stays_away(self) -> None:
        self.make(pending=1, commit_seconds=1)
        self.app.storage.fail("append", times=50)
        self.send()
        calls: list[bool] = []
        self.messaging.when_room(lambda: calls.append(self.messaging.full))
        self.app.pass_seconds(2, 0.1)
        self.assertEqual(calls, [False])

    def test_idle_waits_for_messages_and_cursors_but_not_for_ever(self) -> None:
        self.make()
        self.app.storage.held |= {"append", "advance"}
        self.send()
        self.mark(self.bob, 1)
        self.app.turn()
        late = Deferred.fromCoroutine(self.messaging.idle(1))
        done = Deferred.fromCoroutine(self.messaging.idle(60))
        self.app.pass_seconds(2)
        self.assertFalse(self.successResultOf(late))
        self.app.storage.answer()
        self.app.pass_seconds(1)
        self.assertNoResult(done)
        self.app.storage.answer()
        self.app.pass_seconds(1)
        self.assertTrue(self.successResultOf(done))

    def test_nothing_is_covered_by_a_commit_that_has_no_token(self) -> None:
        self.make()
        self.messaging.covered("e:5")
        self.messaging.covered(None)
        self.assertEqual(self.messaging.token, "e:5")


class CursorTests(MessagingTests):
    def test_a_receipt_goes_to_all_sessions_of_all_members(self) -> None:
        self.make()
        self.fill(3)
        tablet = self.enter(Listener(BOB, device=22))
        self.mark(self.bob, 2, 1)
        self.app.turn()
        receipt = {"type": "receipt", "conv": CONV, "user": BOB, "delivered": 2, "read": 1}
        self.assertEqual(self.alice.pushed, [receipt])
        self.assertEqual(self.laptop.pushed[-1], receipt)
        self.assertEqual(tablet.pushed, [receipt])
        self.assertEqual(self.bob.pushed, [receipt])
        self.assertEqual(self.mallory.pushed, [])

    def test_whoever_asked_for_less_than_came_of_it_is_told(self) -> None:
        self.make()
        self.fill(3)
        self.mark(self.bob, 0, 2)
        self.app.turn()
        (receipt,) = self.bob.pushed
        self.assertEqual((receipt["delivered"], receipt["read"]), (2, 2))

    def test_two_sessions_that_asked_in_one_turn_are_both_told(self) -> None:
        self.make()
        self.fill(3)
        tablet = self.enter(Listener(BOB, device=22))
        self.mark(self.bob, 1)
        self.mark(tablet, 3)
        self.app.turn()
        for listener in (self.bob, tablet, self.alice):
            self.assertEqual([f["delivered"] for f in listener.pushed], [3])

    def test_nobody_is_told_of_a_cursor_that_did_not_grow_or_is_nobodys(self) -> None:
        self.make()
        self.fill(2)
        self.mark(self.bob, 2)
        self.app.turn()
        self.alice.pushed.clear()
        self.mark(self.bob, 1)
        self.mark(self.mallory, 1)
        self.app.turn()
        self.mark(self.bob, 99)
        self.app.turn()
        self.assertEqual(self.alice.pushed, [])


class ReadingTests(MessagingTests):
    def test_history_above_below_and_at_the_end(self) -> None:
        self.make()
        self.fill(10)

        def seqs(**fields: Any) -> tuple[list[int], bool]:
            found = self.fetch(**fields)
            return [item["seq"] for item in found["items"]], found["more"]

        self.assertEqual(seqs(after=0, limit=3), ([1, 2, 3], True))
        self.assertEqual(seqs(after=8), ([9, 10], False))
        self.assertEqual(seqs(before=4, limit=2), ([2, 3], True))
        self.assertEqual(seqs(limit=2), ([9, 10], True))

    def test_an_answer_has_at_most_so_many_messages(self) -> None:
        self.make(fetch_items=4)
        self.fill(6)
        self.assertEqual(len(self.fetch(limit=200)["items"]), 4)
        self.assertEqual(len(self.fetch(limit=3)["items"]), 3)

    def test_an_answer_has_at_most_so_many_bytes_but_always_a_message(self) -> None:
        self.make(fetch_bytes=20_000)
        self.fill(50, size=1000)
        frame = wire.Fetch(5, CONV, limit=50)
        raw = self.app.do(self.messaging.fetch(ALICE, frame))
        self.assertLessEqual(len(raw), 20_000)
        self.assertGreater(len(json.loads(raw)["items"]), 5)
        self.make(fetch_bytes=1)
        self.fill(3)
        self.assertEqual([item["seq"] for item in self.fetch()["items"]], [3])

    def test_who_is_no_member_finds_nothing(self) -> None:
        self.make()
        self.fill(1)
        for user, conversation in ((MALLORY, CONV), (ALICE, 8)):
            fetch = self.messaging.fetch(user, wire.Fetch(5, conversation, limit=1))
            self.assertIs(self.app.refusal(fetch, Refusal).code, Code.NOT_FOUND)

    def test_a_refresh_pokes_and_tells_all_cursors_of_these_conversations_only(self) -> None:
        self.make()
        self.befriend(MALLORY, 8)
        self.fill(3)
        self.mark(self.bob, 2, 1)
        self.app.turn()
        self.alice.pushed.clear()
        self.app.do(self.messaging.refresh(self.alice, (CONV,)))
        self.assertEqual(
            self.alice.pushed,
            [
                {"type": "head", "conv": CONV, "last": 3},
                {"type": "receipt", "conv": CONV, "user": ALICE, "delivered": 0, "read": 0},
                {"type": "receipt", "conv": CONV, "user": BOB, "delivered": 2, "read": 1},
            ],
        )

    def test_a_refresh_of_many_conversations_reads_them_in_pages(self) -> None:
        self.make()
        self.befriend(MALLORY, 8)
        self.patch(messaging, "HEADS_PAGE", 1)
        self.app.do(self.messaging.refresh(self.alice, (CONV, 8)))
        heads = [frame["conv"] for frame in self.alice.pushed if frame["type"] == "head"]
        self.assertEqual(heads, [CONV, 8])
        self.assertEqual(self.app.storage.count("heads"), 2)

    def test_the_epoch_is_that_of_storage(self) -> None:
        self.make()
        epoch = self.app.do(self.app.storage.epoch())
        self.assertEqual(self.app.do(self.messaging.epoch()), epoch)


class SyncTests(MessagingTests):
    def test_a_sync_ends_with_a_token_and_the_next_from_there_is_empty(self) -> None:
        self.make()
        self.fill(2)
        reader = Reader()
        self.assertTrue(self.successResultOf(self.sync(reader)))
        (heads,) = reader.frames
        peer = {"user": ALICE, "name": "alice", "delivered": 0, "read": 0}
        item = {"conv": CONV, "kind": "direct", "last": 2, "floor": 1}
        item |= {"delivered": 0, "read": 0, "peers": [peer]}
        self.assertEqual((heads["req"], heads["items"], heads["done"]), (4, [item], True))
        again = Reader()
        self.successResultOf(self.sync(again, since=heads["next"]))
        self.assertEqual((again.frames[0]["items"], again.frames[0]["done"]), ([], True))

    def test_a_tail_brings_what_is_above_my_cursor_and_at_most_so_much(self) -> None:
        self.make()
        self.fill(5)
        self.mark(self.bob, 2)
        self.app.turn()
        reader = Reader()
        self.successResultOf(self.sync(reader, tail=2))
        self.assertEqual(reader.kinds(), ["heads", "msgs"])
        msgs = reader.frames[1]
        self.assertEqual([item["seq"] for item in msgs["items"]], [3, 4])
        self.assertEqual((msgs["req"], msgs["more"]), (4, True))

    def test_there_is_no_tail_where_nothing_is_new(self) -> None:
        self.make()
        self.fill(1)
        self.mark(self.bob, 1)
        self.app.turn()
        reader = Reader()
        self.successResultOf(self.sync(reader, tail=50))
        self.assertEqual(reader.kinds(), ["heads"])

    def test_many_heads_come_in_pages_and_the_token_is_that_of_the_first(self) -> None:
        self.make()
        self.befriend(MALLORY, 8)
        self.fill(1)
        self.patch(messaging, "HEADS_PAGE", 1)
        self.app.storage.held.add("heads")
        reader = Reader()
        done = self.sync(reader, user=ALICE, tail=1)
        self.app.storage.answer()
        self.assertEqual(reader.frames[0]["items"][0]["conv"], CONV)
        self.assertNotIn("next", reader.frames[0])
        # This changes a head that was sent already: the token must not hide it.
        self.send("meanwhile", origin=self.bob)
        self.app.turn()
        self.app.storage.answer()
        self.assertTrue(self.successResultOf(done))
        pages = [frame for frame in reader.frames if frame["type"] == "heads"]
        self.assertEqual([page["done"] for page in pages], [False, True])
        again = Reader()
        self.app.storage.held.clear()
        self.successResultOf(self.sync(again, user=ALICE, since=pages[1]["next"]))
        self.assertEqual([item["last"] for item in again.frames[0]["items"]], [2])

    def test_a_reader_that_does_not_read_gets_no_more_until_it_does(self) -> None:
        self.make()
        self.fill(1)
        self.befriend(MALLORY, 8)
        self.send(conversation=8)
        self.app.turn()
        reader = Reader()
        reader.reads = False
        done = self.sync(reader, user=ALICE, tail=1)
        self.assertEqual(reader.kinds(), ["heads", "msgs"])
        self.assertNoResult(done)
        reader.read()
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(reader.kinds(), ["heads", "msgs", "msgs"])

    def test_a_reader_that_leaves_ends_its_sync(self) -> None:
        self.make()
        self.fill(1)
        for tail in (0, 1):
            reader = Reader()
            reader.reads = False
            done = self.sync(reader, tail=tail)
            reader.leave()
            self.assertFalse(self.successResultOf(done))

    def test_only_so_many_syncs_read_at_once_and_the_others_wait_their_turn(self) -> None:
        self.make(syncs=2)
        self.app.storage.held.add("heads")
        done = [self.sync(Reader()) for _ in range(5)]
        self.assertEqual(self.app.storage.count("heads"), 2)
        self.app.storage.answer()
        self.assertEqual(self.app.storage.count("heads"), 3)
        while self.app.storage.waiting:
            self.app.storage.answer()
        for sync in done:
            self.assertTrue(self.successResultOf(sync))

    def test_readers_that_do_not_read_hold_up_nobody_elses_sync(self) -> None:
        self.make(syncs=1)
        self.fill(2)
        stuck = [Reader() for _ in range(3)]
        for reader in stuck:
            reader.reads = False
            self.sync(reader, tail=1)
            self.assertTrue(reader.stuck)
        self.assertTrue(self.successResultOf(self.sync(Reader(), tail=1)))
