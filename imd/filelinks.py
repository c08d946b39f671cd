"""Signed links: who may read which file, and until when, without a login.

A link is ``base64url(user, device, expires, HMAC-SHA256)``.  The id of the file is signed as well
but stands in the path.  The secret is in the database, so every node reads the links of all.
"""

from __future__ import annotations

import binascii
import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode

from msgspec import Struct

_CLAIMS = struct.Struct(">QQQ")
#: Characters of a link: 56 bytes without padding.
LENGTH = 75


class Reader(Struct, frozen=True):
    """For whom a link was made."""

    user: int
    device: int


def sign(secret: bytes, file: int, reader: Reader, expires: int) -> str:
    """A link for ``reader`` until ``expires`` (ms)."""
    claims = _CLAIMS.pack(reader.user, reader.device, expires)
    return urlsafe_b64encode(claims + _digest(secret, file, claims)).decode().rstrip("=")


def read(secret: bytes, file: int, link: str, now: int) -> Reader | None:
    """For whom it is; None if it is forged, is for another file, or has expired."""
    if len(link) != LENGTH or not link.isascii():
        return None
    try:
        raw = urlsafe_b64decode(link + "=")
    except binascii.Error:
        return None
    claims, digest = raw[: _CLAIMS.size], raw[_CLAIMS.size :]
    if not hmac.compare_digest(digest, _digest(secret, file, claims)):
        return None
    user, device, expires = _CLAIMS.unpack(claims)
    return Reader(user, device) if now < expires else None


def _digest(secret: bytes, file: int, claims: bytes) -> bytes:
    return hmac.digest(secret, b"imd file link %d " % file + claims, "sha256")
