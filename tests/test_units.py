"""The units of systemd are held against the code and against systemd's own judgement."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from imd.config import Settings
from imd.daemon import ROLES
from imd.ops.lifecycle import EX_CONFIG
from imd.ops.supervisor import EVERY, MOST_LAG
from imd.tap import Options
from tests.debian import program
from tests.process import ROOT

UNITS = ROOT / "etc" / "systemd"
SERVICES = ["imd.service", "imd-connector@.service", "imd-transfer@.service"]
#: What each process does.
ROLE_OF = dict(zip(SERVICES, ["all", "connector", "transfer"], strict=True))
#: Seconds that a stop may take at most: sessions, then stores.
STOPPED = 30


def read(name: str) -> configparser.ConfigParser:
    """A unit; of keys that stand twice, the last."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((UNITS / name).read_text(encoding="utf-8"))
    return unit


def hardening(name: str) -> str:
    """What all services have in common."""
    return (UNITS / name).read_text(encoding="utf-8").partition("# Life: ")[2]


def command(name: str, credentials: Path) -> list[str]:
    """Its command line, with what systemd puts in place of specifiers."""
    line = read(name)["Service"]["ExecStart"]
    for specifier, value in {"%d": str(credentials), "%i": "1", "%H": "host"}.items():
        line = line.replace(specifier, value)
    return shlex.split(line)


@pytest.mark.parametrize("name", SERVICES)
def test_the_options_of_a_service_are_those_that_its_role_takes(name: str, tmp_path: Path) -> None:
    (tmp_path / "imd.toml").write_text(
        'store = "postgresql://db/imd"\nstatus = "redis://db"\ntransfer = ["unix:/t"]\n'
        if "connector" in name
        else ""
    )
    twistd, *flags = command(name, tmp_path)
    assert twistd == "/opt/imd/bin/twistd"
    assert flags[:3] == ["-n", "--pidfile=", "imd"]
    options = Options()
    options.parseOptions(flags[3:])
    assert isinstance(options.settings, Settings)
    assert options.settings.role == ROLE_OF[name]
    assert options.settings.role in ROLES


def test_all_services_are_held_alike() -> None:
    assert len({hardening(name) for name in SERVICES}) == 1
    assert hardening(SERVICES[0])


@pytest.mark.parametrize("name", SERVICES)
def test_times_and_codes_are_those_of_the_code(name: str) -> None:
    service = read(name)["Service"]
    assert service["Type"] == "notify"
    assert int(service["RestartPreventExitStatus"]) == EX_CONFIG
    assert int(service["WatchdogSec"]) > 4 * (EVERY + MOST_LAG)
    assert int(service["TimeoutStopSec"]) > STOPPED


def test_the_connectors_take_their_clients_from_the_socket_of_the_unit() -> None:
    connector, sockets = read("imd-connector@.service"), read("imd-connector.socket")
    name = sockets["Socket"]["FileDescriptorName"]
    assert f"--listen=systemd:domain=INET:name={name}" in connector["Service"]["ExecStart"]
    assert connector["Service"]["Sockets"] == "imd-connector.socket"
    assert connector["Service"]["NonBlocking"] == "yes"
    assert re.fullmatch(r"imd-connector@\d\.service", sockets["Socket"]["Service"])
    assert sockets["Socket"]["ListenStream"] == "127.0.0.1:8080"


@pytest.mark.parametrize("name", [*SERVICES, "imd-connector.socket"])
def test_the_target_stops_all_that_it_holds(name: str) -> None:
    assert read(name)["Unit"]["PartOf"] == "imd.target"


# -- what systemd says of them


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_is_exposed_to_is_little(name: str) -> None:
    judge = [program("systemd"), "security", "--offline=true", "--threshold=12", "--no-pager"]
    done = subprocess.run([*judge, UNITS / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8").replace("/opt/imd/bin/twistd", "/bin/true")
        (tmp_path / path.name).write_text(text)
    names = [path.name.replace("@.", "@1.") for path in UNITS.iterdir()]
    done = subprocess.run(
        [program("systemd"), "verify", "--man=no", *names],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
