"""The terms on which a connection is used: how it is set up, and what the server must be.

Every new connection is looked at, not only the first: after a failover, or a restart with
another configuration, it may lead to something else.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import sql
from twisted.logger import Logger

from imd.errors import ConfigError
from imd.storage.postgres_link import Connection, Row
from imd.storage.postgres_schema import FOUND, NOTHING, Version

#: PostgreSQL 13, the first with ``xid8``.
OLDEST_SERVER = 130000

#: The session.  The server gives up a little before the client does.  Every statement here is
#: a walk along indexes: where statistics are missing, the planner would rather read a small
#: table as a whole, and keep to that plan while the table grows.  To plan the one statement
#: that is kept, that of imd_append, takes longer than to execute it for one message.
_SESSION = {
    "default_transaction_isolation": "read committed",
    "search_path": "public, pg_temp",
    "statement_timeout": "4500",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "10000",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}


def _pin(only_now: bool) -> str:
    """A statement that makes these settings; ``only_now``: for its transaction."""
    calls = [f"set_config('{name}', '{value}', {only_now})" for name, value in _SESSION.items()]
    return f"SELECT {', '.join(calls)}"


#: How settings are kept for whoever connects as this role, whatever is in between.
_KEEP = "ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} FROM CURRENT"
_LACKING = """
SELECT w.name FROM unnest(%s::text[], %s::text[]) AS w (name, value)
JOIN pg_settings AS s USING (name) WHERE s.setting <> w.value"""

_LOOK = """
SELECT current_setting('server_version_num')::int,
    pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
    current_setting('server_encoding'), current_setting('transaction_isolation'),
    current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), to_regclass('public.meta') IS NOT NULL"""


class Terms:
    """Makes new connections ready.  ``unsafe``: also where a crash may lose commits."""

    _log = Logger()

    def __init__(self, unsafe: bool) -> None:
        self._unsafe = unsafe
        self._warned = False

    async def prepare(self, connection: Connection) -> None:
        """Set a connection up; raises ``ConfigError`` with what to do if it must not be used."""
        (backend,) = await connection.query("SELECT pg_backend_pid()")
        # A pooler makes up the number with which a client may cancel what it has begun.
        if backend[0] == connection.get_backend_pid():
            await connection.query(_pin(only_now=False))
        else:
            await _check_pooler(connection)
        (look,) = await connection.query(_LOOK)
        self._check(look)
        found = await connection.query(FOUND) if look[7] else []
        (Version(*found[0]) if found else NOTHING).check()

    def _check(self, look: Row) -> None:
        server, standby, encoding, isolation = look[:4]
        if server < OLDEST_SERVER:
            raise _refusal("this PostgreSQL is too old; install version 13 or later")
        if standby:
            raise _refusal("this is a standby or read-only; name the primary", may_pass=True)
        if encoding != "UTF8":
            raise _refusal(f"the database is encoded in {encoding}; create it with UTF8")
        if isolation != "read committed":
            raise _refusal(f"the isolation level is {isolation}; connect without such a pooler")
        self._check_durability(dict(zip(_DURABLE, look[4:7], strict=True)))

    def _check_durability(self, settings: dict[str, Any]) -> None:
        weak = [f"{k}={v}" for k, v in settings.items() if v not in ("on", "remote_apply")]
        if not weak:
            return
        if not self._unsafe:
            what = ", ".join(weak)
            raise _refusal(f"PostgreSQL runs with {what} and may lose messages; set it to on")
        if not self._warned:
            self._warned = True
            self._log.critical(
                "unsafe-durability: PostgreSQL runs with {weak}; a crash of its machine loses "
                "messages that were acknowledged",
                weak=", ".join(weak),
            )


async def _check_pooler(connection: Connection) -> None:
    """Another server connection may serve every transaction: none of them may lack a setting."""
    wanted = list(_SESSION), list(_SESSION.values())
    lacking = await connection.transaction(lambda: connection.query(_LACKING, wanted))
    if lacking:
        names = ", ".join(name for (name,) in lacking)
        raise _refusal(
            f"a pooler is in between, and behind it this role lacks {names}; "
            "run: imd migrate --pooler, then let the pooler connect anew"
        )


def keep_settings(connection: Any) -> None:
    """Make the settings of the session those of the role, on a blocking psycopg2 connection."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_pin(only_now=True))
        for name in _SESSION:
            parts = {
                "database": sql.Identifier(connection.info.dbname),
                "name": sql.Identifier(name),
            }
            cursor.execute(sql.SQL(_KEEP).format(**parts))


_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def _refusal(message: str, may_pass: bool = False) -> ConfigError:
    return ConfigError("store", message, may_pass)
