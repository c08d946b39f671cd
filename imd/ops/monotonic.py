"""A reactor whose time never jumps.

Twisted takes its time from the wall clock: set back by two hours, every timer would stand
still for two hours.  ``install`` gives it the monotonic clock instead; the wall clock is
then only read for timestamps.
"""

from __future__ import annotations

import time


def install() -> None:
    """Make the time of Twisted monotonic.  Call before the reactor is installed."""
    from twisted.internet import base
    from twisted.python import runtime

    runtime.seconds = time.monotonic
    runtime.Platform.seconds = staticmethod(time.monotonic)
    base.ReactorBase.seconds = staticmethod(time.monotonic)
