"""Certificates by which connectors and transfers know each other."""

from __future__ import annotations

from msgspec import Struct


class TransferTls(Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``transfer-tls``: paths of PEM files, and the names that prove a role.

    ``cert`` may hold intermediate certificates behind the own one, ``ca`` several authorities.
    """

    cert: str = ""
    key: str = ""
    ca: str = ""
    connector: str = "connector.imd.internal"
    transfer: str = "transfer.imd.internal"
