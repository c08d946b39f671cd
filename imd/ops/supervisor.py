"""What the service manager is told of this process, and what it asks (sd_notify, SIGHUP).

Without ``NOTIFY_SOCKET`` nothing is sent, and all else works as well.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from imd.errors import ConfigError
from imd.ops.lifecycle import tell

#: Seconds between two looks at this process, at most.
EVERY = 1.0
#: A reactor that comes to its timers later than this (seconds) does not count as alive.
MOST_LAG = 2.0
#: Seconds by which the start may take longer, said again and again while a store is away.
MORE_TIME = 30
#: Reads a file again; raises ``ConfigError`` and keeps what was read before if it is bad.
Renewal = Callable[[], None]


def notify(address: str, *lines: str) -> None:
    """Send one datagram of assignments to the service manager; nobody there is no failure."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as link:
        try:
            link.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            link.send("\n".join(lines).encode())
        except OSError as error:
            Logger().warn("the service manager is not told: {error}", error=error)


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Seconds of silence after which the service manager kills this process; 0 is never."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0


def end_once() -> None:
    """Let the first SIGTERM or SIGINT end this process; another one then changes nothing.

    To Twisted it would be an error to be told twice.
    """
    taken = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: Any) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        take = taken[signal.Signals(number)]
        if callable(take):
            take(number, frame)

    for number, take in taken.items():
        if callable(take):
            signal.signal(number, end)


class Supervisor:
    """Tells when this process is ready, why it is not, that it lives, and that it ends."""

    _log = Logger()

    def __init__(self, address: str, watchdog: float, reactor: Any) -> None:
        self._address = address
        self._reactor = reactor
        self._every = min(EVERY, watchdog / 4) if watchdog else EVERY
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self._said = ""
        self._was_ready = self._is_ending = False
        #: Why this process should get no traffic; None if it should.
        self.unready: Callable[[], str | None] = lambda: None
        #: What SIGHUP reads again.
        self.renewals: list[Renewal] = []

    @classmethod
    def of(cls, environ: Mapping[str, str], reactor: Any) -> Supervisor:
        """The one that the environment of this process asks for."""
        watchdog = watchdog_seconds(environ, os.getpid())
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog, reactor)

    def start(self) -> None:
        """Look at this process from now on, and take SIGHUP."""
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        # Not before: the reactor takes these signals when it begins to run.
        self._reactor.callWhenRunning(end_once)
        self._after(0.0)

    def ending(self) -> None:
        """The stop has begun; this process goes on showing that it lives."""
        self._is_ending = True
        self._send("STOPPING=1", "STATUS=stopping")

    def stop(self) -> None:
        """Everything else is over."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def reload(self) -> None:
        """Read certificates and keys again.  A bad one is told, and the old one kept."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._reactor.seconds() * 1e6)}")
        renewed = [self._renew(renewal) for renewal in self.renewals]
        if all(renewed):
            self._log.info("SIGHUP: certificates and keys were read again")
        if self._was_ready and not self._is_ending:
            self._send("READY=1")

    def _renew(self, renewal: Renewal) -> bool:
        try:
            renewal()
        except ConfigError as error:
            tell(f"{error}; what was read before stays in use: correct it, then SIGHUP again")
            return False
        return True

    def _after(self, seconds: float) -> None:
        self._due = self._reactor.seconds() + seconds
        self._call = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        lag = self._reactor.seconds() - self._due
        if lag < MOST_LAG:
            self._send("WATCHDOG=1")
        else:
            self._log.warn("the reactor was {lag:.1f} s late", lag=lag)
        if not self._is_ending:
            self._tell_state(self.unready())
        self._after(self._every)

    def _tell_state(self, why: str | None) -> None:
        if why is None and not self._was_ready:
            self._was_ready = True
            self._send("READY=1")
        elif not self._was_ready:
            self._send(f"EXTEND_TIMEOUT_USEC={MORE_TIME * 1_000_000}")
        said = " ".join((why or "ready").split())
        if said != self._said:
            self._said = said
            self._send(f"STATUS={said}")

    def _send(self, *lines: str) -> None:
        if self._address:
            notify(self._address, *lines)
