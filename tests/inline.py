"""SQLite storage that has done everything by the time a call returns."""

from __future__ import annotations

import itertools
from pathlib import Path

from imd.storage.sqlite import SqliteStorage

_EPOCHS = itertools.count(1)


def open_storage(directory: Path) -> SqliteStorage:
    """Open it; epochs and marks are numbers."""
    return SqliteStorage.open(directory, new_epoch=lambda: f"e{next(_EPOCHS)}")
