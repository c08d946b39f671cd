"""The world around a client: wall time, chance, and the reactor.  Only here are they asked for."""

from __future__ import annotations

import random as _random
import secrets
import time
import uuid
from typing import Any


def wall_ms() -> int:
    """The time of day, ms since the epoch."""
    return time.time_ns() // 1_000_000


def chance() -> float:
    """A number in [0, 1), to spread reconnects; no secret."""
    return _random.random()  # noqa: S311


def new_id() -> str:
    """A UUID of version 7 (RFC 9562 §5.7): time first, so that ids of one device sort."""
    value = (wall_ms() & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))


def reply_id(id: str, n: int) -> str:
    """The id of the ``n``-th reply to message ``id``: the same whenever it is asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"imd:reply:{id}:{n}"))


def default_reactor() -> Any:
    """The reactor of this process; importing it installs it, hence not before it is needed."""
    from twisted.internet import reactor

    return reactor


def make_monotonic(reactor: Any) -> None:
    """Let a reactor that has nothing scheduled yet run on monotonic time.

    ``reactor.seconds`` is the time of day otherwise, and a step of the clock backwards would
    stop every timer for as long.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
