"""What is taken out of PostgreSQL again: old messages and files, and all that one user wrote.

Everything is inside a transaction of a bounded number of rows.  Locks are taken in the order of
all others: accounts, conversations, files, and each kind by ascending id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from imd.decoding import file_of
from imd.logins import ERASED
from imd.model import Erased, Expired, Place
from imd.storage.decide import ERASED_BODY, ERASED_KIND, LOOKED_AT, new_floor
from imd.storage.postgres_accounts import tell
from imd.storage.postgres_link import Connection

_CLAIM = """
INSERT INTO meta AS m (key, value) VALUES (%(job)s, %(at)s::text)
ON CONFLICT (key) DO UPDATE SET value = %(at)s::text
WHERE m.value::bigint <= %(at)s - %(every)s RETURNING key"""
_DUE = """
WITH run AS MATERIALIZED (
    SELECT id, floor FROM conversation WHERE id > %s ORDER BY id LIMIT %s
), due AS MATERIALIZED (
    SELECT s.id FROM run AS s JOIN message AS m ON m.conversation = s.id AND m.seq = s.floor
    WHERE m.at < %s ORDER BY s.id LIMIT 1
)
SELECT coalesce((SELECT id FROM due), (SELECT max(id) FROM run)), EXISTS (SELECT FROM due)"""
_LOCK = "SELECT floor FROM conversation WHERE id = %s FOR NO KEY UPDATE"
_RUN = """
SELECT seq, at FROM message WHERE conversation = %s AND seq >= %s ORDER BY seq LIMIT %s"""
_GONE = "DELETE FROM message WHERE conversation = %s AND seq < %s RETURNING kind, body"
_REST = "SELECT body FROM message WHERE conversation = %s AND kind = 'file'"
_FREE = """
SELECT id FROM file AS f WHERE id = ANY (%s::bigint[]) AND sent
AND NOT EXISTS (SELECT FROM attachment AS a WHERE a.file = f.id)"""
_OLD_FILES = """
SELECT id FROM file WHERE sent AND created < %s ORDER BY created LIMIT %s"""
_LOCK_FILES = "SELECT FROM file WHERE id = ANY (%s::bigint[]) ORDER BY id FOR UPDATE"
_DROP = "DELETE FROM file WHERE id = ANY (%s::bigint[]) RETURNING id, size, sha256, blob"
_UNUSED = "INSERT INTO blob (id, sha256, size, files) VALUES (%s, %s, %s, 0)"
_SEEN = """
SELECT id FROM account WHERE id = %(user)s OR id IN (
    SELECT account FROM friendship WHERE peer = %(user)s
    UNION SELECT peer FROM friendship WHERE account = %(user)s)
ORDER BY id FOR UPDATE"""
_CLOSE = """
WITH locked AS MATERIALIZED (
    SELECT id FROM conversation WHERE (low = %(user)s OR high = %(user)s) AND open
    ORDER BY id FOR NO KEY UPDATE
), closed AS (
    UPDATE conversation AS c SET open = false, change = pg_current_xact_id()
    FROM locked AS l WHERE c.id = l.id RETURNING c.id, c.last, c.low, c.high
)
INSERT INTO feed (kind, conversation, last, low, high)
SELECT 1, array_agg(id), array_agg(last), array_agg(low), array_agg(high)
FROM closed HAVING count(*) > 0"""
_NEXT = """
SELECT b.conversation FROM member AS b
WHERE b.account = %(user)s AND b.conversation >= %(conversation)s AND EXISTS (
    SELECT FROM message AS m WHERE m.conversation = b.conversation
    AND m.seq > CASE WHEN b.conversation = %(conversation)s THEN %(seq)s ELSE 0 END)
ORDER BY b.conversation LIMIT 1"""
_ERASE = """
WITH run AS MATERIALIZED (
    SELECT seq, sender, kind FROM message
    WHERE conversation = %(conversation)s AND seq > %(above)s ORDER BY seq LIMIT %(limit)s
), erased AS (
    UPDATE message AS m SET kind = %(kind)s, body = %(body)s FROM run AS r
    WHERE m.conversation = %(conversation)s AND m.seq = r.seq
    AND r.sender = %(user)s AND r.kind <> %(kind)s RETURNING m.seq
)
SELECT coalesce(max(seq), %(above)s), count(*), (SELECT count(*) FROM erased) FROM run"""


async def claim(db: Connection, job: str, at: int, every: int) -> bool:
    """See ``ExpiryStorage.claim``."""
    return bool(await db.query(_CLAIM, {"job": f"job:{job}", "at": at, "every": every}))


async def expire_messages(
    db: Connection, after: int, cut: int, hard: int, limit: int
) -> Expired | None:
    """See ``ExpiryStorage.expire_messages``.  Inside a transaction."""
    ((conversation, is_due),) = await db.query(_DUE, (after, LOOKED_AT, cut))
    if not is_due:
        return None if conversation is None else Expired(conversation, 0)
    ((floor,),) = await db.query(_LOCK, (conversation,))
    ((delivered,),) = await db.query(
        "SELECT min(delivered) FROM member WHERE conversation = %s", (conversation,)
    )
    rows = await db.query(_RUN, (conversation, floor, limit))
    above = new_floor(rows, floor, delivered, cut, hard)
    if above > floor:
        await db.query(
            "UPDATE conversation SET floor = %s, change = pg_current_xact_id() WHERE id = %s",
            (above, conversation),
        )
        gone = await db.query(_GONE, (conversation, above))
        await _detach(db, conversation, [bytes(body) for kind, body in gone if kind == "file"])
    return Expired(conversation, above - floor)


async def _detach(db: Connection, conversation: int, bodies: Sequence[bytes]) -> None:
    """Messages with these bodies are gone: drop the files that no message carries any more."""
    files = {file_of(body) for body in bodies}
    if not files:
        return
    files -= {file_of(bytes(body)) for (body,) in await db.query(_REST, (conversation,))}
    await db.query(_LOCK_FILES, (list(files),))
    await db.query(
        "DELETE FROM attachment WHERE conversation = %s AND file = ANY (%s::bigint[])",
        (conversation, list(files)),
    )
    await _drop(db, [id for (id,) in await db.query(_FREE, (list(files),))])


async def _drop(db: Connection, files: Collection[int]) -> None:
    await db.query(_LOCK_FILES, (list(files),))
    await db.query("DELETE FROM attachment WHERE file = ANY (%s::bigint[])", (list(files),))
    gone = await db.query(_DROP, (list(files),))
    for file, size, sha256, blob in sorted(gone, key=lambda row: row[3] or 0):
        if blob is None:
            await db.query(_UNUSED, (file, sha256, size))
        else:
            await db.query("UPDATE blob SET files = files - 1 WHERE id = %s", (blob,))


async def expire_sent_files(db: Connection, before: int, limit: int) -> int:
    """See ``ExpiryStorage.expire_sent_files``.  Inside a transaction."""
    found = [id for (id,) in await db.query(_OLD_FILES, (before, limit))]
    await _drop(db, found)
    return len(found)


async def close_account(db: Connection, user: int) -> tuple[int, ...]:
    """See ``ExpiryStorage.close_account``.  Inside a transaction."""
    seen = [id for (id,) in await db.query(_SEEN, {"user": user})]
    await db.query(
        "UPDATE account SET disabled = true, password = %s, display = '' WHERE id = %s",
        (ERASED, user),
    )
    await db.query("UPDATE account SET roster = roster + 1 WHERE id = ANY (%s::bigint[])", (seen,))
    await db.query("DELETE FROM device WHERE account = %s", (user,))
    await db.query("DELETE FROM friendship WHERE account = %s OR peer = %s", (user, user))
    await db.query(_CLOSE, {"user": user})
    await tell(db, seen)
    return tuple(id for id in seen if id != user)


async def erase_messages(db: Connection, user: int, after: Place, limit: int) -> Erased | None:
    """See ``ExpiryStorage.erase_messages``.  Inside a transaction."""
    place = {"user": user, "conversation": after.conversation, "seq": after.seq}
    found = await db.query(_NEXT, place)
    if not found:
        return None
    ((conversation,),) = found
    await db.query(_LOCK, (conversation,))
    above = after.seq if conversation == after.conversation else 0
    run = {"conversation": conversation, "above": above, "user": user, "limit": limit}
    erased = {"kind": ERASED_KIND, "body": ERASED_BODY}
    ((last, looked, messages),) = await db.query(_ERASE, run | erased)
    return Erased(Place(conversation, last), looked, messages)


async def erase_files(db: Connection, user: int, limit: int) -> int:
    """See ``ExpiryStorage.erase_files``.  Inside a transaction."""
    found = await db.query("SELECT id FROM file WHERE owner = %s LIMIT %s", (user, limit))
    await _drop(db, [id for (id,) in found])
    return len(found)
