"""Who somebody is who says a name and a password: the store knows, or another system.

An account belongs to exactly one of them.  In place of a hash, an account of another system
has the name of its realm, and only checkers of that realm are ever asked about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from imd import names
from imd.errors import Code, Refusal
from imd.interfaces.passwords import Checker, Passwords
from imd.interfaces.storage import AccountStorage
from imd.model import User
from imd.names import PASSWORD_BYTES

#: What stands in place of the hash of an account that was erased; it belongs to nobody again.
ERASED = "erased"
#: What stands in place of a hash; no hash begins like this.
_EXTERNAL = "external:"


class Sources(Protocol):
    """Where the time and the ids of new accounts come from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""


class Verified(Struct, frozen=True):
    """An account, what is stored in proof of it, and devices that were logged out on the way."""

    user: User
    stored: str
    gone: tuple[int, ...] = ()


class Logins:
    """Checks names and passwords; ``own`` says whether accounts may have their password here."""

    def __init__(
        self,
        storage: AccountStorage,
        passwords: Passwords,
        sources: Sources,
        checkers: Sequence[Checker] = (),
        own: bool = True,
    ) -> None:
        self._storage = storage
        self._passwords = passwords
        self._sources = sources
        self._checkers = checkers
        self.own = own

    async def hash(self, password: str) -> str:
        """The hash of a password that is to be kept here."""
        return await self._passwords.hash(password)

    async def check(self, name: str, password: str) -> Verified | None:
        """The account, if it may be entered; one that another system vouches for is made.

        Raises ``Unavailable`` where the answer depends on a system that is away.
        """
        found = await self._storage.password_of(name)
        if found is not None and is_external(found[1]):
            return await self._known(*found, password)
        verified = await self._with_hash(found, password)
        return verified or await self._newcomer(name, found, password)

    async def check_own(self, name: str, password: str) -> Verified | None:
        """The account, if its password is kept here and is this one.

        Raises ``Refusal(FORBIDDEN)`` if it is kept elsewhere.
        """
        found = await self._storage.password_of(name)
        if found is not None and is_external(found[1]):
            raise Refusal(Code.FORBIDDEN, "the password of this account is not kept here")
        return await self._with_hash(found, password)

    async def _with_hash(self, found: tuple[User, str] | None, password: str) -> Verified | None:
        if not self.own:
            return None
        user, stored = found or (None, None)
        fits = len(password.encode()) <= PASSWORD_BYTES
        right = await self._passwords.verify(stored if fits else None, password[:PASSWORD_BYTES])
        if not right or user is None or stored is None:
            return None
        if self._passwords.is_outdated(stored):
            better = await self._passwords.hash(password)
            await self._storage.rehash_password(user.id, better, verified=stored)
            return Verified(user, better)
        return Verified(user, stored)

    async def _known(self, user: User, stored: str, password: str) -> Verified | None:
        for checker in self._checkers:
            if _mark(checker) == stored and await checker.check(user.name, password):
                return Verified(user, stored)
        return None

    async def _newcomer(
        self, name: str, found: tuple[User, str] | None, password: str
    ) -> Verified | None:
        """Ask for somebody who is not known yet, or whose account may change hands."""
        if not names.is_login_name(name):
            return None
        for checker in self._checkers:
            # An unknown name is asked for even where no account may be made of it: how long
            # the answer takes does not tell which names have one.
            if (found is None or (checker.adopt and found[1] != ERASED)) and await checker.check(
                name, password
            ):
                return await self._settle(checker, name, found)
        return None

    async def _settle(
        self, checker: Checker, name: str, found: tuple[User, str] | None
    ) -> Verified | None:
        mark = _mark(checker)
        if found is not None:
            user, stored = found
            gone = await self._storage.set_password(user.id, mark, None, verified=stored)
            return Verified(user, mark, gone)
        return await self._create(name, mark) if checker.create else None

    async def _create(self, name: str, mark: str) -> Verified | None:
        sources = self._sources
        try:
            user = await self._storage.create_user(sources.new_id(), name, mark, sources.now_ms())
        except Refusal:
            # Another node was faster: perhaps with the same person.
            found = await self._storage.password_of(name)
            return Verified(*found) if found is not None and found[1] == mark else None
        return Verified(user, mark)


def _mark(checker: Checker) -> str:
    return _EXTERNAL + checker.realm


def is_external(stored: str) -> bool:
    """Whether this stands in place of a hash, for the password is kept elsewhere."""
    return stored.startswith(_EXTERNAL)
