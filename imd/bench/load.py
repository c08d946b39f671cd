"""Messages through pairs of users, in a closed or an open loop, each of them checked."""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Raw, Struct

from imd import wire
from imd.bench.histogram import Histogram
from imd.bench.peer import Frames
from imd.bench.people import Pair

#: Bytes of text of a message.
TEXT_BYTES = 200


class Times(Struct):
    """Histograms from the (intended) time of sending, at the sender and at the receiver."""

    sent: Histogram
    received: Histogram
    delivered: Histogram

    @classmethod
    def empty(cls) -> Times:
        """Nothing measured yet."""
        return cls(Histogram(), Histogram(), Histogram())


class Faults(Struct):
    """What must be 0 at the end of a run."""

    lost: int = 0
    duplicated: int = 0
    misordered: int = 0
    refused: int = 0

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.misordered or self.refused)


class Stream:
    """The messages of one pair, in one direction.

    A message is *in flight* until its sender has got the receipt that it was delivered.
    """

    def __init__(self, pair: Pair, run: Run) -> None:
        self._run = run
        self._sender = pair.sender
        self._receiver = pair.receiver
        self._conversation = pair.conversation
        self._ids: list[str] = []
        self._starts: list[float] = []
        self._salt = secrets.randbits(62)
        self.acked = self.received = self.delivered = 0
        pair.sender.hear = self._heard_by_sender
        pair.receiver.hear = self._heard_by_receiver

    @property
    def in_flight(self) -> int:
        """Messages without a delivered receipt."""
        return len(self._ids) - self.delivered

    def send(self, start: float) -> None:
        """Send the next message; ``start`` is when it should have been sent."""
        n = len(self._ids)
        # UUIDs of version 7: time first, and unique by salt and number.
        number = int(start * 1e3) << 80 | 7 << 76 | (n & 0xFFF) << 64 | 2 << 62
        id = wire.uuid_text((number | (self._salt + n) % 2**62).to_bytes(16, "big"))
        self._ids.append(id)
        self._starts.append(start)
        self._sender.say(wire.Send(id, self._conversation, "text", self._run.body))

    def _heard_by_sender(self, frames: Frames) -> None:
        now = self._run.now()
        for frame in frames:
            if isinstance(frame, wire.Ack):
                self._ack(frame, now)
            elif isinstance(frame, wire.Receipt):
                self._receipt(frame, now)
            elif isinstance(frame, wire.Nack):
                self._run.faults.refused += 1

    def _ack(self, frame: wire.Ack, now: float) -> None:
        if frame.id != self._ids[self.acked] or frame.seq != self.acked + 1:
            self._run.faults.misordered += 1
        self._run.times.sent.add(now - self._starts[self.acked])
        self.acked += 1

    def _receipt(self, frame: wire.Receipt, now: float) -> None:
        while self.delivered < min(frame.delivered, len(self._ids)):
            self._run.times.delivered.add(now - self._starts[self.delivered])
            self.delivered += 1
            self._run.completed(self)

    def _heard_by_receiver(self, frames: Frames) -> None:
        now = self._run.now()
        before = self.received
        for frame in frames:
            if isinstance(frame, wire.Msg):
                self._message(frame, now)
        if self.received > before:
            self._receiver.say(wire.Mark(self._conversation, delivered=self.received))

    def _message(self, frame: wire.Msg, now: float) -> None:
        if frame.seq <= self.received:
            self._run.faults.duplicated += 1
            return
        expected = self._ids[self.received] if self.received < len(self._ids) else None
        if frame.seq != self.received + 1 or frame.id != expected:
            self._run.faults.misordered += 1
        self._run.times.received.add(now - self._starts[self.received])
        self.received += 1

    def missing(self) -> int:
        """How many messages are not acknowledged, not received, or not receipted."""
        return len(self._ids) - min(self.acked, self.received, self.delivered)


class Run:
    """One measurement over all pairs.

    ``window`` messages of each pair are kept in flight; or, with ``rate``, so many messages
    a second are sent in all, whether or not the server keeps up.
    """

    def __init__(self, reactor: Any, pairs: list[Pair], window: int, rate: float) -> None:
        self._reactor = reactor
        self.now = reactor.seconds
        self._window = window
        self._rate = rate
        self.body = Raw(wire.encode(wire.TextBody("x" * TEXT_BYTES)))
        self.faults = Faults()
        self.times = Times.empty()
        self.lag = Histogram()
        self.done = 0
        self._sending = True
        self._streams = [Stream(pair, self) for pair in pairs]
        self._next = 0
        self._begun = 0.0

    def start(self) -> None:
        """Begin to send."""
        self._begun = self.now()
        if self._rate:
            self._tick()
            return
        for stream in self._streams:
            for _ in range(self._window):
                stream.send(self.now())

    def completed(self, stream: Stream) -> None:
        """A message has got its receipt."""
        self.done += 1
        if self._sending and not self._rate:
            stream.send(self.now())

    def _tick(self) -> None:
        """Send whatever is due; the time of each message is when it was due."""
        now = self.now()
        while self._sending and (due := self._begun + self._next / self._rate) <= now:
            self._streams[self._next % len(self._streams)].send(due)
            self.lag.add(now - due)
            self._next += 1
        if self._sending:
            self._reactor.callLater(0.001, self._tick)

    def forget(self) -> None:
        """The warm-up is over: measure from here on."""
        self.times = Times.empty()
        self.lag = Histogram()
        self.done = 0

    def stop_sending(self) -> None:
        """Send no more."""
        self._sending = False

    @property
    def complete(self) -> bool:
        """Whether every message has got everything."""
        return not any(stream.missing() for stream in self._streams)

    def verdict(self) -> Faults:
        """The faults, once nothing more can come."""
        self.faults.lost = sum(stream.missing() for stream in self._streams)
        return self.faults
