"""PostgreSQL behind the storage ports: any number of nodes write to one database.

Appends have connections of their own, one for each commit lane, and so have cursors; the
rest shares a few.  The functions that speak SQL are in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from imd.errors import ConfigError
from imd.interfaces.feed import FeedPage
from imd.interfaces.storage import AdvanceResult, AppendResult, FriendshipResult, Quota
from imd.model import (
    Cursor,
    Device,
    Erased,
    Expired,
    File,
    Friend,
    HeadPage,
    History,
    Identity,
    NewMessage,
    Place,
    User,
)
from imd.storage import postgres_accounts as accounts
from imd.storage import postgres_expiry as expiry
from imd.storage import postgres_files as files
from imd.storage import postgres_friends, postgres_messages, postgres_reads
from imd.storage.postgres_address import Address
from imd.storage.postgres_link import Connection, Link
from imd.storage.postgres_pool import Outages, Pool
from imd.storage.postgres_terms import Terms

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

#: Connections for whatever is neither an append nor a cursor.
SHARED = 4


class PostgresStorage:
    """``imd.interfaces.storage.Storage`` and ``Feed`` over a PostgreSQL database.

    ``url`` is any URL of libpq, ``node`` names this process to the server.  An append uses the
    connection number ``conversation % lanes`` of its first message, so those of one
    ``imd.messaging`` lane stay in order.  ``unsafe``: serve even where a crash may lose commits.
    """

    def __init__(
        self, url: str, node: str, reactor: Any, lanes: int = 2, unsafe: bool = False
    ) -> None:
        self._outages = Outages()
        terms = Terms(unsafe)
        address = Address(url, node, reactor)

        def pool(size: int) -> Pool:
            links = [Link(address, terms.prepare, reactor, self._outages) for _ in range(size)]
            return Pool(links, reactor)

        self._lanes = [pool(1) for _ in range(lanes)]
        self._cursors = pool(1)
        self._shared = pool(SHARED)
        self._links = [
            link for p in (*self._lanes, self._cursors, self._shared) for link in p.links
        ]

    async def start(self) -> None:
        """Connect.  A server that is away is no error: it is tried for until it is there.

        Raises ``ConfigError`` for a server that must not be used.
        """
        await gatherResults([Deferred.fromCoroutine(link.start()) for link in self._links])
        if self.refusal is not None:
            self.stop_now()
            raise self.refusal

    async def stop(self) -> None:
        """Close all connections; what runs on them fails."""
        self.stop_now()

    def stop_now(self) -> None:
        """As ``stop``; there is nothing to wait for."""
        for link in self._links:
            link.stop()

    @property
    def unready(self) -> str | None:
        """Why the database cannot be used just now, in one line; None if it can."""
        why = next((link.down for link in self._links if link.down is not None), None)
        return None if why is None else f"PostgreSQL: {why}"

    @property
    def refusal(self) -> ConfigError | None:
        """Set while the server answers, but must not be used as it is."""
        return next((link.refusal for link in self._links if link.refusal is not None), None)

    def when_refused(self, call: Callable[[ConfigError], None]) -> None:
        """Call whenever the server turns out to need a correction before it may be used."""
        self._outages.refused = call

    @property
    def outages(self) -> int:
        """How often the database went away since the start."""
        return self._outages.count

    async def _transact(self, work: Work[T]) -> T:
        """Several statements in one transaction."""
        return await self._shared.run(lambda db: db.transaction(partial(work, db)))

    # -- Storage

    async def ping(self) -> None:
        """See ``Storage``."""
        await self._shared.run(lambda db: db.query("SELECT 1"))

    async def touched(self) -> bool:
        """See ``Storage``."""
        return False

    # -- messages

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        """See ``MessageStorage``."""
        if not batch:
            return AppendResult((), None)
        lane = self._lanes[batch[0].conversation % len(self._lanes)]
        return await lane.run(lambda db: postgres_messages.append(db, batch, at))

    async def advance(self, cursors: Sequence[Cursor], at: int) -> AdvanceResult:
        """See ``MessageStorage``."""
        return await self._cursors.run(lambda db: postgres_messages.advance(db, cursors))

    async def history(
        self,
        user: int,
        conversation: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        max_bytes: int,
    ) -> History:
        """See ``MessageStorage``."""
        return await self._shared.run(
            lambda db: postgres_reads.history(
                db, user, conversation, after, before, limit, max_bytes
            )
        )

    async def heads(
        self,
        user: int,
        *,
        since: str | None = None,
        after: int = 0,
        limit: int = 200,
        only: Sequence[int] | None = None,
    ) -> HeadPage:
        """See ``MessageStorage``."""
        return await self._shared.run(
            lambda db: postgres_reads.heads(db, user, since, after, limit, only)
        )

    async def epoch(self) -> str:
        """See ``MessageStorage``."""
        return await self._shared.run(postgres_reads.epoch)

    async def feed(self, since: str | None) -> FeedPage:
        """See ``Feed``."""
        return await self._shared.run(lambda db: postgres_reads.feed(db, since))

    async def purge(self) -> None:
        """See ``Feed``."""
        await self._shared.run(postgres_reads.purge)

    # -- accounts

    async def create_user(self, user: int, name: str, password: str, at: int) -> User:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.create_user(db, user, name, password, at))

    async def find_user(self, who: int | str) -> User | None:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.find_user(db, who))

    async def password_of(self, name: str) -> tuple[User, str] | None:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.password_of(db, name))

    async def set_password(
        self, user: int, password: str, keep_device: int | None, *, verified: str
    ) -> tuple[int, ...]:
        """See ``AccountStorage``."""
        return await self._transact(
            lambda db: accounts.set_password(db, user, password, keep_device, verified)
        )

    async def rehash_password(self, user: int, password: str, *, verified: str) -> None:
        """See ``AccountStorage``."""
        await self._transact(lambda db: accounts.rehash_password(db, user, password, verified))

    async def set_display(self, user: int, display: str) -> User:
        """See ``AccountStorage``."""
        return await self._transact(lambda db: accounts.set_display(db, user, display))

    async def set_disabled(self, user: int, disabled: bool) -> None:
        """See ``AccountStorage``."""
        await self._transact(lambda db: accounts.set_disabled(db, user, disabled))

    async def users(self, after: str, limit: int) -> tuple[User, ...]:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.users(db, after, limit))

    async def add_device(
        self,
        device: Device,
        token_hash: bytes,
        *,
        verified: str,
        limit: int,
        retire_before: int,
    ) -> tuple[int, ...]:
        """See ``AccountStorage``."""
        return await self._transact(
            lambda db: accounts.add_device(db, device, token_hash, verified, limit, retire_before)
        )

    async def open_session(self, token_hash: bytes, at: int) -> Identity | None:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.open_session(db, token_hash, at))

    async def authenticate(self, token_hash: bytes) -> Identity | None:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.authenticate(db, token_hash))

    async def devices(self, user: int) -> tuple[Device, ...]:
        """See ``AccountStorage``."""
        return await self._shared.run(lambda db: accounts.devices(db, user))

    async def delete_device(self, user: int, device: int) -> bool:
        """See ``AccountStorage``."""
        return await self._transact(lambda db: accounts.delete_device(db, user, device))

    # -- friends

    async def friends(self, user: int) -> tuple[int, tuple[Friend, ...]]:
        """See ``FriendStorage``."""
        return await self._shared.run(lambda db: postgres_friends.friends(db, user))

    async def befriend(
        self, user: int, peer: int, verb: str, *, note: str, conversation: int, at: int
    ) -> FriendshipResult:
        """See ``FriendStorage``."""
        return await self._transact(
            lambda db: postgres_friends.befriend(db, user, peer, verb, note, conversation, at)
        )

    # -- files

    async def add_file(self, file: File, quota: Quota) -> None:
        """See ``FileStorage``."""
        await self._transact(lambda db: files.add_file(db, file, quota))

    async def own_file(self, user: int, file: int) -> File | None:
        """See ``FileStorage``."""
        return await self._shared.run(lambda db: files.own_file(db, user, file))

    async def complete_file(self, user: int, file: int, media: str) -> File | None:
        """See ``FileStorage``."""
        return await self._transact(lambda db: files.complete_file(db, user, file, media))

    async def fail_file(self, user: int, file: int) -> bool:
        """See ``FileStorage``."""
        return await self._transact(lambda db: files.fail_file(db, user, file))

    async def readable_file(self, user: int, device: int, file: int) -> File | None:
        """See ``FileStorage``."""
        return await self._shared.run(lambda db: files.readable_file(db, user, device, file))

    async def expire_files(self, *, incomplete: int, unsent: int, limit: int) -> int:
        """See ``FileStorage``."""
        return await self._transact(lambda db: files.expire_files(db, incomplete, unsent, limit))

    async def unused_blobs(self, after: int, limit: int) -> tuple[int, ...]:
        """See ``FileStorage``."""
        return await self._shared.run(lambda db: files.unused_blobs(db, after, limit))

    async def forget_blob(self, blob: int) -> None:
        """See ``FileStorage``."""
        await self._transact(lambda db: files.forget_blob(db, blob))

    async def link_secret(self) -> bytes:
        """See ``FileStorage``."""
        return await self._shared.run(files.link_secret)

    # -- what is taken out again

    async def claim(self, job: str, at: int, every: int) -> bool:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.claim(db, job, at, every))

    async def expire_messages(
        self, *, after: int, cut: int, hard: int, limit: int
    ) -> Expired | None:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.expire_messages(db, after, cut, hard, limit))

    async def expire_sent_files(self, *, before: int, limit: int) -> int:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.expire_sent_files(db, before, limit))

    async def close_account(self, user: int) -> tuple[int, ...]:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.close_account(db, user))

    async def erase_messages(self, user: int, after: Place, limit: int) -> Erased | None:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.erase_messages(db, user, after, limit))

    async def erase_files(self, user: int, limit: int) -> int:
        """See ``ExpiryStorage``."""
        return await self._transact(lambda db: expiry.erase_files(db, user, limit))
