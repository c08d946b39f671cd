"""What is taken out of SQLite again: old messages and files, and all that one user wrote.

Functions of a connection inside a transaction, each of a bounded number of rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from imd.decoding import file_of
from imd.logins import ERASED
from imd.model import Erased, Expired, Place
from imd.storage.decide import ERASED_BODY, ERASED_KIND, LOOKED_AT, new_floor
from imd.storage.sqlite_messages import next_change

_CLAIM = """
INSERT INTO meta (key, value) VALUES (?1, ?2)
ON CONFLICT (key) DO UPDATE SET value = ?2 WHERE value <= ?2 - ?3 RETURNING key"""
_DUE = """
SELECT c.id, c.floor, (SELECT min(delivered) FROM member AS m WHERE m.conversation = c.id)
FROM (SELECT id, floor FROM conversation WHERE id > ?1 ORDER BY id LIMIT ?2) AS c
JOIN message AS m ON m.conversation = c.id AND m.seq = c.floor
WHERE m.at < ?3 ORDER BY c.id LIMIT 1"""
_LOOKED_AT = """
SELECT max(id) FROM (SELECT id FROM conversation WHERE id > ? ORDER BY id LIMIT ?)"""
_RUN = """
SELECT seq, at FROM message WHERE conversation = ? AND seq >= ? ORDER BY seq LIMIT ?"""
_GONE = """
DELETE FROM message WHERE conversation = ? AND seq < ? RETURNING kind, body"""
_REST = "SELECT body FROM message WHERE conversation = ? AND kind = 'file'"
_FREE = """
SELECT id FROM file WHERE id = ?1 AND sent
AND NOT EXISTS (SELECT 1 FROM attachment WHERE file = ?1)"""
_OLD_FILES = "SELECT id FROM file WHERE sent AND created < ? ORDER BY created LIMIT ?"
_DROP = "DELETE FROM file WHERE id = ? RETURNING size, sha256, blob"
_UNUSED = "INSERT INTO blob (id, sha256, size, files) VALUES (?, ?, ?, 0)"
_NEXT = """
SELECT b.conversation FROM member AS b WHERE b.user = ?1 AND b.conversation >= ?2 AND EXISTS (
    SELECT 1 FROM message AS m WHERE m.conversation = b.conversation
    AND m.seq > CASE WHEN b.conversation = ?2 THEN ?3 ELSE 0 END)
ORDER BY b.conversation LIMIT 1"""
_BEHIND = """
SELECT seq, sender, kind FROM message WHERE conversation = ? AND seq > ? ORDER BY seq LIMIT ?"""
_BLANK = "UPDATE message SET kind = ?, body = ? WHERE conversation = ? AND seq = ?"
_SEEN = """
UPDATE user SET roster = roster + 1 WHERE id IN (
    SELECT user FROM friendship WHERE peer = ?1 UNION SELECT peer FROM friendship WHERE user = ?1)
RETURNING id"""


def claim(db: sqlite3.Connection, job: str, at: int, every: int) -> bool:
    """See ``ExpiryStorage.claim``."""
    return bool(db.execute(_CLAIM, (f"job:{job}", at, every)).fetchall())


def expire_messages(
    db: sqlite3.Connection, after: int, cut: int, hard: int, limit: int
) -> Expired | None:
    """See ``ExpiryStorage.expire_messages``."""
    found = db.execute(_DUE, (after, LOOKED_AT, cut)).fetchone()
    if found is None:
        (last,) = db.execute(_LOOKED_AT, (after, LOOKED_AT)).fetchone()
        return None if last is None else Expired(last, 0)
    conversation, floor, delivered = found
    rows = db.execute(_RUN, (conversation, floor, limit)).fetchall()
    above = new_floor(rows, floor, delivered, cut, hard)
    if above > floor:
        number, _ = next_change(db)
        db.execute(
            "UPDATE conversation SET floor = ?, change = ? WHERE id = ?",
            (above, number, conversation),
        )
        gone = db.execute(_GONE, (conversation, above)).fetchall()
        _detach(db, conversation, [body for kind, body in gone if kind == "file"])
    return Expired(conversation, above - floor)


def _detach(db: sqlite3.Connection, conversation: int, bodies: Sequence[bytes]) -> None:
    """Messages with these bodies are gone: drop the files that no message carries any more."""
    files = {file_of(body) for body in bodies}
    if files:
        files -= {file_of(body) for (body,) in db.execute(_REST, (conversation,))}
    for file in sorted(files):
        detached = "DELETE FROM attachment WHERE file = ? AND conversation = ?"
        db.execute(detached, (file, conversation))
        for (free,) in db.execute(_FREE, (file,)).fetchall():
            _drop(db, [free])


def _drop(db: sqlite3.Connection, files: Collection[int]) -> None:
    for file in files:
        db.execute("DELETE FROM attachment WHERE file = ?", (file,))
        for size, sha256, blob in db.execute(_DROP, (file,)).fetchall():
            if blob is None:
                db.execute(_UNUSED, (file, sha256, size))
            else:
                db.execute("UPDATE blob SET files = files - 1 WHERE id = ?", (blob,))


def expire_sent_files(db: sqlite3.Connection, before: int, limit: int) -> int:
    """See ``ExpiryStorage.expire_sent_files``."""
    found = [id for (id,) in db.execute(_OLD_FILES, (before, limit))]
    _drop(db, found)
    return len(found)


def close_account(db: sqlite3.Connection, user: int) -> tuple[int, ...]:
    """See ``ExpiryStorage.close_account``."""
    db.execute(
        "UPDATE user SET disabled = 1, password = ?, display = '', roster = roster + 1 "
        "WHERE id = ?",
        (ERASED, user),
    )
    db.execute("DELETE FROM device WHERE user = ?", (user,))
    seen = db.execute(_SEEN, (user,)).fetchall()
    db.execute("DELETE FROM friendship WHERE user = ?1 OR peer = ?1", (user,))
    number, _ = next_change(db)
    db.execute(
        "UPDATE conversation SET open = 0, change = ?1 WHERE low = ?2 OR high = ?2", (number, user)
    )
    return tuple(id for (id,) in seen)


def erase_messages(db: sqlite3.Connection, user: int, after: Place, limit: int) -> Erased | None:
    """See ``ExpiryStorage.erase_messages``."""
    found = db.execute(_NEXT, (user, after.conversation, after.seq)).fetchone()
    if found is None:
        return None
    (conversation,) = found
    above = after.seq if conversation == after.conversation else 0
    rows = db.execute(_BEHIND, (conversation, above, limit)).fetchall()
    theirs = [seq for seq, sender, kind in rows if sender == user and kind != ERASED_KIND]
    blank = [(ERASED_KIND, ERASED_BODY, conversation, seq) for seq in theirs]
    db.executemany(_BLANK, blank)
    return Erased(Place(conversation, rows[-1][0]), len(rows), len(theirs))


def erase_files(db: sqlite3.Connection, user: int, limit: int) -> int:
    """See ``ExpiryStorage.erase_files``."""
    found = db.execute("SELECT id FROM file WHERE owner = ? LIMIT ?", (user, limit)).fetchall()
    _drop(db, [id for (id,) in found])
    return len(found)
