"""The Python client with one defect: ``python -m tests.broken_client NAME`` is its driver.

For every scenario of the conformance kit there is a defect here that it must find.
"""

from __future__ import annotations

import sys
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from imd import decoding, wire
from imd.client import connection, effects, login, marks, outbox, rules, store, system
from imd.client.conversations import Conversations
from imd.client.outbox import Outbox
from imd.client.rules import Rules
from imd.client.values import Conversation, Peer
from imd.conformance import python_driver

Broken = Callable[[], None]
DEFECTS: dict[str, tuple[Broken, Sequence[str]]] = {}


def breaks(*scenarios: str) -> Callable[[Broken], Broken]:
    """A defect that these scenarios find."""

    def register(function: Broken) -> Broken:
        DEFECTS[function.__name__] = function, scenarios
        return function

    return register


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace a method by one that gets the old one first."""
    old = getattr(owner, name)
    setattr(owner, name, lambda *args, **kw: wrapper(old, *args, **kw))


def nothing(*args: Any, **kw: Any) -> None:
    """Instead of what should have been done."""


def repair(**fields: Any) -> None:
    """Other times and sizes."""
    around(Conversations, "__init__", lambda old, self, saved, given: old(
        self, saved, structs.replace(given, **fields)
    ))  # fmt: skip


def pace(seconds: float) -> None:
    around(Outbox, "__init__", lambda old, self, entries, given: old(
        self, entries, outbox.Pace(seconds)
    ))  # fmt: skip


def unwritten(kind: type[Any]) -> None:
    """The store loses writes of one kind."""
    around(store.SqliteStore, "write", lambda old, self, writes: old(
        self, [write for write in writes if not isinstance(write, kind)]
    ))  # fmt: skip


# -- R1


@breaks("r1-persisted-first", "r1-offline-kept")
def keeps_the_outbox_in_memory() -> None:
    unwritten(effects.SavePending)


@breaks("r1-window", "r2-window-after-reconnect")
def knows_no_window() -> None:
    def welcome(old: Any, self: Any, turn: Any, limits: Any, wall: int) -> None:
        old(self, turn, structs.replace(limits, inflight=1000), wall)

    around(Outbox, "welcome", welcome)


@breaks("r1-nack-is-final")
def has_ids_of_version_4() -> None:
    system.new_id = lambda: str(uuid.uuid4())


@breaks("r1-nack-is-final")
def ignores_nacks() -> None:
    rules._INPUTS[wire.Nack] = nothing


# -- R2


@breaks("r2-lost-ack", "r2-ack-timeout", "r2-half-open")
def sends_nothing_again() -> None:
    def welcome(old: Any, self: Any, *args: Any) -> None:
        new = [entry for entry in self._waiting if entry.id in self._entries]
        old(self, *args)
        self._waiting = deque(new)

    around(Outbox, "welcome", welcome)


@breaks("r2-lost-ack", "r2-old-before-new")
def sends_the_newest_first() -> None:
    def welcome(old: Any, self: Any, *args: Any) -> None:
        old(self, *args)
        self._waiting.reverse()

    around(Outbox, "welcome", welcome)


@breaks("r2-ack-timeout", "r2-half-open")
def waits_for_ever_for_an_ack() -> None:
    pace(1e9)


@breaks("r2-not-on-a-live-session", "r2-ack-timeout")
def is_impatient() -> None:
    pace(3.0)


@breaks("r2-not-on-a-live-session")
def sends_again_on_a_live_session() -> None:
    def tick(old: Any, self: Any, now: float) -> None:
        if self._outbox.deadline is not None and now >= self._outbox.deadline:
            self._outbox._flying.clear()
            self._outbox._waiting = deque(self._outbox._entries.values())
        old(self, now)

    pace(3.0)
    around(Rules, "tick", tick)


@breaks("r2-after-welcome")
def sends_before_the_welcome() -> None:
    def take(old: Any, self: Any) -> Any:
        if self._open and not self.online:
            self._outbox._window, self._outbox._frame_bytes = 64, 65536
            self._outbox.transmit(self._turn, self._now)
        return old(self)

    around(Rules, "take", take)


# -- R3


@breaks("r3-duplicates")
def shows_what_it_has_again() -> None:
    def message(old: Any, self: Any, turn: Any, message: Any, now: float) -> None:
        if message.seq <= self.all[message.conversation].have:
            turn.notices.append(effects.Deliver(message))
        old(self, turn, message, now)

    around(Conversations, "message", message)


@breaks("r3-reordered")
def keeps_nothing_that_is_early() -> None:
    repair(buffer=0)


@breaks("r3-gap-fetched")
def fetches_at_once() -> None:
    repair(gap=0.0)


@breaks("r3-gap-fetched", "r3-bounded-buffer")
def waits_for_gaps_to_close() -> None:
    repair(gap=1e9)


@breaks("r3-gap-fetched", "r3-gap-crash", "r3-reordered", "r7-not-over-a-gap", "r5-own-in-fetch")
def skips_gaps() -> None:
    def message(old: Any, self: Any, turn: Any, message: Any, now: float) -> None:
        mine = self.all[message.conversation]
        mine.have = max(mine.have, message.seq - 1)
        old(self, turn, message, now)

    around(Conversations, "message", message)


# -- R4


@breaks("r4-pages", "r3-bounded-buffer")
def fetches_once() -> None:
    def fetched(old: Any, self: Any, turn: Any, frame: Any, now: float) -> None:
        old(self, turn, frame, now)
        mine = self.all[frame.conversation]
        mine.known = mine.have
        self._drain(turn, mine)

    around(Conversations, "fetched", fetched)


@breaks("r4-poke")
def ignores_pokes() -> None:
    rules._INPUTS[wire.Poke] = nothing


@breaks("r4-behind", "r4-heads-in-pages", "r4-fetch-lost", "r8-new-installation")
def does_not_read_last() -> None:
    around(Conversations, "head", lambda old, self, turn, item, restored: old(
        self, turn, structs.replace(item, last=0), restored
    ))  # fmt: skip


@breaks("r4-heads-in-pages")
def reads_the_last_page_only() -> None:
    def heads(old: Any, self: Any, frame: wire.Heads) -> None:
        old(self, frame if frame.done else structs.replace(frame, items=[]))

    rules._INPUTS[wire.Heads] = lambda self, frame: heads(Rules._heads, self, frame)


@breaks("r4-floor", "r4-floor-in-fetch", "r4-all-expired")
def ignores_the_floor() -> None:
    Conversations.floor = nothing  # type: ignore[method-assign]


@breaks("r4-fetch-refused")
def fetches_again_without_a_pause() -> None:
    repair(retry=0.0)


@breaks("r4-new-conversation")
def ignores_new_conversations() -> None:
    Rules._unknown = lambda self, id: id not in self._conversations  # type: ignore[method-assign]


# -- R5


@breaks("r5-own-before-ack", "r5-own-in-fetch")
def waits_for_the_ack_itself() -> None:
    Outbox.seen = nothing  # type: ignore[method-assign]


@breaks("r5-own-from-elsewhere")
def shows_nothing_of_its_own() -> None:
    driver = python_driver.Driver
    around(driver, "_shown", lambda old, self, message: message.sender == 11 or old(self, message))


@breaks("r5-ack-twice", "r5-own-before-ack")
def reports_every_ack() -> None:
    def ack(self: Rules, frame: wire.Ack) -> None:
        Rules._ack(self, frame)
        python_driver.Driver.report(sent={"id": frame.id, "seq": frame.seq})

    rules._INPUTS[wire.Ack] = ack


@breaks("r5-receipt-before-ack")
def takes_no_receipt_of_what_it_does_not_know() -> None:
    def receipt(self: Rules, frame: wire.Receipt) -> None:
        if frame.delivered <= self.conversations[frame.conversation].known:
            Rules._receipt(self, frame)

    rules._INPUTS[wire.Receipt] = receipt


# -- R6


@breaks("r6-known-before-token")
def stores_the_token_alone() -> None:
    unwritten(effects.SaveConversation)


@breaks("r6-token-after-the-last-page")
def ends_a_sync_with_any_page() -> None:
    rules._INPUTS[wire.Heads] = lambda self, frame: Rules._heads(
        self, structs.replace(frame, done=True)
    )


@breaks("r6-token-kept", "r6-pong-token", "r6-new-epoch", "r6-token-after-the-last-page")
def uses_no_token() -> None:
    around(login.Entrance, "hello", lambda old, self, req, since, tail: old(self, req, None, tail))


@breaks("r6-new-epoch")
def keeps_its_token_in_a_new_epoch() -> None:
    def welcome(self: Rules, frame: wire.Welcome) -> None:
        Rules._welcome(self, structs.replace(frame, epoch=self.account.epoch or frame.epoch))

    rules._INPUTS[wire.Welcome] = welcome


@breaks("r6-pong-token")
def ignores_the_token_of_a_pong() -> None:
    rules._INPUTS[wire.Pong] = nothing


# -- R7


@breaks("r7-soon", "r7-told-again", "r7-read", "s2-unknown-kind")
def marks_nothing() -> None:
    marks.Marks.send = nothing  # type: ignore[method-assign]


@breaks("r7-coalesced")
def marks_each_message() -> None:
    def append(old: Any, self: Any, turn: Any, mine: Conversation, message: Any) -> None:
        old(self, turn, mine, message)
        turn.frames.append(wire.Mark(mine.id, message.seq))

    around(Conversations, "_append", append)


@breaks("r7-stored-first")
def stores_no_messages() -> None:
    unwritten(effects.SaveMessage)


@breaks("r7-not-over-a-gap")
def marks_what_it_heard_of() -> None:
    marks._mark = lambda mine: wire.Mark(mine.id, mine.known)


@breaks("r7-read", "r7-read-offline")
def never_marks_as_read() -> None:
    marks._mark = lambda mine: wire.Mark(mine.id, mine.delivered)


@breaks("r7-told-again")
def takes_a_mark_for_told() -> None:
    def send(old: Any, self: Any, turn: Any, now: float) -> None:
        owed = list(self._owed.values())
        old(self, turn, now)
        for mine in owed:
            if mine.id not in self._owed:
                mine.told_delivered, mine.told_read = mine.delivered, mine.read

    around(marks.Marks, "send", send)


# -- R8


@breaks("r8-new-installation")
def begins_at_the_beginning() -> None:
    around(Conversations, "_begin", lambda old, self, item: old(
        self, structs.replace(item, delivered=0)
    ))  # fmt: skip


@breaks("r8-new-installation")
def begins_at_the_end() -> None:
    around(Conversations, "_begin", lambda old, self, item: old(
        self, structs.replace(item, delivered=item.last)
    ))  # fmt: skip


@breaks("r8-history")
def has_no_history() -> None:
    around(Rules, "history", lambda old, self, conv, before, limit, now: old(
        self, conv, None, limit, now
    ))  # fmt: skip


# -- R9


@breaks("r9-backoff")
def has_no_jitter() -> None:
    around(login.Entrance, "next", lambda old, self, *args: old(self, *args[:-1], 1.0))


@breaks("r9-backoff")
def does_not_back_off() -> None:
    login.BACKOFF_BASE = 1.0


@breaks("r9-tcp-loss", "r9-comes-back[4000]", "r9-backoff")
def takes_its_time() -> None:
    login.BACKOFF_LONGEST = 1e6
    around(login.Entrance, "next", lambda old, self, code, *rest: (
        effects.Reconnect(300.0)
    ))  # fmt: skip


@breaks("r9-stays-away[4500]", "r9-stays-away[4999]", "r9-bye-and-stay")
def always_comes_back() -> None:
    around(login.Entrance, "next", lambda old, self, code, *rest: old(self, None, *rest))


@breaks("r9-bye")
def does_not_listen_to_bye() -> None:
    rules._INPUTS[wire.Bye] = nothing


@breaks("r9-abusive")
def comes_back_after_abuse() -> None:
    login.ABUSIVE_WAIT = 0.0


# -- the rest of the protocol


@breaks("s2-unknown")
def takes_no_unknown_frames() -> None:
    def decode(old: Any, payload: bytes) -> Any:
        if b'"banner"' in payload:
            raise decoding.NotJson("unknown frame")
        return old(payload)

    around(connection, "decode", decode)


@breaks("s2-unknown-kind")
def drops_what_it_cannot_show() -> None:
    def msg(self: Rules, frame: wire.Msg) -> None:
        if frame.kind in ("text", "file"):
            Rules._msg(self, frame)

    rules._INPUTS[wire.Msg] = msg


@breaks("s2-batch")
def reads_one_frame_of_a_batch() -> None:
    def frames(old: Any, self: Any, frames: Any, now: float) -> None:
        old(self, frames if self._open and not self._conversations.all else frames[:1], now)

    around(Rules, "frames", frames)


@breaks("s6-cursors-grow")
def lets_cursors_shrink() -> None:
    def merge(self: Any, turn: Any, mine: Any, old: Any, named: Any, cursors: Any) -> Peer:
        told = cursors.delivered, cursors.read
        if old is None or told != (old.delivered, old.read):
            turn.notices.append(effects.ReceiptChanged(mine.id, named.user, *told))
        return Peer(named.user, named.name, *told)

    Conversations._merge = merge  # type: ignore[method-assign]


@breaks("s8-heartbeat", "s8-silence")
def never_pings() -> None:
    def welcome(self: Rules, frame: wire.Welcome) -> None:
        Rules._welcome(self, structs.replace(frame, heartbeat=10**9))

    rules._INPUTS[wire.Welcome] = welcome


@breaks("s8-silence")
def does_not_wait_for_a_pong() -> None:
    def ping(self: Rules) -> None:
        self._turn.frames.append(wire.Ping(1))

    Rules._ping = ping  # type: ignore[method-assign]


if __name__ == "__main__":
    DEFECTS[sys.argv[1]][0]()
    python_driver.main()
