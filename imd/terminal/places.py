"""Where the state of an account on this machine is, and that one process has it at a time.

``$XDG_STATE_HOME/imd/USER@HOST:PORT/`` holds a file for each *instance*: ``chat.db``,
``send.db``, ``tail.db``, or what ``--instance`` names.  Each is a device of the account, since a
device has one session; so the three programs may run side by side, and two of the same instance
may not.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from imd.client import SqliteStore, StoreError
from imd.client.effects import SaveAccount
from imd.terminal.codes import Ending, Exit

#: Seconds between two attempts to get a lock.
POLL_SECONDS = 0.05


def state_home(environment: Mapping[str, str]) -> Path:
    """Where programs keep their state, by the XDG base directory specification."""
    given = environment.get("XDG_STATE_HOME", "")
    home = Path(environment.get("HOME") or Path.home())
    return Path(given) if Path(given).is_absolute() else home / ".local" / "state"


def account_directory(home: Path, url: str, user: str) -> Path:
    """The directory of ``user`` of the server at ``url`` below the state home."""
    parts = urlsplit(url)
    server = parts.netloc + parts.path.removesuffix("/ws")
    return home / "imd" / quote(f"{user}@{server}", safe="@:")


class Place:
    """The files of one instance; others wait, or are told to, until this process ends."""

    def __init__(self, directory: Path, instance: str) -> None:
        """Make the directory, for its owner only.  Raises ``Ending``."""
        self.path = directory / f"{instance}.db"
        self._instance = instance
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(directory / f"{instance}.lock", flags, 0o600)
        except OSError as error:
            raise Ending(Exit.STATE, f"{directory}: {error.strerror}") from error

    def take(self, seconds: float) -> None:
        """Take the lock, which another process may keep for so long.  Raises ``Ending``."""
        end = time.monotonic() + seconds
        while not self._locked():
            if time.monotonic() >= end:
                raise Ending(Exit.TEMPORARY, self._busy())
            time.sleep(POLL_SECONDS)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _busy(self) -> str:
        owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
        return (
            f"{self.path} is in use by process {owner or '?'}; wait for it, or give this one"
            " a device of its own with --instance NAME"
        )

    def open(self) -> SqliteStore:
        """The store; it is this process's alone.  Raises ``Ending``."""
        try:
            return SqliteStore(str(self.path))
        except StoreError as error:
            raise Ending(Exit.STATE, str(error)) from error

    def forget_token(self) -> None:
        """The login is no good any more; the history stays.  The store must be closed."""
        store = self.open()
        account = store.load().account
        store.write([SaveAccount(msgspec.structs.replace(account, token=None))])
        store.close()
