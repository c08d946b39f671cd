"""The methods of an administrator: one table, for ``imd user`` and ``POST /v1/admin/METHOD``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from imd.methods import Data, Method, Name, Params, Password
from imd.wire import Id, Millis

#: Accounts in one page.
MOST_USERS = 200


class NewUser(Params, frozen=True):
    """An account that is to be made."""

    user: Name
    password: Password


class NamedUser(Params, frozen=True):
    """One account, by its login name."""

    user: Name


class RevokedDevices(Params, frozen=True):
    """One device of an account; without ``device`` all of them."""

    user: Name
    device: Id | None = None


class ErasedUser(Params, frozen=True):
    """An account to be erased; ``repeat``: its name again; ``limit``: end after so many
    messages, of that user or not, or files.
    """

    user: Name
    repeat: Name
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class ExportedUser(Params, frozen=True):
    """An account that is to be exported; ``files``: with the bytes of its files."""

    user: Name
    files: bool = False


class UserPage(Params, frozen=True):
    """The accounts whose names come after ``after``."""

    after: Annotated[str, Meta(max_length=256)] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_USERS)] = MOST_USERS


class KnownUser(Data, frozen=True):
    """An account as an administrator sees it."""

    user: Id
    name: str
    display: str
    disabled: bool


class KnownUsers(Data, frozen=True):
    """Accounts by name; ``more``: there are others after them."""

    items: list[KnownUser]
    more: bool


class KnownDevice(Data, frozen=True):
    """A device: when it logged in, and when a session of it was opened last."""

    device: Id
    label: str
    created: Millis
    seen: Millis


class KnownDevices(Data, frozen=True):
    """The devices of an account, oldest first."""

    items: list[KnownDevice]


class Erased(Data, frozen=True):
    """How many messages were replaced, and files deleted, by this call; ``more``: call again."""

    messages: int
    files: int
    more: bool


class Revoked(Data, frozen=True):
    """How many devices were logged out."""

    devices: int


ORDERS: dict[str, Method] = {
    "user.add": Method(NewUser, KnownUser, "Make an account."),
    "user.get": Method(NamedUser, KnownUser, "Read an account."),
    "user.list": Method(UserPage, KnownUsers, "List accounts by name."),
    "user.disable": Method(NamedUser, KnownUser, "Lock an account out, and end its sessions."),
    "user.enable": Method(NamedUser, KnownUser, "Let an account in again; its devices stayed."),
    "user.passwd": Method(NewUser, Revoked, "Set a password; all devices are logged out."),
    "user.sessions": Method(NamedUser, KnownDevices, "List the devices of an account."),
    "user.revoke": Method(RevokedDevices, Revoked, "Log out a device, or all of them."),
    "user.erase": Method(ErasedUser, Erased, "Erase an account, and what its user wrote."),
}


class Stream(Struct, frozen=True):
    """An order whose result is JSON lines, as many as there are."""

    params: type[Params]
    doc: str


STREAMS: dict[str, Stream] = {
    "user.export": Stream(ExportedUser, "Write out what is kept of a user."),
}
