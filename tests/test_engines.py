"""The settings name the engines, and nothing is opened before its start."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from imd.config import Settings
from imd.engines import (
    LANES,
    Embedded,
    Engine,
    Shared,
    endpoints_of,
    engine_of,
    status_of,
    transfer_of,
)
from imd.errors import ConfigError
from imd.sources import Sources
from imd.status.memory import MemoryUserStatus
from imd.status.redis import RedisUserStatus
from imd.transfer.link import Link
from imd.transfer.local import LocalTransfer
from tests.directories import directory

POSTGRESQL = "postgresql://localhost/imd"


class Stored:
    """PostgreSQL storage that writes down what becomes of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.unready = "down"

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def when_refused(self, call: object) -> None:
        self.calls.append("told")


class EnginesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.data = directory(self) / "data"

    def engine(self, **settings: Any) -> Engine:
        made = Settings(data=str(self.data), **settings)
        return engine_of(
            made, "here", Sources(), self.reactor, lambda error: None, lambda error: None
        )

    def result(self, coro: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coro))

    def test_sqlite_is_opened_in_the_data_directory_at_the_start(self) -> None:
        engine = self.engine()
        self.assertIsInstance(engine, Embedded)
        self.assertEqual((engine.lanes, engine.feed, engine.unready), (1, None, None))
        self.assertFalse(self.data.exists())
        self.result(engine.start())
        self.assertTrue((self.data / "imd.sqlite3").exists())
        with self.assertRaises(ConfigError):
            self.result_of_a_second_start()
        self.result(engine.stop())

    def result_of_a_second_start(self) -> None:
        failed = Deferred.fromCoroutine(self.engine().start())
        self.failureResultOf(failed, ConfigError).raiseException()

    def test_what_was_never_opened_can_be_stopped(self) -> None:
        self.result(self.engine().stop())
        self.assertFalse(self.data.exists())

    def test_postgresql_is_its_own_feed_and_has_lanes(self) -> None:
        for scheme in ("postgresql", "postgres"):
            engine = self.engine(store=f"{scheme}://localhost/imd")
            self.assertIsInstance(engine, Shared)
            self.assertEqual(engine.lanes, LANES)
            self.assertIsNotNone(engine.feed)

    def test_postgresql_starts_and_stops_and_says_why_it_cannot_be_used(self) -> None:
        engine = self.engine(store=POSTGRESQL)
        stored = engine._storage = Stored()  # type: ignore[attr-defined]
        self.assertIs(self.result(engine.start()), stored)
        self.result(engine.stop())
        self.assertEqual((stored.calls, engine.unready), (["start", "told", "stop"], "down"))

    def test_user_status_is_memory_or_redis(self) -> None:
        memory = status_of(Settings(), "here", self.reactor)
        self.assertIsInstance(memory, MemoryUserStatus)
        redis = status_of(Settings(status="redis://localhost"), "here", self.reactor)
        self.assertIsInstance(redis, RedisUserStatus)
        with self.assertRaises(ConfigError):
            status_of(Settings(status="redis://:port"), "here", self.reactor)
        self.assertEqual(self.reactor.tcpClients, [])

    def dialled(self, **settings: Any) -> int:
        return len(endpoints_of(structs.replace(Settings(), **settings), self.reactor))

    def test_transfers_that_are_named_are_dialled(self) -> None:
        self.assertEqual(self.dialled(), 0)
        self.assertEqual(self.dialled(role="connector", transfer=("unix:/a", "unix:/b")), 2)
        with self.assertRaises(ConfigError):
            self.dialled(transfer=("carrier-pigeon:1",))

    def test_who_has_every_role_dials_the_transfer_that_it_has_itself(self) -> None:
        listen = "unix:/tmp/t.sock:mode=600"
        (own,) = endpoints_of(Settings(transfer_listen=listen), self.reactor)
        own.connect(None)  # type: ignore[arg-type]
        self.assertEqual(self.reactor.unixClients[0][0], "/tmp/t.sock")  # noqa: S108
        self.assertEqual(self.dialled(transfer_listen=listen, role="transfer"), 0)
        self.assertEqual(self.dialled(transfer_listen="tcp:1:interface=127.0.0.1"), 0)
        self.assertEqual(self.dialled(transfer_listen=listen, transfer=("unix:/a", "unix:/b")), 2)

    def test_without_transfers_a_node_is_alone(self) -> None:
        sources, arrivals = Sources(), None
        alone = transfer_of([], "here", arrivals, sources, self.reactor)  # type: ignore[arg-type]
        self.assertIsInstance(alone, LocalTransfer)
        endpoints = endpoints_of(Settings(transfer=("unix:/a",)), self.reactor)
        linked = transfer_of(endpoints, "here", arrivals, sources, self.reactor)  # type: ignore[arg-type]
        self.assertIsInstance(linked, Link)
