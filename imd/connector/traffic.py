"""What one connection has carried, and the one line that is left of it in the log."""

from __future__ import annotations

from twisted.logger import Logger

from imd.errors import Close
from imd.model import Identity

#: Codes of RFC 6455 that are counted one by one; of others only that there were some.
_COMMON = (1000, 1001, 1002, 1005, 1006, 1007, 1009)
#: Every code that is counted; clients may send any number.
CODES = frozenset((*_COMMON, *Close))

_log = Logger()


class Traffic:
    """Frames and bytes of one connection; ``since`` is when it was opened, monotonic."""

    __slots__ = ("bytes_in", "bytes_out", "code", "frames_in", "frames_out", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.frames_in = self.frames_out = self.bytes_in = self.bytes_out = 0
        #: The close code of the server, or else of the client; 0 if there was none.
        self.code = 0

    def heard(self, size: int, frames: int) -> None:
        """A message of ``size`` bytes came, with that many frames in it."""
        self.bytes_in += size
        self.frames_in += frames


class Total:
    """The same of all connections that have ended."""

    def __init__(self) -> None:
        self.frames_in = self.frames_out = self.bytes_in = self.bytes_out = 0
        #: By close code; 0 is any code that is none of ``CODES``.
        self.closed: dict[int, int] = {}

    def add(self, traffic: Traffic) -> None:
        """Count a connection that has ended."""
        self.frames_in += traffic.frames_in
        self.frames_out += traffic.frames_out
        self.bytes_in += traffic.bytes_in
        self.bytes_out += traffic.bytes_out
        code = traffic.code if traffic.code in CODES else 0
        self.closed[code] = self.closed.get(code, 0) + 1


def tell_end(traffic: Traffic, me: Identity, now: float) -> None:
    """Write the line: numbers only, and nothing that a client has chosen."""
    _log.info(
        "session {session} of user {user}, device {device}, ended after {seconds} s: "
        "code {code}, {frames_in} frames in, {frames_out} out, {bytes_in} bytes in, "
        "{bytes_out} out",
        event="session",
        session=me.session,
        user=me.user.id,
        device=me.device,
        seconds=round(now - traffic.since, 3),
        code=int(traffic.code),
        frames_in=traffic.frames_in,
        frames_out=traffic.frames_out,
        bytes_in=traffic.bytes_in,
        bytes_out=traffic.bytes_out,
    )
