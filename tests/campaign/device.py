"""A device of a user: a client that writes down what it does and sees, and can be crashed."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import structs
from twisted.internet.defer import Deferred

from imd import wire
from imd.client import Client, ClientStore, MemoryStore, Message, SqliteStore
from imd.client.effects import (
    Acked,
    DropTail,
    ReceiptChanged,
    SaveMessage,
    SavePending,
    SendRefused,
    Turn,
    Write,
)
from imd.client.values import Conversation, Saved
from imd.errors import Code
from imd.tasks import sleep
from tests.campaign import history as h
from tests.process import reactor

#: How often the user reads what is shown, answers it, and is slow.
READS, REPLIES, SLOW = 0.5, 0.03, 0.02


def now() -> float:
    """The time of day in seconds: the clock of PostgreSQL as well."""
    return time.time()


class Recorded:
    """A store that writes down what was stored; it outlives the client."""

    def __init__(self, open_: Callable[[], ClientStore], history: h.History) -> None:
        self._open = open_
        self._store = open_()
        self._events = history.events

    def again(self) -> None:
        """Open it again, as after a crash of the program."""
        self._store.close()
        self._store = self._open()

    def load(self) -> Saved:
        """See ``ClientStore``."""
        return self._store.load()

    def messages(
        self, conversation: int, after: int = 0, limit: int | None = None
    ) -> Sequence[Message]:
        """See ``ClientStore``."""
        return self._store.messages(conversation, after, limit)

    def write(self, writes: Iterable[Write]) -> None:
        """See ``ClientStore``."""
        writes = list(writes)
        self._store.write(writes)
        at, note = now(), self._events.append
        for write in writes:
            match write:
                case SaveMessage(message):
                    note(_seen(h.Stored, at, message))
                case SavePending(pending):
                    note(h.Kept(at, pending.conversation, pending.id))
                case DropTail(conversation, above):
                    note(h.Cut(at, conversation, above))

    def close(self) -> None:
        """The client has stopped; the store stays open until the device is closed."""

    def end(self) -> None:
        """Close it for good."""
        self._store.close()


class Device:
    """One installation; ``number`` counts all devices of a run."""

    def __init__(self, url: str, user: str, number: int, chance: random.Random, path: str) -> None:
        """``path``: a file for the store, or empty for one in memory."""
        self.user = user
        self.history = h.History(f"device-{number:03}", [])
        self._url = url
        self._chance = chance
        self._me = 0
        self._dead = False
        #: Whether its user answers nothing.
        self.silent = False
        memory = MemoryStore(keep=1 << 30)
        self._store = Recorded(lambda: SqliteStore(path) if path else memory, self.history)
        self.client = self._new()

    # -- lives

    def _new(self) -> Client:
        client = Client(
            self._url,
            self.user,
            "secret",
            store=self._store,
            register=True,
            device=self.history.name,
            own=True,
            chance=self._chance.random,
            new_id=self._id,
        )
        self._watch(client)
        return client

    def _id(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def start(self) -> None:
        """Begin a life with what the store holds."""
        saved = self._store.load()
        places = tuple(_place(each, saved.account.user) for each in saved.conversations)
        self._note(h.Began(now(), places))
        self.client.start()

    def crash(self) -> None:
        """Die without a goodbye; nothing survives but the store."""
        link: Any = self.client._link
        link._running = False
        link._cancel_timers()
        self._dead = True
        self.client._inbox.stop()
        self.drop()
        self._note(h.Crashed(now()))

    def restart(self) -> None:
        """A new program with the old store."""
        self._store.again()
        self.client = self._new()
        self._dead = False
        self.start()

    def find(self) -> None:
        """From now on whoever found it uses it, who knows no password but has its token."""
        entrance: Any = self.client._link.rules._entrance
        entrance._login = structs.replace(entrance._login, password=None)

    def drop(self) -> None:
        """Lose the connection, or the attempt to get one."""
        link: Any = self.client._link
        if link._attempt is not None:
            link._attempt.cancel()
        if link._connection is not None:
            link._connection.abort()

    async def stop(self) -> None:
        """Write down how it ended, and close."""
        conversations = self.client.conversations
        peers = [
            (each.id, peer.user, peer.delivered, peer.read)
            for each in conversations.values()
            for peer in each.peers
        ]
        places = tuple(_place(each, self._me) for each in conversations.values())
        outbox = tuple(pending.id for pending in self._store.load().outbox)
        self._note(h.Ended(now(), places, tuple(peers), outbox))
        if self.client.failure is not None:
            self._note(h.Failed(now(), str(self.client.failure)))
        await self.client.stop()
        self._store.end()

    # -- the user

    def send(self, conversation: int, text: str) -> None:
        """Send a text."""
        self._send(conversation, text, self._id())

    def _send(self, conversation: int, text: str, id: str) -> None:
        if self._dead or self.client.state == "stopped":
            return
        mine = self.client.conversations.get(conversation)
        body = wire.encode(wire.TextBody(text))
        self._note(h.Wrote(now(), conversation, id, body, mine.have if mine else 0))
        sent = self.client.send(conversation, text, id=id)
        # What becomes of it is written down where it comes in.
        sent.addErrback(lambda failure: None)

    async def _shown(self, message: Message) -> None:
        client, chance = self.client, self._chance
        self._note(_seen(h.Displayed, now(), message))
        if chance.random() < SLOW:
            await sleep(reactor, chance.random() * 0.3)
        if client is not self.client or message.sender == client.me:
            return
        if chance.random() < READS:
            self._note(h.Looked(now(), message.conversation, message.seq))
            client.read(message)
        if chance.random() < REPLIES and not self.silent:
            id = str(uuid.uuid5(uuid.UUID(message.id), "reply"))
            self._send(message.conversation, f"answer to {message.id}", id)

    # -- what is written down

    def _note(self, event: h.AnyEvent) -> None:
        self.history.events.append(event)

    def _watch(self, client: Client) -> None:
        """Listen at the wire, at the rules, and where the user looks."""
        client.on_message(self._shown)
        link: Any = client._link
        received, take = link.received, link.rules.take

        def hear(frames: Sequence[wire.AnyServerFrame]) -> None:
            for frame in frames:
                self._hear(frame)
            received(frames)

        def taken() -> Turn:
            turn: Turn = take()
            self._taken(turn)
            return turn

        link.received, link.rules.take = hear, taken

    def _taken(self, turn: Turn) -> None:
        at = now()
        for frame in turn.frames:
            match frame:
                case wire.Hello() | wire.Sync():
                    self._note(h.Asked(at))
                case wire.Mark(conversation, delivered, read):
                    self._note(h.Marked(at, conversation, _or0(delivered), _or0(read)))
        for notice in turn.notices:
            match notice:
                case Acked(id, _, seq, _):
                    self._note(h.Settled(at, id, seq))
                case SendRefused(id, _, _):
                    self._note(h.Settled(at, id, 0))
                case ReceiptChanged(conversation, user, delivered, read):
                    self._note(h.Shown(at, conversation, user, delivered, read))

    def _hear(self, frame: wire.AnyServerFrame) -> None:
        at, note = now(), self._note
        match frame:
            case wire.Welcome():
                self._me = frame.user.id
                note(h.Welcomed(at, self._me, frame.device, frame.session, frame.epoch))
            case wire.Ack():
                note(h.Acked(at, frame.conversation, frame.id, frame.seq))
            case wire.Nack():
                note(h.Nacked(at, frame.id, frame.code))
            case wire.Error(code, message) if code == Code.BAD_REQUEST:
                note(h.Blamed(at, str(message)))
            case wire.Msg():
                note(_item(at, frame.conversation, frame))
            case wire.Msgs():
                self.history.events += [_item(at, frame.conversation, i) for i in frame.items]
            case wire.Heads():
                self._heads(at, frame)
            case wire.Poke():
                note(h.Told(at, frame.conversation, frame.last, True))
            case wire.Receipt(conversation, user, delivered, read):
                note(h.Cursors(at, conversation, user, delivered, read))

    def _heads(self, at: float, frame: wire.Heads) -> None:
        for item in frame.items:
            self._note(h.Told(at, item.conversation, item.last, False))
            self._note(h.Cursors(at, item.conversation, self._me, item.delivered, item.read))
            for peer in item.peers:
                cursors = (item.conversation, peer.user, peer.delivered, peer.read)
                self._note(h.Cursors(at, *cursors))
        if frame.done:
            self._note(h.Synced(at))


def _item(at: float, conversation: int, item: wire.Item | wire.Msg) -> h.Seen:
    return h.Seen(at, conversation, item.seq, item.sender, item.id, bytes(item.body))


def _seen(kind: type[h.Seen], at: float, message: Message) -> Any:
    return kind(
        at, message.conversation, message.seq, message.sender, message.id, bytes(message.body)
    )


def _place(mine: Conversation, me: int) -> h.Place:
    own = (me, mine.told_delivered, mine.told_read)
    peers = [(peer.user, peer.delivered, peer.read) for peer in mine.peers]
    return h.Place(mine.id, mine.base, mine.have, mine.handled, mine.known, (own, *peers))


def _or0(value: Any) -> int:
    return value if isinstance(value, int) else 0


async def ready(devices: Iterable[Device]) -> None:
    """Wait until all are connected for the first time."""
    for device in devices:
        waiting: Deferred[None] = device.client.ready()
        await waiting
