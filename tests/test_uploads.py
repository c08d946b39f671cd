"""Uploads and downloads as the application sees them: every step may be the last one."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd import methods
from imd.downloads import Downloads
from imd.errors import Code, Refusal, StoreFull, Unavailable
from imd.filelinks import Reader
from imd.files.directory import DirectoryBlobs
from imd.limits import Limits
from imd.model import File, Identity, User
from imd.uploads import DAY, GRACE, SEND_WITHIN, STUCK, TIDY_SECONDS, Uploads, tidying
from tests.application import WALL, Told
from tests.inline import open_storage
from tests.limited import limits

ALICE, BOB = (Identity(User(n, name), 10 + n) for n, name in ((1, "alice"), (2, "bob")))
PNG = b"\x89PNG\r\n\x1a\n"


class Inline:
    """Threads that are none."""

    def run(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(call, *args)


class Case(SynchronousTestCase):
    """Storage and a directory, whose calls can be made to fail."""

    def setUp(self) -> None:
        top = tempfile.TemporaryDirectory()
        self.addCleanup(top.cleanup)
        sqlite = open_storage(Path(top.name))
        self.addCleanup(sqlite.close)
        self.directory = Path(top.name, "files")
        store = DirectoryBlobs(self.directory, Inline(), 0)
        self.addCleanup(store.close)
        self.storage, self.blobs = Told(sqlite), Told(store)
        self.now = WALL
        self.ids = iter(range(100, 999))
        for me in (ALICE, BOB):
            self.do(sqlite.create_user(me.user.id, me.user.name, "hash", WALL))
        self.start()

    def start(self, **limits: Any) -> None:
        """A process, or the one after it."""
        ports: Any = (self.storage, self.blobs, self, Limits(**limits))
        self.uploads, self.downloads = Uploads(*ports), Downloads(*ports)

    def now_ms(self) -> int:
        return self.now

    def new_id(self) -> int:
        return next(self.ids)

    def do(self, coro: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coro))

    def refused(self, coro: Any) -> Code:
        failure = self.failureResultOf(Deferred.fromCoroutine(coro), Refusal)
        return failure.value.code  # type: ignore[no-any-return,union-attr]

    def slot(self, content: bytes, me: Identity = ALICE) -> int:
        digest = hashlib.sha256(content).hexdigest()
        params = methods.NewFile(len(content), digest, "n", "a/b")
        return self.do(self.uploads.slot(me, params)).file  # type: ignore[no-any-return]

    def begin(self, file: int, offset: int | None, length: int, me: Identity = ALICE) -> Any:
        return self.do(self.uploads.begin(me, file, offset, length))

    def upload(self, content: bytes, me: Identity = ALICE) -> File:
        file = self.slot(content, me)
        intake = self.begin(file, None, len(content), me)
        self.do(intake.write(content))
        return self.do(intake.finish())  # type: ignore[no-any-return]

    def progress(self, file: int, me: Identity = ALICE) -> Any:
        found = self.do(self.uploads.progress(me, file))
        return None if found is None else found[1]

    @property
    def names(self) -> list[str]:
        """The files that are in the store."""
        return sorted(p.name for p in self.directory.rglob("*") if p.is_file())


class UploadTests(Case):
    """What goes well, and who is sent away."""

    def test_file_is_complete_when_its_last_byte_is_there(self) -> None:
        file = self.slot(PNG)
        intake = self.begin(file, 0, 4)
        self.do(intake.write(PNG[:4]))
        self.assertEqual(self.progress(file), 4)
        self.assertFalse(self.do(intake.finish()).complete)
        self.assertEqual((self.progress(file), intake.size), (4, 4))
        intake = self.begin(file, 4, 4)
        self.do(intake.write(PNG[4:]))
        done = self.do(intake.finish())
        self.assertEqual((done.complete, done.media, done.blob), (True, "image/png", file))
        self.assertEqual((self.progress(file), intake.size), (8, 8))
        self.assertEqual(self.names, [str(file)])

    def test_file_belongs_to_its_owner(self) -> None:
        file = self.slot(b"123")
        self.assertIsNone(self.progress(file, BOB))
        self.assertIs(self.refused(self.uploads.begin(BOB, file, 0, 3)), Code.NOT_FOUND)
        self.assertIs(self.refused(self.uploads.begin(ALICE, 5, 0, 3)), Code.NOT_FOUND)

    def test_sizes_are_those_declared(self) -> None:
        file = self.slot(b"123")
        for offset, length in (None, 4), (0, 4), (3, 1), (4, 0):
            code = self.refused(self.uploads.begin(ALICE, file, offset, length))
            self.assertIs(code, Code.TOO_LARGE)
        self.assertIs(self.refused(self.uploads.begin(ALICE, file, None, 2)), Code.BAD_REQUEST)
        self.assertIs(self.refused(self.uploads.begin(ALICE, file, 1, 2)), Code.CONFLICT)
        big = methods.NewFile(Limits().file_bytes + 1, "0" * 64, "n", "a/b")
        self.assertIs(self.refused(self.uploads.slot(ALICE, big)), Code.TOO_LARGE)

    def test_newer_upload_ends_the_older_one(self) -> None:
        file = self.slot(b"123")
        older = self.begin(file, 0, 3)
        self.do(older.write(b"1"))
        newer = self.begin(file, 1, 2)
        self.assertIs(self.refused(older.write(b"x")), Code.CONFLICT)
        self.assertIs(self.refused(older.finish()), Code.CONFLICT)
        self.do(older.end())
        self.do(newer.write(b"23"))
        self.assertTrue(self.do(newer.finish()).complete)

    @limits("file_total_bytes")
    def test_all_files_together_have_a_total(self) -> None:
        self.start(file_total_bytes=10)
        self.upload(b"12345678")
        more = methods.NewFile(3, "0" * 64, "n", "a/b")
        self.assertIs(self.refused(self.uploads.slot(BOB, more)), Code.LIMIT)
        self.upload(b"90", BOB)

    @limits("uploads", "uploads_per_user")
    def test_uploads_at_once_are_bounded_and_places_become_free(self) -> None:
        self.start(uploads_per_user=2, uploads=3)
        mine = [self.slot(bytes((65 + n,))) for n in range(3)]
        held = [self.begin(file, 0, 1) for file in mine[:2]]
        self.assertIs(self.refused(self.uploads.begin(ALICE, mine[2], 0, 1)), Code.LIMIT)
        theirs = [self.slot(b"x", BOB), self.slot(b"y", BOB)]
        self.begin(theirs[0], 0, 1, BOB)
        self.assertIs(self.refused(self.uploads.begin(BOB, theirs[1], 0, 1)), Code.LIMIT)
        self.do(held[0].end())
        self.do(held[0].end())
        self.begin(mine[2], 0, 1)
        self.assertIs(self.refused(self.uploads.begin(ALICE, mine[0], 0, 1)), Code.LIMIT)

    def test_place_becomes_free_when_the_store_fails(self) -> None:
        self.start(uploads_per_user=1)
        file = self.slot(b"1")
        for _ in range(3):
            self.blobs.fail("resume", error=StoreFull("full"))
            begun = Deferred.fromCoroutine(self.uploads.begin(ALICE, file, 0, 1))
            self.failureResultOf(begun, StoreFull)
        self.begin(file, 0, 1)

    def test_complete_file_takes_no_more_bytes_and_says_so_kindly(self) -> None:
        done = self.upload(b"123")
        for offset, length in (None, 3), (3, 0):
            intake = self.begin(done.id, offset, length)
            self.do(intake.write(b"456"))
            self.assertEqual(self.do(intake.finish()), done)
        self.assertIs(self.refused(self.uploads.begin(ALICE, done.id, 1, 2)), Code.CONFLICT)

    def test_other_bytes_end_the_slot(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"124"))
        self.assertIs(self.refused(intake.finish()), Code.BAD_REQUEST)
        self.assertIsNone(self.progress(file))
        self.assertEqual(self.names, [])
        self.assertEqual(self.do(self.storage.unused_blobs(0, 9)), ())

    def test_a53_equal_bytes_are_stored_once(self) -> None:
        first, second = self.upload(b"same"), self.upload(b"same", BOB)
        self.assertEqual((first.blob, second.blob), (first.id, first.id))
        self.assertEqual(self.names, [str(first.id)])

    def test_upload_that_waited_for_the_end_of_another_leaves_no_bytes_without_a_row(self) -> None:
        for content, held in (b"124", "fail_file"), (b"123", "complete_file"):
            first = self.upload(b"123")
            file = self.slot(b"123")
            older = self.begin(file, None, 3)
            self.do(older.write(content))
            self.storage.held = {held}
            finishing = Deferred.fromCoroutine(older.finish())
            beginning = Deferred.fromCoroutine(self.uploads.begin(ALICE, file, None, 3))
            self.storage.held = set()
            self.storage.answer()
            if held == "complete_file":
                self.assertEqual(self.successResultOf(finishing).blob, first.blob)
                self.assertTrue(self.successResultOf(beginning).file.complete)
            else:
                self.failureResultOf(finishing, Refusal)
                self.failureResultOf(beginning, Refusal)
            self.assertEqual(self.names, [str(first.blob)])

    def test_stranger_does_not_end_an_upload(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.assertIs(self.refused(self.uploads.begin(BOB, file, 0, 3)), Code.NOT_FOUND)
        self.do(intake.write(b"123"))
        self.assertTrue(self.do(intake.finish()).complete)

    def test_slot_is_for_a_day(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"1"))
        self.now += DAY
        self.assertIs(self.refused(intake.write(b"2")), Code.NOT_FOUND)
        self.assertIsNone(self.progress(file))
        self.assertIs(self.refused(self.uploads.begin(ALICE, file, 1, 2)), Code.NOT_FOUND)


class CrashTests(Case):
    """What a process leaves behind that dies between two steps."""

    def test_all_bytes_but_no_end_is_mended_by_the_next_request(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"123"))
        self.do(intake.end())
        self.start()
        self.assertEqual(self.progress(file), 3)
        self.assertTrue(self.do(self.begin(file, 3, 0).finish()).complete)

    def test_between_rename_and_row_nothing_can_be_sent_and_the_next_request_mends_it(self) -> None:
        for offset, length in (3, 0), (None, 3):
            content = bytes((length, 1, 2))
            file = self.slot(content)
            intake = self.begin(file, 0, 3)
            self.do(intake.write(content))
            self.storage.fail("complete_file")
            self.failureResultOf(Deferred.fromCoroutine(intake.finish()), Unavailable)
            self.assertIn(str(file), self.names)
            self.assertIsNone(self.do(self.storage.readable_file(1, 11, file)))
            self.start()
            again = self.begin(file, offset, length)
            self.do(again.write(content[:length]))
            self.assertTrue(self.do(again.finish()).complete)

    def test_between_rename_and_row_and_never_again_is_swept(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"123"))
        self.storage.fail("complete_file")
        self.failureResultOf(Deferred.fromCoroutine(intake.finish()), Unavailable)
        self.sweep_at(DAY + GRACE + 1)
        self.assertEqual(self.names, [])

    def test_row_that_went_away_meanwhile_is_not_completed(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"123"))
        self.do(self.storage.expire_files(incomplete=WALL + 1, unsent=0, limit=9))
        self.assertIs(self.refused(intake.finish()), Code.NOT_FOUND)
        self.sweep_at(0)
        self.assertEqual(self.names, [])

    def test_bytes_that_could_not_be_deleted_are_swept(self) -> None:
        self.upload(b"same")
        self.blobs.fail("delete")
        second = self.upload(b"same")
        self.assertEqual(len(self.names), 2)
        self.sweep_at(0)
        self.assertEqual(self.names, [str(second.blob)])

    def test_other_bytes_of_a_file_that_somebody_has_completed_delete_nothing(self) -> None:
        file = self.slot(b"123")
        intake = self.begin(file, 0, 3)
        self.do(intake.write(b"124"))
        self.do(self.storage.complete_file(1, file, ""))
        self.assertIs(self.refused(intake.finish()), Code.BAD_REQUEST)
        self.assertEqual(self.blobs.count("delete"), 0)

    def sweep_at(self, later: int) -> None:
        self.now += later
        self.do(self.uploads.sweep())


class SweepTests(Case):
    """What nobody sends is forgotten."""

    def test_abandoned_uploads_go_after_a_day_and_unsent_files_after_a_week(self) -> None:
        for n in range(120):
            file = self.slot(b"%d" % n)
            self.do(self.begin(file, 0, 1).finish())
        done = self.upload(b"done")
        self.now += DAY + GRACE
        self.do(self.uploads.sweep())
        self.assertEqual(len(self.names), 121)
        self.now += 1
        self.do(self.uploads.sweep())
        self.assertEqual(self.names, [str(done.id)])
        self.now = WALL + SEND_WITHIN + 1
        self.do(self.uploads.sweep())
        self.assertEqual(self.names, [])

    def test_bytes_that_nobody_can_delete_do_not_keep_the_others(self) -> None:
        blobs = [self.upload(b"%d" % n).blob for n in range(STUCK + 2)]
        self.now = WALL + SEND_WITHIN + 1
        for path in self.directory.rglob("1*"):
            if path.name != str(blobs[-1]):
                path.unlink()
                path.mkdir()
        last = str(blobs[-1])
        self.sweep_fails(f"blob {blobs[0]}: ")
        self.assertEqual(self.names, [last])
        self.sweep_fails(f"blob {blobs[-2]}: ")
        self.assertEqual(self.names, [])
        for path in self.directory.rglob("1*"):
            path.rmdir()
        for _ in range(2):
            self.do(self.uploads.sweep())
        self.assertEqual(self.do(self.storage.unused_blobs(0, 99)), ())

    def sweep_fails(self, why: str) -> None:
        failed = Deferred.fromCoroutine(self.uploads.sweep())
        self.assertIn(why, str(self.failureResultOf(failed, Unavailable).value))

    def test_the_sweep_is_repeated_now_and_then(self) -> None:
        clock, swept = Clock(), []

        class Sweeping(Uploads):
            async def sweep(self) -> None:
                swept.append(clock.seconds())

        uploads: Any = Sweeping.__new__(Sweeping)
        rounds = tidying(uploads, clock, lambda: 0.5)
        rounds.start()
        clock.pump([TIDY_SECONDS] * 3)
        self.assertEqual(swept, [TIDY_SECONDS * n for n in (1, 2, 3)])


class DownloadTests(Case):
    """Who reads."""

    def setUp(self) -> None:
        super().setUp()
        from imd.model import Device

        phone = Device(ALICE.device, 1, "phone", WALL, WALL)
        self.do(
            self.storage.add_device(phone, b"t" * 32, verified="hash", limit=9, retire_before=0)
        )
        self.file = self.upload(b"0123456789")

    @limits("link_seconds")
    def test_link_is_good_for_its_maker_and_its_time(self) -> None:
        link = self.do(self.downloads.link(ALICE, methods.OneFile(self.file.id)))
        path, _, signed = link.url.partition("?link=")
        self.assertEqual(path, f"/v1/files/{self.file.id}")
        self.assertEqual(link.expires, WALL + 600_000)
        reader = self.do(self.downloads.reader(self.file.id, signed))
        self.assertEqual(reader, Reader(1, ALICE.device))
        self.assertEqual(self.do(self.downloads.find(reader, self.file.id)), self.file)
        self.now += 600_000
        self.assertIs(self.refused(self.downloads.reader(self.file.id, signed)), Code.NOT_FOUND)

    def test_nobody_else_makes_one(self) -> None:
        made = self.downloads.link(BOB, methods.OneFile(self.file.id))
        self.assertIs(self.refused(made), Code.NOT_FOUND)

    def test_bytes_are_those_of_the_blob(self) -> None:
        second = self.upload(b"0123456789")
        self.assertEqual(self.do(self.downloads.read(second, 3, 4)), b"3456")

    @limits("downloads", "downloads_per_user")
    def test_downloads_at_once_are_bounded_and_nobody_takes_all_places(self) -> None:
        self.start(downloads=3, downloads_per_user=2)
        for _ in range(2):
            self.downloads.enter(1)
        for user in 1, 3:
            with self.assertRaises(Refusal):
                self.downloads.enter(user)
            if user == 1:
                self.downloads.enter(2)
        self.downloads.leave(1)
        self.downloads.enter(3)
