"""Who is whom: hashes of passwords, and other systems that know people."""

from __future__ import annotations

from typing import Protocol


class Passwords(Protocol):
    """Hashes of passwords, made and checked away from the reactor."""

    async def hash(self, password: str) -> str:
        """The hash to store."""

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right; for no account (None) a no that takes as long."""

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash should be made anew."""


class Checker(Protocol):
    """Another system that knows people, and whether a password is theirs.

    All checkers of one ``realm`` speak of the same people.  ``create``: who is new gets an
    account at the first login.  ``adopt``: so does who has one here already, with a password of
    this server; the account belongs to the realm from then on.
    """

    @property
    def realm(self) -> str:
        """The name of the system; stored with each account of it."""

    @property
    def create(self) -> bool:
        """Whether it may make accounts."""

    @property
    def adopt(self) -> bool:
        """Whether it may take over accounts."""

    async def check(self, name: str, password: str) -> bool:
        """Whether this is that person; raises ``Unavailable`` when that cannot be told."""
