"""What a broker of a transfer takes from whoever is connected to it."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.spread import banana, jelly
from twisted.trial.unittest import SynchronousTestCase

from imd.transfer import broker as rules
from imd.transfer.exchange import Connector, Exchange

HELLO = banana.encode(b"pb") + banana.encode([b"version", 6])


class Socket(StringTransport):
    """A socket that remembers whether it was dropped, and what was set."""

    nodelay = False
    aborted = False

    def abortConnection(self) -> None:
        """Drop it."""
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember."""
        self.nodelay = enabled


def call(name: bytes, *args: Any, request: Any = 1, luid: Any = b"root", answer: int = 1) -> bytes:
    message = [b"message", request, luid, name, answer, [b"tuple", *args], [b"dictionary"]]
    encoded: bytes = banana.encode(message)
    return encoded


ATTACH = call(b"attach", b"mallory", b"boot", 1)


class Case(SynchronousTestCase):
    """One connection to a transfer, fed with bytes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.exchange = Exchange(self.clock)
        self.factory = self.exchange.factory()
        self.socket, self.broker = self.connect()

    def connect(self) -> tuple[Socket, Any]:
        socket = Socket(IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "127.0.0.1", 2))
        broker = self.factory.buildProtocol(None)
        broker.makeConnection(socket)
        return socket, broker

    def feed(self, data: bytes) -> None:
        """As the reactor does: at most 64 KiB at a time, and nothing after the end."""
        for start in range(0, len(data), 65536):
            if self.socket.aborted:
                return
            self.broker.dataReceived(data[start : start + 65536])

    def attach(self) -> None:
        self.feed(HELLO + ATTACH)
        self.assertFalse(self.socket.aborted)
        self.socket.clear()

    def assert_dropped(self, data: bytes) -> None:
        with capturedLogs() as logs:
            self.feed(data)
        self.assertTrue(self.socket.aborted)
        levels = [event["log_level"] for event in logs]
        self.assertEqual([level for level in levels if level > LogLevel.info], [LogLevel.warn])


class StrangerTests(Case):
    """Before it has attached."""

    def test_small_messages_are_not_held_back_by_tcp(self) -> None:
        self.assertTrue(self.socket.nodelay)

    def test_stranger_has_five_seconds(self) -> None:
        self.feed(HELLO)
        self.clock.advance(4.9)
        self.assertFalse(self.socket.aborted)
        self.clock.advance(0.2)
        self.assertTrue(self.socket.aborted)

    def test_idle_stranger_has_five_seconds(self) -> None:
        self.clock.advance(5.1)
        self.assertTrue(self.socket.aborted)

    def test_who_has_attached_stays(self) -> None:
        self.attach()
        self.clock.advance(14)
        self.assertFalse(self.socket.aborted)

    def test_stranger_may_send_64_kib(self) -> None:
        self.feed(HELLO)
        self.assert_dropped(b"\x07\x80" + b"\x00\x01\x04\x82" + b"x" * 65536)

    def test_stranger_is_dropped_by_the_first_item_too_many(self) -> None:
        self.assert_dropped(HELLO + b"\x01\x81" * 100)

    def test_only_so_many_strangers_are_let_in(self) -> None:
        for _ in range(255):
            self.connect()
        self.assertIsNone(self.factory.buildProtocol(None))
        self.broker.connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(self.factory.buildProtocol(None))

    def test_stranger_can_call_nothing_but_attach(self) -> None:
        for message in (call(b"forward", b"a", b"x"), call(b"ping", 1), call(b"login", b"admin")):
            self.setUp()
            self.assert_dropped(HELLO + message)
            self.assertNotIn(b"Error", self.socket.value())

    def test_http_is_not_perspective_broker(self) -> None:
        self.assert_dropped(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\x80")

    def test_another_dialect_is_refused(self) -> None:
        self.assert_dropped(banana.encode(b"none"))

    def test_another_version_is_refused_with_an_answer(self) -> None:
        self.feed(HELLO)
        self.socket.clear()
        self.feed(call(b"attach", b"a", b"boot", 2))
        self.assertEqual(
            self.socket.value(),
            banana.encode([b"answer", 1, 2]).replace(b"\x06\x82answer", b"\x1b\x87"),
        )
        self.assertEqual(self.exchange._connectors, {})

    def test_names_are_checked(self) -> None:
        for name in (b"", b"x" * 256, b"\xff"):
            self.setUp()
            self.assert_dropped(HELLO + call(b"attach", name, b"boot", 1))


class ConnectorTests(Case):
    """After it has attached."""

    def setUp(self) -> None:
        super().setUp()
        self.attach()

    def test_calls_that_do_not_exist_or_take_other_arguments_are_dropped(self) -> None:
        for message in (
            call(b"forward", b"a"),
            call(b"forward", b"a", 1),
            call(b"forward", b"a", [b"list"]),
            call(b"forward", [b"unicode", b"a"], b"x"),
            call(b"forward", b"a", 1.5),
            call(b"ping"),
            call(b"attach", b"again", b"boot", 1),
            call(b"ready", 1),
            call(b"__class__"),
            call(b"\xff"),
            call(b"ping", 1, luid=b"other"),
            call(b"ping", 1, luid=1),
            call(b"ping", 1, luid=[b"x"]),
            call(b"ping", 1, answer=0),
            call(b"ping", 1, request=b"x"),
            call(b"forward", b"a", b"x" * (256 * 1024 + 1)),
        ):
            self.setUp()
            self.assert_dropped(message)
            self.assertEqual(self.socket.value(), b"")

    def test_expressions_of_perspective_broker_that_we_do_not_use_are_dropped(self) -> None:
        remote = [b"remote", 1]
        for expression in (
            [b"decref", 1],
            [b"decache", 1],
            [b"uncache", 1],
            [b"cachemessage", 1, 1, b"x", 1, [b"tuple"], [b"dictionary"]],
            [b"didNotUnderstand", b"x"],
            [b"nonsense"],
            [b"version", 5],
            [b"answer", 77, 0],
            [b"answer", 1],
            [b"error", 1, b"x"],
            [b"message", 1, b"root", b"ping", 1, [b"tuple", remote], [b"dictionary"]],
            [b"message", 1, b"root", b"ping", 1, [b"tuple", 1], [b"dictionary", [b"x", 1]]],
            [b"message", 1, b"root", b"ping", 1, [b"list", 1], [b"dictionary"]],
            [],
            [[]],
            7,
            b"text",
        ):
            self.setUp()
            self.assert_dropped(banana.encode(expression))
            self.assertEqual(self.socket.value(), b"")

    def test_lists_that_are_long_or_deep_or_full_of_lists_are_dropped(self) -> None:
        for data in (
            b"\x00\x10\x80",
            b"\x01\x80" * 17,
            b"\x02\x80" + b"\x00\x80" * 65,
            b"\x02\x80" + (b"\x20\x80" + b"\x01\x81" * 32) * 2,
            b"1" * 65,
            b"\xff",
            b"\x7f\x87",
            b"\x01\x01\x01\x01\x82",
        ):
            self.setUp()
            self.assert_dropped(data)

    def test_answers_in_another_form_than_a_number_are_dropped(self) -> None:
        connector = self.exchange._connectors[b"mallory"]
        for answer in (b"x", [b"list"], [b"unpersistable", b"x"], [b"instance", b"os.system", []]):
            self.setUp()
            connector = self.exchange._connectors[b"mallory"]
            connector.deliver(b"a", b"blob")
            self.assert_dropped(banana.encode([b"answer", 1, answer]))

    def test_memory_stays_bounded_whatever_is_sent(self) -> None:
        chance = random.Random(7)
        tracemalloc.start()
        try:
            for n in range(30):
                kind = (
                    b"\x02\x80" + b"\x00\x00\x10\x82",
                    b"\x07\x80\x1a\x87\x01\x81\x00\x00\x20\x82",
                    chance.randbytes(16),
                )[n % 3]
                self.setUp()
                self.feed(kind)
                self.feed(chance.randbytes(1 << 20))
                self.assertTrue(self.socket.aborted)
            self.assertLess(tracemalloc.get_traced_memory()[1], 8 << 20)
        finally:
            tracemalloc.stop()

    def test_string_as_large_as_an_expression_may_be_is_not_waited_for(self) -> None:
        self.assert_dropped(b"\x00\x00\x20\x82" + b"x" * (rules.EXPRESSION_BYTES + 65536))

    def test_who_does_not_read_its_answers_is_dropped(self) -> None:
        self.broker.pauseProducing()
        pings = b"".join(call(b"ping", n) for n in range(1, 101))
        for _ in range(40):
            self.feed(pings)
        self.assertFalse(self.socket.aborted)
        self.assert_dropped(pings)
        self.assertLess(len(self.socket.value()), 100_000)

    def test_who_reads_again_may_go_on(self) -> None:
        pings = b"".join(call(b"ping", n) for n in range(1, 101))
        for _ in range(100):
            self.broker.pauseProducing()
            self.feed(pings)
            self.broker.resumeProducing()
        self.assertFalse(self.socket.aborted)

    def test_blobs_for_a_connector_that_does_not_answer_are_bounded(self) -> None:
        for _ in range(100):
            self.feed(call(b"forward", b"mallory", b"x" * (256 * 1024)))
            self.feed(call(b"forward", b"mallory", b""))
        backlog = self.exchange._connectors[b"mallory"]._backlog
        self.assertLessEqual(backlog._bytes, 4 << 20)
        for _ in range(2000):
            self.feed(call(b"forward", b"mallory", b""))
        self.assertLessEqual(len(backlog._items), 1024)

    def test_defect_of_ours_is_logged_and_not_told(self) -> None:
        def broken(self: Any, number: int) -> int:
            raise ZeroDivisionError("the secret of the house")

        self.patch(Connector, "remote_ping", broken)
        self.feed(call(b"ping", 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.socket.aborted)
        self.assertEqual(self.socket.value(), b"\x03\x80\x1b\x87\x01\x81\x02\x81")

    def test_nothing_is_done_for_who_was_dropped(self) -> None:
        self.assert_dropped(banana.encode(7) + call(b"ping", 1))
        self.assertEqual(self.socket.value(), b"")
        self.broker.dataReceived(call(b"ping", 1))
        self.assertEqual(self.socket.value(), b"")


class RegistryTests(SynchronousTestCase):
    """What Twisted's serializer may make of what it is sent."""

    def test_no_class_of_ours_can_be_made_from_outside(self) -> None:
        made = {*jelly.unjellyableRegistry.values(), *jelly.unjellyableFactoryRegistry.values()}
        self.assertEqual([one for one in made if not one.__module__.startswith("twisted.")], [])

    def test_broker_allows_no_types_at_all(self) -> None:
        exchange = Exchange(Clock())
        security = exchange.factory().buildProtocol(None).security
        self.assertIsNot(security, jelly.globalSecurity)
        self.assertEqual((security.allowedModules, security.allowedClasses), ({}, {}))
        for sexp in ([b"remote", 1], [b"list", 1], [b"function", b"os.system"], [b"tuple", 1]):
            with self.assertRaises(jelly.InsecureJelly):
                jelly.unjelly(sexp, security)
