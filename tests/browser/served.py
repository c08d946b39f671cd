"""A real ``twistd imd`` for tests that block: started and killed without our reactor."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.directories import MEMORY
from tests.process import FAST, command, environment, free_port

#: Seconds that the process may take to be ready.
PATIENCE = 120.0


class Served:
    """One data directory and one port, and the process that serves them, if it runs."""

    def __init__(self, *options: str, config: str = FAST) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="imd-served-", dir=MEMORY))
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        path = self.directory / "imd.toml"
        path.write_text('hosts = ["imd.test"]\n' + config)
        path.chmod(0o600)

    @property
    def origin(self) -> str:
        """The origin of its pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        arguments = [
            *command(),
            f"--data={self.directory / 'data'}",
            f"--listen=tcp:{self.port}:interface=127.0.0.1",
            f"--config={self.directory / 'imd.toml'}",
            *self._options,
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", *arguments],
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self.directory,
            )
        end = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError((self.directory / "log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in probe.recv(64)
        except OSError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)

    def close(self) -> None:
        """End the process and remove the directory."""
        self.kill()
        shutil.rmtree(self.directory)
