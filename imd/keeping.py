"""How long messages and files are kept."""

from __future__ import annotations

from msgspec import Struct


class Keeping(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The table ``[retention]`` of the configuration, in days; 0 is for ever."""

    #: Messages that all members have.
    messages_days: int = 0
    #: Messages that somebody has not fetched yet; never shorter than the others.
    undelivered_days: int = 90
    #: The bytes of files that were sent; the messages stay.
    files_days: int = 0
