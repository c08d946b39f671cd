"""A real ``twistd imd`` in a process of its own, to be killed and started again."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater

from tests.directories import MEMORY

reactor: Any = _reactor

#: Where the sources are, for children that run them as they stand.
ROOT = Path(__file__).parent.parent
#: Seconds that a process may take to be ready, or to end by itself, however busy the machine is.
PATIENCE = 120.0
#: Ports of tests, in so many blocks.  S3 takes others above them all.
_FIRST_PORT, _BLOCK, _BLOCKS = 10_000, 500, 20
#: Passwords are hashed as cheaply as argon2 allows, and nobody is held to a rate.
FAST = """
[passwords]
memory_kib = 8
passes = 1
[limits]
rate = 0
other_rate = 0
"""


@functools.cache
def _own_ports() -> tuple[socket.socket, Iterator[int]]:
    """Ports of this process alone, below those that the kernel gives to whoever connects: a
    block of them, whose abstract name it holds to its end.
    """
    for first in range(_FIRST_PORT, _FIRST_PORT + _BLOCKS * _BLOCK, _BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0imd-test-ports-{first}")
        except OSError:
            claim.close()
        else:
            return claim, itertools.cycle(range(first, first + _BLOCK))
    raise RuntimeError("no ports are left: too many tests run at once")


def free_port() -> int:
    """A TCP port that nobody listens on, and that no other process of tests is given."""
    _, ports = _own_ports()
    for port in itertools.islice(ports, _BLOCK):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def twistd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``twistd imd`` until it ends by itself."""
    return subprocess.run(
        [*command(), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env=environment(),
        check=False,
    )


def command() -> list[str]:
    """The command line of the daemon, without its own options."""
    return [sys.executable, "-c", _RUN, "-n", "--pidfile=", "imd"]


_RUN = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def environment(sources: Path = ROOT) -> dict[str, str]:
    """The environment of a child: the sources, and little else."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(sources),
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


class _Child(ProcessProtocol):
    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[int] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        code, number = reason.value.exitCode, reason.value.signal
        self.ended.callback(-number if code is None else code)


class Server:
    """One data directory and one port, and the process that serves them, if it runs."""

    def __init__(self, *options: str, config: str = FAST) -> None:
        self._top = tempfile.TemporaryDirectory(prefix="imd-server-", dir=MEMORY)
        self.directory = Path(self._top.name)
        self.port = free_port()
        #: What the process runs from its next start on.
        self.sources = ROOT
        self._options = options
        self._descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        self._child: _Child | None = None
        self._process: Any = None
        path = self.directory / "imd.toml"
        path.write_text(config)
        path.chmod(0o600)

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        """The process."""
        pid: int = self._process.pid
        return pid

    @property
    def output(self) -> str:
        """What the process has printed."""
        return self._child.output.decode(errors="replace") if self._child else ""

    async def start(self) -> _Child:
        """Start the process and wait until it is ready."""
        child, end = self.begin(), reactor.seconds() + PATIENCE
        while not child.ended.called and reactor.seconds() < end:
            if self._answers():
                return child
            await deferLater(reactor, 0.05, lambda: None)
        raise AssertionError(f"the server does not start:\n{self.output}")

    def begin(self) -> _Child:
        """Start the process, and do not wait."""
        child = self._child = _Child()
        arguments = [
            *self._command(),
            f"--data={self.directory / 'data'}",
            f"--listen=tcp:{self.port}:interface=127.0.0.1",
            f"--config={self.directory / 'imd.toml'}",
            *self._options,
        ]
        death = ["setpriv", "--pdeathsig", "KILL"]
        self._process = reactor.spawnProcess(
            child,
            "/usr/bin/setpriv",
            death + arguments,
            env=environment(self.sources),
            path=self._top.name,
            childFDs=self._descriptors,
        )
        return child

    def _command(self) -> list[str]:
        return command()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in probe.recv(64)
        except OSError:
            return False

    async def hang_up(self, told: str) -> None:
        """Send SIGHUP, and wait until the process has told so."""
        mark = len(self.output)
        os.kill(self.pid, signal.SIGHUP)
        while told not in self.output[mark:]:
            await deferLater(reactor, 0.02, lambda: None)

    async def kill(self, number: int = signal.SIGKILL) -> int | None:
        """Send a signal and wait for the end; the exit code, or the signal as a negative number."""
        child, self._child = self._child, None
        if child is None:
            return None
        if not child.ended.called:
            self._process.signalProcess(number)
        return await child.ended

    async def close(self) -> None:
        """End the process and remove the directory."""
        await self.kill()
        self._top.cleanup()
