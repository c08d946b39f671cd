"""The sessions of this process."""

from __future__ import annotations

from typing import Protocol

from imd.errors import Close
from imd.model import Identity


class LiveSession(Protocol):
    """A READY (or REGISTERING) session of this process, as the application sees it."""

    @property
    def identity(self) -> Identity:
        """Whose session it is, on which device."""

    def push(self, conversation: int, frame: bytes) -> None:
        """Send an encoded frame about ``conversation``, or remember that it is behind there."""

    def notify(self, frame: bytes) -> None:
        """Send an encoded hint (an event); dropped when the client does not read."""

    def close(self, code: Close, reason: str) -> None:
        """End the session with a close code of protocol §9."""
