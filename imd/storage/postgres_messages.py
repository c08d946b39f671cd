"""Messages and cursors in PostgreSQL: one statement each, which is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imd.interfaces.storage import AdvanceResult, AppendResult
from imd.model import Appended, Cursor, CursorChange, NewMessage, Outcome
from imd.storage.postgres_link import Connection, Row

_APPEND = """
SELECT * FROM imd_append(%s::bigint[], %s::bigint[], %s::bigint[], %s::uuid[], %s::text[],
    %s::bytea[], %s::bigint[], %s::bigint[], %s)"""

#: Locks nothing but rows of ``member``, and those in order, so that it cannot deadlock.
_ADVANCE = """
WITH wanted AS (
    SELECT u.conversation, u.account, max(u.delivered) AS delivered, max(u.read) AS read
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS u (conversation, account, delivered, read)
    GROUP BY u.conversation, u.account
), valid AS MATERIALIZED (
    SELECT w.conversation, w.account, c.low, c.high,
        CASE WHEN w.delivered <= c.last THEN w.delivered ELSE 0 END AS delivered,
        CASE WHEN w.read <= c.last THEN w.read ELSE 0 END AS read
    FROM wanted AS w JOIN conversation AS c ON c.id = w.conversation
), locked AS MATERIALIZED (
    SELECT v.* FROM valid AS v
    JOIN member AS m ON m.conversation = v.conversation AND m.account = v.account
    WHERE greatest(v.delivered, v.read) > m.delivered OR v.read > m.read
    ORDER BY m.conversation, m.account FOR NO KEY UPDATE OF m
), moved AS (
    UPDATE member AS m SET delivered = greatest(m.delivered, l.delivered, l.read),
        read = greatest(m.read, l.read), change = pg_current_xact_id()
    FROM locked AS l WHERE m.conversation = l.conversation AND m.account = l.account
    RETURNING m.conversation, m.account, m.delivered, m.read, l.low, l.high
), told AS (
    INSERT INTO feed (kind, conversation, account, delivered, read, low, high)
    SELECT 2, array_agg(conversation), array_agg(account), array_agg(delivered),
        array_agg(read), array_agg(low), array_agg(high)
    FROM moved HAVING count(*) > 0
)
SELECT conversation, account, delivered, read, low, high FROM moved"""


async def append(db: Connection, batch: Sequence[NewMessage], at: int) -> AppendResult:
    """See ``MessageStorage.append``."""
    rows = await db.query(
        _APPEND,
        (
            _array(m.conversation for m in batch),
            _array(m.sender for m in batch),
            _array(m.device for m in batch),
            _array(m.id.hex() for m in batch),
            [m.kind for m in batch],
            # As text of an array, which the server reads much faster than a list of constants.
            "{" + ",".join([f'"\\\\x{m.body.hex()}"' for m in batch]) + "}",
            _array("NULL" if m.file is None else m.file for m in batch),
            _array(m.session for m in batch),
            at,
        ),
    )
    return AppendResult(tuple(_decision(row) for row in rows), None)


def _decision(row: Row) -> Appended:
    outcome, seq, at, low, high = row
    if outcome == Outcome.NEW:
        return Appended(Outcome.NEW, seq, at, (low, high))
    if outcome == Outcome.DUPLICATE:
        return Appended(Outcome.DUPLICATE, seq, at)
    return Appended(Outcome(outcome))


async def advance(db: Connection, cursors: Sequence[Cursor]) -> AdvanceResult:
    """See ``MessageStorage.advance``."""
    rows = await db.query(
        _ADVANCE,
        (
            _array(c.conversation for c in cursors),
            _array(c.user for c in cursors),
            _array(c.delivered for c in cursors),
            _array(c.read for c in cursors),
        ),
    )
    changes = tuple(CursorChange(Cursor(*row[:4]), row[4:]) for row in rows)
    return AdvanceResult(changes, None)


def _array(values: Iterable[int | str]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
