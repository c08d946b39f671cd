"""The schema of PostgreSQL: numbered scripts, applied in order, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

from imd.errors import ConfigError

#: Holds off a second upgrade that begins while one runs: "imd" in ASCII.
_LOCK = 0x696D64
_VERSION = "SELECT value::int FROM public.meta WHERE key = 'schema'"
_RECORD = """
INSERT INTO public.meta (key, value) VALUES ('schema', %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""


def scripts() -> list[tuple[str, str]]:
    """Name and text of the scripts; the n-th makes version n."""
    folder = resources.files("imd.storage") / "schema" / "postgresql"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(script.name, script.read_text(encoding="utf-8")) for script in found]


#: The version that this code works with.
LATEST = len(scripts())


def outdated(version: int) -> ConfigError:
    """What to do about a schema of another version."""
    found = f"the database has schema {version}, this imd needs {LATEST}"
    hint = "run: imd migrate" if version < LATEST else "install a newer imd"
    return ConfigError("store", f"{found}; {hint}")


def migrate(connection: Any, say: Callable[[str], None]) -> None:
    """Create or upgrade the schema on a blocking psycopg2 connection, and say what was done.

    Safe to call twice, and at the same time.  Raises ``ConfigError`` for a newer schema.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
        cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        try:
            _upgrade(cursor, say)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _upgrade(cursor: Any, say: Callable[[str], None]) -> None:
    version = _version(cursor)
    if version > LATEST:
        raise outdated(version)
    if version == LATEST:
        say(f"the schema is up to date (version {version})")
    for number, (name, script) in enumerate(scripts()[version:], version + 1):
        _apply(cursor, number, script)
        say(f"applied {name} (version {number})")


def _version(cursor: Any) -> int:
    cursor.execute("SELECT to_regclass('public.meta') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return 0
    cursor.execute(_VERSION)
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _apply(cursor: Any, number: int, script: str) -> None:
    cursor.execute("BEGIN")
    try:
        cursor.execute(script)
        cursor.execute(_RECORD, (str(number),))
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
