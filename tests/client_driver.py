"""Drives the client's rules by hand: a store, a clock, and lists of what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Raw

from imd import wire
from imd.client.effects import Deliver, Notice
from imd.client.installation import Options
from imd.client.login import Login
from imd.client.rules import Rules
from imd.client.store import ClientStore, MemoryStore
from imd.client.values import Message

T = TypeVar("T")

ME, PEER, DEVICE, CONVERSATION = 11, 12, 3, 7
LIMITS = wire.Limits(inflight=64, text_bytes=16384, file_bytes=1 << 20, frame_bytes=65536, batch=64)


class Installation:
    """One client with its store; ``restart`` is a crash right after the last performed turn."""

    def __init__(
        self,
        store: ClientStore | None = None,
        login: Login | None = None,
        options: Options | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.login = login or Login(user="alice", password="secret")
        self.options = options or Options(tail=0)
        self.now = 1000.0
        self.wall = 1_790_000_000_000
        self.shown: list[Message] = []
        self.restart()

    def restart(self) -> None:
        self.rules = Rules(self.store.load(), self.login, self.store.messages, self.options)
        self.frames: list[wire.AnyClientFrame] = []
        self.notices: list[Notice] = []

    def turn(self) -> None:
        """Perform what there is to do, in the order that the rules ask for."""
        turn = self.rules.take()
        self.store.write(turn.writes)
        self.frames += turn.frames
        self.notices += turn.notices
        self.shown += [n.message for n in turn.notices if isinstance(n, Deliver)]

    def connect(
        self, items: Sequence[wire.HeadItem] | None = (), epoch: str = "e1", **fields: Any
    ) -> wire.Hello:
        """Connect, be welcomed, and get these heads (none at all if None)."""
        self.rules.connected(self.now, self.wall)
        self.turn()
        (hello,) = self.sent(wire.Hello)
        self.receive(welcome(hello.req, epoch, **fields))
        if items is not None:
            self.heads(hello.req, *items)
        return hello

    def heads(self, req: int | str, *items: wire.HeadItem, next: str = "e1:1") -> None:
        self.receive(wire.Heads(req, list(items), True, next))

    def receive(self, *frames: wire.AnyServerFrame) -> None:
        self.rules.frames(frames, self.now)
        self.turn()

    def send(self, id: str, text: str = "hi", conversation: int = CONVERSATION) -> None:
        body = wire.encode({"text": text})
        self.rules.send(id, conversation, "text", body, self.now, self.wall)
        self.turn()

    def advance(self, seconds: float) -> None:
        """Let time pass, ticking where the rules ask for it."""
        end = self.now + seconds
        while (due := self.rules.deadline) is not None and due <= end:
            self.now = max(due, self.now)
            self.rules.tick(self.now)
            self.turn()
            if self.rules.deadline == due:
                break
        self.now = end

    def lose(self, code: int | None = None, reason: str = "", random: float = 0.5) -> None:
        self.rules.disconnected(code, reason, random)
        self.turn()

    def sent(self, kind: type[T]) -> list[T]:
        """The frames of this kind that went out since the last time somebody asked."""
        found = [frame for frame in self.frames if isinstance(frame, kind)]
        self.frames = [frame for frame in self.frames if not isinstance(frame, kind)]
        return found

    def told(self, kind: type[T]) -> list[T]:
        """The notices of this kind since the last time somebody asked."""
        found = [notice for notice in self.notices if isinstance(notice, kind)]
        self.notices = [notice for notice in self.notices if not isinstance(notice, kind)]
        return found

    @property
    def seqs(self) -> list[int]:
        """The seqs that were shown to the application, in order."""
        return [message.seq for message in self.shown]

    @property
    def stored(self) -> list[int]:
        """The seqs in the store."""
        return [message.seq for message in self.store.messages(CONVERSATION)]


def welcome(req: int | str, epoch: str = "e1", **fields: Any) -> wire.Welcome:
    given: dict[str, Any] = {
        "user": wire.UserRef(ME, "alice"),
        "device": DEVICE,
        "session": 1,
        "now": 0,
        "heartbeat": 30,
        "limits": LIMITS,
        "roster": 0,
        "caps": [],
    }
    return wire.Welcome(req=req, epoch=epoch, **(given | fields))


def head(
    last: int,
    delivered: int = 0,
    read: int = 0,
    floor: int = 1,
    conversation: int = CONVERSATION,
    peer: tuple[int, int] = (0, 0),
) -> wire.HeadItem:
    peers = [wire.PeerHead(PEER, "bob", *peer)]
    return wire.HeadItem(conversation, "direct", last, floor, delivered, read, peers)


def item(seq: int, sender: int = PEER, id: str | None = None, text: str = "x") -> wire.Item:
    id = id or f"id-{seq}"
    return wire.Item(seq, sender, 5, id, 1000 + seq, "text", Raw(wire.encode({"text": text})))


def msg(
    seq: int, sender: int = PEER, id: str | None = None, conversation: int = CONVERSATION
) -> wire.Msg:
    i = item(seq, sender, id)
    return wire.Msg(conversation, i.seq, i.sender, i.device, i.id, i.at, i.kind, i.body)


def msgs(
    req: int | str,
    *items: wire.Item,
    floor: int = 1,
    more: bool = False,
    conversation: int = CONVERSATION,
) -> wire.Msgs:
    return wire.Msgs(req, conversation, list(items), floor, more)


def after(frame: wire.Fetch) -> int | None:
    return None if frame.after is UNSET else frame.after
