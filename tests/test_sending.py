"""Sending many bytes: as fast as the client reads, and never more than was promised."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd.connector.sending import CHUNK, STALL_SECONDS, Sending


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

    def loseConnection(self) -> None:
        self.ended = "broken"

    def forceAbortClient(self) -> None:
        self.lose()
        self.ended = "aborted"

    def lose(self) -> None:
        """The connection is gone."""
        self._over.errback(Failure(ConnectionLost()))


class SendingTests(SynchronousTestCase):
    """A file of some chunks."""

    def setUp(self) -> None:
        self.content = bytes(range(256)) * (CHUNK // 100)
        self.reads: list[tuple[int, int]] = []
        self.clock = Clock()
        self.client = Client()

    def start(self, start: int = 0, end: int | None = None) -> Deferred[None]:
        async def read(offset: int, length: int) -> bytes:
            self.reads.append((offset, length))
            return self.content[offset : offset + length]

        sending = Sending(self.client, read, self.clock)  # type: ignore[arg-type]
        return Deferred.fromCoroutine(sending.run(start, end or len(self.content)))

    def test_chunk_follows_chunk_only_when_the_client_has_read(self) -> None:
        done = self.start()
        self.assertEqual(self.reads, [(0, CHUNK)])
        while not done.called:
            count = len(self.reads)
            self.client.producer.resumeProducing()
            self.assertLessEqual(len(self.reads), count + 1)
        self.assertEqual((self.client.got, self.client.ended), (self.content, "finished"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_range_is_what_is_sent(self) -> None:
        self.successResultOf(self.start(5, 10))
        self.assertEqual((self.client.got, self.client.ended), (self.content[5:10], "finished"))

    def test_client_that_does_not_read_is_cut_off(self) -> None:
        done = self.start()
        self.clock.advance(STALL_SECONDS)
        self.successResultOf(done)
        self.assertEqual(self.client.ended, "aborted")

    def test_client_that_goes_away_ends_it(self) -> None:
        done = self.start()
        self.client.lose()
        self.successResultOf(done)
        self.assertEqual((self.client.ended, len(self.reads)), (None, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bytes_that_are_missing_break_the_connection(self) -> None:
        done = self.start(len(self.content) - 5, len(self.content) + 5)
        self.client.producer.resumeProducing()
        self.successResultOf(done)
        self.assertEqual((len(self.client.got), self.client.ended), (5, "broken"))
