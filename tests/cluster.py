"""Connectors and transfers in processes of their own, over real engines."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults

from imd.client import Client
from tests.process import FAST, Server, free_port
from tests.servers import Redis


class TransferProcess(Server):
    """A transfer at a unix socket; it may be killed and started again like any server."""

    def __init__(self, path: Path) -> None:
        #: The port of its ``/metrics``.
        self.figures = free_port()
        listen = f'[metrics]\nlisten = "tcp:{self.figures}:interface=127.0.0.1"\n'
        super().__init__("--role=transfer", f"--transfer-listen=unix:{path}", config=listen)
        self._path = path

    @property
    def endpoint(self) -> str:
        """What a connector dials."""
        return f"unix:{self._path}"

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._path)) == 0


class Cluster:
    """So many connectors and transfers; users find each other wherever they are."""

    def __init__(
        self,
        store: str,
        redis: Redis,
        connectors: int = 2,
        transfers: int = 2,
        config: str = "",
        limits: str = "",
    ) -> None:
        self._top = tempfile.TemporaryDirectory(prefix="imd-cluster-")
        top = Path(self._top.name)
        engines = f'store = "{store}"\nstatus = "{redis.url}"\nunsafe-durability = true\n'
        self.transfers = [TransferProcess(top / f"{n}.sock") for n in range(transfers)]
        dialled = [f"--transfer={transfer.endpoint}" for transfer in self.transfers]
        self.connectors = [
            Server(
                "--role=connector",
                f"--node=connector-{n}",
                *dialled,
                config=engines + config + FAST + limits,
            )
            for n in range(connectors)
        ]

    async def start(self) -> None:
        """Start all processes, and wait until they are ready."""
        starts = [Deferred.fromCoroutine(each.start()) for each in self.processes]
        await gatherResults(starts)

    @property
    def processes(self) -> list[Server]:
        """All of them."""
        return [*self.transfers, *self.connectors]

    async def close(self) -> None:
        """End all processes."""
        for each in self.processes:
            await each.close()
        self._top.cleanup()


async def online(server: Server, name: str, **options: object) -> Client:
    """A client that is connected."""
    client = Client(server.url, name, "secret", register=True, **options)  # type: ignore[arg-type]
    client.start()
    await client.ready()
    return client


async def befriend(one: Client, other: Client) -> int:
    """Make two users friends; their conversation."""
    await one.friends.add(other.name)
    accepted = await other.friends.accept(one.name)
    conversation: int = accepted["conv"]
    return conversation
