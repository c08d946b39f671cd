"""Hints as bytes: each is encoded once and spliced into the blobs of all its destinations.

A blob is the msgpack array ``[lost, [hint, …]]``.  ``lost`` tells the destination that hints for
it were dropped before these.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from imd.errors import ImdError
from imd.hints import AnyHint

#: Bytes of a blob; Perspective Broker takes 640 KiB, in one piece.
MOST_BYTES = 256 * 1024
#: Array of two, a boolean, an array with a length of four bytes.
_HEADER_BYTES = 1 + 1 + 5
#: Bytes of encoded hints in one blob.
ROOM = MOST_BYTES - _HEADER_BYTES

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[bool, list[AnyHint]])


class Garbage(ImdError):
    """These bytes are no blob."""


def encode(hint: AnyHint) -> bytes:
    """One hint; more than ``ROOM`` bytes of it fit into no blob."""
    return _encoder.encode(hint)


def join(hints: Sequence[bytes], lost: bool) -> bytes:
    """A blob of encoded hints, which together have at most ``ROOM`` bytes."""
    header = b"\x92\xc3\xdd" if lost else b"\x92\xc2\xdd"
    return b"".join((header, len(hints).to_bytes(4, "big"), *hints))


def split(raw: bytes) -> tuple[bool, list[AnyHint]]:
    """``lost`` and the hints.  Raises ``Garbage``, and nothing else."""
    if len(raw) > MOST_BYTES:
        raise Garbage(f"{len(raw)} bytes are too many for a blob")
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Garbage(f"not a blob: {error}") from None


#: Nothing but the news that something was dropped.
LOST = join((), lost=True)
