"""How to reach an S3-compatible store."""

from __future__ import annotations

from msgspec import Struct


class S3Account(Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``s3``: where the store is (empty: AWS, by region), and who we are to it."""

    endpoint: str = ""
    region: str = "us-east-1"
    key: str = ""
    secret: str = ""
