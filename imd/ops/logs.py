"""How events become lines: JSON, one object a line, or datagrams for journald.

Text is what twistd writes by itself.  In the others names of fields are stable, values are
short, control characters of any kind are escaped, and nothing ever waits: what the reader of a
pipe or the journal does not take at once is dropped and counted, and so is a flood.
"""

from __future__ import annotations

import json
import os
import select
import socket
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from imd.throttle import TokenBucket

#: Characters of a value, and of a traceback.
MOST_CHARACTERS = 256
MOST_TRACEBACK = 1500
#: Bytes of a line: a pipe takes as many at once, or says that it cannot.
MOST_BYTES = 4096
#: Lines a second, and at once, before lines are dropped.
RATE, BURST = 200.0, 2000.0
JOURNAL = "/run/systemd/journal/socket"
#: Priorities of syslog.
_PRIORITY = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
#: Characters that do something to a terminal, a line, or the order of what is read.
_EVIL = {"Cc", "Cf", "Cs", "Zl", "Zp"}

Fields = dict[str, str | int | float | bool]


def clean(value: Any, most: int = MOST_CHARACTERS) -> str:
    """A value as one line of harmless characters."""
    text = str(value)
    shown = "".join(_escaped(c) for c in text[:most])
    return shown if len(text) <= most else shown + "…"


def _escaped(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    evil = unicodedata.category(character) in _EVIL
    return character.encode("unicode_escape").decode() if evil else character


class Sink(Protocol):
    """Where lines go."""

    def write(self, fields: Fields) -> bool:
        """False if it would have to wait."""


@implementer(ILogObserver)
class Lines:
    """Turns events into ``Fields`` and hands them to a sink.

    ``now`` is the wall clock in seconds since the epoch, ``node`` the name of this process.
    """

    def __init__(self, sink: Sink, node: str, now: Callable[[], float]) -> None:
        self._sink = sink
        self._node = node
        self._now = now
        self._bucket = TokenBucket(RATE, BURST, now())
        #: Lines that were dropped, and how many of them no line has told of yet.
        self.dropped = self._untold = 0

    def __call__(self, event: LogEvent) -> None:
        """Write an event; whatever is wrong with it, nothing is raised."""
        now = self._now()
        level = event.get("log_level", LogLevel.info)
        if level is LogLevel.debug:
            return
        if level < LogLevel.error and self._bucket.wait(now):
            self._drop()
            return
        fields = _fields(event, self._node, now)
        if self._untold:
            fields["dropped_before"] = self._untold
        if self._sink.write(fields):
            self._untold = 0
        else:
            self._drop()

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1


def _fields(event: LogEvent, node: str, now: float) -> Fields:
    level = event.get("log_level", LogLevel.info)
    fields: Fields = {
        "time": _rfc3339(event.get("log_time", now)),
        "level": level.name,
        "event": clean(event.get("event") or event.get("log_namespace") or "log"),
        "node": clean(node),
        "message": clean(formatEvent(event), 2 * MOST_CHARACTERS),
    }
    for name, value in event.items():
        if _ours(name) and name not in fields:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fields[name] = value if number else clean(value)
    failure = event.get("log_failure")
    if failure is not None:
        fields["error"] = clean(failure.type.__name__)
        fields["traceback"] = clean(failure.getTraceback()[-MOST_TRACEBACK:], MOST_TRACEBACK)
    return fields


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat("T", "milliseconds")


#: What Twisted itself puts into events.
_THEIRS = {"format", "isError", "message", "why", "failure", "system", "time", "factory", "port"}


def _ours(name: str) -> bool:
    return not name.startswith(("log_", "_")) and name not in _THEIRS and name.isidentifier()


class JsonSink:
    """Objects, one a line, on a file descriptor."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._poll = select.poll()
        self._poll.register(number, select.POLLOUT)

    def write(self, fields: Fields) -> bool:
        """See ``Sink``."""
        line = _line(fields)
        while len(line) > MOST_BYTES and fields:
            fields = dict(list(fields.items())[:-1])
            line = _line(fields)
        try:
            # With room for MOST_BYTES in a pipe, the line goes in whole, at once.
            return bool(self._poll.poll(0)) and os.write(self._number, line) == len(line)
        except OSError:
            return False


def _line(fields: Fields) -> bytes:
    return json.dumps(fields, ensure_ascii=False, allow_nan=True).encode() + b"\n"


class JournalSink:
    """Datagrams in the native protocol of journald."""

    def __init__(self, path: str = JOURNAL) -> None:
        """Raises ``OSError`` if there is no journal."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def write(self, fields: Fields) -> bool:
        """See ``Sink``."""
        named: Mapping[str, Any] = {
            "MESSAGE": fields["message"],
            "PRIORITY": _PRIORITY[str(fields["level"])],
            "SYSLOG_IDENTIFIER": "imd",
            **{f"IMD_{name.upper()}": value for name, value in fields.items()},
        }
        datagram = "".join(f"{name}={value}\n" for name, value in named.items()).encode()
        try:
            return self._socket.send(datagram) == len(datagram)
        except OSError:
            return False
