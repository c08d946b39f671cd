"""Opening the SQLite file: who may, what is checked, and what an operator is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import imd
from imd.errors import ConfigError
from imd.storage import database
from imd.storage.database import NAME, Lock, connect, open_database, schema
from imd.storage.sqlite import SqliteStorage
from tests.directories import directory
from tests.inline import new_epoch

#: The first version of a schema that is not ours.
OLD = "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL); CREATE TABLE old (n INTEGER)"
TAKE_LOCK = """
import sys
from pathlib import Path
from imd.storage.database import Lock
lock = Lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


class Case(SynchronousTestCase):
    """With a directory."""

    def setUp(self) -> None:
        self.directory = directory(self) / "data"
        self.path = self.directory / NAME

    def make(self) -> sqlite3.Connection:
        self.directory.mkdir(exist_ok=True)
        db = open_database(self.directory, new_epoch)
        self.addCleanup(db.close)
        return db

    def versions(self, *scripts: str) -> None:
        """From here on these are the scripts that make the schema."""
        self.patch(database, "schema", lambda: [f"{script};" for script in scripts])

    def epoch(self) -> str:
        """Open and close; the epoch that was found or begun."""
        db = self.make()
        (epoch,) = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        db.close()
        found: str = epoch
        return found

    def assertRefused(self, *words: str) -> None:
        """Opening fails with a line for the operator that has these words in it."""
        error = self.assertRaises(ConfigError, self.make)
        self.assertEqual(error.key, "data")
        for word in words:
            self.assertIn(word, str(error))

    def fill(self) -> None:
        """Leave a database of some hundred pages."""
        db = self.make()
        db.execute("CREATE TABLE big (n INTEGER PRIMARY KEY, x BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO big (x) VALUES (?)", [(bytes(3000),)] * 500)
        db.execute("COMMIT")
        db.close()

    def damage(self, start: int, length: int) -> None:
        """Overwrite a part of the file."""
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * length)


class LockTests(Case):
    """One process a directory."""

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_LOCK, str(self.directory)],
            cwd=Path(imd.__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_second_process_is_refused(self) -> None:
        lock = Lock(self.directory)
        output, errors = self.start().communicate(timeout=120)
        self.assertEqual(output, "")
        self.assertIn(f"{self.directory} is in use by another imd", errors)
        lock.release()
        process = self.start()
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "locked\n")

    def test_lock_dies_with_its_process(self) -> None:
        process = self.start()
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "locked\n")
        error = self.assertRaises(ConfigError, Lock, self.directory)
        self.assertIn("in use", str(error))
        process.kill()
        process.wait(120)
        Lock(self.directory).release()

    def test_directory_is_made_for_its_owner_alone(self) -> None:
        Lock(self.directory / "below").release()
        mode = stat.S_IMODE((self.directory / "below").stat().st_mode)
        self.assertEqual(mode, 0o700)

    def test_directory_that_cannot_be_written_is_refused(self) -> None:
        self.directory.write_text("a file")
        for path in self.directory, self.directory / "below", Path("/proc/1/imd"), Path("/sys"):
            error = self.assertRaises(ConfigError, Lock, path)
            self.assertEqual(error.key, "data")
            self.assertIn(f"cannot use {path}", str(error))

    def test_storage_that_cannot_be_opened_locks_nobody_out(self) -> None:
        self.directory.mkdir()
        self.path.write_bytes(b"no database" * 100)
        for _ in range(2):
            error = self.assertRaises(
                ConfigError, SqliteStorage.open, self.directory, new_epoch=new_epoch
            )
            self.assertNotIn("in use", str(error))
        Lock(self.directory).release()


class ConnectTests(Case):
    """How a connection is set up."""

    def test_commits_wait_until_the_disk_has_them(self) -> None:
        self.make()
        db = connect(self.path)
        self.addCleanup(db.close)
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 5000),
            ("trusted_schema", 0),
            ("wal_autocheckpoint", 4000),
            ("query_only", 0),
        ):
            self.assertEqual(db.execute(f"PRAGMA {pragma}").fetchone(), (value,), pragma)

    def test_connection_for_reading_cannot_write(self) -> None:
        self.make()
        db = connect(self.path, reading=True)
        self.addCleanup(db.close)
        self.assertRaises(sqlite3.OperationalError, db.execute, "DELETE FROM meta")
        self.assertEqual(db.execute("SELECT count(*) FROM message").fetchone(), (0,))

    def test_place_that_cannot_be_durable_is_refused(self) -> None:
        error = self.assertRaises(ConfigError, connect, Path(":memory:"))
        self.assertIn("SQLite does not take journal_mode = WAL", str(error))

    def test_only_the_owner_may_read_what_is_stored(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.versions(OLD)
        self.make().close()
        self.versions(OLD, "CREATE TABLE message (n INTEGER)")
        db = self.make()
        db.execute("INSERT INTO message VALUES (1)")
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.directory.iterdir()}
        self.assertEqual(
            {name: oct(mode) for name, mode in files.items() if name.startswith(NAME)},
            {NAME + end: oct(0o600) for end in ("", "-wal", "-shm", ".v1.backup")},
        )


class CheckTests(Case):
    """Files that cannot be used."""

    def test_damaged_file_is_refused_with_what_to_do(self) -> None:
        self.fill()
        size = self.path.stat().st_size
        self.damage(size // 2 // 4096 * 4096, 20 * 4096)
        self.assertRefused(str(self.path), "damaged", "restore a backup", ".recover")

    def test_file_that_is_no_database_is_refused_with_what_to_do(self) -> None:
        self.fill()
        self.damage(0, 4096)
        self.assertRefused(str(self.path), "not a database", "restore a backup")

    def test_file_whose_schema_is_damaged_is_refused_with_what_to_do(self) -> None:
        self.fill()
        self.damage(100, 3996)
        self.assertRefused(str(self.path), "malformed", "restore a backup")

    def test_large_file_is_not_read_through(self) -> None:
        self.fill()
        self.damage(self.path.stat().st_size // 2 // 4096 * 4096, 20 * 4096)
        self.patch(database, "CHECK_BYTES", 4096)
        self.make().close()

    def test_directory_in_the_place_of_the_file_is_refused(self) -> None:
        self.path.mkdir(parents=True)
        self.assertRefused("cannot open", str(self.path))

    def test_marker_that_cannot_be_written_is_refused(self) -> None:
        (self.directory / "imd.boot.part").mkdir(parents=True)
        self.assertRefused("cannot use", "imd.boot")


class MigrateTests(Case):
    """Versions of the schema."""

    def test_new_file_gets_all_scripts(self) -> None:
        db = self.make()
        self.assertEqual(db.execute("PRAGMA user_version").fetchone(), (len(schema()),))
        self.assertEqual(list(self.directory.glob("*.backup*")), [])

    def test_older_schema_is_backed_up_and_upgraded(self) -> None:
        self.versions(OLD)
        db = self.make()
        db.execute("INSERT INTO old VALUES (7)")
        db.close()
        self.versions(OLD, "ALTER TABLE old ADD COLUMN m INTEGER", "UPDATE old SET m = n + 1")
        db = self.make()
        self.assertEqual(db.execute("SELECT n, m FROM old").fetchall(), [(7, 8)])
        self.assertEqual(db.execute("PRAGMA user_version").fetchone(), (3,))
        (backup,) = self.directory.glob("*.backup*")
        self.assertEqual(backup.name, f"{NAME}.v1.backup")
        old = sqlite3.connect(backup)
        self.addCleanup(old.close)
        self.assertEqual(old.execute("SELECT * FROM old").fetchall(), [(7,)])
        self.assertEqual(old.execute("PRAGMA user_version").fetchone(), (1,))

    def test_upgrade_keeps_the_epoch(self) -> None:
        self.versions(OLD)
        epoch = self.epoch()
        self.versions(OLD, "CREATE TABLE another (n INTEGER)")
        self.assertEqual(self.epoch(), epoch)

    def test_rest_of_a_backup_that_was_broken_off_is_in_nobodys_way(self) -> None:
        self.versions(OLD)
        self.make().close()
        (self.directory / f"{NAME}.v1.backup.part").write_bytes(b"rest" * 5000)
        self.versions(OLD, "CREATE TABLE another (n INTEGER)")
        self.make().close()
        (backup,) = self.directory.glob("*.backup*")
        self.assertEqual(backup.name, f"{NAME}.v1.backup")

    def test_script_that_fails_changes_nothing(self) -> None:
        self.versions(OLD)
        self.make().close()
        self.versions(OLD, "CREATE TABLE another (n INTEGER); INSERT INTO missing VALUES (1)")
        self.assertRefused("cannot use", "missing")
        db = sqlite3.connect(self.path)
        self.addCleanup(db.close)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone(), (1,))
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        self.assertNotIn("another", tables)

    def test_newer_schema_is_refused_with_both_versions(self) -> None:
        self.versions(OLD, "CREATE TABLE another (n INTEGER)")
        self.make().close()
        self.versions(OLD)
        self.assertRefused("schema 2", "knows 1", "install a newer imd")


class EpochTests(Case):
    """A log that may have lost something gets another name."""

    def test_epoch_stays_while_the_file_does(self) -> None:
        first = self.epoch()
        for _ in range(3):
            self.assertEqual(self.epoch(), first)

    def test_restored_backup_begins_a_new_epoch(self) -> None:
        epochs = [self.epoch()]
        shutil.copy(self.path, self.directory / "copy")
        epochs.append(self.epoch())
        shutil.copy(self.directory / "copy", self.path)
        epochs += [self.epoch(), self.epoch()]
        self.assertEqual(epochs[0], epochs[1])
        self.assertNotIn(epochs[2], epochs[:2])
        self.assertEqual(epochs[2], epochs[3])

    def test_file_from_elsewhere_begins_a_new_epoch(self) -> None:
        first = self.epoch()
        (self.directory / "imd.boot").unlink()
        second = self.epoch()
        self.assertNotEqual(second, first)
        (self.directory / "imd.boot").write_bytes(b"\xff\x00 no text")
        self.assertNotIn(self.epoch(), (first, second))

    def test_new_file_beside_an_old_marker_begins_a_new_epoch(self) -> None:
        first = self.epoch()
        self.path.unlink()
        self.assertNotEqual(self.epoch(), first)
