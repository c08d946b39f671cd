"""How long messages take: until they are sent, received and delivered, as ``imd bench`` says it.

- sent: from the frame of the sender to its ``ack``; what an outage adds is in it;
- received: from the time stamp of the message to the push, on the node that pushes; between two
  machines it is as exact as their clocks are, and it is taken of one push in ``EACH``;
- delivered: from the frame of the sender to the receipt, on the node of the sender.  It is taken
  of one message of a conversation at a time, and of none that waits longer than ``PATIENCE``:
  who is away for a night says nothing about the server.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import DecodeError, Struct, json

from imd.counts import Histogram

#: Seconds after which a message is awaited no longer.
PATIENCE = 60.0
#: Pushes of which one is measured: to look into a frame costs a microsecond.
EACH = 8
#: Messages that are awaited at once; of others it is not measured.
MOST_AWAITED = 4096


class Stamped(Struct, gc=False):
    """The one thing that is read of a frame that is pushed; 0 if it is no ``msg``."""

    at: int = 0


class Times:
    """``seconds`` is monotonic, ``now_ms`` the wall clock."""

    def __init__(self, seconds: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self.seconds = seconds
        self._now_ms = now_ms
        self._decode = json.Decoder(Stamped).decode
        self._pushes = -1
        self._awaited: dict[int, tuple[int, int, float]] = {}
        self.sent = Histogram()
        self.received = Histogram()
        self.delivered = Histogram()

    def pushed(self, frame: bytes) -> None:
        """A frame of the log went to sessions of this process."""
        self._pushes += 1
        if self._pushes % EACH:
            return
        try:
            at = self._decode(frame).at
        except DecodeError:
            return
        if at:
            self.received.add((self._now_ms() - at) / 1000)

    def awaits(self, conversation: int, seq: int, sender: int, since: float) -> None:
        """A message that came at ``since`` was committed: from now on its receipt is awaited."""
        before = self._awaited.get(conversation)
        if before is None:
            if len(self._awaited) >= MOST_AWAITED:
                del self._awaited[next(iter(self._awaited))]
        elif since - before[2] < PATIENCE:
            return
        self._awaited[conversation] = (seq, sender, since)

    def receipt(self, conversation: int, user: int, delivered: int) -> None:
        """A user has everything up to ``delivered``."""
        awaited = self._awaited.get(conversation)
        if awaited is None or delivered < awaited[0] or user == awaited[1]:
            return
        del self._awaited[conversation]
        seconds = self.seconds() - awaited[2]
        if seconds < PATIENCE:
            self.delivered.add(seconds)
