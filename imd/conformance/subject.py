"""The client under test: a program that speaks the driver protocol on its standard streams."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol


class Subject(ProcessProtocol):
    """One process.  ``report`` is called for every object that it writes.

    Names in camelCase are called by Twisted.
    """

    def __init__(self, report: Callable[[dict[str, Any]], None]) -> None:
        self._report = report
        self._buffer = b""
        self.alive = False
        #: The driver can end its client as a crash would, and need not be killed for it.
        self.can_crash = False
        self.ended: Deferred[None] = Deferred()

    def start(self, reactor: Any, command: Sequence[str]) -> None:
        """Run ``command``; its standard error is ours."""
        self.alive = True
        descriptors = {0: "w", 1: "r", 2: sys.__stderr__.fileno() if sys.__stderr__ else "r"}
        reactor.spawnProcess(self, command[0], list(command), env=None, childFDs=descriptors)

    def listen(self, report: Callable[[dict[str, Any]], None]) -> None:
        """Call another ``report`` from now on."""
        self._report = report

    def tell(self, order: dict[str, Any]) -> None:
        """Give the driver an order."""
        self.transport.write(json.dumps(order).encode() + b"\n")  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        """The driver has written something."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._report(json.loads(line))

    def kill(self) -> Deferred[None]:
        """End the process as a power cut would; fires when it is gone."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGKILL)  # type: ignore[union-attr]
        return self.ended

    def processEnded(self, reason: Any) -> None:
        """The process is gone, and its streams are closed."""
        self.alive = False
        self.ended.callback(None)
