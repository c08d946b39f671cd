"""Programs of Debian that tests run; ``python -m tests.debian`` installs those that are absent.

``IMD_TEST_CHROMIUM`` may name the browser to use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

#: Packages, and by what names their program is known.
PACKAGES = {
    # The browser without its windows, and without the half of the work that those make.
    "chromium-headless-shell": (
        "chromium-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ),
    "haproxy": ("haproxy",),
    "nginx": ("nginx",),
    "openssl": ("openssl",),
    "slapd": ("slapd",),
    "systemd": ("systemd-analyze",),
}
#: Daemons are not in the path of everybody.
_PATH = os.pathsep.join(
    (os.defpath, "/usr/local/sbin", "/usr/sbin", "/usr/libexec", "/usr/local/libexec")
)


def program(package: str) -> str:
    """Where the program of a package is; fails the test with what to install if there is none."""
    found = _found(package)
    if found is None:
        pytest.fail(f"install Debian's package {package!r}, or run: python -m tests.debian")
    return found


def _found(package: str) -> str | None:
    named = os.environ.get(f"IMD_TEST_{package.partition('-')[0].upper()}")
    if named:
        return named
    paths = (shutil.which(name, path=_PATH) for name in PACKAGES[package])
    return next((path for path in paths if path), None)


def main() -> int:
    """Install what is absent, if this user may; the exit code of the package tool."""
    absent = [package for package in PACKAGES if _found(package) is None]
    if not absent:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"tests that need these will fail: {', '.join(absent)}", file=sys.stderr)
        return 0
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *absent]):
        done = subprocess.run(["apt-get", "-q", *command], env=environment, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
