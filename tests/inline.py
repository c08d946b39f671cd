"""SQLite storage that has done everything by the time a call returns."""

from __future__ import annotations

import itertools
from pathlib import Path

from imd.storage.sqlite import SqliteStorage

_EPOCHS = itertools.count(1)


def new_epoch() -> str:
    """An epoch (or mark) that was not there before."""
    return f"e{next(_EPOCHS)}"


def open_storage(directory: Path) -> SqliteStorage:
    """Open it."""
    return SqliteStorage.open(directory, new_epoch=new_epoch)
