"""Friendships in SQLite: functions of a connection inside a transaction."""

from __future__ import annotations

import sqlite3

from imd import friendship
from imd.errors import Code, Refusal
from imd.friendship import Pair, Word
from imd.interfaces.storage import FriendshipResult
from imd.model import Friend, FriendState, User
from imd.storage.sqlite_accounts import find_user
from imd.storage.sqlite_messages import next_change, token

_FRIENDS = """
SELECT u.id, u.name, u.display, u.disabled, u.roster, m.state, t.state, c.id, t.note
FROM (SELECT peer AS id FROM friendship WHERE user = ?1
      UNION SELECT user FROM friendship WHERE peer = ?1) AS x
JOIN user AS u ON u.id = x.id
LEFT JOIN friendship AS m ON m.user = ?1 AND m.peer = x.id
LEFT JOIN friendship AS t ON t.user = x.id AND t.peer = ?1
LEFT JOIN conversation AS c ON c.low = min(?1, x.id) AND c.high = max(?1, x.id)
ORDER BY u.name"""


def _word(state: str | None) -> Word:
    return None if state is None else FriendState(state)


def friends(db: sqlite3.Connection, user: int) -> tuple[int, tuple[Friend, ...]]:
    """See ``FriendStorage.friends``."""
    version = db.execute("SELECT roster FROM user WHERE id = ?", (user,)).fetchone()
    found = []
    for row in db.execute(_FRIENDS, (user,)):
        state = friendship.view(Pair(_word(row[5]), _word(row[6])))
        if state is not None:
            peer = User(row[0], row[1], row[2], bool(row[3]), row[4])
            found.append(Friend(peer, state, row[7], _note(state, row[8])))
    return (version[0] if version else 0), tuple(found)


def _note(state: FriendState, note: str | None) -> str:
    """The note of a request, for the one who was asked."""
    return (note or "") if state is FriendState.PENDING else ""


def befriend(
    db: sqlite3.Connection,
    user: int,
    peer: int,
    verb: str,
    note: str,
    conversation: int,
    at: int,
) -> FriendshipResult:
    """See ``FriendStorage.befriend``."""
    if user == peer:
        raise Refusal(Code.BAD_REQUEST, "this is you")
    me, they = find_user(db, user), find_user(db, peer)
    if me is None or they is None:
        raise Refusal(Code.NOT_FOUND, "there is no such user")
    before = Pair(_said(db, user, peer), _said(db, peer, user))
    after = friendship.apply(verb, before)
    if after != before:
        _say(db, user, peer, after.mine, note)
        if after.theirs != before.theirs:
            _say(db, peer, user, after.theirs, "")
        _bump(db, before, after, user, peer)
    known = _conversation(db, user, peer)
    covered = _covered(db)
    if after.open != before.open:
        known, covered = _open(db, user, peer, after.open, known or conversation)
    return FriendshipResult(
        changed=after != before,
        noticed=_noticed(before, after),
        mine=_seen(they, after, known, _noted(db, peer, user)),
        theirs=_seen(me, friendship.flip(after), known, _noted(db, user, peer)),
        conversation=known,
        opened=after.open and not before.open,
        token=covered,
    )


def _noticed(before: Pair, after: Pair) -> bool:
    """Whether the other side's list changed."""
    flip, view = friendship.flip, friendship.view
    return view(flip(before)) != view(flip(after))


def _seen(other: User, pair: Pair, conversation: int | None, note: str | None) -> Friend | None:
    state = friendship.view(pair)
    return None if state is None else Friend(other, state, conversation, _note(state, note))


def _said(db: sqlite3.Connection, user: int, peer: int) -> Word:
    row = db.execute(
        "SELECT state FROM friendship WHERE user = ? AND peer = ?", (user, peer)
    ).fetchone()
    return None if row is None else FriendState(row[0])


def _noted(db: sqlite3.Connection, user: int, peer: int) -> str | None:
    """The note that ``user`` wrote to ``peer``, perhaps long ago."""
    row = db.execute(
        "SELECT note FROM friendship WHERE user = ? AND peer = ?", (user, peer)
    ).fetchone()
    return None if row is None else row[0]


def _say(db: sqlite3.Connection, user: int, peer: int, word: Word, note: str) -> None:
    if word is None:
        db.execute("DELETE FROM friendship WHERE user = ? AND peer = ?", (user, peer))
    else:
        db.execute(
            "INSERT INTO friendship (user, peer, state, note) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (user, peer) DO UPDATE SET state = excluded.state, note = excluded.note",
            (user, peer, word.value, note),
        )


def _bump(db: sqlite3.Connection, before: Pair, after: Pair, user: int, peer: int) -> None:
    """Raise the version of each list in which the change can be seen."""
    mine = friendship.view(before) != friendship.view(after)
    for who, sees in ((user, mine), (peer, _noticed(before, after))):
        if sees:
            db.execute("UPDATE user SET roster = roster + 1 WHERE id = ?", (who,))


def _conversation(db: sqlite3.Connection, user: int, peer: int) -> int | None:
    row = db.execute(
        "SELECT id FROM conversation WHERE low = ? AND high = ?",
        (min(user, peer), max(user, peer)),
    ).fetchone()
    return None if row is None else row[0]


def _open(
    db: sqlite3.Connection, user: int, peer: int, open_: bool, conversation: int
) -> tuple[int, str]:
    """Open or close the direct conversation; it is made when it is opened first."""
    number, covered = next_change(db)
    low, high = min(user, peer), max(user, peer)
    db.execute(
        "INSERT INTO conversation (id, low, high, open, change) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (low, high) DO UPDATE SET open = excluded.open, change = excluded.change",
        (conversation, low, high, open_, number),
    )
    for member in (low, high):
        db.execute(
            "INSERT OR IGNORE INTO member (conversation, user, change) VALUES (?, ?, ?)",
            (conversation, member, number),
        )
    return conversation, covered


def _covered(db: sqlite3.Connection) -> str:
    epoch, number = token(db)
    return f"{epoch}:{number}"
