"""Messages, cursors and heads in SQLite: functions of a connection inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from imd.interfaces.storage import AdvanceResult, AppendResult
from imd.model import Cursor, CursorChange, NewMessage, Outcome
from imd.storage.decide import Key, Log, Stored, decide
from imd.storage.rows import change, chunks, lookup

_LOGS = """
SELECT json_group_array(json_array(c.id, c.last, c.open, c.low, c.high))
FROM (VALUES {values}) AS i JOIN conversation AS c ON c.id = i.column1"""
_KNOWN = """
SELECT m.conversation, m.sender, m.id, m.seq, m.at, m.kind, m.body
FROM (VALUES {values}) AS i JOIN message AS m
ON m.id = i.column1 AND m.conversation = i.column2 AND m.sender = i.column3"""
_FILES = """
SELECT json_group_array(json_array(f.id, f.owner))
FROM (VALUES {values}) AS i JOIN file AS f ON f.id = i.column1 WHERE f.complete"""
_SESSIONS = """
SELECT json_group_array(json_array(d.id, d.session))
FROM (VALUES {values}) AS i JOIN device AS d ON d.id = i.column1"""
_ATTACH = "INSERT OR IGNORE INTO attachment (file, conversation) VALUES {values}"
_SENT = """
UPDATE file SET sent = 1 FROM (VALUES {values}) AS i WHERE file.id = i.column1"""
_INSERT = """
INSERT INTO message (conversation, seq, sender, device, id, at, kind, body) VALUES {values}"""
_LAST = """
UPDATE conversation SET last = i.column2, change = i.column3
FROM (VALUES {values}) AS i WHERE conversation.id = i.column1"""
_CURSORS = """
SELECT json_group_array(
    json_array(m.conversation, m.user, m.delivered, m.read, c.last, c.low, c.high))
FROM (VALUES {values}) AS i
JOIN member AS m ON m.conversation = i.column1 AND m.user = i.column2
JOIN conversation AS c ON c.id = m.conversation"""
_ADVANCE = """
UPDATE member SET delivered = i.column3, read = i.column4, change = i.column5
FROM (VALUES {values}) AS i WHERE conversation = i.column1 AND user = i.column2"""


def token(db: sqlite3.Connection) -> tuple[str, int]:
    """The epoch and the number of the last change."""
    epoch, number = db.execute(
        "SELECT (SELECT value FROM meta WHERE key = 'epoch'), value FROM meta WHERE key = 'change'"
    ).fetchone()
    return epoch, number


def next_change(db: sqlite3.Connection) -> tuple[int, str]:
    """Count a change; its number, and the token that covers it."""
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'change'")
    epoch, number = token(db)
    return number, f"{epoch}:{number}"


def append(db: sqlite3.Connection, batch: Sequence[NewMessage], at: int) -> AppendResult:
    """See ``MessageStorage.append``."""
    found = _logs(db, batch), _stored(db, batch), _files(db, batch), _sessions(db, batch)
    decisions = decide(batch, *found, at)
    number, covered = next_change(db)
    rows, last, held = [], {}, []
    for message, decision in zip(batch, decisions, strict=True):
        if decision.outcome is Outcome.NEW:
            last[message.conversation] = decision.seq
            if message.file is not None:
                held.append((message.file, message.conversation))
            rows.append(
                (
                    message.conversation,
                    decision.seq,
                    message.sender,
                    message.device,
                    message.id,
                    at,
                    message.kind,
                    message.body,
                )
            )
    change(db, _INSERT, rows)
    change(db, _LAST, [(conversation, seq, number) for conversation, seq in last.items()])
    change(db, _ATTACH, held)
    change(db, _SENT, [(file,) for file, _ in held])
    return AppendResult(decisions, covered)


def _logs(db: sqlite3.Connection, batch: Iterable[NewMessage]) -> dict[int, Log]:
    ids = [(conversation,) for conversation in {message.conversation for message in batch}]
    return {
        id: Log(last, bool(open_), (low, high))
        for id, last, open_, low, high in lookup(db, _LOGS, ids)
    }


def _stored(db: sqlite3.Connection, batch: Iterable[NewMessage]) -> dict[Key, Stored]:
    keys = [(message.id, message.conversation, message.sender) for message in batch]
    found: dict[Key, Stored] = {}
    for values, parameters in chunks(keys):
        for row in db.execute(_KNOWN.format(values=values), parameters):
            found[row[0], row[1], row[2]] = Stored(*row[3:])
    return found


def _files(db: sqlite3.Connection, batch: Iterable[NewMessage]) -> set[tuple[int, int]]:
    ids = [(message.file,) for message in batch if message.file is not None]
    return {(file, owner) for file, owner in lookup(db, _FILES, ids)}


def _sessions(db: sqlite3.Connection, batch: Iterable[NewMessage]) -> dict[int, int]:
    ids = [(device,) for device in {message.device for message in batch}]
    return dict(lookup(db, _SESSIONS, ids))


def advance(db: sqlite3.Connection, cursors: Sequence[Cursor]) -> AdvanceResult:
    """See ``MessageStorage.advance``."""
    wanted = _merge(cursors)
    changes = []
    for c, u, delivered, read, last, low, high in lookup(db, _CURSORS, list(wanted)):
        d, r = (value if value <= last else 0 for value in wanted[c, u])
        d, r = max(d, r, delivered), max(r, read)
        if (d, r) != (delivered, read):
            changes.append(CursorChange(Cursor(c, u, d, r), (low, high)))
    if not changes:
        epoch, number = token(db)
        return AdvanceResult((), f"{epoch}:{number}")
    number, covered = next_change(db)
    moved = [c.cursor for c in changes]
    rows = [(c.conversation, c.user, c.delivered, c.read, number) for c in moved]
    change(db, _ADVANCE, rows)
    return AdvanceResult(tuple(changes), covered)


def _merge(cursors: Iterable[Cursor]) -> dict[tuple[int, int], tuple[int, int]]:
    merged: dict[tuple[int, int], tuple[int, int]] = {}
    for cursor in cursors:
        key = cursor.conversation, cursor.user
        delivered, read = merged.get(key, (0, 0))
        merged[key] = max(delivered, cursor.delivered), max(read, cursor.read)
    return merged
