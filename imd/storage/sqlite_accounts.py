"""Accounts and devices in SQLite: functions of a connection inside a transaction."""

from __future__ import annotations

import sqlite3

from imd.errors import Code, Refusal
from imd.model import Device, Identity, User
from imd.storage.decide import check_verified

_USER = "id, name, display, disabled, roster"
_DEVICE = "id, user, label, created, seen"


def _user(row: sqlite3.Row | tuple[int, str, str, int, int]) -> User:
    id, name, display, disabled, roster = row
    return User(id, name, display, bool(disabled), roster)


def create_user(db: sqlite3.Connection, user: int, name: str, password: str, at: int) -> User:
    """See ``AccountStorage.create_user``."""
    try:
        db.execute(
            "INSERT INTO user (id, name, password, created) VALUES (?, ?, ?, ?)",
            (user, name, password, at),
        )
    except sqlite3.IntegrityError:
        raise Refusal(Code.EXISTS, "this name is taken; choose another") from None
    return User(user, name)


def find_user(db: sqlite3.Connection, who: int | str) -> User | None:
    """See ``AccountStorage.find_user``."""
    column = "id" if isinstance(who, int) else "name"
    row = db.execute(f"SELECT {_USER} FROM user WHERE {column} = ?", (who,)).fetchone()  # noqa: S608
    return None if row is None else _user(row)


def password_of(db: sqlite3.Connection, name: str) -> tuple[User, str] | None:
    """See ``AccountStorage.password_of``."""
    row = db.execute(f"SELECT {_USER}, password FROM user WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return None if row is None else (_user(row[:5]), row[5])


def set_password(
    db: sqlite3.Connection, user: int, password: str, keep_device: int | None, verified: str
) -> tuple[int, ...]:
    """See ``AccountStorage.set_password``."""
    rehash_password(db, user, password, verified)
    gone = db.execute(
        "DELETE FROM device WHERE user = ? AND id IS NOT ? RETURNING id", (user, keep_device)
    ).fetchall()
    return tuple(id for (id,) in gone)


def rehash_password(db: sqlite3.Connection, user: int, password: str, verified: str) -> None:
    """See ``AccountStorage.rehash_password``."""
    # A call that is repeated finds the hash that it has stored itself.
    check_verified(_stored(db, user), verified, password)
    db.execute("UPDATE user SET password = ? WHERE id = ?", (password, user))


def _stored(db: sqlite3.Connection, user: int) -> str | None:
    row = db.execute("SELECT password FROM user WHERE id = ?", (user,)).fetchone()
    return None if row is None else row[0]


_SEEN = """
UPDATE user SET roster = roster + 1 WHERE id IN (
    SELECT user FROM friendship WHERE peer = ?1
    UNION SELECT peer FROM friendship WHERE user = ?1 AND state = 'requested')"""


def set_display(db: sqlite3.Connection, user: int, display: str) -> User:
    """See ``AccountStorage.set_display``."""
    db.execute("UPDATE user SET display = ? WHERE id = ?", (display, user))
    db.execute(_SEEN, (user,))
    found = find_user(db, user)
    if found is None:
        raise Refusal(Code.NOT_FOUND, "there is no such account")
    return found


def set_disabled(db: sqlite3.Connection, user: int, disabled: bool) -> None:
    """See ``AccountStorage.set_disabled``."""
    db.execute("UPDATE user SET disabled = ? WHERE id = ?", (disabled, user))


def users(db: sqlite3.Connection, after: str, limit: int) -> tuple[User, ...]:
    """See ``AccountStorage.users``."""
    rows = db.execute(
        f"SELECT {_USER} FROM user WHERE name > ? ORDER BY name LIMIT ?",  # noqa: S608
        (after, limit),
    )
    return tuple(_user(row) for row in rows)


def add_device(
    db: sqlite3.Connection,
    device: Device,
    token_hash: bytes,
    verified: str,
    limit: int,
    retire_before: int,
) -> tuple[int, ...]:
    """See ``AccountStorage.add_device``."""
    again = "SELECT 1 FROM device WHERE id = ? AND token_hash = ?"
    if db.execute(again, (device.id, token_hash)).fetchone():
        # The answer to the first call was lost, or this one would not have come.
        return ()
    check_verified(_stored(db, device.user), verified)
    retired = _make_room(db, device.user, limit, retire_before)
    db.execute(
        "INSERT INTO device (id, user, label, token_hash, created, seen) VALUES (?, ?, ?, ?, ?, ?)",
        (device.id, device.user, device.label, token_hash, device.created, device.seen),
    )
    return retired


def _make_room(
    db: sqlite3.Connection, user: int, limit: int, retire_before: int
) -> tuple[int, ...]:
    oldest = db.execute(
        "SELECT id, seen FROM device WHERE user = ? ORDER BY seen, id", (user,)
    ).fetchall()
    if len(oldest) < limit:
        return ()
    device, seen = oldest[0]
    if seen >= retire_before:
        raise Refusal(Code.LIMIT, f"at most {limit} devices; log out on one, or call device.revoke")
    db.execute("DELETE FROM device WHERE id = ?", (device,))
    return (device,)


def open_session(db: sqlite3.Connection, token_hash: bytes, at: int) -> Identity | None:
    """See ``AccountStorage.open_session``."""
    db.execute(
        "UPDATE device SET session = session + 1, seen = max(seen, ?) WHERE token_hash = ?",
        (at, token_hash),
    )
    return authenticate(db, token_hash)


def authenticate(db: sqlite3.Connection, token_hash: bytes) -> Identity | None:
    """See ``AccountStorage.authenticate``."""
    row = db.execute(
        "SELECT u.id, u.name, u.display, u.disabled, u.roster, d.id, d.session "
        "FROM device AS d JOIN user AS u ON u.id = d.user WHERE d.token_hash = ?",
        (token_hash,),
    ).fetchone()
    return None if row is None else Identity(_user(row[:5]), row[5], row[6])


def devices(db: sqlite3.Connection, user: int) -> tuple[Device, ...]:
    """See ``AccountStorage.devices``."""
    rows = db.execute(
        f"SELECT {_DEVICE} FROM device WHERE user = ? ORDER BY created, id",  # noqa: S608
        (user,),
    )
    return tuple(Device(*row) for row in rows)


def delete_device(db: sqlite3.Connection, user: int, device: int) -> bool:
    """See ``AccountStorage.delete_device``."""
    return db.execute("DELETE FROM device WHERE user = ? AND id = ?", (user, device)).rowcount == 1
