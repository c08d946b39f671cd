"""The units of ``etc/systemd``, as they stand, under a systemd that is process 1.

What they are given besides are ports that are free, and one instance has a short watchdog.  Where
a machine does not let systemd be process 1, the tests say so and are left out; what imd tells a
manager and takes from it is then shown by ``tests/test_inherited.py`` alone.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from twisted.internet.threads import deferToThread

from tests.booted import Booted, Refused
from tests.process import FAST, ROOT, free_port
from tests.raw import login
from tests.servers import Redis
from tests.test_inherited import ask, status

TRANSFERS = ["imd-transfer@1", "imd-transfer@2"]
CONNECTORS = ["imd-connector@1", "imd-connector@2"]
#: The instance that is frozen.
FROZEN = "imd-connector@3"
#: Connections by which the spread is measured.
MANY = 200


class Machine(Booted):
    """A machine with the units of imd."""

    def __init__(self, store: str, status: str) -> None:
        #: Where the socket of the connectors listens, and where ``imd.service`` does.
        self.shared, self.alone = free_port(), free_port()
        units = "systemd/system"
        etc = {f"{units}/{p.name}": p.read_text() for p in (ROOT / "etc" / "systemd").iterdir()}
        where = f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{self.shared}\n"
        etc[f"{units}/imd-connector.socket.d/port.conf"] = where
        short = "[Service]\nWatchdogSec=6\nTimeoutAbortSec=1\n"
        etc[f"{units}/{FROZEN}.service.d/short.conf"] = short
        etc["imd/imd.toml"] = (
            f'store = "{store}"\nstatus = "{status}"\nunsafe-durability = true\n'
            f'listen = "tcp:{self.alone}:interface=127.0.0.1"\n'
            'transfer = ["unix:/run/imd-transfer/1.sock", "unix:/run/imd-transfer/2.sock"]\n'
        ) + FAST
        super().__init__(etc)

    def pid(self, unit: str) -> str:
        """The main process of a unit."""
        return self.show(unit, "MainPID")

    def signal(self, unit: str, name: str) -> None:
        """Send a signal to the main process alone."""
        self.systemctl("kill", "--kill-whom=main", f"--signal={name}", unit)

    def is_active(self, *units: str) -> bool:
        """Whether all of them are, and say that they are ready."""
        said = [(self.show(unit, "ActiveState"), self.show(unit, "StatusText")) for unit in units]
        return said == [("active", "ready")] * len(units)

    def sockets(self, unit: str) -> int:
        """How many open files a process has."""
        return len(self.run("ls", f"/proc/{self.pid(unit)}/fd").stdout.split())


@pytest.fixture
def machine(store_url: str, empty_redis: Redis) -> Iterator[Machine]:
    """A machine on which nothing of imd runs."""
    made = Machine(store_url, empty_redis.url)
    try:
        made.boot()
        yield made
    except Refused as why:
        pytest.skip(f"SYSTEMD CANNOT BE PROCESS 1 HERE, its units were not run: {why}")
    finally:
        made.close()


def a_service_is_started_once_it_is_ready(machine: Machine) -> None:
    machine.systemctl("start", "imd.target", *TRANSFERS, "imd-connector.socket", *CONNECTORS)
    machine.until(lambda: machine.is_active(*TRANSFERS, *CONNECTORS), "all are ready")
    assert status(ask(machine.shared)) == "200"


def each_connector_takes_from_the_socket_what_the_other_leaves(machine: Machine) -> None:
    for frozen in CONNECTORS:
        machine.signal(frozen, "STOP")
        assert [status(ask(machine.shared)) for _ in range(5)] == ["200"] * 5
        machine.signal(frozen, "CONT")


def the_spread_over_both_connectors_is_measured(machine: Machine) -> None:
    before = [machine.sockets(unit) for unit in CONNECTORS]
    links = []
    for _ in range(MANY):
        link = socket.create_connection(("127.0.0.1", machine.shared), 60)
        link.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        links.append(link)
    assert all(b" 200 " in link.recv(64) for link in links)
    taken = [machine.sockets(unit) - n for unit, n in zip(CONNECTORS, before, strict=True)]
    for link in links:
        link.close()
    print(f"of {MANY} connections to the socket {taken[0]} and {taken[1]} were taken")
    assert sum(taken) == MANY


def a_reload_reads_certificates_again_in_the_same_process(machine: Machine) -> None:
    (unit, _), pid = CONNECTORS, machine.pid(CONNECTORS[0])
    machine.systemctl("reload", unit)
    said = "were read again"
    machine.until(lambda: said in machine.console, "it reads them")
    machine.until(lambda: machine.is_active(unit), "it is ready again")
    assert machine.pid(unit) == pid


def a_killed_process_is_started_again_and_nobody_is_refused(machine: Machine) -> None:
    unit = CONNECTORS[0]
    machine.signal(unit, "KILL")
    while machine.show(unit, "NRestarts") == "0" or not machine.is_active(unit):
        assert status(ask(machine.shared)) == "200"
    assert machine.show(unit, "NRestarts") == "1"


def the_watchdog_ends_a_process_that_hangs(machine: Machine) -> None:
    machine.systemctl("start", FROZEN)
    machine.signal(FROZEN, "STOP")
    machine.until(lambda: f"{FROZEN}.service: Watchdog timeout" in machine.console, "it is seen")
    machine.until(lambda: machine.show(FROZEN, "NRestarts") != "0", "it is started again")
    machine.until(lambda: machine.is_active(FROZEN), "it serves again")
    machine.systemctl("stop", FROZEN)


def everything_in_one_process_starts_and_stops(machine: Machine) -> None:
    machine.systemctl("start", "imd")
    machine.until(lambda: machine.is_active("imd"), "it is ready")
    assert status(ask(machine.alone)) == "200"
    machine.systemctl("stop", "imd")
    assert machine.show("imd", "Result") == "success"


async def the_target_stops_all_and_tells_the_clients(machine: Machine) -> None:
    sessions = [await login(machine.shared, name) for name in ("alice", "bob")]
    began = time.monotonic()
    units = [*TRANSFERS, *CONNECTORS]
    await deferToThread(machine.systemctl, "stop", "imd.target")
    assert [await session.closed for session in sessions] == [4000, 4000]
    machine.until(lambda: {machine.show(u, "ActiveState") for u in units} == {"inactive"}, "end")
    print(f"the target stopped in {time.monotonic() - began:.1f} s")
    # Or systemd would have lost patience.
    assert {machine.show(unit, "Result") for unit in units} == {"success"}


#: In one test, because a machine is started for it.
STEPS = [
    a_service_is_started_once_it_is_ready,
    each_connector_takes_from_the_socket_what_the_other_leaves,
    the_spread_over_both_connectors_is_measured,
    a_reload_reads_certificates_again_in_the_same_process,
    a_killed_process_is_started_again_and_nobody_is_refused,
    the_watchdog_ends_a_process_that_hangs,
    everything_in_one_process_starts_and_stops,
]


@pytest.mark.limit(1200)
async def test_the_units_start_reload_restart_watch_share_and_stop(machine: Machine) -> None:
    for step in STEPS:
        step(machine)
    await the_target_stops_all_and_tells_the_clients(machine)
