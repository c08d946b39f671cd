"""What the server of the kit knows: conversations with their logs, and sync tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

#: The user whose client is tested, and the label of a device of that user elsewhere.
ME, NAME, DEVICE, ELSEWHERE = 11, "alice", 3, 4


class Log(Struct):
    """One conversation; ``delivered`` and ``read`` are the cursors of the user under test."""

    conv: int
    peer: int = 12
    name: str = "bob"
    floor: int = 1
    delivered: int = 0
    read: int = 0
    peer_delivered: int = 0
    peer_read: int = 0
    last: int = 0
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    changed: int = 0

    def head(self) -> dict[str, Any]:
        """The conversation as an item of ``heads``."""
        other = {"user": self.peer, "name": self.name}
        other |= {"delivered": self.peer_delivered, "read": self.peer_read}
        mine = {"delivered": self.delivered, "read": self.read}
        fields = {"conv": self.conv, "kind": "direct", "last": self.last, "floor": self.floor}
        return {**fields, **mine, "peers": [other]}


class Logs:
    """All conversations; every change is counted, and the count is the sync token."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.all: dict[int, Log] = {}
        self._changes = 1
        self._committed: dict[str, tuple[int, int]] = {}

    @property
    def token(self) -> str:
        """The sync token that stands for everything so far."""
        return f"{self.epoch}:{self._changes}"

    def change(self, conv: int, **fields: Any) -> Log:
        """Make a conversation, or set some of its fields."""
        log = self.all.setdefault(conv, Log(conv))
        for name, value in fields.items():
            setattr(log, name, value)
        self._changes += 1
        log.changed = self._changes
        return log

    def append(self, conv: int, text: str, **fields: Any) -> dict[str, Any]:
        """Add a message to a log, by the other member unless ``fields`` say otherwise."""
        log = self.all[conv]
        seq = log.last + 1
        given = {"from": log.peer, "device": 5, "id": f"{conv:08x}-0000-7000-8000-{seq:012x}"}
        given |= {"at": 1_790_000_000_000 + seq, "kind": "text", "body": {"text": text}}
        log.items[seq] = {"seq": seq, **given, **fields}
        self.change(conv, last=seq)
        return log.items[seq]

    def commit(self, send: dict[str, Any]) -> tuple[int, bool]:
        """Store a ``send`` of the client: its seq, and whether it had been stored before."""
        conv, id = send["conv"], send["id"]
        if id in self._committed:
            return self._committed[id][1], True
        mine = {"from": ME, "device": DEVICE, "id": id, "kind": send["kind"], "body": send["body"]}
        seq = self.append(conv, "", **mine)["seq"]
        self._committed[id] = conv, seq
        return seq, False

    def mark(self, frame: dict[str, Any]) -> None:
        """Take a ``mark``: cursors only grow, and ``read`` implies ``delivered``."""
        log = self.all[frame["conv"]]
        read = max(log.read, frame.get("read", 0))
        self.change(
            log.conv, read=read, delivered=max(log.delivered, frame.get("delivered", 0), read)
        )

    def heads(self, since: str | None) -> list[dict[str, Any]]:
        """What changed after a token; everything without one, or after one of another epoch."""
        epoch, _, count = (since or "").partition(":")
        after = int(count) if epoch == self.epoch else 0
        return [log.head() for log in self.all.values() if log.changed > after]

    def run(self, fetch: dict[str, Any], page: int) -> dict[str, Any]:
        """The ``msgs`` that answer a ``fetch``, of at most ``page`` items."""
        log = self.all[fetch["conv"]]
        limit = min(fetch["limit"], page)
        if "after" in fetch:
            seqs = [seq for seq in log.items if seq > fetch["after"]]
            chosen, more = seqs[:limit], len(seqs) > limit
        else:
            seqs = [seq for seq in log.items if seq < fetch.get("before", log.last + 1)]
            chosen, more = seqs[-limit:], len(seqs) > limit
        items = self._items(log, chosen)
        answer = {"type": "msgs", "req": fetch["req"], "conv": log.conv, "items": items}
        return {**answer, "floor": log.floor, "more": more}

    @staticmethod
    def _items(log: Log, seqs: Iterable[int]) -> list[dict[str, Any]]:
        return [log.items[seq] for seq in seqs if seq >= log.floor]

    def msg(self, conv: int, seq: int) -> dict[str, Any]:
        """The ``msg`` frame of one message."""
        return {"type": "msg", "conv": conv, **self.all[conv].items[seq]}

    def friends(self) -> dict[str, Any]:
        """The answer to ``friend.list``."""
        items = [
            {"user": log.peer, "name": log.name, "state": "accepted", "conv": log.conv}
            for log in self.all.values()
        ]
        return {"version": 1, "items": items}
