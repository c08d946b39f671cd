"""Files in SQLite: functions of a connection inside a transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from imd.errors import Code, Refusal
from imd.interfaces.storage import Quota
from imd.model import File
from imd.storage.decide import check_quota

_FILE = """
SELECT f.id, f.owner, f.size, f.sha256, f.name, f.mime, f.created, f.complete, f.media, f.blob
FROM file AS f"""
_READABLE = f"""{_FILE} WHERE f.id = ?1 AND f.complete
AND EXISTS (
    SELECT 1 FROM device AS d JOIN user AS u ON u.id = d.user
    WHERE d.id = ?3 AND d.user = ?2 AND NOT u.disabled
) AND (f.owner = ?2 OR EXISTS (
    SELECT 1 FROM attachment AS a
    JOIN conversation AS c ON c.id = a.conversation
    JOIN member AS m ON m.conversation = a.conversation AND m.user = ?2
    WHERE a.file = f.id AND c.open
))"""  # noqa: S608
_SHARE = """
INSERT INTO blob (id, sha256, size, files) VALUES (?, ?, ?, 1)
ON CONFLICT (sha256) WHERE files > 0 DO UPDATE SET files = files + 1 RETURNING id"""
_UNUSED = "INSERT INTO blob (id, sha256, size, files) VALUES (?, ?, ?, 0)"
_ADD = """
INSERT INTO file (id, owner, size, sha256, name, mime, created) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_EXPIRED = """
SELECT id, size, sha256, blob FROM file WHERE NOT sent AND created < max(?1, ?2)
AND created < CASE WHEN complete THEN ?2 ELSE ?1 END ORDER BY created LIMIT ?3"""


def add_file(db: sqlite3.Connection, file: File, quota: Quota) -> None:
    """See ``FileStorage.add_file``."""
    if own_file(db, file.owner, file.id) is not None:
        return
    count, used = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM file WHERE owner = ? AND created >= ?",
        (file.owner, quota.since),
    ).fetchone()
    (total,) = db.execute("SELECT bytes FROM file_total").fetchone()
    check_quota(file, quota, count, used, total)
    try:
        db.execute(
            _ADD,
            (file.id, file.owner, file.size, file.sha256, file.name, file.mime, file.created),
        )
    except sqlite3.IntegrityError:
        raise Refusal(Code.EXISTS, "this id is taken") from None
    _grow(db, file.size)


def _grow(db: sqlite3.Connection, size: int) -> None:
    db.execute("UPDATE file_total SET bytes = bytes + ?", (size,))


def own_file(db: sqlite3.Connection, user: int, file: int) -> File | None:
    """See ``FileStorage.own_file``."""
    return _file(db.execute(f"{_FILE} WHERE f.id = ? AND f.owner = ?", (file, user)).fetchone())


def _file(row: tuple[Any, ...] | None) -> File | None:
    if row is None:
        return None
    values = list(row)
    values[7] = bool(values[7])
    return File(*values)


def complete_file(db: sqlite3.Connection, user: int, file: int, media: str) -> File | None:
    """See ``FileStorage.complete_file``."""
    found = own_file(db, user, file)
    if found is None or found.complete:
        return found
    ((blob,),) = db.execute(_SHARE, (file, found.sha256, found.size)).fetchall()
    if blob != file:
        db.execute(_UNUSED, (file, found.sha256, found.size))
    db.execute(
        "UPDATE file SET complete = 1, media = ?, blob = ? WHERE id = ?", (media, blob, file)
    )
    return own_file(db, user, file)


def readable_file(db: sqlite3.Connection, user: int, device: int, file: int) -> File | None:
    """See ``FileStorage.readable_file``."""
    return _file(db.execute(_READABLE, (file, user, device)).fetchone())


def expire_files(db: sqlite3.Connection, incomplete: int, unsent: int, limit: int) -> int:
    """See ``FileStorage.expire_files``."""
    rows = db.execute(_EXPIRED, (incomplete, unsent, limit)).fetchall()
    for file, size, sha256, blob in rows:
        db.execute("DELETE FROM file WHERE id = ?", (file,))
        if blob is None:
            db.execute(_UNUSED, (file, sha256, size))
        else:
            db.execute("UPDATE blob SET files = files - 1 WHERE id = ?", (blob,))
    return len(rows)


def fail_file(db: sqlite3.Connection, user: int, file: int) -> bool:
    """See ``FileStorage.fail_file``."""
    found = own_file(db, user, file)
    if found is None or found.complete:
        return False
    db.execute("DELETE FROM file WHERE id = ?", (file,))
    db.execute(_UNUSED, (file, found.sha256, found.size))
    return True


def unused_blobs(db: sqlite3.Connection, after: int, limit: int) -> tuple[int, ...]:
    """See ``FileStorage.unused_blobs``."""
    found = "SELECT id FROM blob WHERE files = 0 AND id > ? ORDER BY id LIMIT ?"
    rows = db.execute(found, (after, limit))
    return tuple(id for (id,) in rows)


def forget_blob(db: sqlite3.Connection, blob: int) -> None:
    """See ``FileStorage.forget_blob``."""
    gone = db.execute("DELETE FROM blob WHERE id = ? AND files = 0 RETURNING size", (blob,))
    for (size,) in gone.fetchall():
        _grow(db, -size)


def link_secret(db: sqlite3.Connection) -> bytes:
    """See ``FileStorage.link_secret``."""
    (secret,) = db.execute("SELECT value FROM meta WHERE key = 'links'").fetchone()
    return bytes.fromhex(secret)
