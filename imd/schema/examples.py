"""One example of every frame: Alice (11) writes to Bob (12) in conversation 7."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from imd import wire
from imd.errors import Close, Code
from imd.events import FriendEvent
from imd.methods import AddFriend, FriendItem

_ID = "0191e8a2-7c00-7abc-8def-0123456789a1"
_AT = 1_790_000_000_123
_TEXT = Raw(wire.encode(wire.TextBody("hi")))
_PARAMS = Raw(wire.encode(AddFriend(user="bob", note="It is me, Alice.")))

_FRAMES: tuple[Struct, ...] = (
    wire.Hello(req=1, token="kNf0…", since="e1:88213", tail=20),  # noqa: S106
    wire.Send(_ID, 7, "text", _TEXT),
    wire.Mark(7, delivered=42, read=40),
    wire.Fetch(req=2, conversation=7, limit=50, after=41),
    wire.Sync(req=3, since="e1:88213"),
    wire.Call(req=4, method="friend.add", params=_PARAMS),
    wire.Ping(5),
    wire.Welcome(
        req=1,
        user=wire.UserRef(12, "bob"),
        device=4,
        session=9,
        epoch="e1",
        now=_AT,
        heartbeat=30,
        limits=wire.Limits(64, 16384, 104857600, 65536, wire.MAX_BATCH),
        roster=3,
        caps=[],
    ),
    wire.Ack(_ID, 7, 42, _AT),
    wire.Nack(_ID, Code.FORBIDDEN, "you may send only to accepted friends"),
    wire.Msg(7, 42, 11, 3, _ID, _AT, "text", _TEXT),
    wire.Msgs(2, 7, [wire.Item(42, 11, 3, _ID, _AT, "text", _TEXT)], floor=1, more=False),
    wire.Heads(
        1,
        [wire.HeadItem(7, "direct", 44, 1, 41, 40, [wire.PeerHead(11, "alice", 41, 41)])],
        done=True,
        next="e1:90177",
    ),
    wire.Poke(7, 44),
    wire.Receipt(7, 12, delivered=42, read=40),
    wire.Result(4, FriendItem(12, "bob", "requested")),
    wire.Error(Code.NOT_FOUND, "there is no such user", 4),
    wire.Event("friend.requested", FriendEvent(11, "alice", "It is me, Alice.")),
    wire.Pong(5, _AT, "e1:90180"),
    wire.Bye(Close.DRAINING, 4200),
)


def example(frame: type[Struct]) -> Any:
    """The example of a frame, as JSON has it."""
    (found,) = (made for made in _FRAMES if type(made) is frame)
    return msgspec.json.decode(wire.encode(found))
