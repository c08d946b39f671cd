"""Friendships in PostgreSQL.

A verb locks the accounts of both users, in the order of their ids, so that requests that
cross are decided one after the other (``imd.friendship``), and never wait for each other.
"""

from __future__ import annotations

from imd import friendship
from imd.errors import Code, Refusal
from imd.friendship import Pair, Word
from imd.interfaces.storage import FriendshipResult
from imd.model import Friend, FriendState, User
from imd.storage.postgres_accounts import USER, tell
from imd.storage.postgres_link import Connection

_FRIENDS = """
SELECT v.roster, u.id, u.name, u.display, u.disabled, u.roster, m.state, t.state, c.id, t.note
FROM (SELECT coalesce((SELECT roster FROM account WHERE id = %(user)s), 0)) AS v (roster)
LEFT JOIN (
    (SELECT peer AS id FROM friendship WHERE account = %(user)s
     UNION SELECT account FROM friendship WHERE peer = %(user)s) AS x
    JOIN account AS u ON u.id = x.id
    LEFT JOIN friendship AS m ON m.account = %(user)s AND m.peer = x.id
    LEFT JOIN friendship AS t ON t.account = x.id AND t.peer = %(user)s
    LEFT JOIN conversation AS c
        ON c.low = least(%(user)s, x.id) AND c.high = greatest(%(user)s, x.id)
) ON true ORDER BY u.name"""
_BOTH = "SELECT account, {} FROM friendship WHERE (account, peer) IN ((%s, %s), (%s, %s))"
_SAY = """
INSERT INTO friendship (account, peer, state, note) VALUES (%s, %s, %s, %s)
ON CONFLICT (account, peer) DO UPDATE SET state = excluded.state, note = excluded.note"""
_OPEN = """
WITH opened AS (
    INSERT INTO conversation (id, low, high, open) VALUES (%s, %s, %s, %s)
    ON CONFLICT (low, high) DO UPDATE SET open = excluded.open, change = pg_current_xact_id()
    RETURNING id, last, low, high
), told AS (
    INSERT INTO feed (kind, conversation, last, low, high)
    SELECT 1, ARRAY[id], ARRAY[last], ARRAY[low], ARRAY[high] FROM opened
)
SELECT id FROM opened"""
_JOIN = """
INSERT INTO member (conversation, account) VALUES (%s, %s), (%s, %s)
ON CONFLICT (conversation, account) DO NOTHING"""


def _word(state: str | None) -> Word:
    return None if state is None else FriendState(state)


async def friends(db: Connection, user: int) -> tuple[int, tuple[Friend, ...]]:
    """See ``FriendStorage.friends``."""
    rows = await db.query(_FRIENDS, {"user": user})
    found = []
    for row in rows:
        state = friendship.view(Pair(_word(row[6]), _word(row[7])))
        if state is not None:
            found.append(Friend(User(*row[1:6]), state, row[8], _note(state, row[9])))
    return rows[0][0], tuple(found)


def _note(state: FriendState, note: str | None) -> str:
    """The note of a request, for the one who was asked."""
    return (note or "") if state is FriendState.PENDING else ""


async def befriend(
    db: Connection,
    user: int,
    peer: int,
    verb: str,
    note: str,
    conversation: int,
    at: int,
) -> FriendshipResult:
    """See ``FriendStorage.befriend``.  Inside a transaction."""
    if user == peer:
        raise Refusal(Code.BAD_REQUEST, "this is you")
    me, they = await _lock(db, user, peer)
    before = await _said(db, user, peer)
    after = friendship.apply(verb, before)
    known = await _conversation(db, user, peer)
    if after != before:
        await _say(db, user, peer, after.mine, note)
        if after.theirs != before.theirs:
            await _say(db, peer, user, after.theirs, "")
        await _bump(db, before, after, user, peer)
    if after.open != before.open:
        known = await _open(db, user, peer, after.open, known or conversation)
    notes = await _notes(db, user, peer)
    return FriendshipResult(
        changed=after != before,
        noticed=_noticed(before, after),
        mine=_seen(they, after, known, notes.get(peer)),
        theirs=_seen(me, friendship.flip(after), known, notes.get(user)),
        conversation=known,
        opened=after.open and not before.open,
        token=None,
    )


async def _lock(db: Connection, user: int, peer: int) -> tuple[User, User]:
    rows = await db.query(
        f"SELECT {USER} FROM account WHERE id IN (%s, %s) ORDER BY id FOR NO KEY UPDATE",  # noqa: S608
        (user, peer),
    )
    found = {row[0]: User(*row) for row in rows}
    if len(found) < 2:
        raise Refusal(Code.NOT_FOUND, "there is no such user")
    return found[user], found[peer]


def _noticed(before: Pair, after: Pair) -> bool:
    """Whether the other side's list changed."""
    flip, view = friendship.flip, friendship.view
    return view(flip(before)) != view(flip(after))


def _seen(other: User, pair: Pair, conversation: int | None, note: str | None) -> Friend | None:
    state = friendship.view(pair)
    return None if state is None else Friend(other, state, conversation, _note(state, note))


async def _said(db: Connection, user: int, peer: int) -> Pair:
    words: dict[int, str] = dict(await db.query(_BOTH.format("state"), (user, peer, peer, user)))
    return Pair(_word(words.get(user)), _word(words.get(peer)))


async def _notes(db: Connection, user: int, peer: int) -> dict[int, str]:
    """The notes that they wrote to each other, perhaps long ago, by their writer."""
    return dict(await db.query(_BOTH.format("note"), (user, peer, peer, user)))


async def _say(db: Connection, user: int, peer: int, word: Word, note: str) -> None:
    if word is None:
        await db.query("DELETE FROM friendship WHERE account = %s AND peer = %s", (user, peer))
    else:
        await db.query(_SAY, (user, peer, word.value, note))


async def _bump(db: Connection, before: Pair, after: Pair, user: int, peer: int) -> None:
    """Raise the version of each list in which the change can be seen, and enter it in the feed."""
    mine = friendship.view(before) != friendship.view(after)
    sees = [who for who, it in ((user, mine), (peer, _noticed(before, after))) if it]
    await db.query("UPDATE account SET roster = roster + 1 WHERE id = ANY (%s::bigint[])", (sees,))
    await tell(db, sees)


async def _conversation(db: Connection, user: int, peer: int) -> int | None:
    rows = await db.query(
        "SELECT id FROM conversation WHERE low = %s AND high = %s",
        (min(user, peer), max(user, peer)),
    )
    return rows[0][0] if rows else None


async def _open(db: Connection, user: int, peer: int, open_: bool, conversation: int) -> int:
    """Open or close the direct conversation; it is made when it is opened first."""
    low, high = min(user, peer), max(user, peer)
    ((id,),) = await db.query(_OPEN, (conversation, low, high, open_))
    await db.query(_JOIN, (id, low, id, high))
    found: int = id
    return found
