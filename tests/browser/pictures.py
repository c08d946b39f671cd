"""Pictures to send."""

from __future__ import annotations

import math
import struct
import zlib


def png(width: int = 640, height: int = 400) -> bytes:
    """Hills in the evening."""
    rows = b"".join(b"\0" + _row(y / height, width) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _row(y: float, width: int) -> bytes:
    return b"".join(bytes(_colour(x / width, y)) for x in range(width))


def _colour(x: float, y: float) -> tuple[int, int, int]:
    for depth, colour in ((0.8, (38, 70, 66)), (0.65, (61, 104, 96)), (0.5, (110, 150, 138))):
        if y > depth + 0.06 * math.sin(9 * x + 20 * depth) + 0.03 * math.sin(23 * x):
            return colour
    return 250 - int(40 * y), 205 - int(30 * y), 150 + int(60 * y)
