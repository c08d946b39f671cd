"""Directories for files that need not outlive a loss of power."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest import TestCase

#: Where they are, if it exists: no test takes the power away, and whoever shares a disk with
#: others waits long for it.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - names are random
#: Bytes that a database server may need.
_ROOM = 2 << 30
#: The same for a database server, which flushes some 300 files whenever a database is removed:
#: there every flush is free.  None (a disk) where memory is short, as in many a container.
ROOMY = MEMORY if MEMORY and shutil.disk_usage(MEMORY).free > _ROOM else None


def directory(test: TestCase) -> Path:
    """A directory of this test alone."""
    top = tempfile.TemporaryDirectory(prefix="imd-test-", dir=MEMORY)
    test.addCleanup(top.cleanup)
    return Path(top.name)
