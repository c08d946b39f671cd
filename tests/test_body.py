"""Bodies that are taken as they come: back-pressure, and clients that stop sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from imd.connector.body import ENOUGH, Body, Broken
from imd.connector.site import CLOSE_SECONDS, STALL_BYTES, STALL_SECONDS, Crowd, ImdSite
from imd.limits import Limits


class Source:
    """A socket that counts."""

    def __init__(self) -> None:
        self.paused = False
        self.changes = 0

    def pauseProducing(self) -> None:
        self.paused = True
        self.changes += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self.changes += 1


class BodyTests(SynchronousTestCase):
    """One reader, one source."""

    def setUp(self) -> None:
        self.source = Source()
        self.body = Body(self.source, None)

    def read(self) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self.body.read())

    def test_reader_gets_all_that_waits_and_then_waits_for_more(self) -> None:
        self.body.received(b"ab")
        self.body.received(b"c")
        self.assertEqual(self.successResultOf(self.read()), b"abc")
        waiting = self.read()
        self.assertNoResult(waiting)
        self.body.received(b"d")
        self.assertEqual(self.successResultOf(waiting), b"d")
        self.body.end()
        self.assertEqual(self.successResultOf(self.read()), b"")

    def test_source_that_is_held_waits_until_somebody_reads(self) -> None:
        self.body.hold()
        self.assertTrue(self.source.paused)
        self.body.received(b"came with the head")
        self.assertTrue(self.source.paused)
        self.successResultOf(self.read())
        self.assertFalse(self.source.paused)

    def test_source_waits_while_enough_waits(self) -> None:
        self.body.received(b"x" * (ENOUGH - 1))
        self.assertFalse(self.source.paused)
        self.body.received(b"x")
        self.assertTrue(self.source.paused)
        self.assertEqual(len(self.successResultOf(self.read())), ENOUGH)
        self.assertFalse(self.source.paused)
        self.assertEqual(self.source.changes, 2)

    def test_while_nobody_reads_the_client_is_not_who_is_slow(self) -> None:
        self.body.hold()
        for _ in range(3):
            self.assertTrue(self.body.progress(10))
        self.assertNoResult(self.read())
        self.assertTrue(self.body.progress(10))
        self.assertFalse(self.body.progress(10))

    def test_break_is_told_at_once_and_drops_what_comes_after(self) -> None:
        waiting = self.read()
        self.body.lose(timed_out=True)
        self.assertTrue(self.failureResultOf(waiting, Broken).value.timed_out)  # type: ignore[attr-defined,union-attr]
        self.body.lose()
        self.body.received(b"x" * ENOUGH)
        self.assertFalse(self.source.paused)
        self.failureResultOf(self.read(), Broken)

    def test_what_came_before_a_break_is_kept(self) -> None:
        self.body.received(b"kept")
        self.body.lose()
        self.assertEqual(self.successResultOf(self.read()), b"kept")
        self.failureResultOf(self.read(), Broken)

    def test_break_after_the_end_is_none(self) -> None:
        self.body.received(b"x")
        self.body.end()
        self.body.lose()
        self.assertEqual(self.successResultOf(self.read()), b"x")

    def test_progress_is_enough_bytes_or_a_wait_for_us(self) -> None:
        self.assertFalse(self.body.progress(10))
        self.body.received(b"x" * 9)
        self.assertFalse(self.body.progress(10))
        self.body.received(b"x" * 10)
        self.assertTrue(self.body.progress(10))
        self.body.received(b"x" * ENOUGH)
        for _ in range(3):
            self.assertTrue(self.body.progress(10))
        self.successResultOf(self.read())
        self.assertTrue(self.body.progress(10))
        self.assertFalse(self.body.progress(10))


class StallTests(SynchronousTestCase):
    """A connection whose upload is read at once."""

    def setUp(self) -> None:
        self.clock = Clock()
        site = ImdSite(Resource(), Crowd(Limits()), self.clock)  # type: ignore[no-untyped-call]
        site.stream = self.take
        self.channel: Any = site.buildProtocol(None)
        self.channel.callLater = self.clock.callLater
        self.transport = StringTransport()
        self.aborted: list[float] = []
        self.transport.abortConnection = self.abort  # type: ignore[method-assign]
        self.channel.makeConnection(self.transport)
        self.got = 0
        self.broken: Broken | None = None
        self.answer: Callable[[Any], None] = lambda request: None

    def abort(self) -> None:
        self.aborted.append(self.clock.seconds())
        self.transport.loseConnection()

    def take(self, request: Any, body: Body) -> bool:
        async def read() -> None:
            try:
                while data := await body.read():
                    self.got += len(data)
            except Broken as broken:
                self.broken = broken
                self.answer(request)

        Deferred.fromCoroutine(read())
        return True

    def say(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def begin(self, *lines: bytes) -> None:
        head = [b"PUT /v1/files/1 HTTP/1.1", b"Host: x", b"Content-Length: 1000000", *lines]
        self.say(b"\r\n".join([*head, b"", b""]))

    def test_a50_upload_that_stalls_is_ended(self) -> None:
        self.begin()
        self.say(b"x" * STALL_BYTES)
        self.clock.advance(STALL_SECONDS)
        self.assertIsNone(self.broken)
        self.clock.advance(STALL_SECONDS)
        assert self.broken is not None
        self.assertTrue(self.broken.timed_out)

    def test_a50_upload_that_drips_is_ended(self) -> None:
        self.begin()
        for _ in range(STALL_SECONDS):
            self.say(b"x")
            self.clock.advance(1)
        self.assertIsNotNone(self.broken)

    def test_upload_that_goes_on_may_take_long(self) -> None:
        self.begin()
        for _ in range(30):
            self.say(b"x" * STALL_BYTES)
            self.clock.advance(STALL_SECONDS)
        self.assertIsNone(self.broken)
        self.assertEqual(self.got, 30 * STALL_BYTES)

    def test_answer_before_the_end_is_read_by_a_client_that_goes_on_sending(self) -> None:
        self.answer = lambda request: request.channel.interrupt(408, {b"X": b"y"}, b"late")
        self.begin()
        self.clock.advance(STALL_SECONDS)
        self.say(b"x" * 1000)
        self.assertEqual(
            self.transport.value(),
            b"HTTP/1.1 408 Request Time-out\r\nX: y\r\nContent-Length: 4\r\n"
            b"Connection: close\r\n\r\nlate",
        )
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(STALL_SECONDS)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.got, 0)

    def test_body_is_asked_for_once_and_only_when_it_is_wanted(self) -> None:
        self.begin(b"Expect: 100-continue")
        self.assertEqual(self.transport.value(), b"")
        for _ in range(2):
            self.channel.ask_for_body()
            self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_who_does_not_read_what_was_written_last_is_cut_off(self) -> None:
        self.say(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        self.assertTrue(self.transport.disconnecting)
        # Else a connection with TLS is not closed.
        self.assertIsNone(self.transport.producer)
        self.clock.advance(CLOSE_SECONDS - 1)
        self.assertEqual(self.aborted, [])
        self.clock.advance(1)
        self.assertEqual(self.aborted, [CLOSE_SECONDS])

    def test_connection_that_was_closed_in_time_is_not_cut_off(self) -> None:
        self.say(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        self.channel.connectionLost(None)
        self.clock.advance(CLOSE_SECONDS)
        self.assertEqual(self.aborted, [])

    def test_connection_that_is_lost_breaks_the_body(self) -> None:
        self.begin()
        self.channel.connectionLost(None)
        self.assertIsNotNone(self.broken)
