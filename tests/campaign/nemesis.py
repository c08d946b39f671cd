"""Does the faults of a plan, each at its time, and heals everything in the end."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import psycopg2
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.threads import deferToThread

from imd.tasks import sleep
from tests.campaign.device import Device
from tests.campaign.place import Place, Watched
from tests.campaign.plan import Fault
from tests.campaign.relay import Relay
from tests.process import reactor

#: All backends of the database but this one.
_END = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"""


class Nemesis:
    """The faults of one run; those that hit the same thing wait for each other."""

    def __init__(self, place: Place, devices: Sequence[Device]) -> None:
        self._place = place
        self._devices = devices
        self._locks: dict[object, DeferredLock] = {}
        #: How many faults of each kind were done.
        self.done: Counter[str] = Counter()
        #: When each fault began, by the clock of the reactor.
        self.times: list[float] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """Do them all; returns when all are done and healed."""
        began = reactor.seconds()
        await gatherResults([Deferred.fromCoroutine(self._at(began, fault)) for fault in faults])

    async def _at(self, began: float, fault: Fault) -> None:
        await sleep(reactor, max(0.0, began + fault.at - reactor.seconds()))
        await _FAULTS[fault.kind](self, fault)
        self.done[fault.kind] += 1

    async def _alone(self, thing: object, hurt: Callable[[], Awaitable[None]]) -> None:
        lock = self._locks.setdefault(thing, DeferredLock())
        async with lock:
            self.times.append(reactor.seconds())
            await hurt()

    # -- processes

    async def _kill(self, process: Watched, seconds: float) -> None:
        async def hurt() -> None:
            await process.kill()
            await sleep(reactor, seconds)
            await process.start()

        await self._alone(process, hurt)

    async def _pause(self, process: Watched, seconds: float) -> None:
        async def hurt() -> None:
            process.send_signal(signal.SIGSTOP)
            await sleep(reactor, seconds)
            process.send_signal(signal.SIGCONT)

        await self._alone(process, hurt)

    async def kill_connector(self, fault: Fault) -> None:
        """kill -9, and start again after a while."""
        connectors = self._place.connectors
        await self._kill(connectors[fault.target % len(connectors)], fault.seconds)

    async def kill_transfer(self, fault: Fault) -> None:
        """kill -9, and start again after a while."""
        transfers = self._place.transfers
        await self._kill(transfers[fault.target % len(transfers)], fault.seconds)

    async def pause_connector(self, fault: Fault) -> None:
        """SIGSTOP, and SIGCONT after a while; perhaps longer than its lease lasts."""
        connectors = self._place.connectors
        await self._pause(connectors[fault.target % len(connectors)], fault.seconds)

    async def pause_transfer(self, fault: Fault) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        transfers = self._place.transfers
        await self._pause(transfers[fault.target % len(transfers)], fault.seconds)

    # -- engines

    async def flush_redis(self, fault: Fault) -> None:
        """Wipe user status."""
        redis = self._place.engines.redis

        async def hurt() -> None:
            await deferToThread(redis.ask, "FLUSHALL")

        await self._alone(redis, hurt)

    async def stop_redis(self, fault: Fault) -> None:
        """Stop, and start again, with nothing in it."""
        redis, engines = self._place.engines.redis, self._place.engines

        async def hurt() -> None:
            await deferToThread(redis.stop)
            await sleep(reactor, fault.seconds)
            await engines.back(redis)

        await self._alone(redis, hurt)

    async def pause_redis(self, fault: Fault) -> None:
        """Hang: connections stay, nothing answers."""
        redis = self._place.engines.redis

        async def hurt() -> None:
            redis.pause()
            await sleep(reactor, fault.seconds)
            redis.resume()

        await self._alone(redis, hurt)

    async def restart_postgres(self, fault: Fault) -> None:
        """An immediate shutdown, which leaves recovery to the next start."""
        postgres, engines = self._place.engines.postgres, self._place.engines

        async def hurt() -> None:
            await deferToThread(postgres.stop, signal.SIGQUIT)
            await sleep(reactor, fault.seconds)
            await engines.back(postgres)

        await self._alone(postgres, hurt)

    async def end_backends(self, fault: Fault) -> None:
        """End half of the sessions of the database, whatever they are doing."""
        place = self._place

        async def hurt() -> None:
            try:
                await deferToThread(place.engines.postgres.run, _END, place.database)
            except psycopg2.OperationalError:
                self.done["end-backends"] -= 1

        await self._alone(place.engines.postgres, hurt)

    # -- networks

    async def cut_link(self, fault: Fault) -> None:
        """Cut a connector from a transfer, for a while."""
        await self._cut(self._link(fault.target), fault.seconds)

    async def stall_link(self, fault: Fault) -> None:
        """Let nothing through between a connector and a transfer, for a while."""
        await self._stall(self._link(fault.target), fault.seconds)

    async def cut_database(self, fault: Fault) -> None:
        """Cut a connector from the database, for a while; commits may be on their way."""
        await self._cut(self._database(fault.target), fault.seconds)

    async def stall_database(self, fault: Fault) -> None:
        """Let nothing through between a connector and the database, for a while."""
        await self._stall(self._database(fault.target), fault.seconds)

    async def _cut(self, relay: Relay, seconds: float) -> None:
        async def hurt() -> None:
            relay.refuse()
            await sleep(reactor, seconds)
            relay.heal()

        await self._alone(relay, hurt)

    async def _stall(self, relay: Relay, seconds: float) -> None:
        async def hurt() -> None:
            relay.stall()
            await sleep(reactor, seconds)
            relay.heal()

        await self._alone(relay, hurt)

    def _database(self, target: int) -> Relay:
        databases = self._place.databases
        return databases[target % len(databases)][1]

    def _link(self, target: int) -> Relay:
        links = list(self._place.links.values())
        return links[target % len(links)]

    async def cut_clients(self, fault: Fault) -> None:
        """Drop the connections of all clients of a connector."""
        place = self._place
        self.times.append(reactor.seconds())
        place.balancer.cut(place.door(fault.target % len(place.connectors)))

    # -- clients

    async def crash_device(self, fault: Fault) -> None:
        """End a client, and start a new one with its store."""
        device = self._devices[fault.target % len(self._devices)]

        async def hurt() -> None:
            device.crash()
            await sleep(reactor, fault.seconds)
            device.restart()

        await self._alone(device, hurt)

    async def drop_device(self, fault: Fault) -> None:
        """Drop the connection of a client."""
        self.times.append(reactor.seconds())
        self._devices[fault.target % len(self._devices)].drop()


_FAULTS: dict[str, Callable[[Nemesis, Fault], Awaitable[None]]] = {
    "kill-connector": Nemesis.kill_connector,
    "kill-transfer": Nemesis.kill_transfer,
    "flush-redis": Nemesis.flush_redis,
    "stop-redis": Nemesis.stop_redis,
    "pause-redis": Nemesis.pause_redis,
    "restart-postgres": Nemesis.restart_postgres,
    "end-backends": Nemesis.end_backends,
    "pause-connector": Nemesis.pause_connector,
    "outlive-lease": Nemesis.pause_connector,
    "pause-transfer": Nemesis.pause_transfer,
    "cut-link": Nemesis.cut_link,
    "stall-link": Nemesis.stall_link,
    "cut-database": Nemesis.cut_database,
    "stall-database": Nemesis.stall_database,
    "cut-clients": Nemesis.cut_clients,
    "crash-device": Nemesis.crash_device,
    "drop-device": Nemesis.drop_device,
}
