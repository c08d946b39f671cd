"""Who may read the figures of a process."""

from __future__ import annotations

from msgspec import Struct


class Readers(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may read the figures, the table ``[metrics]`` of the configuration."""

    #: Networks; an empty list is nobody without the token.
    readers: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    #: A secret that lets in anybody who has it; empty is no such secret.
    token: str = ""
    #: A server endpoint of its own for the figures; empty is none.
    listen: str = ""
