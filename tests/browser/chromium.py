"""How Chromium is started."""

from __future__ import annotations

import os

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
