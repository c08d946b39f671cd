"""What has to be true once all faults are healed, and of the logs: oracles 14 to 19."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.campaign.book import Book
from tests.campaign.history import (
    Acked,
    Blamed,
    Crashed,
    Cursors,
    Ended,
    Failed,
    History,
    Kept,
    Place,
    Seen,
    Settled,
    Stored,
    Told,
    Welcomed,
    Wrote,
)

#: The share of messages that a sweep may tell of while everything is well: a push under way
#: and a sweep may cross.
REPAIRS = 0.005
#: What a server prints when something happened that nobody had thought of.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Unhandled (?:error|Error)")
#: What PostgreSQL prints about an order of locks, or a check, that is wrong.
_CONFLICT = re.compile(r".*(?:deadlock detected|duplicate key value violates).*")


def no_tracebacks(book: Book) -> Iterator[str]:
    """14: no process failed, or ended by itself."""
    yield from book.evidence.accidents
    for name, text in book.evidence.output.items():
        for found in _TRACEBACK.finditer(text):
            yield f"{name}: {text[max(0, found.start() - 300) : found.start() + 2000]}"


def no_misunderstandings(book: Book) -> Iterator[str]:
    """14: the server understands whatever the client says."""
    for history in book.histories:
        for blamed in history.of(Blamed):
            yield f"{history.name}: {blamed.why}"


def all_is_bounded(book: Book) -> Iterator[str]:
    """14: buffers, maps, queues and keys stay below their limits, and nothing is forgotten."""
    for where, gauges in book.evidence.gauges.items():
        for gauge in gauges:
            if gauge.value > gauge.limit:
                yield f"{where}: {gauge.value} {gauge.name}, at most {gauge.limit}"


def no_deadlocks(book: Book) -> Iterator[str]:
    """15: neither deadlocks nor unique violations."""
    for found in _CONFLICT.finditer(book.evidence.output.get("postgres", "")):
        yield found[0]


def everything_arrived(book: Book) -> Iterator[str]:
    """16: every device has, and has shown, everything; and none gave up."""
    for history in book.staying:
        for failed in history.of(Failed):
            yield f"{history.name}: stopped: {failed.why}"
        ended = _end(history)
        places = {place.conversation: place for place in ended.places}
        stored = dict.fromkeys(places, 0)
        for event in history.of(Stored):
            stored[event.conversation] = event.seq
        for id in book.conversations_of(history):
            last, place = book.last[id], places.get(id, Place(id, 0, -1, -1, -1))
            if {place.have, place.handled, stored.get(id, 0)} != {last}:
                yield f"{history.name}: {place}, stored {stored.get(id, 0)}, last is {last}"


def everything_was_answered(book: Book) -> Iterator[str]:
    """16: no outbox holds anything: all that was sent is acked or nacked."""
    for history in book.staying:
        if left := _end(history).outbox:
            yield f"{history.name}: {len(left)} messages in the outbox: {left[:5]}"
        settled = {event.id for event in history.of(Settled)}
        kept = {event.id for event in history.of(Kept)}
        if lost := kept - settled:
            yield f"{history.name}: never settled: {sorted(lost)[:5]}"
        for id in _vanished(history, kept):
            yield f"{history.name}: {id} never came into the outbox"


def _vanished(history: History, kept: set[str]) -> Iterator[str]:
    """What was written and never kept, unless the program died before it kept anything more."""
    waiting: list[str] = []
    after: set[str] = set()
    for event in history.of(Wrote, Kept, Crashed):
        if isinstance(event, Crashed):
            waiting, after = [], set()
        elif isinstance(event, Kept):
            # It was written later than what waits, and is kept first.
            if event.id in after:
                yield from waiting
                waiting, after = [], set()
        elif event.id not in kept:
            waiting.append(event.id)
        elif waiting:
            after.add(event.id)
    yield from waiting


def receipts_converged(book: Book) -> Iterator[str]:
    """17: everybody sees the cursors that are stored, and all messages are delivered."""
    truth = {(c.conversation, c.user): (c.delivered, c.read) for c in book.evidence.cursors}
    for history in book.staying:
        seen = {(c, user): (d, r) for c, user, d, r in _end(history).peers}
        for id in book.conversations_of(history):
            for user in book.members[id] - {history.user}:
                if seen.get((id, user)) != truth[id, user]:
                    view = seen.get((id, user))
                    yield f"{history.name}: {id}: {user} is at {truth[id, user]}, not {view}"
    newest: dict[tuple[int, int], int] = {}
    for row in book.evidence.rows:
        for user in book.members.get(row.conversation, set()) - {row.sender}:
            newest[row.conversation, user] = row.seq
    for (id, user), seq in newest.items():
        if truth[id, user][0] < seq:
            yield f"{id}: {user} has {seq}, but delivered is {truth[id, user][0]}"


def status_is_true(book: Book) -> Iterator[str]:
    """18: user status has exactly the session of each device."""
    entries = {(entry.user, entry.device): entry for entry in book.evidence.entries}
    for history in book.histories:
        sessions = history.of(Welcomed)
        if not sessions or history.of(Failed):
            # Who gave up without being revoked is a violation of 16.
            continue
        me = sessions[-1]
        entry = entries.pop((me.user, me.device), None)
        if entry is None or entry.session != me.session or not entry.leased:
            yield f"{history.name}: session {me.session}, but {entry}"
    for entry in entries.values():
        if entry.leased:
            yield f"of nobody: {entry}"


def pushes_need_no_repair(book: Book) -> Iterator[str]:
    """19: while servers and networks are well, sweeps find next to nothing to say."""
    found = sum(repairs(history) for history in book.histories)
    if book.evidence.calm and found > REPAIRS * len(book.rows):
        yield f"{found} repairs of {len(book.rows)} messages"


def repairs(history: History) -> int:
    """How often a device was told of what should have been pushed to it."""
    # What a sync has told already is no repair, nor is the head that a conversation begins with.
    known: dict[int, int] = {}
    found = 0
    for event in history.of(Acked, Seen, Told):
        last = event.last if isinstance(event, Told) else event.seq
        before = known.get(event.conversation, 0)
        found += isinstance(event, Told) and event.poke and last > before
        known[event.conversation] = max(before, last)
    return found


def peace_is_quiet(book: Book) -> Iterator[str]:
    """19: once everybody has everything, servers have nothing more to say."""
    quiet = book.evidence.quiet
    for history, event in book.each(Seen, Told, Cursors):
        if quiet and event.at > quiet:
            yield f"{history.name}: {event}"


def _end(history: History) -> Ended:
    ended = history.of(Ended)
    return ended[-1] if ended else Ended(0.0, (), (), ())
