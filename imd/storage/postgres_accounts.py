"""Accounts and devices in PostgreSQL.

What takes several statements is one transaction that begins by locking the account, so
that two such changes of one user never run at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from imd.errors import Code, Refusal
from imd.model import Device, Identity, User
from imd.storage.decide import check_verified
from imd.storage.postgres_link import Connection, Row

USER = "id, name, display, disabled, roster"
_DEVICE = "id, account, label, created, seen"

_IDENTITY = """
SELECT u.id, u.name, u.display, u.disabled, u.roster, d.id, d.session
FROM device AS d JOIN account AS u ON u.id = d.account WHERE d.token_hash = %s"""
_OPEN = """
UPDATE device AS d SET session = d.session + 1, seen = greatest(d.seen, %s)
FROM account AS u WHERE d.token_hash = %s AND u.id = d.account
RETURNING u.id, u.name, u.display, u.disabled, u.roster, d.id, d.session"""
_LOCK = "SELECT password FROM account WHERE id = %s FOR NO KEY UPDATE"
_TELL = "INSERT INTO feed (kind, account) VALUES (3, %s::bigint[])"


async def tell(db: Connection, users: Sequence[int]) -> None:
    """Enter in the feed that something about these users changed."""
    if users:
        await db.query(_TELL, (list(users),))


async def create_user(db: Connection, user: int, name: str, password: str, at: int) -> User:
    """See ``AccountStorage.create_user``."""
    made = await db.query(
        "INSERT INTO account (id, name, password, created) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING RETURNING id",
        (user, name, password, at),
    )
    if not made:
        raise Refusal(Code.EXISTS, "this name is taken; choose another")
    return User(user, name)


async def find_user(db: Connection, who: int | str) -> User | None:
    """See ``AccountStorage.find_user``."""
    column = "id" if isinstance(who, int) else "name"
    rows = await db.query(f"SELECT {USER} FROM account WHERE {column} = %s", (who,))  # noqa: S608
    return User(*rows[0]) if rows else None


async def password_of(db: Connection, name: str) -> tuple[User, str] | None:
    """See ``AccountStorage.password_of``."""
    rows = await db.query(
        f"SELECT {USER}, password FROM account WHERE name = %s",  # noqa: S608
        (name,),
    )
    return (User(*rows[0][:5]), rows[0][5]) if rows else None


async def set_password(
    db: Connection, user: int, password: str, keep_device: int | None, verified: str
) -> tuple[int, ...]:
    """See ``AccountStorage.set_password``.  Inside a transaction."""
    await rehash_password(db, user, password, verified)
    gone = await db.query(
        "DELETE FROM device WHERE account = %s AND id IS DISTINCT FROM %s RETURNING id",
        (user, keep_device),
    )
    await tell(db, [user])
    return tuple(id for (id,) in gone)


async def rehash_password(db: Connection, user: int, password: str, verified: str) -> None:
    """See ``AccountStorage.rehash_password``.  Inside a transaction."""
    # A call that is repeated finds the hash that it has stored itself.
    check_verified(await _lock(db, user), verified, password)
    await db.query("UPDATE account SET password = %s WHERE id = %s", (password, user))


async def _lock(db: Connection, user: int) -> str | None:
    """Lock an account; the hash of its password, None if there is no such account."""
    rows = await db.query(_LOCK, (user,))
    return rows[0][0] if rows else None


#: Whoever has the user in the friend list; locked in the order that all others lock in.
_SEEN = """
SELECT id FROM account WHERE id = %(user)s OR id IN (
    SELECT account FROM friendship WHERE peer = %(user)s
    UNION SELECT peer FROM friendship WHERE account = %(user)s AND state = 'requested')
ORDER BY id FOR UPDATE"""


async def set_display(db: Connection, user: int, display: str) -> User:
    """See ``AccountStorage.set_display``.  Inside a transaction."""
    seen = [row[0] for row in await db.query(_SEEN, {"user": user})]
    rows = await db.query(
        f"UPDATE account SET display = %s WHERE id = %s RETURNING {USER}",  # noqa: S608
        (display, user),
    )
    if not rows:
        raise Refusal(Code.NOT_FOUND, "there is no such account")
    others = [each for each in seen if each != user]
    await db.query(
        "UPDATE account SET roster = roster + 1 WHERE id = ANY (%s::bigint[])", (others,)
    )
    await tell(db, seen)
    return User(*rows[0])


async def set_disabled(db: Connection, user: int, disabled: bool) -> None:
    """See ``AccountStorage.set_disabled``.  Inside a transaction."""
    await db.query("UPDATE account SET disabled = %s WHERE id = %s", (disabled, user))
    await tell(db, [user])


async def users(db: Connection, after: str, limit: int) -> tuple[User, ...]:
    """See ``AccountStorage.users``."""
    rows = await db.query(
        f"SELECT {USER} FROM account WHERE name > %s ORDER BY name LIMIT %s",  # noqa: S608
        (after, limit),
    )
    return tuple(User(*row) for row in rows)


async def add_device(
    db: Connection,
    device: Device,
    token_hash: bytes,
    verified: str,
    limit: int,
    retire_before: int,
) -> tuple[int, ...]:
    """See ``AccountStorage.add_device``.  Inside a transaction."""
    stored = await _lock(db, device.user)
    again = "SELECT id FROM device WHERE id = %s AND token_hash = %s"
    if await db.query(again, (device.id, token_hash)):
        # The answer to the first call was lost, or this one would not have come.
        return ()
    check_verified(stored, verified)
    retired = await _make_room(db, device.user, limit, retire_before)
    await db.query(
        "INSERT INTO device (id, account, label, token_hash, created, seen) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (device.id, device.user, device.label, token_hash, device.created, device.seen),
    )
    return retired


async def _make_room(db: Connection, user: int, limit: int, retire_before: int) -> tuple[int, ...]:
    oldest = await db.query(
        "SELECT id, seen FROM device WHERE account = %s ORDER BY seen, id", (user,)
    )
    if len(oldest) < limit:
        return ()
    device, seen = oldest[0]
    if seen >= retire_before:
        raise Refusal(Code.LIMIT, f"at most {limit} devices; log out on one, or call device.revoke")
    await db.query("DELETE FROM device WHERE id = %s", (device,))
    await tell(db, [user])
    return (device,)


async def open_session(db: Connection, token_hash: bytes, at: int) -> Identity | None:
    """See ``AccountStorage.open_session``."""
    return _identity(await db.query(_OPEN, (at, token_hash)))


async def authenticate(db: Connection, token_hash: bytes) -> Identity | None:
    """See ``AccountStorage.authenticate``."""
    return _identity(await db.query(_IDENTITY, (token_hash,)))


def _identity(rows: Sequence[Row]) -> Identity | None:
    return Identity(User(*rows[0][:5]), rows[0][5], rows[0][6]) if rows else None


async def devices(db: Connection, user: int) -> tuple[Device, ...]:
    """See ``AccountStorage.devices``."""
    rows = await db.query(
        f"SELECT {_DEVICE} FROM device WHERE account = %s ORDER BY created, id",  # noqa: S608
        (user,),
    )
    return tuple(Device(*row) for row in rows)


async def delete_device(db: Connection, user: int, device: int) -> bool:
    """See ``AccountStorage.delete_device``.  Inside a transaction."""
    gone = await db.query(
        "DELETE FROM device WHERE account = %s AND id = %s RETURNING id", (user, device)
    )
    if gone:
        await tell(db, [user])
    return bool(gone)
