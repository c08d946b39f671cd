"""Running a client as a program of its own."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from imd.client import system
from imd.client.client import Client


def run(client: Client, log_level: LogLevel = LogLevel.warn) -> None:
    """Start ``client`` and run the reactor until SIGINT, SIGTERM, or the client's end.

    Writes warnings and worse to standard error.  Raises what the client stopped for:
    ``LoginFailed`` or ``StoreError``.
    """
    predicate = LogLevelFilterPredicate(log_level)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    reactor = client.reactor
    system.make_monotonic(reactor)
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(client.stop())
    )
    client.finished().addCallback(lambda _: _stop(reactor))
    reactor.callWhenRunning(client.start)
    reactor.run()
    if client.failure is not None:
        raise client.failure


def _stop(reactor: Any) -> None:
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()
