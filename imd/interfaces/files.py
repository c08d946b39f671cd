"""The bytes of files."""

from __future__ import annotations

from typing import Protocol


class Upload(Protocol):
    """Bytes on their way into a store.  Nobody else writes the same ones at the same time."""

    @property
    def size(self) -> int:
        """Bytes taken so far, those of earlier uploads of this id included."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes.  Raises ``StoreFull``."""

    async def seal(self, sha256: str) -> bool:
        """Make all of it durable, and final: it can be read from now on, and never changes.

        False if the digest of all bytes is another; they are then good for nothing.
        """

    async def close(self) -> None:
        """End the upload; what was taken is kept as far as possible.  Harmless when repeated."""


class Blobs(Protocol):
    """The bytes of files, by ids that the caller has made.  Nothing else is known here.

    Errors of the store are ``Unavailable``; a store without room raises ``StoreFull``.
    """

    async def stored(self, blob: int) -> int:
        """How many bytes are kept, final or not; an upload goes on there."""

    async def resume(self, blob: int, offset: int) -> Upload:
        """Go on with an upload, or begin one at 0, which drops what there was unless it is final.

        Raises ``Refusal(CONFLICT)`` if it cannot go on at ``offset``, or somebody else is writing.
        """

    async def read(self, blob: int, offset: int, length: int) -> bytes:
        """Some bytes of a final blob; fewer than ``length`` only at its end."""

    async def delete(self, blob: int) -> None:
        """Delete all there is of it, final or not; nothing if there is nothing."""
