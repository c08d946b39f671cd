"""What an administrator may do with accounts: the methods of ``imd.orders``.

The same code serves ``imd user`` beside the server and ``/v1/admin`` inside it.  Each order is one
line in the log: who was meant, where it came from and how it ended, never a secret.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from imd import names, orders
from imd.decoding import BadValue, decode_strict
from imd.errors import Code, Refusal
from imd.interfaces.files import Blobs
from imd.interfaces.storage import Storage
from imd.logins import ERASED, is_external
from imd.model import Place, User
from imd.orders import ORDERS, STREAMS
from imd.records import Records

#: Messages, or files, that are erased in one transaction.
BATCH = 200


class Hasher(Protocol):
    """Makes hashes of passwords."""

    async def hash(self, password: str) -> str:
        """The hash to store."""


class Sources(Protocol):
    """Where times and ids come from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""


class Admin:
    """Carries orders out; ``evict`` ends those sessions of a user here that may not go on.

    ``blobs`` is where the bytes of files are, None where they cannot be read; ``log`` takes the
    lines about orders, if not the log of the process.
    """

    _log = Logger()

    def __init__(
        self,
        storage: Storage,
        hasher: Hasher,
        sources: Sources,
        evict: Callable[[int], Awaitable[object]],
        blobs: Blobs | None,
        log: Logger | None = None,
    ) -> None:
        self._log = log or self._log
        self._storage = storage
        self._hasher = hasher
        self._sources = sources
        self._evict = evict
        self._blobs = blobs
        #: Of the users whose erasure is not at its end.
        self._searches: dict[int, _Search] = {}
        self._orders: dict[str, Callable[[Any], Awaitable[Struct]]] = {
            "user.add": self._add,
            "user.get": self._get,
            "user.list": self._list,
            "user.disable": self._disable,
            "user.enable": self._enable,
            "user.passwd": self._set_password,
            "user.sessions": self._sessions,
            "user.revoke": self._revoke,
            "user.erase": self._erase,
        }
        self._streams: dict[str, Callable[[Any], AsyncGenerator[bytes, None]]] = {
            "user.export": self._export,
        }

    async def call(self, order: str, params: bytes, origin: str) -> Struct:
        """Carry out an order of the table, with parameters in JSON.  Raises ``Refusal``.

        ``origin`` says in the log where the order comes from.
        """
        decoded = _decoded(order, params, self._orders)
        with self._audited(order, decoded, origin) as audit:
            result = await self._orders[order](decoded)
            if isinstance(result, orders.Erased) and result.more:
                audit.success = "done in part"
            return result

    async def stream(self, order: str, params: bytes, origin: str) -> AsyncGenerator[bytes, None]:
        """As ``call``, for an order whose result comes in parts; what is not read is not made.

        Raises ``Refusal`` before the first part, if at all.
        """
        decoded = _decoded(order, params, self._streams)
        with self._audited(order, decoded, origin):
            async for part in self._streams[order](decoded):
                yield part

    @contextmanager
    def _audited(self, order: str, decoded: Any, origin: str) -> Iterator[_Audit]:
        outcome, audit = "broken off", _Audit()
        try:
            yield audit
            outcome = audit.success
        except Refusal as refusal:
            outcome = f"refused: {refusal.code}"
            raise
        except CancelledError:
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            text = "admin {order} {user} from {origin}: {outcome}"
            user = ascii(getattr(decoded, "user", ""))
            self._log.info(text, order=order, user=user, origin=origin, outcome=outcome)

    async def _named(self, name: str) -> User:
        found = await self._storage.find_user(name.casefold())
        if found is None:
            raise Refusal(Code.NOT_FOUND, "there is no such account")
        return found

    async def _alive(self, name: str) -> tuple[User, str]:
        """An account that was not erased, and its hash."""
        found = await self._storage.password_of(name.casefold())
        if found is None:
            raise Refusal(Code.NOT_FOUND, "there is no such account")
        if found[1] == ERASED:
            raise Refusal(Code.FORBIDDEN, "this account was erased; its name stays taken")
        return found

    async def _add(self, params: orders.NewUser) -> Struct:
        name = names.login_name(params.user)
        if await self._storage.find_user(name) is not None:
            raise Refusal(Code.EXISTS, "this name is taken")
        stored = await self._hash(params.password)
        sources = self._sources
        made = await self._storage.create_user(sources.new_id(), name, stored, sources.now_ms())
        return _known(made)

    async def _hash(self, password: str) -> str:
        names.password(password)
        return await self._hasher.hash(password)

    async def _get(self, params: orders.NamedUser) -> Struct:
        return _known(await self._named(params.user))

    async def _list(self, params: orders.UserPage) -> Struct:
        found = await self._storage.users(params.after, params.limit + 1)
        items = [_known(user) for user in found[: params.limit]]
        return orders.KnownUsers(items, len(found) > params.limit)

    async def _disable(self, params: orders.NamedUser) -> Struct:
        return await self._lock(params.user, True)

    async def _enable(self, params: orders.NamedUser) -> Struct:
        return await self._lock(params.user, False)

    async def _lock(self, name: str, disabled: bool) -> Struct:
        user, _ = await self._alive(name)
        await self._storage.set_disabled(user.id, disabled)
        await self._evict(user.id)
        return _known(msgspec.structs.replace(user, disabled=disabled))

    async def _set_password(self, params: orders.NewUser) -> Struct:
        user, stored = await self._alive(params.user)
        if is_external(stored):
            raise Refusal(Code.FORBIDDEN, "the password of this account is not kept here")
        hashed = await self._hash(params.password)
        gone = await self._storage.set_password(user.id, hashed, None, verified=stored)
        await self._evict(user.id)
        return orders.Revoked(len(gone))

    async def _sessions(self, params: orders.NamedUser) -> Struct:
        user = await self._named(params.user)
        found = await self._storage.devices(user.id)
        items = [orders.KnownDevice(d.id, d.label, d.created, d.seen) for d in found]
        return orders.KnownDevices(items)

    async def _revoke(self, params: orders.RevokedDevices) -> Struct:
        user = await self._named(params.user)
        wanted = [params.device]
        if params.device is None:
            wanted = [device.id for device in await self._storage.devices(user.id)]
        gone = [d for d in wanted if d and await self._storage.delete_device(user.id, d)]
        if params.device is not None and not gone:
            raise Refusal(Code.NOT_FOUND, "the account has no such device")
        await self._evict(user.id)
        return orders.Revoked(len(gone))

    async def _erase(self, params: orders.ErasedUser) -> Struct:
        """Each step may be repeated: who was interrupted says it again."""
        if params.repeat != params.user:
            raise Refusal(Code.BAD_REQUEST, "the two names are not the same")
        user = await self._named(params.user)
        await self._storage.close_account(user.id)
        await self._evict(user.id)
        limit = math.inf if params.limit is None else params.limit
        search, files, more = self._searches.pop(user.id, _Search()), 0, True
        try:
            messages, more = await self._erase_messages(user.id, search, limit)
            if not more:
                more = True
                files, more = await self._erase_files(user.id, limit)
        finally:
            if more:
                self._searches[user.id] = search
        return orders.Erased(messages, files, more)

    async def _erase_messages(self, user: int, search: _Search, limit: float) -> tuple[int, bool]:
        """How many were erased, and whether there may be more."""
        total = looked = 0
        while looked < limit:
            done = await self._storage.erase_messages(user, search.last, BATCH)
            if done is not None:
                search.last, search.found = done.last, search.found or done.messages > 0
                total, looked = total + done.messages, looked + done.looked
            elif search.found:
                # A failover may have undone what was committed last: until nothing is found.
                search.last, search.found = Place(0, 0), False
            else:
                return total, False
        return total, True

    async def _erase_files(self, user: int, limit: float) -> tuple[int, bool]:
        """As with messages."""
        total = 0
        while total < limit:
            done = await self._storage.erase_files(user, BATCH)
            if not done:
                return total, False
            total += done
        return total, True

    async def _export(self, params: orders.ExportedUser) -> AsyncGenerator[bytes, None]:
        user = await self._named(params.user)
        blobs = self._blobs if params.files else None
        async for part in Records(self._storage, user, blobs).parts():
            yield part


class _Search:
    """How far the messages of a user were looked through, and whether there was any to erase."""

    def __init__(self) -> None:
        self.last = Place(0, 0)
        self.found = False


class _Audit:
    """What the log says of an order that was carried out."""

    success = "done"


def _decoded(order: str, params: bytes, known: Collection[str]) -> Any:
    """The parameters of one of these orders.  Raises ``Refusal``."""
    if order not in known:
        raise Refusal(Code.NOT_FOUND, "there is no such method")
    try:
        return decode_strict(_DECODERS[order], params)
    except BadValue as error:
        raise Refusal(Code.BAD_REQUEST, f"params: {error}") from None


def _known(user: User) -> orders.KnownUser:
    return orders.KnownUser(user.id, user.name, user.display, user.disabled)


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(order.params) for name, order in (ORDERS | STREAMS).items()
}
