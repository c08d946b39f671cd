"""What an administrator may do, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from imd.admin import BATCH, Admin
from imd.errors import Close, Code, Refusal, Unavailable
from imd.evictions import LOOK_SECONDS, Evictions, Lookout
from imd.files.directory import DirectoryBlobs
from imd.limits import Limits
from imd.model import File, NewMessage, Place
from imd.offline import Here
from imd.records import CHUNK, PAGE
from tests.application import Application, Client
from tests.contracts.storage_parts import NO_QUOTA
from tests.directories import directory


class AdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.app = app = Application(self)
        evictions = Evictions(app.storage, app.registry)
        self.admin = Admin(app.storage, app.passwords, app.sources, evictions.evict, None)

    def order(self, order: str, **params: Any) -> Any:
        raw = json.dumps(params).encode()
        return msgspec.to_builtins(self.app.do(self.admin.call(order, raw, "here")))

    def refused(self, order: str, raw: bytes | None = None, **params: Any) -> Code:
        raw = json.dumps(params).encode() if raw is None else raw
        error: Refusal = self.app.refusal(self.admin.call(order, raw, "here"), Refusal)
        return error.code

    def attempt(self, name: str, password: str = "secret") -> Client:
        client = self.app.connect()
        hello = {"type": "hello", "req": 1, "user": name, "password": password, "device": "d"}
        client.say(hello)
        return client

    def test_an_account_that_was_made_can_log_in(self) -> None:
        made = self.order("user.add", user="Alice", password="secret")
        self.assertEqual(made["name"], "alice")
        self.assertEqual(self.order("user.get", user="ALICE"), made)
        self.assertEqual(self.app.login("alice", False).welcome["user"]["id"], made["user"])
        self.assertEqual(self.refused("user.add", user="alice", password="x"), Code.EXISTS)

    def test_names_and_passwords_are_held_to_the_rules_of_accounts(self) -> None:
        for name in ("", " ", "a b", "a\r\nb", "*)(uid=*", "' OR 1=1--", "../../x", "ä", "x" * 33):
            self.assertEqual(self.refused("user.add", user=name, password="x"), Code.BAD_REQUEST)
        for password in ("", "x" * 1025, "é" * 600):
            code = self.refused("user.add", user="bob", password=password)
            self.assertEqual(code, Code.BAD_REQUEST)
        for name in ("nobody", "a b", "' OR 1=1--"):
            for order in ("user.get", "user.disable", "user.enable", "user.sessions"):
                self.assertEqual(self.refused(order, user=name), Code.NOT_FOUND)
            self.assertEqual(self.refused("user.passwd", user=name, password="x"), Code.NOT_FOUND)
            self.assertEqual(self.refused("user.revoke", user=name), Code.NOT_FOUND)
        self.assertEqual(self.order("user.list"), {"items": [], "more": False})

    def test_what_is_no_order_is_refused(self) -> None:
        self.assertEqual(self.refused("user.dance"), Code.NOT_FOUND)
        for raw in (
            b"",
            b"[]",
            b"{",
            b'{"user":1}',
            b'{"user":"a","user":"b"}',
            b'{"user":"\\u0000"}',
        ):
            self.assertEqual(self.refused("user.get", raw), Code.BAD_REQUEST)
        self.assertEqual(self.refused("user.get", user="a", role="admin"), Code.BAD_REQUEST)

    def test_who_is_disabled_is_out_at_once_and_keeps_everything(self) -> None:
        alice, bob, conversation = self.app.pair()
        alice.text(conversation, "before")
        self.assertTrue(self.order("user.disable", user="alice")["disabled"])
        self.assertEqual(alice.wire.closed, Close.DISABLED)
        self.assertIsNone(bob.wire.closed)
        self.assertEqual(self.attempt("alice").wire.closed, Close.DISABLED)
        resumed = self.app.resume(alice.welcome["token"])
        self.assertEqual(resumed.wire.closed, Close.DISABLED)
        # Who does not know the password learns nothing.
        wrong = self.attempt("alice", "wrong").take("error", "bye")
        self.assertEqual(wrong, self.attempt("nobody", "wrong").take("error", "bye"))
        bob.take()
        bob.say({"type": "fetch", "req": 5, "conv": conversation, "limit": 9})
        (page,) = bob.take("msgs")
        self.assertEqual([item["body"] for item in page["items"]], [{"text": "before"}])
        self.assertFalse(self.order("user.enable", user="alice")["disabled"])
        self.assertIsNone(self.app.resume(alice.welcome["token"]).wire.closed)

    def test_a_new_password_logs_all_devices_out(self) -> None:
        alice = self.app.login("alice")
        done = self.order("user.passwd", user="alice", password="other")
        self.assertEqual(done, {"devices": 1})
        self.assertEqual(alice.wire.closed, Close.BAD_CREDENTIALS)
        self.assertEqual(self.attempt("alice").take("welcome"), [])
        self.assertEqual(len(self.attempt("alice", "other").take("welcome")), 1)

    def test_a_password_that_is_kept_elsewhere_cannot_be_set(self) -> None:
        self.app.do(self.app.storage.create_user(7, "carol", "external:ldap", 1))
        self.assertEqual(self.refused("user.passwd", user="carol", password="x"), Code.FORBIDDEN)

    def test_devices_are_listed_and_logged_out(self) -> None:
        phone = self.app.login("alice", device="phone")
        laptop = self.app.login("alice", False, device="laptop")
        bob = self.app.login("bob")
        items = self.order("user.sessions", user="alice")["items"]
        self.assertEqual([item["label"] for item in items], ["phone", "laptop"])
        device = items[0]["device"]
        self.assertEqual(self.refused("user.revoke", user="bob", device=device), Code.NOT_FOUND)
        self.assertEqual(self.order("user.revoke", user="alice", device=device), {"devices": 1})
        self.assertEqual(phone.wire.closed, Close.BAD_CREDENTIALS)
        self.assertIsNone(laptop.wire.closed)
        self.assertEqual(self.order("user.revoke", user="alice"), {"devices": 1})
        self.assertEqual(self.order("user.revoke", user="alice"), {"devices": 0})
        self.assertEqual(laptop.wire.closed, Close.BAD_CREDENTIALS)
        self.assertIsNone(bob.wire.closed)

    def test_accounts_are_listed_in_pages(self) -> None:
        for name in ("carol", "alice", "bob"):
            self.order("user.add", user=name, password="x")
        page = self.order("user.list", limit=2)
        self.assertEqual([item["name"] for item in page["items"]], ["alice", "bob"])
        self.assertTrue(page["more"])
        page = self.order("user.list", after="bob", limit=2)
        self.assertEqual([item["name"] for item in page["items"]], ["carol"])
        self.assertFalse(page["more"])

    def test_who_is_erased_is_gone_and_the_others_go_on(self) -> None:
        alice, bob, conversation = self.app.pair()
        alice.text(conversation, "word-canary")
        bob.text(conversation, "mine")
        bob.take()
        self.assertEqual(self.refused("user.erase", user="alice", repeat="alcie"), Code.BAD_REQUEST)
        self.assertIsNone(alice.wire.closed)
        done = self.order("user.erase", user="alice", repeat="alice")
        self.assertEqual(done, {"messages": 1, "files": 0, "more": False})
        again = self.order("user.erase", user="alice", repeat="alice")
        self.assertEqual(again, {"messages": 0, "files": 0, "more": False})
        self.assertEqual(alice.wire.closed, Close.DISABLED)
        bob.say({"type": "fetch", "req": 5, "conv": conversation, "limit": 9})
        (page,) = bob.take("msgs")
        shown = [(item["seq"], item["kind"], item["body"]) for item in page["items"]]
        self.assertEqual(shown, [(1, "erased", {}), (2, "text", {"text": "mine"})])
        bob.text(conversation)
        (nack,) = bob.take("nack")
        self.assertEqual(nack["code"], "forbidden")
        self.assertEqual(self.attempt("alice").take("welcome"), [])
        for order in ("user.enable", "user.disable"):
            self.assertEqual(self.refused(order, user="alice"), Code.FORBIDDEN)
        code = self.refused("user.passwd", user="alice", password="x")
        self.assertEqual(code, Code.FORBIDDEN)
        self.assertEqual(self.refused("user.add", user="alice", password="x"), Code.EXISTS)

    def test_long_erasing_is_done_in_parts(self) -> None:
        app = Application(self, Limits(rate=0))
        evict = Evictions(app.storage, app.registry).evict
        self.admin, self.app = Admin(app.storage, app.passwords, app.sources, evict, None), app
        alice, _, conversation = app.pair()
        for _ in range(2 * BATCH + 1):
            alice.text(conversation)
        user = alice.welcome["user"]["id"]
        self.app.do(app.storage.add_file(File(5, user, 1, "0" * 64, "a", "b/c", 5), NO_QUOTA))
        begun: list[int] = []
        erase = app.storage.erase_messages

        def erasing(user: int, after: Place, limit: int) -> Any:
            begun.append(after.seq)
            return erase(user, after, limit)

        self.patch(app.storage, "erase_messages", erasing)
        with capturedLogs() as logs:
            parts = [
                self.order("user.erase", user="alice", repeat="alice", limit=1) for _ in range(8)
            ]
        self.assertEqual([part["messages"] for part in parts], [BATCH, BATCH, 1, *[0] * 5])
        self.assertEqual([part["files"] for part in parts], [*[0] * 6, 1, 0])
        # Each order goes on behind the last, until all was looked through in vain.
        once = [0, BATCH, 2 * BATCH, 2 * BATCH + 1]
        self.assertEqual(begun, [*once, *once, 2 * BATCH + 1])
        self.assertEqual([part["more"] for part in parts], [True] * 7 + [False])
        ends = [line.rpartition(": ")[2] for line in told(logs)]
        self.assertEqual(ends, ["done in part"] * 7 + ["done"])

    def test_a_store_that_is_away_is_said_to_be(self) -> None:
        self.app.storage.fail("find_user")
        self.app.refusal(self.admin.call("user.get", b'{"user":"a"}', "here"), Unavailable)


class ExportTests(SynchronousTestCase):
    """What is kept of a user, as lines."""

    def setUp(self) -> None:
        self.app = app = Application(self, Limits(rate=0))
        self.blobs = DirectoryBlobs(directory(self) / "files", Here(), 0)
        self.addCleanup(self.blobs.close)
        nobody = Evictions(app.storage, app.registry).evict
        self.admin = Admin(app.storage, app.passwords, app.sources, nobody, self.blobs)
        self.alice, self.bob, self.conversation = app.pair()

    def stream(self, order: str = "user.export", **params: Any) -> AsyncGenerator[bytes, None]:
        return self.admin.stream(order, json.dumps(params).encode(), "here")

    async def lines(self, **params: Any) -> list[dict[str, Any]]:
        whole = b"".join([part async for part in self.stream(**params)])
        return [json.loads(line) for line in whole.splitlines()]

    def upload(self, content: bytes) -> int:
        """A file of Alice; its id."""

        async def store() -> int:
            user, id = self.alice.welcome["user"]["id"], self.app.sources.new_id()
            digest = hashlib.sha256(content).hexdigest()
            file = File(id, user, len(content), digest, "a", "b/c", 5)
            await self.app.storage.add_file(file, NO_QUOTA)
            upload = await self.blobs.resume(id, 0)
            await upload.write(content)
            await upload.seal(digest)
            await upload.close()
            await self.app.storage.complete_file(user, id, "")
            return id

        found: int = self.app.do(store())
        return found

    def carry(self, file: int) -> None:
        """Alice sends it."""
        user, device = self.alice.welcome["user"]["id"], self.alice.welcome["device"]
        id, body = uuid.uuid4().bytes, b'{"file":%d}' % file
        new = NewMessage(self.conversation, user, device, id, "file", body, file, 9)
        self.app.do(self.app.storage.append([new], 9))

    def test_pages_follow_each_other_up_to_the_end(self) -> None:
        for number in range(PAGE + 1):
            self.alice.text(self.conversation, str(number))
        found = self.app.do(self.lines(user="Alice"))
        kinds = [line["record"] for line in found]
        head = ["account", "device", "friend", "conversation"]
        self.assertEqual(kinds, [*head, *["message"] * (PAGE + 1), "end"])
        texts = [line["body"]["text"] for line in found if line["record"] == "message"]
        self.assertEqual(texts, [str(number) for number in range(PAGE + 1)])
        self.assertEqual(found[-1], {"record": "end", "messages": PAGE + 1})

    def test_bytes_of_own_files_come_once_and_only_if_they_are_wanted(self) -> None:
        content = bytes(range(256)) * (CHUNK // 200)
        files = [self.upload(content), self.upload(b"")]
        for file in (*files, *files):
            self.carry(file)
        self.bob.text(self.conversation)
        found = self.app.do(self.lines(user="alice"))
        self.assertNotIn("bytes", [line["record"] for line in found])
        found = self.app.do(self.lines(user="alice", files=True))
        parts = [line for line in found if line["record"] == "bytes"]
        ends = [(line["file"], line["offset"]) for line in parts if not line["data"]]
        self.assertEqual(ends, [(files[0], len(content)), (files[1], 0)])
        data = b"".join(base64.b64decode(line["data"]) for line in parts)
        self.assertEqual(data, content)
        found = self.app.do(self.lines(user="bob", files=True))
        self.assertNotIn("bytes", [line["record"] for line in found])

    def test_a_file_that_is_gone_is_left_out(self) -> None:
        self.carry(self.upload(b"old"))
        self.app.do(self.app.storage.expire_sent_files(before=10, limit=9))
        found = self.app.do(self.lines(user="alice", files=True))
        self.assertEqual([line["record"] for line in found][-2:], ["message", "end"])

    def test_a_file_that_goes_while_it_is_written_is_said_to_be_gone(self) -> None:
        file = self.upload(bytes(CHUNK + 1))
        self.carry(file)
        self.alice.text(self.conversation)

        async def records() -> list[dict[str, Any]]:
            lines = []
            async for part in self.stream(user="alice", files=True):
                lines += [json.loads(line) for line in part.splitlines()]
                if lines[-1]["record"] == "bytes":
                    await self.app.storage.expire_sent_files(before=10, limit=9)
                    await self.blobs.delete(file)
            return lines

        found = self.app.do(records())
        self.assertEqual([line["record"] for line in found][-3:], ["bytes", "gone", "end"])
        self.assertEqual(found[-2]["file"], file)

    def test_a_file_that_cannot_be_read_is_not_left_out(self) -> None:
        file = self.upload(b"here")
        self.carry(file)
        self.app.do(self.blobs.delete(file))
        self.app.refusal(self.lines(user="alice", files=True), Unavailable)

    def test_nothing_is_read_before_it_is_wanted(self) -> None:
        for _ in range(PAGE + 1):
            self.alice.text(self.conversation)

        async def some() -> None:
            async with aclosing(self.stream(user="alice")) as parts:
                # The account, the conversation, and its first page.
                for _ in range(3):
                    await anext(parts)

        before = self.app.storage.count("history")
        with capturedLogs() as logs:
            self.app.do(some())
        self.assertEqual(self.app.storage.count("history") - before, 1)
        self.assertEqual(told(logs), ["admin user.export 'alice' from here: broken off"])

    def test_who_does_not_exist_is_refused_before_the_first_line(self) -> None:
        for order, params, code in (
            ("user.export", {"user": "nobody"}, Code.NOT_FOUND),
            ("user.export", {"user": 1}, Code.BAD_REQUEST),
            ("user.list", {}, Code.NOT_FOUND),
        ):
            error = self.app.refusal(anext(self.stream(order, **params)), Refusal)  # type: ignore[arg-type]
            self.assertEqual(error.code, code)

    def test_each_end_of_an_order_is_a_line(self) -> None:
        storage = self.app.storage
        with capturedLogs() as logs:
            self.app.do(self.lines(user="alice"))
            self.app.refusal(self.lines(user="nobody"), Refusal)
            storage.fail("heads")
            self.app.refusal(self.lines(user="alice"), Unavailable)
            storage.held.add("heads")
            running = Deferred.fromCoroutine(self.lines(user="alice"))
            running.cancel()
            self.failureResultOf(running, CancelledError)
        line = "admin user.export {} from here: {}"
        self.assertEqual(
            told(logs),
            [
                line.format("'alice'", "done"),
                line.format("'nobody'", "refused: not_found"),
                line.format("'alice'", "failed"),
                line.format("'alice'", "broken off"),
            ],
        )


def told(logs: list[LogEvent]) -> list[str]:
    """The lines about orders."""
    return [formatEvent(e) for e in logs if e["log_namespace"] == "imd.admin.Admin"]


class LookoutTests(SynchronousTestCase):
    """What another process wrote is found."""

    def setUp(self) -> None:
        self.app = app = Application(self)
        self.touched = False
        app.storage._port.touched = self.look
        self.lookout = Lookout(app.storage, app.registry, app.clock)
        self.alice = app.login("alice")
        self.bob = app.login("bob")
        self.lookout.start()
        self.addCleanup(self.lookout.stop)

    async def look(self) -> bool:
        found, self.touched = self.touched, False
        return found

    def disable(self) -> None:
        user = self.alice.welcome["user"]["id"]
        self.app.do(self.app.storage.set_disabled(user, True))
        self.touched = True

    def test_a_session_that_may_not_go_on_is_ended_at_the_next_look(self) -> None:
        self.disable()
        self.app.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.alice.wire.closed, Close.DISABLED)
        self.assertIsNone(self.bob.wire.closed)

    def test_while_nobody_wrote_nobody_is_looked_at(self) -> None:
        self.app.storage.calls.clear()
        self.app.clock.advance(LOOK_SECONDS)
        self.assertEqual([name for name, _ in self.app.storage.calls], ["touched"])

    def test_a_look_that_failed_is_made_up_for(self) -> None:
        self.disable()
        self.app.storage.fail("find_user")
        self.app.clock.advance(LOOK_SECONDS)
        self.assertIsNone(self.alice.wire.closed)
        self.app.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.alice.wire.closed, Close.DISABLED)

    def test_once_stopped_it_looks_no_more(self) -> None:
        self.lookout.stop()
        self.lookout.stop()
        self.assertEqual(self.app.clock.getDelayedCalls(), [])

    def test_stopped_during_a_look_it_begins_no_other(self) -> None:
        self.app.storage.held.add("touched")
        self.app.clock.advance(LOOK_SECONDS)
        self.lookout.stop()
        self.app.storage.answer()
        self.app.storage.calls.clear()
        self.app.clock.advance(2 * LOOK_SECONDS)
        self.assertEqual(self.app.storage.calls, [])

    def test_who_went_during_the_look_is_nobody_to_be_told(self) -> None:
        evictions = Evictions(self.app.storage, self.app.registry)
        self.assertFalse(self.app.do(evictions.evict(99)))
        self.app.storage.held.add("find_user")
        running = Deferred.fromCoroutine(evictions.evict(self.bob.welcome["user"]["id"]))
        self.app.storage.answer()
        self.assertFalse(self.successResultOf(running))
