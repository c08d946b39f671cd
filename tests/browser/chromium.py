"""Finds Chromium; installs Debian's package where that is allowed.

``IMD_TEST_CHROMIUM`` may name the program to use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

#: Where packages put it.
_PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Quiet, without a GPU, and talking to nobody but the tests.  ``imd.test`` is a name that is
#: no secure context, unlike 127.0.0.1.
ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP imd.test 127.0.0.1",
)


def arguments() -> list[str]:
    """The command line options; Chromium's sandbox refuses root."""
    return [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else list(ARGUMENTS)


def find() -> Path:
    """The program; fails the test with what to install if there is none."""
    with Path(tempfile.gettempdir(), "imd-test-chromium.lock").open("w") as lock:
        # Workers look for it at the same time, and one of them installs it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = _found()
        if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
            _install()
            path = _found()
    if path is None:
        pytest.fail(
            "no Chromium: install Debian's package 'chromium', or name one in IMD_TEST_CHROMIUM"
        )
    return path


def _found() -> Path | None:
    named = os.environ.get("IMD_TEST_CHROMIUM")
    if named:
        return Path(named)
    paths = (shutil.which(name) for name in _PLACES)
    return next((Path(path) for path in paths if path), None)


def _install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-q", *command], env=environment, check=False, timeout=600)
