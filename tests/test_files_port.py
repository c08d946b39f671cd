"""Uploads at the port: nothing is read of strangers, and nobody is answered who is gone."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from imd.connector.files import FilesPort
from imd.connector.site import Crowd, ImdSite
from imd.errors import Code, Refusal
from imd.limits import Limits


class Inside:
    """What stands behind the port: it takes its time to look at tokens, and to store."""

    def __init__(self) -> None:
        self.known: Deferred[None] = succeed(None)
        self.stored: Deferred[None] = Deferred()
        self.got = b""

    async def authenticate(self, token: str) -> None:
        """Anybody, in the end."""
        await self.known

    async def begin(self, *what: object) -> Inside:
        return self

    async def write(self, data: bytes) -> None:
        self.got += data

    async def finish(self) -> None:
        await self.stored

    async def end(self) -> None:
        """There is nothing to let go of."""


class PortCase(SynchronousTestCase):
    """One connection, with an upload of five bytes."""

    def setUp(self) -> None:
        clock, self.inside = Clock(), Inside()
        inside: Any = self.inside
        site = ImdSite(Resource(), Crowd(Limits()), clock)  # type: ignore[no-untyped-call]
        site.stream = FilesPort(inside, inside, inside, clock).stream
        self.channel: Any = site.buildProtocol(None)
        self.channel.callLater = clock.callLater
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def begin(self, body: bytes) -> None:
        head = b"PUT /v1/files/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
        self.channel.dataReceived(head + b"Content-Length: 5\r\n\r\n" + body)


class StrangerTests(PortCase):
    """Whoever sends a body before it is known who that is."""

    def setUp(self) -> None:
        super().setUp()
        self.inside.known = Deferred()
        self.begin(b"12")
        self.assertEqual(self.transport.producerState, "paused")

    def test_stranger_is_sent_away_before_more_is_read(self) -> None:
        self.inside.known.errback(Refusal(Code.UNAUTHORIZED, "who is that?"))
        self.assertIn(b"HTTP/1.1 401 ", self.transport.value())
        self.assertEqual(self.transport.producerState, "producing")
        self.channel.dataReceived(b"345")
        self.assertEqual(self.inside.got, b"")

    def test_owner_is_read_once_that_is_known(self) -> None:
        self.inside.known.callback(None)
        self.assertEqual(self.transport.producerState, "producing")
        self.channel.dataReceived(b"345")
        self.assertEqual(self.inside.got, b"12345")


class GoneTests(PortCase):
    """Whoever is gone when all of it has come, and before it is stored."""

    def setUp(self) -> None:
        super().setUp()
        self.begin(b"12345")
        self.assertEqual(self.inside.got, b"12345")
        self.channel.connectionLost(Failure(ConnectionLost()))

    def tearDown(self) -> None:
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_file_that_is_stored_then_is_no_defect(self) -> None:
        self.inside.stored.callback(None)

    def test_file_that_is_refused_then_is_no_defect(self) -> None:
        self.inside.stored.errback(Refusal(Code.BAD_REQUEST, "other bytes"))
