"""``imd migrate``: create or upgrade the schema of a PostgreSQL store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import psycopg2

from imd.config import merge
from imd.errors import ConfigError
from imd.storage.postgres_schema import migrate
from imd.storage.postgres_terms import keep_settings

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
CONNECT_SECONDS = 10


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if PostgreSQL does not let us, 78 for a bad configuration."""
    try:
        _migrate(*_store(argv))
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except psycopg2.Error as error:
        sys.stderr.write(f"imd: store: {_first_line(error)}\n")
        return 1
    return 0


def _store(argv: Sequence[str]) -> tuple[str, bool]:
    """The URL, and whether there is a pooler."""
    parser = argparse.ArgumentParser(
        prog="imd migrate",
        description="Create or upgrade the schema of a PostgreSQL store; does nothing twice. "
        "The embedded store needs none of it, it upgrades itself.",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    parser.add_argument("--store", metavar="URL", help="postgresql://…, instead of the file's")
    parser.add_argument(
        "--pooler",
        action="store_true",
        help="make the settings that a server needs those of the role, for use behind a pooler",
    )
    given = parser.parse_args(argv)
    options = {} if given.store is None else {"store": given.store}
    return merge(options, given.config).store, given.pooler


def _migrate(store: str, pooler: bool) -> None:
    if not store.startswith(("postgresql://", "postgres://")):
        raise ConfigError("store", "is not PostgreSQL; the embedded store upgrades itself")
    try:
        connection = psycopg2.connect(store, connect_timeout=CONNECT_SECONDS)
    except psycopg2.ProgrammingError:
        # Its text may hold the password.
        raise ConfigError("store", "this is no URL that PostgreSQL's libpq can read") from None
    try:
        migrate(connection, _say)
        if pooler:
            connection.autocommit = False
            keep_settings(connection)
            _say("new connections of this role to this database have the settings of a server")
    finally:
        connection.close()


def _say(line: str) -> None:
    print(f"imd: {line}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
