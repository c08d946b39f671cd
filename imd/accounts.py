"""Accounts, devices and friends: logging in, and the methods of ``imd.methods``."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from msgspec import UNSET, Struct

from imd import decoding, methods, names, wire
from imd.errors import Close, Code, Refusal, SessionRefused
from imd.events import DeviceEvent
from imd.friends import Friends
from imd.hints import Notify, Revoke
from imd.interfaces.storage import AccountStorage
from imd.limits import Limits
from imd.logins import Logins, Verified
from imd.methods import METHODS
from imd.model import NOBODY, Device, Identity, User
from imd.routing import Routing
from imd.tasks import Clock, Turns
from imd.throttle import Keyed, Locks, network_of, trusts
from imd.wire import UserRef

#: A device that was not seen for so long gives way to a new one, in ms.
RETIRE_AFTER = 30 * 86_400_000

_WRONG = "wrong name or password"
_BAD_TOKEN = "this token is unknown or was revoked; log in with a password"  # noqa: S105


class Sources(Protocol):
    """Where times, ids and secrets come from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""

    def new_token(self) -> str:
        """A secret of at least 256 random bits."""


#: A method that needs to know nothing but who calls it, and its parameters.
Call = Callable[[Identity, Any], Awaitable[Struct]]


class Accounts:
    """Who may log in, and what they may ask for besides messages.

    ``others`` are methods that are carried out elsewhere.
    """

    def __init__(
        self,
        storage: AccountStorage,
        logins: Logins,
        friends: Friends,
        routing: Routing,
        clock: Clock,
        sources: Sources,
        limits: Limits,
        others: Mapping[str, Call],
    ) -> None:
        self._others = others
        self._storage = storage
        self._logins = logins
        self._friends = friends
        self._routing = routing
        self._clock = clock
        self._sources = sources
        self._limits = limits
        self._locks = Locks()
        #: By name, and from the check of a password to what it allows: guesses cannot run
        #: beside each other, nor a login beside a change of the password it came with.
        self._turns: Turns[str] = Turns()
        self._trusted = trusts(limits.trusted_addresses)
        self._logins_from: Keyed[str] = _per(limits.logins_per_minute, 60)
        self._registrations: Keyed[str] = _per(limits.registrations_per_hour, 3600)
        self._methods: dict[str, Callable[[Identity, Any, str], Awaitable[Struct]]] = {
            "account.register": self._register,
            "account.login": self._login,
            "account.logout": self._logout,
            "account.password": self._change_password,
            "account.get": self._get,
            "account.update": self._update,
            "device.list": self._list_devices,
            "device.revoke": self._revoke,
            "user.find": self._find,
        }

    # -- logging in

    async def login_with_token(self, token: str) -> Identity:
        """Open a session of the token's device.  Raises ``SessionRefused``."""
        found = await self._storage.open_session(_hashed(token), self._sources.now_ms())
        return _allowed(found)

    async def authenticate(self, token: str) -> Identity:
        """Who a bearer token belongs to.  Raises ``SessionRefused``."""
        return _allowed(await self._storage.authenticate(_hashed(token)))

    async def login_with_password(
        self, name: str, password: str, label: str, address: str, register: bool
    ) -> tuple[Identity, str]:
        """Make a device, open a session of it, and return its token.

        Raises ``Refusal``: ``bad_request``, ``exists``, ``forbidden``, ``unauthorized``,
        ``locked``, ``limit``; and ``Unavailable``.
        """
        if register:
            made = await self._new_user(name, password, label, address)
            _, token = await self._new_device(*made, label)
        else:
            async with self._turns.of(name.casefold()):
                found = await self._verified(name, password, address)
                _, token = await self._new_device(found.user, found.stored, label)
        return await self.login_with_token(token), token

    async def _new_user(
        self, raw: str, password: str, label: str, address: str
    ) -> tuple[User, str]:
        """A new account, and the hash of its password."""
        if not self._logins.own:
            raise Refusal(Code.FORBIDDEN, "accounts are not made here; log in without register")
        name = names.login_name(raw)
        # All that can be refused is refused before there is an account.
        names.label(label, "device")
        names.password(password)
        self._limit(self._registrations, address, "new accounts from this address")
        if await self._storage.find_user(name) is not None:
            raise Refusal(Code.EXISTS, "this name is taken; choose another")
        stored = await self._logins.hash(password)
        sources = self._sources
        user = await self._storage.create_user(sources.new_id(), name, stored, sources.now_ms())
        return user, stored

    async def _verified(self, raw: str, password: str, address: str, own: bool = False) -> Verified:
        """The account, if the password is right; nothing tells an unknown name from a wrong
        password.  ``own``: only a password that is kept here will do.
        """
        name = raw.casefold()
        self._limit(self._logins_from, address, "logins from this address")
        self._locks.check(name, self._clock.seconds())
        check = self._logins.check_own if own else self._logins.check
        found = await check(name, password)
        if found is None:
            self._locks.failed(name, self._clock.seconds())
            raise Refusal(Code.UNAUTHORIZED, _WRONG)
        self._locks.succeeded(name)
        self._close(found.user.id, found.gone)
        return found

    def _limit(self, buckets: Keyed[str], address: str, what: str) -> None:
        if not self._trusted(address):
            buckets.check(network_of(address), self._clock.seconds(), what)

    async def _new_device(self, user: User, verified: str, raw: str) -> tuple[int, str]:
        if user.disabled:
            raise SessionRefused(Close.DISABLED, Code.UNAUTHORIZED, "this account is disabled")
        now, token = self._sources.now_ms(), self._sources.new_token()
        device = Device(self._sources.new_id(), user.id, names.label(raw, "device"), now, now)
        retired = await self._storage.add_device(
            device,
            _hashed(token),
            verified=verified,
            limit=self._limits.devices,
            retire_before=now - RETIRE_AFTER,
        )
        self._close(user.id, retired)
        return device.id, token

    async def forget(self, user: int, device: int) -> None:
        """Delete a device whose token nobody was there to take: it would fill a place."""
        await self._storage.delete_device(user, device)

    # -- methods

    async def call(self, me: Identity | None, method: str, params: bytes, address: str) -> Struct:
        """Call a method of the table with its parameters in JSON; ``me`` is None without a token.

        Raises ``Refusal``.
        """
        known = METHODS.get(method)
        if known is None:
            raise Refusal(Code.NOT_FOUND, "there is no such method")
        if known.public != (me is None):
            raise Refusal(*(_TOKEN_FIRST if me is None else _HTTP_ONLY))
        try:
            decoded = decoding.decode_strict(known.decoder, params)
        except decoding.BadValue as error:
            raise Refusal(Code.BAD_REQUEST, f"params: {error}") from None
        if me is not None and method in self._friends.methods:
            return await self._friends.call(me, method, decoded)
        if me is not None and method in self._others:
            return await self._others[method](me, decoded)
        return await self._methods[method](me or NOBODY, decoded, address)

    async def _register(self, _: Identity, params: methods.Register, address: str) -> Struct:
        made = await self._new_user(params.user, params.password, params.device, address)
        return await self._logged_in(*made, params.device)

    async def _login(self, _: Identity, params: methods.Login, address: str) -> Struct:
        async with self._turns.of(params.user.casefold()):
            found = await self._verified(params.user, params.password, address)
            return await self._logged_in(found.user, found.stored, params.device)

    async def _logged_in(self, user: User, verified: str, label: str) -> methods.LoggedIn:
        device, token = await self._new_device(user, verified, label)
        return methods.LoggedIn(UserRef(user.id, user.name), device, token)

    async def _logout(self, me: Identity, params: methods.Nothing, address: str) -> Struct:
        await self._storage.delete_device(me.user.id, me.device)
        self._revoked(me, (me.device,))
        return methods.Nothing()

    async def _change_password(
        self, me: Identity, params: methods.ChangePassword, address: str
    ) -> Struct:
        names.password(params.new)
        async with self._turns.of(me.user.name):
            found = await self._verified(me.user.name, params.old, address, own=True)
            stored = await self._logins.hash(params.new)
            gone = await self._storage.set_password(
                me.user.id, stored, me.device, verified=found.stored
            )
        self._revoked(me, gone)
        return methods.Nothing()

    async def _get(self, me: Identity, params: methods.Nothing, address: str) -> Struct:
        found = await self._storage.find_user(me.user.id)
        return _account(me, found or me.user)

    async def _update(self, me: Identity, params: methods.Update, address: str) -> Struct:
        if params.display is UNSET:
            return await self._get(me, methods.Nothing(), address)
        display = names.label(params.display, "display")
        user = await self._storage.set_display(me.user.id, display)
        await self._friends.renamed(user)
        return _account(me, user)

    async def _list_devices(self, me: Identity, params: methods.Nothing, address: str) -> Struct:
        found = await self._storage.devices(me.user.id)
        return methods.Devices(
            [methods.DeviceItem(d.id, d.label, d.created, d.seen, d.id == me.device) for d in found]
        )

    async def _revoke(self, me: Identity, params: methods.OneDevice, address: str) -> Struct:
        if not await self._storage.delete_device(me.user.id, params.device):
            raise Refusal(Code.NOT_FOUND, "you have no such device")
        self._revoked(me, (params.device,))
        return methods.Nothing()

    async def _find(self, me: Identity, params: methods.OneUser, address: str) -> Struct:
        user = await self._friends.find(me, params.user)
        return methods.UserItem(user.id, user.name, user.display)

    # -- devices that are gone

    def _revoked(self, me: Identity, devices: tuple[int, ...]) -> None:
        """Tell the user's sessions, and end those of the devices."""
        for device in devices:
            event = wire.encode(wire.Event("device.revoked", DeviceEvent(device)))
            self._routing.tell(Notify((me.user.id,), event))
        self._close(me.user.id, devices)

    def _close(self, user: int, devices: tuple[int, ...]) -> None:
        if devices:
            # Later in this turn, so that the device that asked for it gets its answer first.
            self._clock.callLater(0, self._routing.tell, Revoke(user, devices))


_TOKEN_FIRST = Code.UNAUTHORIZED, "send a token: Authorization: Bearer …"
_HTTP_ONLY = Code.BAD_REQUEST, "this method is for HTTP; over WebSocket, say hello"


def _per(count: int, seconds: float) -> Keyed[Any]:
    return Keyed(count / seconds, count)


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _allowed(identity: Identity | None) -> Identity:
    if identity is None:
        raise SessionRefused(Close.BAD_CREDENTIALS, Code.UNAUTHORIZED, _BAD_TOKEN)
    if identity.user.disabled:
        raise SessionRefused(Close.DISABLED, Code.UNAUTHORIZED, "this account is disabled")
    return identity


def _account(me: Identity, user: User) -> methods.Account:
    return methods.Account(user.id, user.name, me.device, user.roster, user.display)
