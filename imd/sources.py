"""Where times, ids, secrets and chance come from in a real process, and nowhere else."""

from __future__ import annotations

import os
import random
import secrets
import socket
import time

from imd.limits import Limits
from imd.throttle import Keyed, TokenBucket


class Sources:
    """The real time, ids and secrets."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, by the wall clock."""
        return time.time_ns() // 1_000_000

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""
        return secrets.randbelow(2**52 - 1) + 1

    def new_token(self) -> str:
        """256 random bits."""
        return secrets.token_urlsafe(32)

    def new_epoch(self) -> str:
        """A name for a log, or a mark of a start."""
        return secrets.token_hex(6)

    def fraction(self) -> float:
        """A number in [0, 1), to spread what would otherwise come at once; no secret."""
        return random.random()  # noqa: S311

    def node_name(self, wanted: str) -> str:
        """A name that no other process has, nor this one after its next start."""
        name = wanted or f"{socket.gethostname()}-{os.getpid()}"
        return f"{name}#{secrets.token_hex(4)}"


class Rates:
    """Token buckets by the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: Keyed[int] = Keyed(limits.rate, limits.burst)

    def sends(self, user: int) -> TokenBucket:
        """The one bucket of all sessions of a user."""
        return self._users.bucket(user)

    def others(self) -> TokenBucket:
        """A new bucket for everything else on one connection."""
        return TokenBucket(self._limits.other_rate, self._limits.other_burst)
