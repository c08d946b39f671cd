"""The schema of PostgreSQL: numbered scripts, applied in order, each in one transaction.

A script that older code can live with says so in its first line, ``-- compatible-since: N``: code
that was made for version N or later works with the schema as the script leaves it.  One that
does not say so is for its own version and later ones.  ``meta`` has both: ``schema`` is the
version, ``compatible`` the least version of code.  So a schema may be upgraded while older
processes run, and what they need is taken away by a later script, when none of them is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from typing import Any

from msgspec import Struct

from imd.errors import ConfigError

#: Holds off a second upgrade that begins while one runs: "imd" in ASCII.
_LOCK = 0x696D64
#: Version, and the least version of code that works with it; as it was before that was written
#: down, code of another version does not.
FOUND = """
SELECT v.value::int, coalesce(c.value, v.value)::int FROM public.meta AS v
LEFT JOIN public.meta AS c ON c.key = 'compatible' WHERE v.key = 'schema'"""
_RECORD = """
INSERT INTO public.meta (key, value) VALUES ('schema', %s), ('compatible', %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_DECLARED = re.compile(r"-- compatible-since: ([0-9]+)\n")


class Version(Struct, frozen=True):
    """What a database has: the version, and since which version code works with it."""

    schema: int
    compatible: int

    def check(self) -> None:
        """Raises ``ConfigError``, with what to do, if this code does not work with it."""
        if self.schema < LATEST:
            found = f"the database has schema {self.schema}, this imd needs {LATEST}"
            raise ConfigError("store", f"{found}; run: imd migrate")
        if self.compatible > LATEST:
            found = f"the database has schema {self.schema}, this imd knows {LATEST}"
            raise ConfigError("store", f"{found}; install a newer imd")


NOTHING = Version(0, 0)


def scripts() -> list[tuple[str, str]]:
    """Name and text of the scripts; the n-th makes version n."""
    folder = resources.files("imd.storage") / "schema" / "postgresql"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(script.name, script.read_text(encoding="utf-8")) for script in found]


#: The version that this code was made for.
LATEST = len(scripts())


def compatible_since(number: int) -> int:
    """The least version of code that works with schema ``number``."""
    declared = enumerate((_DECLARED.match(script) for _, script in scripts()[:number]), 1)
    return max(int(match[1]) if match else own for own, match in declared)


def migrate(connection: Any, say: Callable[[str], None]) -> None:
    """Create or upgrade the schema on a blocking psycopg2 connection, and say what was done.

    Safe to call twice, at the same time, while processes of before run, and through a pooler.
    Raises ``ConfigError`` for a newer schema that this code does not work with.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        if not _apply_next(cursor, say):
            say(f"the schema is up to date (version {_version(cursor).schema})")
            return
        while _apply_next(cursor, say):
            pass


def _version(cursor: Any) -> Version:
    cursor.execute("SELECT to_regclass('public.meta') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return NOTHING
    cursor.execute(FOUND)
    row = cursor.fetchone()
    return Version(*row) if row else NOTHING


def _apply_next(cursor: Any, say: Callable[[str], None]) -> bool:
    """Apply one script; false if there is none left."""
    cursor.execute("BEGIN")
    try:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(cursor)
        if version.schema >= LATEST:
            version.check()
            cursor.execute("COMMIT")
            return False
        name, number = _apply(cursor, version.schema + 1)
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    say(f"applied {name} (version {number})")
    return True


def _apply(cursor: Any, number: int) -> tuple[str, int]:
    name, script = scripts()[number - 1]
    cursor.execute("SET LOCAL search_path = public")
    cursor.execute(script)
    cursor.execute(_RECORD, (str(number), str(compatible_since(number))))
    return name, number
