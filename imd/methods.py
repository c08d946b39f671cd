"""The methods of protocol §7: one table, served as ``call`` frames and as ``POST /v1/METHOD``."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from imd.wire import Id, Label, Millis, UserRef

#: A user by id or by login name.
Who = Id | Annotated[str, Meta(min_length=1, max_length=256)]
#: At most 1,024 bytes of UTF-8 count; the empty password is none.
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
#: What somebody logs in with; perhaps a token of another system, which is longer.
Proof = Annotated[str, Meta(min_length=1, max_length=8192)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Params(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The parameters of a method."""


class Nothing(Params, frozen=True):
    """No parameters, or no result."""


class Register(Params, frozen=True):
    """A new account, and a first device of it."""

    user: Name
    password: Password
    device: Label = "http"


class Login(Params, frozen=True):
    """A login with a password makes a device with a token of its own."""

    user: Name
    password: Proof
    device: Label


class ChangePassword(Params, frozen=True):
    """The other devices are logged out."""

    old: Password
    new: Password


class Update(Params, frozen=True):
    """What is to be changed in the account."""

    display: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET


class OneDevice(Params, frozen=True):
    """A device of the caller."""

    device: Id


class OneUser(Params, frozen=True):
    """A user."""

    user: Who


class AddFriend(Params, frozen=True):
    """A user, and a word to introduce oneself."""

    user: Who
    note: Annotated[str, Meta(max_length=200)] = ""


class NewFile(Params, frozen=True):
    """A file that is to be uploaded; the name is any text, and never a path."""

    size: Annotated[int, Meta(ge=0, lt=2**53)]
    # The length as well: to Python's "$" a line feed at the end is none.
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    mime: Annotated[str, Meta(min_length=1, max_length=127)]


class OneFile(Params, frozen=True):
    """A file."""

    file: Id


class Data(Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of a method; fields are only ever added."""


class LoggedIn(Data, frozen=True):
    """``token`` logs in from now on; it is told once."""

    user: UserRef
    device: Id
    token: str


class Account(Data, frozen=True):
    """The account of the caller."""

    user: Id
    name: str
    device: Id
    roster: int
    display: str = ""


class DeviceItem(Data, frozen=True):
    """A device; ``current`` if it is the one that asks."""

    device: Id
    label: str
    created: Millis
    seen: Millis
    current: bool = False


class Devices(Data, frozen=True):
    """All devices of the caller, oldest first."""

    items: list[DeviceItem]


class UserItem(Data, frozen=True):
    """A user, as anybody may see it."""

    user: Id
    name: str
    display: str = ""


class FriendItem(Data, frozen=True):
    """A friend list entry; without ``state`` the user is not in the list (any more)."""

    user: Id
    name: str
    state: str | UnsetType = UNSET
    conversation: Id | UnsetType = msgspec.field(name="conv", default=UNSET)
    display: str = ""
    note: str = ""


class Friends(Data, frozen=True):
    """The friend list of the caller, by name."""

    version: int
    items: list[FriendItem]


class Slot(Data, frozen=True):
    """A place for a file; ``put`` is the path to upload its bytes to, within a day."""

    file: Id
    put: str


class Link(Data, frozen=True):
    """A path that needs no token until it expires."""

    url: str
    expires: Millis


class Method(Struct, frozen=True):
    """A row of the table; ``public`` methods are HTTP only and need no token."""

    params: type[Params]
    result: type[Data] | type[Nothing]
    doc: str
    public: bool = False

    @property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes the parameters."""
        return _DECODERS[self.params]


METHODS: dict[str, Method] = {
    "account.register": Method(Register, LoggedIn, "Make an account and log in.", public=True),
    "account.login": Method(Login, LoggedIn, "Log in with a password.", public=True),
    "account.logout": Method(Nothing, Nothing, "Delete the device that asks, and its token."),
    "account.password": Method(ChangePassword, Nothing, "Change the password."),
    "account.get": Method(Nothing, Account, "Read the account."),
    "account.update": Method(Update, Account, "Change the display name."),
    "device.list": Method(Nothing, Devices, "List the devices of the account."),
    "device.revoke": Method(OneDevice, Nothing, "Log a device out."),
    "user.find": Method(OneUser, UserItem, "Find a user by exact name, or by id."),
    "friend.list": Method(Nothing, Friends, "Read the friend list."),
    "friend.add": Method(AddFriend, FriendItem, "Ask for friendship, or accept it."),
    "friend.accept": Method(OneUser, FriendItem, "Accept a request."),
    "friend.decline": Method(OneUser, FriendItem, "Decline a request."),
    "friend.remove": Method(OneUser, FriendItem, "End a friendship, or withdraw a request."),
    "friend.block": Method(OneUser, FriendItem, "Block a user."),
    "friend.unblock": Method(OneUser, FriendItem, "Lift a block."),
    "file.slot": Method(NewFile, Slot, "Declare a file, to upload it then."),
    "file.link": Method(OneFile, Link, "Make a link to a file that works for some minutes."),
}
_DECODERS = {m.params: msgspec.json.Decoder(m.params) for m in METHODS.values()}
