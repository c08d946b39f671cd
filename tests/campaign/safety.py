"""What has to be true of every run, whatever happened in it: oracles 1 to 12."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.campaign.book import Book, Key, at
from tests.campaign.evidence import Apart, Cursor, Row
from tests.campaign.history import (
    Acked,
    Began,
    Cursors,
    Cut,
    Displayed,
    Failed,
    History,
    Kept,
    Marked,
    Nacked,
    Seen,
    Settled,
    Shown,
    Stored,
    Told,
    Welcomed,
    Wrote,
)

#: Seconds after which a revoked device has to be out everywhere, and by which a client on a busy
#: machine may be late to hear what was sent to it before.
GONE, LATE = 5.0, 5.0


def acked_is_stored(book: Book) -> Iterator[str]:
    """1: each ack has exactly that row, and two acks of a message do not disagree."""
    for history in book.histories:
        wrote = {event.id: event.conversation for event in history.of(Wrote)}
        for event in history.of(Acked, Settled):
            if event.seq == 0:
                continue
            conversation = wrote.get(event.id, 0)
            seq = book.places.get((conversation, history.user, event.id))
            if seq != event.seq:
                yield f"{history.name}: {event.id} acked as {event.seq}, stored as {seq}"


def stored_was_sent(book: Book) -> Iterator[str]:
    """2: at most one row for a message, which its sender sent, with that body."""
    if len(book.places) != len(book.evidence.rows):
        yield "a message is stored twice"
    for row in book.evidence.rows:
        sent = book.sent.get((row.sender, row.id), [])
        if not any((w.conversation, w.body) == (row.conversation, row.body) for w in sent):
            yield f"nobody sent what is stored as {row.conversation}/{row.seq}"


def logs_are_contiguous(book: Book) -> Iterator[str]:
    """3: seqs are floor, …, last; at every moment that was looked at."""
    seqs: dict[int, list[int]] = {log.conversation: [] for log in book.evidence.logs}
    for row in book.evidence.rows:
        seqs.setdefault(row.conversation, []).append(row.seq)
    for log in book.evidence.logs:
        if sorted(seqs[log.conversation]) != list(range(log.floor, log.last + 1)):
            yield f"{log.conversation}: last is {log.last}, rows are {seqs[log.conversation]}"
    for probe in book.evidence.probes:
        for conversation in probe.torn:
            yield f"{conversation}: had holes, or another last, at {probe.at}"


def all_agree(book: Book) -> Iterator[str]:
    """4: under one seq all see, store and show what the database has."""
    for history, event in book.each(Seen, Stored, Displayed):
        row = book.rows.get((event.conversation, event.seq))
        same = (event.sender, event.id, event.body)
        if row is None or same != (row.sender, row.id, row.body):
            kind = type(event).__name__.lower()
            yield f"{history.name}: {event.conversation}/{event.seq} was {kind} differently"


def shown_once(book: Book) -> Iterator[str]:
    """5: every message is shown, in order and once; again only after a crash."""
    for history in book.histories:
        following: dict[int, int] = {}
        shown: dict[int, int] = {}
        for event in history.of(Began, Displayed):
            if isinstance(event, Began):
                following = {place.conversation: place.handled + 1 for place in event.places}
                for id, next_ in following.items():
                    if next_ > shown.get(id, 0) + 1:
                        yield f"{history.name}: {id} up to {next_} was never shown"
            else:
                id = event.conversation
                if event.seq != following.get(id, 1):
                    yield f"{history.name}: shows {id}/{event.seq}, not {following.get(id, 1)}"
                following[id] = event.seq + 1
                shown[id] = max(shown.get(id, 0), event.seq)


def stored_in_order(book: Book) -> Iterator[str]:
    """5: every message is stored once, in order; and never withdrawn, since none was lost."""
    for history in book.histories:
        have: dict[int, int] = {}
        for event in history.of(Stored, Cut):
            if isinstance(event, Cut):
                yield f"{history.name}: withdrew {event.conversation} above {event.above}"
                continue
            before = have.get(event.conversation, 0)
            if event.seq != before + 1:
                yield f"{history.name}: stores {event.conversation}/{event.seq} after {before}"
            have[event.conversation] = event.seq


def first_in_first_out(book: Book) -> Iterator[str]:
    """6: the messages of a device stand in the order of its outbox.

    But one that was refused, to somebody who did not hear that, is sent again after others.
    """
    for history in book.histories:
        newest: dict[int, tuple[int, float]] = {}
        for kept in history.of(Kept):
            seq = book.places.get((kept.conversation, history.user, kept.id))
            if seq is None or book.rows[kept.conversation, seq].device != history.device:
                continue  # Another device of the user was first with the same answer.
            last, since = newest.get(kept.conversation, (0, 0.0))
            row = book.rows[kept.conversation, seq]
            if seq > last:
                newest[kept.conversation] = seq, kept.at
            elif not _apart(book, row, since):
                yield f"{history.name}: {kept.conversation}/{seq} stands too early"


def _apart(book: Book, row: Row, since: float) -> bool:
    """Whether something written at ``since`` may have been refused before ``row`` was stored."""
    return any(
        each.conversation == row.conversation and each.begin < row.committed and since < each.end
        for each in book.evidence.apart
    )


def answers_come_after(book: Book) -> Iterator[str]:
    """7: what was sent after seeing a message stands after it."""
    for history, wrote in book.each(Wrote):
        seq = book.places.get((wrote.conversation, history.user, wrote.id))
        if seq is None or book.rows[wrote.conversation, seq].device != history.device:
            continue
        if seq <= wrote.have:
            yield f"{history.name}: {wrote.conversation}/{seq} was sent after {wrote.have}"


def nothing_before_its_commit(book: Book) -> Iterator[str]:
    """8: no seq is seen before the commit that made it."""
    for history, event in book.each(Acked, Seen, Told):
        seq = event.last if isinstance(event, Told) else event.seq
        row = book.rows.get((event.conversation, seq))
        if row is None and seq:
            yield f"{history.name}: heard of {event.conversation}/{seq}, which is not there"
        elif row is not None and event.at < row.committed:
            early = row.committed - event.at
            yield f"{history.name}: {event.conversation}/{seq} came {early:.6f} s too early"


def cursors_are_sane(book: Book) -> Iterator[str]:
    """9: 0 ≤ read ≤ delivered ≤ last."""
    for cursor in book.evidence.cursors:
        if not 0 <= cursor.read <= cursor.delivered <= book.last[cursor.conversation]:
            yield str(cursor)


def cursors_only_grow(book: Book) -> Iterator[str]:
    """9: neither stored cursors go back, nor those that are shown in the life of a client."""
    stored = [each for probe in book.evidence.probes for each in probe.cursors]
    yield from _backwards("stored", [*stored, *book.evidence.cursors])
    for history in book.histories:
        life: list[Any] = []
        for event in history.of(Began, Shown):
            if isinstance(event, Shown):
                life.append(event)
            else:
                yield from _backwards(history.name, life)
                life = []
        yield from _backwards(history.name, life)


def _backwards(where: str, cursors: list[Cursor] | list[Shown]) -> Iterator[str]:
    greatest: dict[Key, Key] = {}
    for each in cursors:
        key = (each.conversation, each.user)
        delivered, read = greatest.get(key, (0, 0))
        if each.delivered < delivered or each.read < read:
            yield f"{where}: from {delivered}, {read} back to {each}"
        greatest[key] = max(delivered, each.delivered), max(read, each.read)


def marks_are_honest(book: Book) -> Iterator[str]:
    """10: a device says that it has what it has stored and shown, and read what was looked at."""
    for history in book.histories:
        have: dict[int, int] = {}
        shown: dict[int, int] = {}
        for event in history.of(Stored, Displayed, Marked):
            id = event.conversation
            if isinstance(event, Marked):
                if event.delivered > min(have.get(id, 0), shown.get(id, 0)):
                    yield f"{history.name}: has {have.get(id)} and says {event}"
                if event.read > at(book.looked, (id, history.user), event.at):
                    yield f"{history.name}: has not read {event}"
            elif isinstance(event, Displayed):
                shown[id] = max(shown.get(id, 0), event.seq)
            else:
                have[id] = max(have.get(id, 0), event.seq)


def receipts_are_true(book: Book) -> Iterator[str]:
    """10, 11: nobody hears, sees or stores more than a device of the user had said by then."""
    for history, event in book.each(Cursors, Shown):
        yield from _beyond(book, history.name, event.at, event)
    for probe in book.evidence.probes:
        for cursor in probe.cursors:
            yield from _beyond(book, "the database", probe.at, cursor)
    for cursor in book.evidence.cursors:
        yield from _beyond(book, "the database", float("inf"), cursor)


def _beyond(book: Book, where: str, time: float, cursor: Cursors | Cursor) -> Iterator[str]:
    key = (cursor.conversation, cursor.user)
    if cursor.delivered > (said := at(book.delivered, key, time)):
        yield f"{where}: delivered {said}, but {cursor}"
    if cursor.read > (said := at(book.read, key, time)):
        yield f"{where}: read {said}, but {cursor}"


def refused_is_not_stored(book: Book) -> Iterator[str]:
    """11: what was refused is nowhere, unless the same was accepted from another device."""
    for history in book.histories:
        refused = {event.id for event in history.of(Nacked)}
        refused |= {event.id for event in history.of(Settled) if event.seq == 0}
        for wrote in history.of(Wrote):
            seq = book.places.get((wrote.conversation, history.user, wrote.id))
            if wrote.id not in refused or seq is None:
                continue
            if book.rows[wrote.conversation, seq].device == history.device:
                yield f"{history.name}: {wrote.id} was refused and stored"


def nobody_else_knows(book: Book) -> Iterator[str]:
    """12: who is no member neither hears nor stores nor writes anything."""
    for history, event in book.each(Seen, Stored, Displayed, Told, Cursors, Shown, Acked):
        if history.user not in book.members.get(event.conversation, ()):
            yield f"{history.name}: {type(event).__name__} in {event.conversation}"
    for row in book.evidence.rows:
        if row.sender not in book.members.get(row.conversation, ()):
            yield f"{row.conversation}/{row.seq} is of a stranger"


def who_is_revoked_is_out(book: Book) -> Iterator[str]:
    """12: a revoked device stores nothing, is told so, and hears nothing, within ``GONE``."""
    ends = {each.device: each.at + GONE for each in book.evidence.revoked}
    for row in book.evidence.rows:
        if row.committed > ends.get(row.device, row.committed):
            yield f"{row.conversation}/{row.seq} is of a revoked device"
    for history in book.histories:
        if history.device in ends:
            end = max(ends[history.device], book.evidence.healed + GONE)
            yield from _heard(history, end + LATE)


def _heard(history: History, end: float) -> Iterator[str]:
    for event in history.of(Welcomed, Seen, Told, Cursors, Acked):
        if event.at > end:
            yield f"{history.name}: is revoked, and hears {event}"
    if not history.of(Failed):
        yield f"{history.name}: was never told that it is revoked"


def who_are_no_friends_write_nothing(book: Book) -> Iterator[str]:
    """12: once a friendship has ended, nothing is stored before it begins again."""
    apart: dict[int, list[Apart]] = {}
    for each in book.evidence.apart:
        apart.setdefault(each.conversation, []).append(each)
    for row in book.evidence.rows:
        for each in apart.get(row.conversation, ()):
            if each.since < row.committed < each.until:
                yield f"{row.conversation}/{row.seq} is of one who was no friend"
