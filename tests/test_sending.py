"""Sending many bytes: as fast as the client reads, and never as whole what broke off."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd.connector.sending import STALL_SECONDS, Sending
from imd.errors import Unavailable


class Client:
    """A request, and whoever made it; it reads when it is told to."""

    def __init__(self) -> None:
        self.got = b""
        self.ended: str | None = None
        self.producer: Any = None
        self._over: Deferred[None] = Deferred()
        self.channel = self

    def notifyFinish(self) -> Deferred[None]:
        return self._over

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.got += data
        self.producer.pauseProducing()

    def finish(self) -> None:
        self.ended = "finished"

    def forceAbortClient(self) -> None:
        self.lose()
        self.ended = "aborted"

    def lose(self) -> None:
        """The connection is gone."""
        self._over.errback(Failure(ConnectionLost()))


class SendingTests(SynchronousTestCase):
    """An answer of some parts."""

    def setUp(self) -> None:
        self.made = 0
        self.is_closed = False
        self.clock = Clock()
        self.client = Client()

    async def parts(self, fault: Exception | None = None) -> AsyncGenerator[bytes, None]:
        try:
            for part in (b"one", b"two", b"three"):
                self.made += 1
                yield part
            if fault is not None:
                raise fault
        finally:
            self.is_closed = True

    def start(self, fault: Exception | None = None) -> Deferred[None]:
        sending = Sending(self.client, self.clock)  # type: ignore[arg-type]
        return Deferred.fromCoroutine(sending.run(self.parts(fault)))

    def test_part_follows_part_only_when_the_client_has_read(self) -> None:
        done = self.start()
        for made in (1, 2, 3):
            self.assertEqual((self.made, self.client.ended), (made, None))
            self.client.producer.resumeProducing()
        self.successResultOf(done)
        self.assertEqual((self.client.got, self.client.ended), (b"onetwothree", "finished"))
        self.assertEqual((self.client.producer, self.clock.getDelayedCalls()), (None, []))

    def test_client_that_does_not_read_is_cut_off(self) -> None:
        done = self.start()
        self.clock.advance(STALL_SECONDS)
        self.successResultOf(done)
        self.assertEqual((self.client.ended, self.is_closed), ("aborted", True))

    def test_client_that_goes_away_ends_it(self) -> None:
        done = self.start()
        self.client.lose()
        self.successResultOf(done)
        self.assertEqual((self.client.ended, self.made, self.is_closed), (None, 1, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_breaks_off_is_not_finished(self) -> None:
        done = self.start(Unavailable("no more"))
        for _ in range(3):
            self.client.producer.resumeProducing()
        self.failureResultOf(done, Unavailable)
        self.assertEqual((self.client.got, self.client.ended), (b"onetwothree", None))
        self.assertIsNone(self.client.producer)
