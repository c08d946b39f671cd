"""``imd chat`` in a pseudo-terminal, and a screen that understands what it paints."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pyte
from twisted.internet.task import deferLater

from tests.process import environment, reactor

#: Seconds for something to appear.
PATIENCE = 60.0


def terminal_environment(home: Path, term: str = "xterm") -> dict[str, str]:
    """The environment of a person whose home is ``home``."""
    return environment() | {"HOME": str(home), "TERM": term}


def imd(*arguments: str) -> list[str]:
    """The command line of one of imd's programs."""
    return [sys.executable, "-m", "imd", *arguments]


class _Screen(pyte.HistoryScreen):
    """Answers where the cursor is, as a terminal does."""

    def __init__(self, columns: int, lines: int, master: int) -> None:
        super().__init__(columns, lines, history=1000)
        self._master = master

    def write_process_input(self, data: str) -> None:
        os.write(self._master, data.encode())


class Terminal:
    """A program at a terminal of its own."""

    def __init__(
        self, command: list[str], home: Path, term: str = "xterm", columns: int = 100
    ) -> None:
        self._master, slave = pty.openpty()
        self._screen = _Screen(columns, 40, self._master)
        self._stream = pyte.ByteStream(self._screen)
        #: Everything that was written to the terminal.
        self.raw = b""
        self.resize(columns)
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=terminal_environment(home, term),
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def resize(self, columns: int) -> None:
        """Change the width."""
        size = struct.pack("HHHH", 40, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self._screen.resize(40, columns)

    def type(self, text: str) -> None:
        """Type keys; a line is entered with a carriage return."""
        os.write(self._master, text.encode())

    def enter(self, line: str) -> None:
        """Type a line, and enter it."""
        self.type(line + "\r")

    def lines(self) -> list[str]:
        """What the screen shows now."""
        self._read()
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        """What the screen shows now, as one text."""
        return "\n".join(self.lines())

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self._stream.feed(data)

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        await self._wait(lambda: all(text in self.text for text in texts), texts)

    async def hides(self, text: str) -> None:
        """Wait until this is not on the screen."""
        await self._wait(lambda: text not in self.text, text)

    async def ends(self) -> int:
        """Wait for the program to end; its exit code."""
        await self._wait(lambda: self._process.poll() is not None, "the end")
        self._read()
        assert self._process.returncode is not None
        return self._process.returncode

    async def _wait(self, there: Any, what: object) -> None:
        end = reactor.seconds() + PATIENCE
        while not there():
            assert reactor.seconds() < end, f"no {what!r} in:\n{self.text}"
            await deferLater(reactor, 0.02, lambda: None)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End the program, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
