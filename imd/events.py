"""What an ``event`` frame carries: hints about friends and devices (protocol §3)."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from imd.wire import Id


class FriendEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """The other user; the ``note`` of a request, the conversation that an acceptance opened."""

    user: Id
    name: str
    note: str = ""
    conversation: Id | UnsetType = msgspec.field(name="conv", default=UNSET)


class DeviceEvent(Struct, frozen=True, gc=False):
    """One of my devices."""

    device: Id


#: Every event by its name.
EVENTS: dict[str, type[Struct]] = {
    "friend.requested": FriendEvent,
    "friend.accepted": FriendEvent,
    "friend.removed": FriendEvent,
    "friend.changed": FriendEvent,
    "device.revoked": DeviceEvent,
}
