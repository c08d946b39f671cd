"""The server that is measured: one that runs, or one started for the purpose."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from imd.bench.peer import BenchError

#: The configuration of a server that is started for a run, printed with the figures.
CONFIG = """\
[limits]
rate = 0
other_rate = 0
connections = 100000
[passwords]
memory_kib = 8
passes = 1
"""
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 20
_RUN = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


class Subject:
    """A server: its URL and, where it runs on this machine, its process."""

    def __init__(self, url: str, pid: int | None) -> None:
        self.url = url
        self.description = "a server that was running"
        self.pid = pid

    def cpu(self) -> float:
        """Seconds of processor time that it has used; 0 if its process is not known."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss(self) -> int:
        """Bytes of memory that it occupies; 0 if its process is not known."""
        if self.pid is None:
            return 0
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Leave it running: it is not ours."""


class Started(Subject):
    """A server of our own, on embedded parts, in a directory that goes with it."""

    def __init__(self, directory: str | None, processor: str | None) -> None:
        self._top = Path(tempfile.mkdtemp(prefix="imd-bench-", dir=directory))
        (self._top / "imd.toml").write_text(CONFIG)
        port = _free_port()
        super().__init__(f"ws://127.0.0.1:{port}/ws", None)
        self.description = f"embedded, SQLite synchronous=FULL; {' '.join(CONFIG.split())}"
        self._process = subprocess.Popen(  # noqa: S603
            [*_pinned(processor), *self._command(port)],
            stdin=subprocess.DEVNULL,
            stdout=(self._top / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid
        self._wait(f"http://127.0.0.1:{port}/readyz")

    def _command(self, port: int) -> list[str]:
        top = self._top
        return [
            *(sys.executable, "-c", _RUN, "-n", "--pidfile=", "imd"),
            f"--data={top / 'data'}",
            f"--listen=tcp:{port}:interface=127.0.0.1:backlog=4096",
            f"--config={top / 'imd.toml'}",
        ]

    def _wait(self, url: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=1):  # noqa: S310
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        log = (self._top / "log").read_text(errors="replace")
        self.stop()
        raise BenchError(f"the server does not start:\n{log}")

    def stop(self) -> None:
        """End the process and remove its directory."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._top, ignore_errors=True)


def _pinned(processor: str | None) -> list[str]:
    """The words before a command that die with us, and keep it to some processors."""
    words = []
    if shutil.which("setpriv"):
        words += ["setpriv", "--pdeathsig", "KILL"]
    if processor is not None:
        words += ["taskset", "-c", processor]
    return words


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
