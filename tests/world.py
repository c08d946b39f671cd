"""A whole imd in one thread: a server, devices, and every link between them under control.

The server is the real one from ``Hub`` down to SQLite; the devices are the real client
rules over a disk that survives them.  Between them lie two queues for each device, and
in front of storage a gate: nothing moves until the test says so.  So any interleaving of
commits, frames, crashes of a device, kills of the server and cut links can be played,
and a failure replays exactly.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from imd import wire
from imd.client.effects import (
    Acked,
    Deliver,
    DropPending,
    DropTail,
    Hangup,
    Reconnect,
    SaveAccount,
    SaveConversation,
    SaveMessage,
    SavePending,
    SendRefused,
    Stop,
    Write,
)
from imd.client.incoming import decode
from imd.client.login import Login
from imd.client.rules import Rules
from imd.client.values import Account, Conversation, Message, Pending, Saved
from imd.connector.connection import Connection
from imd.connector.hub import Hub
from imd.delivery import Delivery
from imd.errors import Close, Code, SessionRefused
from imd.limits import Limits
from imd.messaging import Messaging
from imd.model import Device as DeviceRow
from imd.model import Head, Identity
from imd.online import Online
from imd.registry import Registry
from imd.routing import Routing
from tests.directories import MEMORY
from tests.inline import open_storage

WALL = 1_790_000_000_000


class Unlimited:
    """A bucket that never holds anybody back, and where to get it."""

    def wait(self, now: float) -> float:
        return 0

    def sends(self, user: int) -> Unlimited:
        return self

    def others(self) -> Unlimited:
        return self


class Nobody:
    """User status that knows of one node only."""

    async def register(self, user: int, device: int, session: int) -> None:
        return None

    async def unregister(self, user: int, device: int, session: int) -> None:
        return None


class Tokens:
    """Logs in by token: ``token-DEVICE``."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    async def login_with_token(self, token: str) -> Identity:
        return self._known(await self._storage.open_session(token.encode(), WALL))

    async def authenticate(self, token: str) -> Identity:
        return self._known(await self._storage.authenticate(token.encode()))

    @staticmethod
    def _known(identity: Identity | None) -> Identity:
        if identity is None:
            raise SessionRefused(Close.BAD_CREDENTIALS, Code.UNAUTHORIZED, "unknown token")
        return identity


class Gate:
    """Storage whose commits wait: each first to happen, then to be reported."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.held = False
        #: The process was killed: whatever it would do next never happens.
        self.dead = False
        self._steps: deque[Callable[[], None]] = deque()

    def __getattr__(self, name: str) -> Any:
        return self._never if self.dead else getattr(self._storage, name)

    async def _never(self, *_: Any, **__: Any) -> Any:
        await Deferred()

    async def append(self, *args: Any) -> Any:
        return await self._pass("append", args)

    async def advance(self, *args: Any) -> Any:
        return await self._pass("advance", args)

    async def _pass(self, name: str, args: tuple[Any, ...]) -> Any:
        if self.dead:
            return await self._never()
        if not self.held:
            return await getattr(self._storage, name)(*args)
        await self._turn()
        result = await getattr(self._storage, name)(*args)
        await self._turn()
        return result

    def _turn(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._steps.append(lambda: waiter.callback(None))
        return waiter

    def step(self) -> bool:
        """Let the oldest waiting commit happen, or be reported; false if none waits."""
        if not self._steps:
            return False
        self._steps.popleft()()
        return True


class Server:
    """One life of the server process; what it had in memory dies with it."""

    def __init__(self, storage: Any, clock: Clock, limits: Limits) -> None:
        self.gate = Gate(storage)
        self.alive = True
        registry = Registry()
        routing = Routing(Delivery(registry))
        messaging = Messaging(self.gate, routing, clock, lambda: WALL, limits)
        self.hub = Hub(
            accounts=Tokens(storage),  # type: ignore[arg-type]
            messaging=messaging,
            online=Online("a", registry, Nobody(), routing),  # type: ignore[arg-type]
            rates=Unlimited(),
            limits=limits,
            clock=clock,  # type: ignore[arg-type]
            now_ms=lambda: WALL,
            fraction=lambda: 0.5,
        )
        self.registry = registry


class Link:
    """A WebSocket between a device and the server: a ``Socket`` with two queues."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.up: deque[bytes] = deque()
        self.down: deque[bytes | tuple[int, str]] = deque()
        self.open = True
        self.reading = True
        self.connection: Connection = server.hub.open(self, "127.0.0.1")

    # -- Socket

    def transmit(self, payload: bytes) -> None:
        if self.open and self.server.alive:
            self.down.append(payload)

    def disconnect(self, code: int, reason: str) -> None:
        if self.open and self.server.alive:
            self.down.append((int(code), reason))

    def set_reading(self, reading: bool) -> None:
        self.reading = reading

    def opened(self) -> None:
        pass

    # -- the network

    def deliver_up(self) -> bool:
        """One message reaches the server."""
        if not (self.up and self.open and self.server.alive and self.reading):
            return False
        self.connection.received(self.up.popleft())
        return True

    def cut(self) -> None:
        """The link breaks; whatever is on its way is lost."""
        if self.open:
            self.open = False
            self.up.clear()
            self.down.clear()
            if self.server.alive:
                self.connection.lost()


class Disk:
    """What a device has stored; survives its crashes."""

    def __init__(self, token: str) -> None:
        self.account = Account(token=token)
        self.conversations: dict[int, Conversation] = {}
        self.messages: dict[int, dict[int, Message]] = {}
        self.outbox: dict[str, Pending] = {}

    def write(self, write: Write) -> None:
        match write:
            case SaveMessage(message):
                rows = self.messages.setdefault(message.conversation, {})
                assert message.seq not in rows, "a message is stored twice"
                rows[message.seq] = message
            case SaveConversation(conversation):
                self.conversations[conversation.id] = conversation
            case SavePending(pending):
                self.outbox[pending.id] = pending
            case DropPending(id):
                self.outbox.pop(id, None)
            case SaveAccount(account):
                self.account = account
            case DropTail(conversation, above):
                rows = self.messages.get(conversation, {})
                for seq in [seq for seq in rows if seq > above]:
                    del rows[seq]

    def saved(self) -> Saved:
        conversations = tuple(structs.replace(c) for c in self.conversations.values())
        return Saved(self.account, conversations, tuple(self.outbox.values()))

    def rows(self, conversation: int, above: int) -> Sequence[Message]:
        rows = self.messages.get(conversation, {})
        return [rows[seq] for seq in sorted(rows) if seq > above]


class Device:
    """One installation of a user: client rules over a disk, and a log of what it did."""

    def __init__(self, world: World, user: int, token: str) -> None:
        self.world = world
        self.user = user
        self.disk = Disk(token)
        self.link: Link | None = None
        self.retry_at: float | None = 0.0
        self.stopped: tuple[int, str] | None = None
        #: In the order of ``send``: id, conversation, body, and ``have`` at that moment.
        self.sent: list[tuple[str, int, bytes, int]] = []
        self.acked: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.displayed: dict[int, list[int]] = {}
        self.started()

    def started(self) -> None:
        self.rules = Rules(self.disk.saved(), Login(), self.disk.rows)

    def crash(self, stored: bool) -> None:
        """The program dies, with or without having stored its last turn."""
        if stored:
            for write in self.rules.take().writes:
                self.disk.write(write)
        self.hang_up()
        self.retry_at = self.world.now
        self.started()

    def hang_up(self) -> None:
        if self.link is not None:
            self.link.cut()
            self.link = None

    def connect(self) -> None:
        if self.link is None and self.stopped is None and self.world.server.alive:
            self.link = Link(self.world.server)
            self.retry_at = None
            self.rules.connected(self.world.now, WALL)
            self.turn()

    def deliver_down(self) -> bool:
        """One message, or the close, reaches the device."""
        if self.link is None or not self.link.down:
            return False
        item = self.link.down.popleft()
        if isinstance(item, tuple):
            self.lost(*item)
        else:
            self.rules.frames(decode(item), self.world.now)
            self.turn()
        return True

    def lost(self, code: int | None = None, reason: str = "") -> None:
        if self.link is not None:
            self.hang_up()
            self.rules.disconnected(code, reason, 0.5)
            self.turn()

    def send(self, conversation: int, text: str) -> str:
        id = wire.uuid_text(next(self.world.ids).to_bytes(16, "big"))
        body = wire.encode(wire.TextBody(text))
        have = self.rules.conversations[conversation].have
        self.sent.append((id, conversation, body, have))
        self.rules.send(id, conversation, "text", body, self.world.now, WALL)
        self.turn()
        return id

    def read(self, conversation: int) -> None:
        have = self.rules.conversations[conversation].have
        self.rules.displayed(conversation, have, self.world.now)
        self.turn()

    def tick(self) -> None:
        deadline = self.rules.deadline
        if deadline is not None and self.world.now >= deadline:
            self.rules.tick(self.world.now)
            self.turn()
        if self.link is None and self.retry_at is not None and self.world.now >= self.retry_at:
            self.connect()

    def turn(self) -> None:
        """Perform what the rules want, in the order of the contract."""
        while turn := self.rules.take():
            for write in turn.writes:
                self.disk.write(write)
            if turn.frames and self.link is not None:
                for start in range(0, len(turn.frames), wire.MAX_BATCH):
                    self.link.up.append(wire.encode(turn.frames[start : start + wire.MAX_BATCH]))
            for notice in turn.notices:
                self._hear(notice)

    def _hear(self, notice: Any) -> None:
        match notice:
            case Deliver(message):
                self.displayed.setdefault(message.conversation, []).append(message.seq)
                self.rules.handled(message, self.world.now)
            case Acked(id, _, seq, _):
                assert self.acked.setdefault(id, seq) == seq, "two acks disagree"
            case SendRefused(id, code, _):
                self.refused[id] = code
            case Hangup():
                if self.link is not None:
                    self.hang_up()
                    self.rules.disconnected(None, "", 0.5)
            case Reconnect(after):
                self.retry_at = self.world.now + after
            case Stop(close, code, _):
                self.stopped = (close, code)
                self.retry_at = None


class World:
    """Alice and Bob, friends, with some devices each, and Mallory, a friend of nobody."""

    def __init__(self, devices: int = 2, limits: Limits | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="imd-world-", dir=MEMORY)
        self.limits = limits or Limits(syncs=100)
        self.clock = Clock()
        self.ids = itertools.count(1)
        self.path = Path(self._directory.name)
        self.storage = open_storage(self.path)
        self.conversation = self._populate(devices)
        self.server = Server(self.storage, self.clock, self.limits)
        self.devices = [
            Device(self, user, f"token-{user}-{n}") for user in (1, 2) for n in range(devices)
        ]
        self.mallory = Device(self, 3, "token-3-0")

    @property
    def now(self) -> float:
        return self.clock.seconds()

    @property
    def everyone(self) -> list[Device]:
        return [*self.devices, self.mallory]

    def _populate(self, devices: int) -> int:
        for user, name in ((1, "alice"), (2, "bob"), (3, "mallory")):
            self.do(self.storage.create_user(user, name, "hash", WALL))
            for n in range(devices if user < 3 else 1):
                row = DeviceRow(user * 100 + n, user, "test", WALL, WALL)
                token = f"token-{user}-{n}".encode()
                self.do(
                    self.storage.add_device(row, token, verified="hash", limit=10, retire_before=0)
                )
        self.befriend("add", 1, 2)
        self.befriend("accept", 2, 1)
        return 7

    def befriend(self, verb: str, user: int, peer: int) -> None:
        """A friend verb, straight into storage."""
        self.do(self.storage.befriend(user, peer, verb, note="", conversation=7, at=WALL))

    @staticmethod
    def do(coro: Any) -> Any:
        """The result of a coroutine that does not wait."""
        results: list[Any] = []
        Deferred.fromCoroutine(coro).addBoth(results.append)
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    # -- faults

    def kill_server(self) -> None:
        """kill -9: memory is gone, links break, what was committed stays."""
        self.server.alive, self.server.gate.dead = False, True
        for device in self.everyone:
            device.lost()
        self.storage.close()
        self.storage = open_storage(self.path)
        self.server = Server(self.storage, self.clock, self.limits)

    def close(self) -> None:
        """Remove everything."""
        self.storage.close()
        self._directory.cleanup()

    # -- healing

    def settle(self, seconds: float = 120) -> None:
        """No more faults: run until nothing moves, then on through every timeout."""
        self.server.gate.held = False
        for _ in range(int(seconds / 0.5)):
            self._flow()
            self.clock.advance(0.5)
            for device in self.everyone:
                device.tick()
        self._flow()

    def _flow(self) -> None:
        moved = True
        while moved:
            moved = self.server.gate.step()
            for device in self.everyone:
                moved = self.step(device) or moved
            self.clock.advance(0)

    def step(self, device: Device) -> bool:
        """Move one message each way."""
        up = device.link is not None and device.link.deliver_up()
        self.clock.advance(0)
        return device.deliver_down() or up

    # -- the truth

    def log(self) -> list[Any]:
        """All rows of the conversation, as stored."""
        rows: list[Any] = []
        while True:
            after = rows[-1].seq if rows else 0
            page = self.do(
                self.storage.history(1, self.conversation, after=after, limit=200, max_bytes=10**7)
            )
            rows += page.items
            if not page.more:
                return rows

    def head(self, user: int) -> Head:
        """The head of the conversation as ``user`` sees it."""
        (head,) = self.do(self.storage.heads(user)).items
        return head  # type: ignore[no-any-return]
