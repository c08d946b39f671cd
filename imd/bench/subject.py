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
from collections.abc import Sequence
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
    """A server: the URLs of its connectors and, where they run on this machine, its processes.

    ``processes`` are those of imd, ``watched`` others (engines) with all their children; names
    to process ids.
    """

    def __init__(self, urls: Sequence[str], processes: dict[str, int]) -> None:
        self.urls = list(urls)
        self.description = "a server that was running"
        self.processes = processes
        self.watched: dict[str, int] = {}

    def cpus(self) -> dict[str, float]:
        """Seconds of processor time that each process has used."""
        used = {name: _cpu(pid) for name, pid in self.processes.items()}
        for name, pid in self.watched.items():
            used[name] = sum(_cpu(each) for each in _family(pid))
        return used

    def rss(self) -> int:
        """Bytes of memory that imd occupies; 0 if its processes are not known."""
        pages = [
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for pid in self.processes.values()
        ]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Leave it running: it is not ours."""


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Those of children that have ended count as well: engines work in short-lived ones.
    return sum(map(int, fields[11:15])) / _TICKS


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


class Started(Subject):
    """A server of our own in a directory that goes with it.

    Without ``engines`` one process on embedded parts; else so many connectors and a transfer,
    over the ``store`` and ``status`` in the TOML text ``engines``.
    """

    def __init__(
        self, directory: str | None, processor: str | None, engines: str = "", connectors: int = 1
    ) -> None:
        super().__init__([], {})
        self._top = Path(tempfile.mkdtemp(prefix="imd-bench-", dir=directory))
        self._config = self._top / "imd.toml"
        self._config.touch(0o600)
        self._config.write_text(engines + CONFIG)
        self._pin = _pinned(processor)
        self._children: list[subprocess.Popen[bytes]] = []
        shown = " ".join(CONFIG.split())
        self.description = f"embedded, SQLite synchronous=FULL; {shown}"
        if engines:
            self.description = f"{connectors} connectors and a transfer; {shown}"
        try:
            self._start_all(connectors if engines else 0)
        except BaseException:
            self.stop()
            raise

    def _start_all(self, connectors: int) -> None:
        if not connectors:
            self._connector("imd")
            return
        path = self._top / "t.sock"
        self._start("transfer", "--role=transfer", f"--transfer-listen=unix:{path}")
        for n in range(connectors):
            self._connector(f"connector {n}", "--role=connector", f"--transfer=unix:{path}")

    def _connector(self, name: str, *options: str) -> None:
        port = _free_port()
        listen = f"--listen=tcp:{port}:interface=127.0.0.1:backlog=4096"
        data = f"--data={self._top / 'data'}"
        child = self._start(name, listen, data, *options)
        self._wait(child, name, f"http://127.0.0.1:{port}/readyz")
        self.urls.append(f"ws://127.0.0.1:{port}/ws")

    def _start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _RUN, "-n", "--pidfile=", "imd", *options]
        child = subprocess.Popen(  # noqa: S603
            [*self._pin, *command, f"--config={self._config}"],
            stdin=subprocess.DEVNULL,
            stdout=(self._top / f"{name}.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self._children.append(child)
        self.processes[name] = child.pid
        return child

    def _wait(self, child: subprocess.Popen[bytes], name: str, url: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and child.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=1):  # noqa: S310
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        log = (self._top / f"{name}.log").read_text(errors="replace")
        raise BenchError(f"the server does not start:\n{log}")

    def stop(self) -> None:
        """End the processes and remove their directory."""
        for child in self._children:
            child.kill()
            child.wait()
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
