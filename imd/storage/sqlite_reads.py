"""History and heads in SQLite: functions of a connection inside a read transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from imd.errors import Code, Refusal
from imd.model import Head, HeadPage, History, Message, Peer
from imd.storage.sqlite_messages import token

_COLUMNS = "conversation, seq, sender, device, id, at, kind, body"
_UP = f"""
SELECT {_COLUMNS} FROM message WHERE conversation = ? AND seq > ? ORDER BY seq LIMIT ?"""  # noqa: S608
_DOWN = f"""
SELECT {_COLUMNS} FROM message WHERE conversation = ? AND seq < ? ORDER BY seq DESC LIMIT ?"""  # noqa: S608
_HEADS = """
SELECT c.id, c.kind, c.last, c.floor, m.delivered, m.read, p.user, u.name, p.delivered, p.read
FROM member AS m
JOIN conversation AS c ON c.id = m.conversation
JOIN member AS p ON p.conversation = m.conversation AND p.user <> m.user
JOIN user AS u ON u.id = p.user
WHERE m.user = ?1 AND m.conversation > ?2 AND max(c.change, m.change, p.change) > ?3
AND (?4 IS NULL OR c.id IN (SELECT value FROM json_each(?4)))
ORDER BY m.conversation LIMIT ?5"""

#: Above every seq.
_END = 2**62


def history(
    db: sqlite3.Connection,
    user: int,
    conversation: int,
    after: int | None,
    before: int | None,
    limit: int,
    max_bytes: int,
) -> History:
    """See ``MessageStorage.history``."""
    found = db.execute(
        "SELECT c.floor FROM member AS m JOIN conversation AS c ON c.id = m.conversation "
        "WHERE m.conversation = ? AND m.user = ?",
        (conversation, user),
    ).fetchone()
    if found is None:
        raise Refusal(Code.NOT_FOUND, "there is no such conversation, or you are not in it")
    if after is not None:
        rows = db.execute(_UP, (conversation, after, limit + 1))
    else:
        rows = db.execute(_DOWN, (conversation, _END if before is None else before, limit + 1))
    items, more = _cut(rows, limit, max_bytes)
    return History(tuple(items if after is not None else reversed(items)), found[0], more)


def _cut(rows: sqlite3.Cursor, limit: int, max_bytes: int) -> tuple[list[Message], bool]:
    items: list[Message] = []
    size = 0
    for row in rows:
        size += len(row[-1])
        if len(items) == limit or (items and size > max_bytes):
            return items, True
        items.append(Message(*row))
    return items, False


def heads(
    db: sqlite3.Connection,
    user: int,
    since: str | None,
    after: int,
    limit: int,
    only: Sequence[int] | None,
) -> HeadPage:
    """See ``MessageStorage.heads``."""
    epoch, number = token(db)
    named = None if only is None else msgspec.json.encode(list(only)).decode()
    rows = db.execute(_HEADS, (user, after, _since(since, epoch), named, limit + 1)).fetchall()
    items = tuple(_head(row) for row in rows[:limit])
    return HeadPage(items, f"{epoch}:{number}", len(rows) > limit)


def _head(row: tuple[Any, ...]) -> Head:
    conversation, kind, last, floor, delivered, read = row[:6]
    return Head(conversation, kind, last, floor, delivered, read, (Peer(*row[6:]),))


def _since(since: str | None, epoch: str) -> int:
    """The number in a token of this epoch; of any other, one below every change."""
    claimed, _, number = (since or "").rpartition(":")
    fits = claimed == epoch and number.isascii() and number.isdigit() and len(number) < 16
    return int(number) if fits else -1
