"""What becomes of a file that cannot be brought: the exit code, and the words."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.client import Changed, Disconnected, Refused
from imd.client.uploads import Progress, Uploads
from imd.terminal.attach import Attachment, Carrier
from imd.terminal.codes import Ending, Exit
from imd.wire import FileBody

BODY = FileBody(file=1, name="a", size=1, mime="m/m", sha256="0" * 64)


class _Files:
    """Uploads nothing, and hands the progress to the test."""

    def __init__(self) -> None:
        self.result: Deferred[FileBody] = Deferred()
        self.moved: Progress

    async def upload(self, path: Path, *, name: str, progress: Progress) -> FileBody:
        self.moved = progress
        return await self.result


class _Real:
    """The real uploads, which end before they need a server."""

    def __init__(self, exchange: Any) -> None:
        self._uploads = Uploads(exchange, exchange, lambda: 5)

    async def upload(self, path: Path, *, name: str, progress: Progress) -> FileBody:
        return await self._uploads.upload(path, name, None, progress)


class _Client:
    """As much of a client as a carrier looks at."""

    file_bytes = 5

    def __init__(self, reactor: Clock, files: Any) -> None:
        self.reactor = reactor
        self.files = files
        self.state = "ready"


class CarrierTests(SynchronousTestCase):
    """``Carrier.bring``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.files = _Files()
        self.client: Any = _Client(self.clock, self.files)

    def bring(self, path: str = "a", caption: str | None = None) -> Deferred[FileBody]:
        carrier = Carrier(self.client, 30.0)
        return Deferred.fromCoroutine(carrier.bring(Attachment(path, "a"), caption, None))

    def ending(self, bringing: Deferred[FileBody]) -> Ending:
        found = self.failureResultOf(bringing, Ending).value
        assert isinstance(found, Ending)
        return found

    def test_a_caption_goes_with_the_file(self) -> None:
        bringing = self.bring(caption="look")
        self.files.result.callback(BODY)
        self.assertEqual(self.successResultOf(bringing), structs.replace(BODY, text="look"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_waits_as_long_as_something_moves(self) -> None:
        bringing = self.bring()
        for _ in range(10):
            self.clock.advance(29)
            self.files.moved(1, 2)
        self.assertNoResult(bringing)
        self.clock.advance(31)
        end = self.ending(bringing)
        self.assertEqual((end.code, end.message), (75, "a: not sent: nothing moved any more"))

    def test_a_server_that_is_away_is_told_apart(self) -> None:
        bringing = self.bring()
        self.client.state = "waiting"
        self.clock.advance(31)
        self.assertIs(self.ending(bringing).code, Exit.UNAVAILABLE)

    def test_an_interrupt_says_what_becomes_of_the_rest(self) -> None:
        bringing = self.bring()
        bringing.cancel()
        end = self.ending(bringing)
        self.assertTrue(end.interrupted)
        self.assertIn("deletes what it has of it after 24 hours", end.message)

    def test_what_may_go_later_is_not_refused_for_good(self) -> None:
        codes = {
            Refused("limit", "1 file a day"): (75, "a: not now: limit: 1 file a day"),
            Refused("unavailable", "full"): (75, "a: not now: unavailable: full"),
            Refused("forbidden", "no"): (77, "a: refused: forbidden: no"),
            Changed("it grew"): (75, "a: not sent: it grew"),
            Disconnected("gone"): (75, "a: not sent: gone"),
        }
        for error, expected in codes.items():
            self.files.result = Deferred()
            bringing = self.bring()
            self.files.result.errback(error)
            end = self.ending(bringing)
            self.assertEqual((end.code, end.message), expected)

    def test_what_is_no_file_to_read_is_told(self) -> None:
        self.client.files = _Real(self.client)
        with tempfile.TemporaryDirectory() as directory:
            top = Path(directory)
            (top / "large").write_bytes(b"123456")
            os.mkfifo(top / "pipe")
            codes = {
                "none": (66, "No such file or directory"),
                "": (66, "Is a directory"),
                "pipe": (66, "Not a file"),
                "large": (65, "refused: too_large: a file has at most 5 bytes"),
            }
            for name, (code, words) in codes.items():
                end = self.ending(self.bring(str(top / name)))
                self.assertEqual((end.code, end.message), (code, f"{top / name}: {words}"))
