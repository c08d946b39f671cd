"""Files in PostgreSQL.

Whoever changes a row of ``file`` locks it first, as ``imd_append`` does, and decides in a later
statement, which sees what the holders of the lock before it have committed.
"""

from __future__ import annotations

from imd.errors import Code, Refusal
from imd.interfaces.storage import Quota
from imd.model import File
from imd.storage.decide import check_quota
from imd.storage.postgres_link import Connection, Row

_FILE = """
SELECT f.id, f.owner, f.size, f.sha256, f.name, f.mime, f.created, f.complete, f.media, f.blob
FROM file AS f"""
_READABLE = f"""{_FILE} WHERE f.id = %(file)s AND f.complete
AND EXISTS (
    SELECT FROM device AS d JOIN account AS u ON u.id = d.account
    WHERE d.id = %(device)s AND d.account = %(user)s AND NOT u.disabled
) AND (f.owner = %(user)s OR EXISTS (
    SELECT FROM attachment AS a
    JOIN conversation AS c ON c.id = a.conversation
    JOIN member AS m ON m.conversation = a.conversation AND m.account = %(user)s
    WHERE a.file = f.id AND c.open
))"""  # noqa: S608
_SHARE = """
INSERT INTO blob AS b (id, sha256, size, files) VALUES (%s, %s, %s, 1)
ON CONFLICT (sha256) WHERE files > 0 DO UPDATE SET files = b.files + 1 RETURNING id"""
_UNUSED = "INSERT INTO blob (id, sha256, size, files) VALUES (%s, %s, %s, 0)"
_USED = """
SELECT (SELECT count(*) FROM file WHERE owner = %(owner)s AND created >= %(since)s),
    (SELECT coalesce(sum(size), 0)::bigint FROM file
        WHERE owner = %(owner)s AND created >= %(since)s),
    (SELECT bytes FROM file_total)"""
_ADD = """
INSERT INTO file (id, owner, size, sha256, name, mime, created)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING id"""
_EXPIRED = """
SELECT id FROM file WHERE NOT sent AND created < greatest(%(incomplete)s, %(unsent)s)
AND created < CASE WHEN complete THEN %(unsent)s ELSE %(incomplete)s END
ORDER BY created LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""
#: A file that was sent, or completed, before it could be locked stays.
_DELETE = """
DELETE FROM file WHERE id = ANY (%(files)s::bigint[]) AND NOT sent
AND created < CASE WHEN complete THEN %(unsent)s ELSE %(incomplete)s END
RETURNING id, size, sha256, blob"""


async def add_file(db: Connection, file: File, quota: Quota) -> None:
    """See ``FileStorage.add_file``.  Inside a transaction."""
    await db.query("SELECT FROM account WHERE id = %s FOR NO KEY UPDATE", (file.owner,))
    if await own_file(db, file.owner, file.id) is not None:
        return
    await db.query("SELECT FROM file_total FOR NO KEY UPDATE")
    (used,) = await db.query(_USED, {"owner": file.owner, "since": quota.since})
    check_quota(file, quota, *used)
    made = await db.query(
        _ADD,
        (file.id, file.owner, file.size, file.sha256, file.name, file.mime, file.created),
    )
    if not made:
        raise Refusal(Code.EXISTS, "this id is taken")
    await _grow(db, file.size)


async def _grow(db: Connection, size: int) -> None:
    await db.query("UPDATE file_total SET bytes = bytes + %s", (size,))


async def own_file(db: Connection, user: int, file: int) -> File | None:
    """See ``FileStorage.own_file``."""
    return _file(await db.query(f"{_FILE} WHERE f.id = %s AND f.owner = %s", (file, user)))


def _file(rows: list[Row]) -> File | None:
    return File(*rows[0]) if rows else None


async def complete_file(db: Connection, user: int, file: int, media: str) -> File | None:
    """See ``FileStorage.complete_file``.  Inside a transaction."""
    await db.query("SELECT FROM file WHERE id = %s FOR NO KEY UPDATE", (file,))
    found = await own_file(db, user, file)
    if found is None or found.complete:
        return found
    ((blob,),) = await db.query(_SHARE, (file, found.sha256, found.size))
    if blob != file:
        await db.query(_UNUSED, (file, found.sha256, found.size))
    await db.query(
        "UPDATE file SET complete = true, media = %s, blob = %s WHERE id = %s", (media, blob, file)
    )
    return await own_file(db, user, file)


async def readable_file(db: Connection, user: int, device: int, file: int) -> File | None:
    """See ``FileStorage.readable_file``."""
    return _file(await db.query(_READABLE, {"user": user, "device": device, "file": file}))


async def expire_files(db: Connection, incomplete: int, unsent: int, limit: int) -> int:
    """See ``FileStorage.expire_files``.  Inside a transaction."""
    bounds = {"incomplete": incomplete, "unsent": unsent}
    locked = await db.query(_EXPIRED, {**bounds, "limit": limit})
    gone = await db.query(_DELETE, {**bounds, "files": [id for (id,) in locked]})
    for file, size, sha256, blob in sorted(gone, key=lambda row: row[3] or 0):
        if blob is None:
            await db.query(_UNUSED, (file, sha256, size))
        else:
            await db.query("UPDATE blob SET files = files - 1 WHERE id = %s", (blob,))
    return len(gone)


async def fail_file(db: Connection, user: int, file: int) -> bool:
    """See ``FileStorage.fail_file``.  Inside a transaction."""
    gone = await db.query(
        "DELETE FROM file WHERE id = %s AND owner = %s AND NOT complete RETURNING sha256, size",
        (file, user),
    )
    for sha256, size in gone:
        await db.query(_UNUSED, (file, sha256, size))
    return bool(gone)


async def unused_blobs(db: Connection, after: int, limit: int) -> tuple[int, ...]:
    """See ``FileStorage.unused_blobs``."""
    found = "SELECT id FROM blob WHERE files = 0 AND id > %s ORDER BY id LIMIT %s"
    rows = await db.query(found, (after, limit))
    return tuple(id for (id,) in rows)


async def forget_blob(db: Connection, blob: int) -> None:
    """See ``FileStorage.forget_blob``.  Inside a transaction."""
    gone = await db.query("DELETE FROM blob WHERE id = %s AND files = 0 RETURNING size", (blob,))
    for (size,) in gone:
        await _grow(db, -size)


async def link_secret(db: Connection) -> bytes:
    """See ``FileStorage.link_secret``."""
    ((secret,),) = await db.query("SELECT value FROM meta WHERE key = 'links'")
    return bytes.fromhex(secret)
