"""The steps of each role, and storage that takes its time, fails late, or breaks."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd.config import Settings
from imd.daemon import Connector, process
from imd.errors import ConfigError
from imd.ops.lag import Lag
from imd.ops.supervisor import Supervisor
from tests.application import Told
from tests.directories import directory
from tests.inline import open_storage
from tests.nodes import MemoryFeed


class Slow:
    """An engine that starts when it is told to."""

    lanes = 1

    def __init__(self, feed: Any = None) -> None:
        self.started: Deferred[Any] = Deferred()
        self.feed = feed
        self.unready: str | None = None

    async def start(self) -> Any:
        return await self.started

    async def stop(self) -> None: ...


class RolesTests(SynchronousTestCase):
    def names(self, **settings: Any) -> list[str]:
        made = Settings(data="/nonexistent", **settings)
        reactor = MemoryReactorClock()
        service = process(made, reactor, Supervisor("", 0.0, reactor))
        first, *names, last = [child.name for child in service.children]
        self.assertEqual((first, last), ("supervisor", "readiness"))
        return names

    def test_a_connector_binds_last_and_opens_sessions_on_all_that_they_need(self) -> None:
        shared = {"store": "postgresql://localhost/imd", "status": "redis://localhost"}
        self.assertEqual(
            self.names(role="connector", transfer=("unix:/t",), **shared),
            ["lag", "storage", "passwords", "files", "user status", "sessions", "listener"],
        )

    def test_everything_is_a_connector_and_a_transfer_only_where_others_dial_it(self) -> None:
        alone = ["lag", "storage", "passwords", "files", "sessions", "listener"]
        self.assertEqual(self.names(), alone)
        self.assertEqual(self.names(transfer_listen="unix:/t"), ["transfer", *alone])

    def test_a_transfer_is_nothing_else(self) -> None:
        self.assertEqual(self.names(role="transfer"), ["lag", "transfer"])
        self.assertEqual(
            self.names(role="transfer", transfer_listen="unix:/t"), ["lag", "transfer"]
        )

    def test_a_mistake_is_told_before_anything_starts(self) -> None:
        with self.assertRaises(ConfigError):
            self.names(role="transfer", transfer_listen="carrier-pigeon:1")


class ConnectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.storage = open_storage(directory(self))
        self.addCleanup(self.storage.close)
        self.feed: Any = Told(MemoryFeed())

    def make(self, feed: Any = None) -> Connector:
        parts = Connector(Settings(node="here"), self.reactor, Lag(self.reactor))
        self.engine = parts.engine = Slow(feed)  # type: ignore[assignment]
        self.addCleanup(self.drain, parts)
        return parts

    def drain(self, parts: Connector) -> None:
        """Once."""
        if parts._stopping:
            return
        self.successResultOf(Deferred.fromCoroutine(parts.drain()))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def started(self, feed: Any = None) -> Connector:
        """A connector whose storage has not answered."""
        parts = self.make(feed)
        parts.start_storage()
        parts.start_files()
        parts.open_sessions()
        return parts

    def get(self, parts: Connector, path: str) -> tuple[int, str]:
        """Status and body."""
        channel, transport = parts.site.buildProtocol(None), StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(f"GET {path} HTTP/1.0\r\nHost: imd\r\n\r\n".encode())
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        channel.connectionLost(None)
        return int(head.split()[1]), body.strip()

    def ends(self) -> list[int]:
        """With what the process ends, once and for all."""
        triggers = self.reactor.triggers.get("after", {}).get("shutdown", [])
        self.assertTrue(all(call is os._exit for call, _, _ in triggers))
        self.assertEqual(self.reactor.hasStopped, bool(triggers))
        return [args[0] for _, args, _ in triggers]

    def test_storage_that_is_there_at_once_lets_clients_in_at_the_start(self) -> None:
        parts = self.make()
        self.engine.started.callback(self.storage)
        parts.start_storage()
        parts.start_files()
        self.assertEqual(self.get(parts, "/readyz"), (503, "starting"))
        parts.open_sessions()
        self.assertEqual(self.get(parts, "/readyz"), (200, "ready"))
        self.assertEqual(self.get(parts, "/v1/account.get")[0], 405)

    def test_storage_that_comes_late_lets_clients_in_late_and_readyz_says_why(self) -> None:
        parts = self.started()
        late = (503, "storage does not answer yet")
        self.assertEqual(self.get(parts, "/readyz"), late)
        self.assertEqual(self.get(parts, "/ws"), late)
        self.assertEqual(self.get(parts, "/healthz"), (200, "alive"))
        self.engine.unready = "no route to host"
        self.assertEqual(self.get(parts, "/readyz"), (503, "no route to host"))
        self.engine.unready = None
        self.engine.started.callback(self.storage)
        self.assertEqual(self.get(parts, "/readyz"), (200, "ready"))
        self.engine.unready = "the connection is closed"
        self.assertEqual(self.get(parts, "/readyz"), (503, "the connection is closed"))

    def test_among_other_nodes_nobody_is_let_in_before_the_first_sweep(self) -> None:
        """What sessions missed before it nobody would ever find."""
        self.feed.fail("feed")
        parts = self.started(self.feed)
        self.engine.started.callback(self.storage)
        self.assertEqual(self.get(parts, "/readyz"), (503, "storage does not answer yet"))
        self.reactor.advance(1)
        self.assertEqual(self.get(parts, "/readyz"), (200, "ready"))
        front = parts.site.resource
        self.reactor.advance(10)
        self.assertIs(parts.site.resource, front)
        self.assertGreater(self.feed.count("feed"), 2)

    def test_a_mistake_that_shows_at_the_start_is_raised(self) -> None:
        parts = self.make()
        self.engine.started.errback(ConfigError("store", "is no database"))
        with self.assertRaises(ConfigError):
            parts.start_storage()

    def test_a_mistake_that_shows_after_the_start_ends_the_process_with_78(self) -> None:
        self.started()
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.engine.started.errback(ConfigError("store", "is no database"))
        self.assertIn("imd: store: is no database\n", errors.getvalue())
        self.assertEqual(self.ends(), [78])

    def test_a_mistake_that_shows_once_a_server_is_there_ends_the_process_with_78_once(
        self,
    ) -> None:
        self.feed.fail("feed", times=9)
        parts = self.started(self.feed)
        self.engine.started.callback(self.storage)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            for _ in range(3):
                parts._refused(ConfigError("store", "fsync is off"))
        self.assertEqual(errors.getvalue().count("imd: store: fsync is off\n"), 1)
        self.assertEqual(self.ends(), [78])
        self.assertEqual(self.get(parts, "/readyz"), (503, "store: fsync is off"))

    def test_a_mistake_that_shows_when_clients_were_let_in_ends_nothing(self) -> None:
        parts = self.started()
        self.engine.started.callback(self.storage)
        parts._refused(ConfigError("store", "fsync is off"))
        self.assertEqual(self.ends(), [])

    def test_a_defect_after_the_start_ends_the_process_with_1_and_is_logged(self) -> None:
        self.started()
        with contextlib.redirect_stderr(io.StringIO()):
            self.engine.started.errback(LookupError("a defect"))
        self.assertEqual(self.ends(), [1])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_storage_that_breaks_ends_the_process_with_1(self) -> None:
        parts = self.started()
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            parts._broken("disk full")
        self.assertIn("imd: data: disk full", errors.getvalue())
        self.assertEqual(self.ends(), [1])
        self.assertEqual(self.get(parts, "/readyz"), (503, "storage: disk full"))

    def test_storage_that_answers_after_the_stop_opens_nothing_and_ends_nothing(self) -> None:
        for answer in (self.storage, Failure(ConfigError("store", "stopped"))):
            parts = self.started()
            self.drain(parts)
            self.engine.started.callback(answer)
            self.assertEqual(self.get(parts, "/readyz"), (503, "stopping"))
            self.assertEqual(self.ends(), [])

    def test_a_first_sweep_that_ends_after_the_stop_lets_nobody_in(self) -> None:
        self.feed.held.add("feed")
        parts = self.started(self.feed)
        self.engine.started.callback(self.storage)
        self.drain(parts)
        self.feed.answer()
        self.assertEqual(self.get(parts, "/readyz"), (503, "stopping"))
