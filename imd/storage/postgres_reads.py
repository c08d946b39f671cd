"""History, heads and the feed in PostgreSQL: one statement each, which is one snapshot.

A token is ``EPOCH:XMIN``.  Every transaction that its snapshot could not see has a number of
at least ``XMIN``, so what has changed since is among the rows with such a ``change``.  Some of
those were seen already; that does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imd.errors import Code, Refusal
from imd.interfaces.feed import FeedHead, FeedPage
from imd.model import Cursor, CursorChange, Head, HeadPage, History, Message, Peer
from imd.storage.postgres_link import Connection, Row

_HISTORY = """
SELECT c.floor, x.* FROM member AS m
JOIN conversation AS c ON c.id = m.conversation
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT count(*) OVER () AS found, row_number() OVER w AS nth,
            sum(octet_length(body)) OVER w AS size,
            seq, sender, device, id, at, kind, body
        FROM (
            SELECT * FROM message WHERE conversation = m.conversation AND {bound}
            ORDER BY seq {order} LIMIT %(limit)s + 1
        ) AS run WINDOW w AS (ORDER BY seq {order})
    ) AS sized WHERE nth <= %(limit)s AND (nth = 1 OR size <= %(bytes)s)
) AS x ON true
WHERE m.conversation = %(conversation)s AND m.account = %(user)s ORDER BY x.seq"""
_UP = _HISTORY.format(bound="seq > %(bound)s", order="ASC")
_DOWN = _HISTORY.format(bound="seq < %(bound)s", order="DESC")

#: Materialized, or the epoch would be asked for again for every row.
_AT = """
WITH at AS MATERIALIZED (
    SELECT imd_epoch() AS epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS number
), t AS MATERIALIZED (
    SELECT at.*, at.epoch = %(epoch)s AS ours,
        CASE WHEN at.epoch = %(epoch)s THEN %(number)s ELSE 0 END::text::xid8 AS since FROM at
)"""

_HEADS = f"""{_AT}
SELECT t.epoch, t.number, x.* FROM t LEFT JOIN LATERAL (
    SELECT c.id, c.kind, c.last, c.floor, m.delivered, m.read,
        p.account, a.name, p.delivered, p.read
    FROM member AS m
    JOIN conversation AS c ON c.id = m.conversation
    JOIN member AS p ON p.conversation = m.conversation AND p.account <> m.account
    JOIN account AS a ON a.id = p.account
    WHERE m.account = %(user)s AND m.conversation > %(after)s {{only}}
    AND (c.change >= t.since OR m.change >= t.since OR p.change >= t.since)
    ORDER BY m.conversation LIMIT %(limit)s
) AS x ON true ORDER BY x.id"""  # noqa: S608
_ALL = _HEADS.format(only="")
_ONLY = _HEADS.format(only="AND m.conversation = ANY (%(only)s::bigint[])")

#: Rows of the feed in one page, and what stands in all of their lists.  A transaction is never
#: cut in two, so either may be exceeded by what one transaction has written.
FEED_ROWS, FEED_ENTRIES = 250, 1000

#: Pages follow each other by the number of the transaction.  Whatever the first could see has a
#: number below ``beyond``, so with that the last page comes however fast others commit.
_FEED = f"""{_AT}, b AS MATERIALIZED (
    SELECT coalesce(%(beyond)s, pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS beyond
)
SELECT t.epoch, t.number, t.ours AND %(number)s >= k.value::bigint, b.beyond, f.*
FROM t CROSS JOIN b JOIN meta AS k ON k.key = 'feed' LEFT JOIN LATERAL (
    SELECT found, change::text::bigint, kind, conversation, account, last, low, high,
        delivered, read
    FROM (
        SELECT run.*, count(*) OVER () AS found, first_value(change) OVER w AS first,
            sum(cardinality(conversation) + cardinality(account)) OVER w AS size
        FROM (
            SELECT * FROM feed WHERE t.ours AND feed.change < b.beyond::text::xid8
            AND feed.change >= CASE WHEN t.ours THEN t.since ELSE t.number::text::xid8 END
            ORDER BY feed.change FETCH FIRST %(rows)s ROWS WITH TIES
        ) AS run WINDOW w AS (ORDER BY change)
    ) AS sized WHERE size <= %(entries)s OR change = first
) AS f ON true"""  # noqa: S608
#: One at a time, or two could wait for each other's rows.
_PURGE = """
WITH gone AS (
    DELETE FROM feed WHERE at < now() - interval '10 minutes'
    AND (SELECT pg_try_advisory_xact_lock(%s)) RETURNING change
)
UPDATE meta SET value = greatest(value::bigint, g.above)::text
FROM (SELECT max(change::text::bigint) + 1 AS above FROM gone) AS g
WHERE key = 'feed' AND g.above IS NOT NULL"""
#: "feed" in ASCII.
_PURGE_LOCK = 0x66656564

#: Above every seq.
_END = 2**62


async def history(
    db: Connection,
    user: int,
    conversation: int,
    after: int | None,
    before: int | None,
    limit: int,
    max_bytes: int,
) -> History:
    """See ``MessageStorage.history``."""
    bound = after if after is not None else _END if before is None else before
    rows = await db.query(
        _DOWN if after is None else _UP,
        {
            "user": user,
            "conversation": conversation,
            "bound": bound,
            "limit": limit,
            "bytes": max_bytes,
        },
    )
    if not rows:
        raise Refusal(Code.NOT_FOUND, "there is no such conversation, or you are not in it")
    items = tuple(_message(conversation, row) for row in rows if row[1] is not None)
    return History(items, rows[0][0], bool(items) and rows[0][1] > len(items))


def _message(conversation: int, row: Row) -> Message:
    seq, sender, device, id, at, kind, body = row[4:]
    binary = bytes.fromhex(id.replace("-", ""))
    return Message(conversation, seq, sender, device, binary, at, kind, bytes(body))


async def heads(
    db: Connection,
    user: int,
    since: str | None,
    after: int,
    limit: int,
    only: Sequence[int] | None,
) -> HeadPage:
    """See ``MessageStorage.heads``."""
    epoch, number = _parse(since)
    rows = await db.query(
        _ALL if only is None else _ONLY,
        {
            "user": user,
            "after": after,
            "epoch": epoch,
            "number": number,
            "limit": limit + 1,
            "only": list(only or ()),
        },
    )
    found = [_head(row[2:]) for row in rows if row[2] is not None]
    return HeadPage(tuple(found[:limit]), _token(rows[0]), len(found) > limit)


def _head(row: Row) -> Head:
    conversation, kind, last, floor, delivered, read = row[:6]
    return Head(conversation, kind, last, floor, delivered, read, (Peer(*row[6:]),))


def _token(row: Row) -> str:
    """The token of a row that begins with epoch and number."""
    return f"{row[0]}:{row[1]}"


def _parse(since: str | None) -> tuple[str | None, int]:
    """Epoch and number of a token; no epoch if it cannot be read."""
    epoch, _, number = (since or "").rpartition(":")
    if epoch and number.isascii() and number.isdigit() and len(number) < 19:
        return epoch, int(number)
    return None, 0


async def feed(db: Connection, since: str | None) -> FeedPage:
    """See ``Feed.feed``.  A ``rest`` is ``BEYOND/EPOCH:NUMBER``."""
    beyond, _, token = (since or "").rpartition("/")
    epoch, number = _parse(token)
    rows = await db.query(
        _FEED,
        {
            "epoch": epoch,
            "number": number,
            "beyond": int(beyond) if beyond else None,
            "rows": FEED_ROWS,
            "entries": FEED_ENTRIES,
        },
    )
    entries = [row[6:] for row in rows if row[5] is not None]
    return FeedPage(
        heads=_feed_heads(row for row in entries if row[0] == 1),
        cursors=_feed_cursors(row for row in entries if row[0] == 2),
        accounts=tuple({user: None for row in entries if row[0] == 3 for user in row[2]}),
        token=_token(rows[0]),
        complete=since is None or bool(rows[0][2]),
        rest=_rest(rows) if entries else None,
    )


def _rest(rows: Sequence[Row]) -> str | None:
    epoch, _, _, beyond, found = rows[0][:5]
    if found == len(rows) < FEED_ROWS:
        return None
    return f"{beyond}/{epoch}:{max(row[5] for row in rows) + 1}"


def _feed_heads(entries: Iterable[Row]) -> tuple[FeedHead, ...]:
    newest: dict[int, FeedHead] = {}
    for _, conversations, _, lasts, lows, highs, _, _ in entries:
        for c, last, low, high in zip(conversations, lasts, lows, highs, strict=True):
            if c not in newest or newest[c].last <= last:
                newest[c] = FeedHead(c, last, (low, high))
    return tuple(newest.values())


def _feed_cursors(entries: Iterable[Row]) -> tuple[CursorChange, ...]:
    newest: dict[tuple[int, int], CursorChange] = {}
    for _, conversations, users, _, lows, highs, delivered, read in entries:
        for c, u, d, r, low, high in zip(
            conversations, users, delivered, read, lows, highs, strict=True
        ):
            old = newest[c, u].cursor if (c, u) in newest else Cursor(c, u, 0, 0)
            cursor = Cursor(c, u, max(d, old.delivered), max(r, old.read))
            newest[c, u] = CursorChange(cursor, (low, high))
    return tuple(newest.values())


async def purge(db: Connection) -> None:
    """See ``Feed.purge``."""
    await db.query(_PURGE, (_PURGE_LOCK,))


async def epoch(db: Connection) -> str:
    """See ``MessageStorage.epoch``."""
    name: str = (await db.query("SELECT imd_epoch()"))[0][0]
    return name
