"""A program that runs a client ends when it should, and says why."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import imd
from tests.shell import PATIENCE

ROOT = Path(imd.__file__).parents[1]
PROGRAM = """
import sys
from imd.client import Client, run
from twisted.internet.defer import Deferred
client = Client(sys.argv[1], "alice", "secret")
@client.on_state
def state(name):
    print(name, client.reactor.seconds() < 1_000_000_000, flush=True)
    if name in sys.argv[2:]:
        {action}
run(client)
print("end", flush=True)
"""
#: Nothing listens on this port: it cannot be connected to without privileges.
NOWHERE = "ws://127.0.0.1:1/ws"


def start(action: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(action=action), NOWHERE, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_interrupt_stops_the_client_and_ends_the_program() -> None:
    process = start("pass")
    assert process.stdout is not None
    seen = [process.stdout.readline().split() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert seen == [["connecting", "True"], ["waiting", "True"]]
    assert out.split() == ["stopped", "True", "end"]
    assert err == ""
    assert process.returncode == 0


def test_client_that_stops_itself_ends_the_program() -> None:
    process = start("Deferred.fromCoroutine(client.stop())", "waiting")
    out, err = process.communicate(timeout=PATIENCE)
    assert out.split()[-1] == "end", err


def test_failure_of_the_client_is_raised() -> None:
    process = start("client._link._end(ValueError('no way in'))", "waiting")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ValueError: no way in" in err
