"""The outbox: what I send, until it is acknowledged (R1, R2 and R5 of protocol §5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Raw, Struct

from imd import wire
from imd.client.effects import Acked, DropPending, SavePending, SendRefused, Turn
from imd.client.values import Kind, Message, Pending
from imd.errors import Code

#: Bytes that a ``send`` frame takes around its body, and a little more.
ENVELOPE = 512
#: How long an entry may wait.  The server forgets ids with the rows they are in, and it
#: keeps those longer; so a resend within this time is never stored twice.  In ms.
EXPIRES = 7 * 86_400_000


class Pace(Struct, frozen=True):
    """How long the outbox waits; seconds."""

    #: No ``ack`` for so long: the session is taken for dead (R2).
    ack_timeout: float = 20.0


class Outbox:
    """Pending sends in their order, and which of them were transmitted in this session."""

    def __init__(self, entries: Iterable[Pending], pace: Pace) -> None:
        ordered = sorted(entries, key=lambda entry: entry.order)
        self._entries = {entry.id: entry for entry in ordered}
        self._next = ordered[-1].order + 1 if ordered else 1
        self._pace = pace
        self._waiting: deque[Pending] = deque()
        #: Id to the time of transmission; the first is the oldest.
        self._flying: dict[str, float] = {}
        self._window = 0
        self._frame_bytes = 0
        self._held = False

    def __len__(self) -> int:
        """Sends without an answer, transmitted or not."""
        return len(self._entries)

    @property
    def deadline(self) -> float | None:
        """When the oldest transmitted entry is overdue."""
        for sent in self._flying.values():
            return sent + self._pace.ack_timeout
        return None

    def put(
        self, turn: Turn, id: str, conversation: int, kind: Kind, body: bytes, wall_ms: int
    ) -> None:
        """R1: persist a new entry; ``transmit`` sends it once there is room."""
        if id in self._entries:
            return
        entry = Pending(self._next, id, conversation, kind, body, wall_ms)
        self._next += 1
        self._entries[id] = entry
        self._waiting.append(entry)
        turn.writes.append(SavePending(entry))

    def welcome(self, turn: Turn, limits: wire.Limits, wall_ms: int) -> None:
        """R2: a session begins; all that is not acknowledged goes again, in the old order."""
        self._window, self._frame_bytes = limits.inflight, limits.frame_bytes
        self._flying.clear()
        for entry in list(self._entries.values()):
            if wall_ms - entry.since > EXPIRES:
                self._refuse(turn, entry, "expired", "nobody could be reached for a week")
        self._waiting = deque(self._entries.values())

    def lost(self) -> None:
        """The session is gone: nothing is transmitted until the next ``welcome``."""
        self._window = 0
        self._flying.clear()

    def hold(self, held: bool) -> None:
        """Transmit nothing while the log is being compared after a restore (R6)."""
        self._held = held

    def transmit(self, turn: Turn, now: float) -> None:
        """R1: in order, and never more than the window without an ``ack``."""
        if self._held:
            return
        while self._waiting and len(self._flying) < self._window:
            entry = self._waiting.popleft()
            if entry.id not in self._entries:
                continue
            if len(entry.body) + ENVELOPE > self._frame_bytes:
                self._refuse(turn, entry, Code.TOO_LARGE, f"at most {self._frame_bytes} bytes")
                continue
            self._flying[entry.id] = now
            body = Raw(entry.body)
            turn.frames.append(wire.Send(entry.id, entry.conversation, entry.kind, body))

    def acked(self, turn: Turn, id: str, seq: int, at: int) -> Pending | None:
        """The server has committed ``id``: returns its entry, or None for one long settled."""
        entry = self._settle(turn, id)
        if entry is not None:
            turn.notices.append(Acked(id, entry.conversation, seq, at))
        return entry

    def seen(self, turn: Turn, message: Message) -> None:
        """R5: my own message in the log is as good as its ``ack``."""
        if message.id in self._entries:
            self.acked(turn, message.id, message.seq, message.at)

    def nacked(self, turn: Turn, frame: wire.Nack) -> None:
        """The server will never store this one."""
        entry = self._settle(turn, frame.id)
        if entry is not None:
            message = frame.message if isinstance(frame.message, str) else ""
            turn.notices.append(SendRefused(frame.id, frame.code, message))

    def again(self, turn: Turn, messages: Iterable[Message], wall_ms: int) -> None:
        """R6: these of mine vanished from the log; they go first, since they were first."""
        lost = [m for m in messages if m.id not in self._entries]
        first = min((e.order for e in self._entries.values()), default=self._next) - len(lost)
        entries = [_again(message, first + i, wall_ms) for i, message in enumerate(lost)]
        turn.writes += map(SavePending, entries)
        self._entries = {entry.id: entry for entry in entries} | self._entries
        self._waiting.extendleft(reversed(entries))

    def _settle(self, turn: Turn, id: str) -> Pending | None:
        entry = self._entries.pop(id, None)
        self._flying.pop(id, None)
        if entry is not None:
            turn.writes.append(DropPending(id))
        return entry

    def _refuse(self, turn: Turn, entry: Pending, code: str, message: str) -> None:
        del self._entries[entry.id]
        turn.writes.append(DropPending(entry.id))
        turn.notices.append(SendRefused(entry.id, code, message))


def _again(message: Message, order: int, wall_ms: int) -> Pending:
    kind: Kind = "file" if message.kind == "file" else "text"
    return Pending(order, message.id, message.conversation, kind, message.body, wall_ms)
