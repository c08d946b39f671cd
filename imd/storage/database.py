"""Opening the SQLite file: the lock, durability, the schema, the epoch.

Whatever an operator can mend raises ``ConfigError("data", …)`` with what to do.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from imd.errors import ConfigError

NAME = "imd.sqlite3"
MARK = "imd.boot"
#: Pages that the write-ahead log may grow before it is copied into the database.
CHECKPOINT_PAGES = 4000
#: Larger databases are not read through at the start; it would take too long.
CHECK_BYTES = 1 << 30

_RESCUE = "restore a backup, or salvage with sqlite3 .recover"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def make_private(directory: Path) -> None:
    """Make the data directory, if it is not there, for this user alone.  Raises ``ConfigError``."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("data", f"cannot use {directory}: {error.strerror}") from None


class Lock:
    """Keeps a second process from the same directory; the kernel drops it when we die."""

    def __init__(self, directory: Path) -> None:
        make_private(directory)
        try:
            self._file = os.open(directory / "imd.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError("data", f"cannot use {directory}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise ConfigError("data", f"{directory} is in use by another imd") from None

    def release(self) -> None:
        """Let others in."""
        os.close(self._file)


def open_database(directory: Path, new_epoch: Callable[[], str]) -> sqlite3.Connection:
    """Open the database for writing, make or upgrade its schema, and settle its epoch.

    The caller holds the ``Lock``.
    """
    path = directory / NAME
    try:
        db = connect(path)
    except sqlite3.Error as error:
        raise _refusal("open", path, error) from None
    try:
        path.chmod(0o600)
        _check(db, path)
        _migrate(db, path, schema())
        _settle_epoch(db, directory / MARK, new_epoch)
    except (sqlite3.Error, OSError) as error:
        db.close()
        raise _refusal("use", path, error) from None
    except ConfigError:
        db.close()
        raise
    return db


def join_database(directory: Path) -> sqlite3.Connection:
    """Open a database for writing beside another process; it has to have today's schema."""
    path = directory / NAME
    if not path.exists():
        raise ConfigError("data", f"there is no {path}; start the server once")
    try:
        db = connect(path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise _refusal("open", path, error) from None
    if version != len(schema()):
        db.close()
        found = f"{path} has schema {version}, this imd knows {len(schema())}"
        raise ConfigError("data", f"{found}; start the server of this version once")
    return db


def _refusal(verb: str, path: Path, error: Exception) -> ConfigError:
    is_damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
    advice = f"; {_RESCUE}" if is_damaged else ""
    return ConfigError("data", f"cannot {verb} {path}: {error}{advice}")


def connect(path: Path, reading: bool = False) -> sqlite3.Connection:
    """A connection whose commits are durable: they wait until the disk has them."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma, wanted in (
        ("busy_timeout = 5000", None),
        ("journal_mode = WAL", "wal"),
        ("synchronous = FULL", None),
        ("synchronous", 2),
        ("foreign_keys = ON", None),
        ("trusted_schema = OFF", None),
        ("temp_store = MEMORY", None),
        (f"wal_autocheckpoint = {CHECKPOINT_PAGES}", CHECKPOINT_PAGES),
        (f"query_only = {int(reading)}", None),
    ):
        row = db.execute(f"PRAGMA {pragma}").fetchone()
        if wanted is not None and (row is None or row[0] != wanted):
            db.close()
            raise ConfigError("data", f"SQLite does not take {pragma} on this file system")
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size > CHECK_BYTES:
        return
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise ConfigError("data", f"{path} is damaged ({found}); {_RESCUE}")


def schema() -> list[str]:
    """The scripts that lead from an empty file to today's schema; the n-th makes version n."""
    folder = resources.files("imd.storage") / "schema" / "sqlite"
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [script.read_text(encoding="utf-8") for script in scripts]


def _migrate(db: sqlite3.Connection, path: Path, scripts: list[str]) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise ConfigError(
            "data",
            f"{path} has schema {version}, this imd knows {len(scripts)}; install a newer imd",
        )
    if 0 < version < len(scripts):
        _backup(db, path.with_name(f"{NAME}.v{version}.backup"))
    for number, script in enumerate(scripts[version:], version + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")


def _backup(db: sqlite3.Connection, path: Path) -> None:
    """Copy the database; the copy appears under its name only when it is complete."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    target = sqlite3.connect(part)
    db.backup(target)
    target.close()
    part.rename(path)


def _settle_epoch(db: sqlite3.Connection, marker: Path, new_epoch: Callable[[], str]) -> None:
    """Keep the epoch, or begin a new one if this file is not the one that was here last.

    Each start and each end writes a fresh mark into the database, then into a file beside it.
    A database that was restored from a backup, or swapped, has another mark than that file;
    clients must then compare their logs with it (protocol §5 R6).  A crash between the two
    writes looks the same, which costs a comparison and nothing else.  What cannot be noticed
    is a backup of the very run that crashed; so who restores one removes the file as well.
    """
    rows = dict(db.execute("SELECT key, value FROM meta").fetchall())
    found = marker.read_bytes() if marker.exists() else None
    keep = "epoch" in rows and rows.get("boot", "").encode() == found
    epoch = rows["epoch"] if keep else new_epoch()
    db.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('change', 0)")
    _mark(db, marker, epoch, new_epoch())


def _mark(db: sqlite3.Connection, marker: Path, epoch: str, boot: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    for key, value in (("epoch", epoch), ("boot", boot)):
        db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
    db.execute("COMMIT")
    part = marker.with_name(marker.name + ".part")
    part.write_text(boot, encoding="utf-8")
    part.rename(marker)


def seal(directory: Path, epoch: str, boot: str) -> None:
    """Mark the database anew at the end, so that no backup made until now has its mark."""
    db = connect(directory / NAME)
    try:
        _mark(db, directory / MARK, epoch, boot)
    finally:
        db.close()
