"""The processes of a run, and the network between them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from imd.storage.postgres_schema import migrate
from imd.tasks import sleep
from tests.campaign import gauges
from tests.campaign.evidence import Gauge
from tests.campaign.relay import Relay
from tests.directories import MEMORY
from tests.process import FAST, Server, free_port, reactor
from tests.servers import Postgres, Redis

#: Seconds that PostgreSQL or Redis may take to come back.
PATIENCE = 120.0


class Watched(Server):
    """A server of which all output is kept, and whose own end is an accident."""

    def __init__(
        self, name: str, variant: str, gauges: Path, *options: str, config: str = FAST
    ) -> None:
        super().__init__(*options, config=config)
        self.name = name
        self.gauges = gauges / f"{name}.gauges"
        self.accidents: list[str] = []
        self._variant = variant
        self._past: list[str] = []

    def _command(self) -> list[str]:
        start = f"import tests.campaign.variants as v; v.run({self._variant!r}, '{self.gauges}')"
        return [sys.executable, "-c", start, "-n", "--pidfile=", "imd"]

    @property
    def lives(self) -> int:
        """How many processes there were."""
        return len(self._past) + 1

    @property
    def everything(self) -> str:
        """What all processes have printed, from the first one on."""
        return "\n".join([*self._past, self.output])

    def send_signal(self, number: int) -> None:
        """Send a signal, and do not wait."""
        os.kill(self.pid, number)

    def look(self) -> None:
        """Note if the process has ended by itself."""
        if self._child is not None and self._child.ended.called:
            self.accidents.append(f"{self.name} has ended by itself")

    async def kill(self, number: int = signal.SIGKILL) -> int | None:
        """See ``Server``."""
        self.look()
        self._past.append(self.output)
        return await super().kill(number)


class TransferProcess(Watched):
    """A transfer at a unix socket."""

    def __init__(self, name: str, variant: str, path: Path) -> None:
        role = ("--role=transfer", f"--transfer-listen=unix:{path}")
        super().__init__(name, variant, path.parent, *role)
        self.path = path

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0


class Engines:
    """A PostgreSQL and a Redis for several runs, one after the other."""

    def __init__(self, *options: str) -> None:
        # The times of commits, to hold them against what clients saw when.
        self.postgres = Postgres("track_commit_timestamp=on", *options, fsync=False)
        self.redis = Redis()
        self.template = ""

    def start(self) -> None:
        """Start both; blocks."""
        self.postgres.start()
        self.redis.start()
        self.template = self.postgres.create_database()
        connection = psycopg2.connect(self.postgres.url(self.template))
        migrate(connection, lambda line: None)
        connection.close()

    def close(self) -> None:
        """End both."""
        self.postgres.close()
        self.redis.close()

    async def back(self, server: Postgres | Redis) -> None:
        """Start one of them again, without holding up the reactor."""
        end = reactor.seconds() + PATIENCE
        while True:
            server.begin()
            while server.alive and reactor.seconds() < end:
                if server.ready():
                    return
                await sleep(reactor, 0.05)
            # What was stopped before may not be quite dead.
            server.kill()
            assert reactor.seconds() < end, f"does not start again:\n{server.log[-2000:]}"
            await sleep(reactor, 0.2)


class Place:
    """Two connectors, two transfers, a network, and the engines below them.

    Clients connect to ``url``: a balancer in front of the connectors.
    """

    def __init__(
        self, engines: Engines, chance: random.Random, variant: str = "", limits: str = ""
    ) -> None:
        self._top = tempfile.TemporaryDirectory(prefix="imd-campaign-", dir=MEMORY)
        self.directory = Path(self._top.name)
        self.engines = engines
        self._chance = chance
        self._log_began = len(engines.postgres.log)
        self.database = engines.postgres.create_database(engines.template)
        assert engines.redis.ask("FLUSHALL") == "+OK"
        self.transfers = [
            TransferProcess(f"transfer-{n}", variant, self.directory / f"{n}.sock")
            for n in range(2)
        ]
        self.links: dict[tuple[int, int], Relay] = {}
        self.databases: list[tuple[int, Relay]] = []
        self.connectors = [self._connector(n, variant, limits) for n in range(2)]
        self._doors = [TCP4ClientEndpoint(reactor, "127.0.0.1", c.port) for c in self.connectors]
        self.balancer = Relay(self._choose)
        self._ports: list[Any] = []
        self.url = ""

    def _connector(self, n: int, variant: str, limits: str) -> Watched:
        config = f'store = "{self._database()}"\nunsafe-durability = true\n'
        config += f'status = "{self.engines.redis.url}"\n' + FAST + limits
        dialled = []
        for t, transfer in enumerate(self.transfers):
            target = UNIXClientEndpoint(reactor, str(transfer.path))
            self.links[n, t] = Relay(lambda target=target: [target])  # type: ignore[misc]
            dialled.append(f"--transfer=unix:{self._link_path(n, t)}")
        name = f"connector-{n}"
        role = ("--role=connector", f"--node={name}")
        return Watched(name, variant, self.directory, *role, *dialled, config=config)

    def _database(self) -> str:
        """The URL of the database for one more connector: by a network of its own."""
        postgres, port = self.engines.postgres, free_port()
        target = TCP4ClientEndpoint(reactor, "127.0.0.1", postgres.port)
        self.databases.append((port, Relay(lambda: [target])))
        return postgres.url(self.database).replace(f":{postgres.port}/", f":{port}/")

    def _link_path(self, connector: int, transfer: int) -> Path:
        return self.directory / f"link-{connector}-{transfer}.sock"

    def _choose(self) -> Sequence[IStreamClientEndpoint]:
        return self._chance.sample(self._doors, len(self._doors))

    def door(self, connector: int) -> IStreamClientEndpoint:
        """Where the balancer connects to reach a connector."""
        return self._doors[connector]

    @property
    def processes(self) -> list[Watched]:
        """All servers that are ours."""
        return [*self.transfers, *self.connectors]

    async def start(self) -> None:
        """Start everything."""
        for (c, t), relay in self.links.items():
            endpoint = UNIXServerEndpoint(reactor, str(self._link_path(c, t)))
            self._ports.append(await endpoint.listen(relay))
        for port, relay in self.databases:
            endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
            self._ports.append(await endpoint.listen(relay))
        balanced = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listening = await balanced.listen(self.balancer)
        self._ports.append(listening)
        self.url = f"ws://127.0.0.1:{listening.getHost().port}/ws"
        await gatherResults([Deferred.fromCoroutine(each.start()) for each in self.processes])

    def output(self) -> dict[str, str]:
        """What the processes and PostgreSQL have printed in this run."""
        logs = {each.name: each.everything for each in self.processes}
        return logs | {"postgres": self.engines.postgres.log[self._log_began :]}

    def gauges(self) -> dict[str, list[Gauge]]:
        """What was found in the processes."""
        return {each.name: gauges.read(each.gauges) for each in self.processes}

    async def close(self) -> None:
        """End everything but the engines."""
        for each in self.processes:
            await each.close()
        for port in self._ports:
            await port.stopListening()
        databases = (relay for _, relay in self.databases)
        for relay in itertools.chain(self.links.values(), databases, [self.balancer]):
            relay.cut()
        self.engines.postgres.drop_database(self.database)
        self._top.cleanup()
