"""Small parts for the tests of PostgreSQL storage: nodes, friends, messages, a link to cut."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.protocols.portforward import (
    ProxyClient,
    ProxyClientFactory,
    ProxyFactory,
    ProxyServer,
)

from imd.errors import Unavailable
from imd.model import Appended, Device, NewMessage
from imd.storage.postgres import PostgresStorage

T = TypeVar("T")
reactor: Any = _reactor


@asynccontextmanager
async def nodes(url: str, count: int = 1, **options: Any) -> AsyncIterator[list[PostgresStorage]]:
    """Some storages over one database, as that many nodes would have them."""
    storages = [PostgresStorage(url, f"n{i}", reactor, **options) for i in range(count)]
    try:
        for storage in storages:
            await storage.start()
        yield storages
    finally:
        for storage in storages:
            await storage.stop()


async def befriend(storage: PostgresStorage, low: int, high: int, conversation: int) -> None:
    """Make two accounts with a device each, if need be, and friends of them."""
    for user in (low, high):
        if await storage.find_user(user) is None:
            await storage.create_user(user, f"user{user}", "hash", 1)
            device, token = Device(user, user, "", 1, 1), user.to_bytes(32, "big")
            await storage.add_device(device, token, verified="hash", limit=1, retire_before=0)
    for user, peer, verb in ((low, high, "add"), (high, low, "accept")):
        await storage.befriend(user, peer, verb, note="", conversation=conversation, at=1)


def text(conversation: int, sender: int, number: int) -> NewMessage:
    """A message whose id and body follow from its number."""
    id = uuid.UUID(int=(conversation << 64) + (sender << 32) + number).bytes
    return NewMessage(conversation, sender, sender, id, "text", b'{"n":%d}' % number)


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor run."""
    return deferLater(reactor, seconds, lambda: None)


async def until(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    end = reactor.seconds() + seconds
    while not check():
        assert reactor.seconds() < end, "it did not come to pass"
        await pause(0.02)


def together(*coroutines: Any) -> Deferred[list[Any]]:
    """Run coroutines at the same time; all their results."""
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until storage takes it, as a lane does."""
    for _ in range(200):
        try:
            return await call()
        except Unavailable:
            await pause(0.05)
    raise AssertionError("storage never came back")


async def append(storage: PostgresStorage, batch: Sequence[NewMessage]) -> tuple[Appended, ...]:
    """Append as a lane does."""
    return (await insist(lambda: storage.append(batch, 5))).decisions


class _Deaf(ProxyServer):  # type: ignore[misc]
    """Forwards; once the link is deaf, answers of the server end the connection instead."""

    def connectionMade(self) -> None:
        self.factory.cutter.clients.append(self)
        super().connectionMade()


class Cutter:
    """A link to a database that can lose an answer, and the connection with it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        factory = ProxyFactory(parts.hostname, parts.port)
        factory.protocol = _Deaf
        factory.cutter = self
        factory.noisy = False
        self.clients: list[Any] = []
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.url = url.replace(str(parts.port), str(self._port.getHost().port))

    def lose_answers(self) -> None:
        """From now on, an answer on a connection that exists now cuts that connection."""
        for client in self.clients:
            if client.peer is not None:
                client.peer.dataReceived = lambda data, c=client: c.transport.abortConnection()

    async def close(self) -> None:
        """Listen no more."""
        await self._port.stopListening()


class _Pooled(ProxyClient):  # type: ignore[misc]
    """Forwards, but changes the number of the server process that the client is told."""

    def dataReceived(self, data: bytes) -> None:
        self.peer.seen += data
        if self.peer.told:
            super().dataReceived(data)
            return
        at = self.peer.seen.find(b"K\0\0\0\x0c")
        if at >= 0 and len(self.peer.seen) >= at + 13:
            seen, self.peer.told = self.peer.seen, True
            super().dataReceived(seen[: at + 5] + b"\x55\x55\x55\x55" + seen[at + 9 :])


class _PooledFactory(ProxyClientFactory):  # type: ignore[misc]
    protocol = _Pooled
    noisy = False


class _PoolerServer(ProxyServer):  # type: ignore[misc]
    clientProtocolFactory = _PooledFactory

    def connectionMade(self) -> None:
        self.seen, self.told = b"", False
        super().connectionMade()


class Pooler:
    """What a pooler looks like to a client: it makes up the number to cancel with."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        factory = ProxyFactory(parts.hostname, parts.port)
        factory.protocol = _PoolerServer
        factory.noisy = False
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.url = url.replace(str(parts.port), str(self._port.getHost().port))
        self.url += "?sslmode=disable"

    async def close(self) -> None:
        """Listen no more."""
        await self._port.stopListening()


class BlackHole(Protocol):
    """Takes everything and answers nothing."""


def black_hole() -> Any:
    """A port of such."""
    factory = Factory.forProtocol(BlackHole)
    factory.noisy = False
    return reactor.listenTCP(0, factory, interface="127.0.0.1")


class _HangsUp(Protocol):
    """Refuses TLS, then closes, as PostgreSQL does while it shuts down at once."""

    def dataReceived(self, data: bytes) -> None:
        """A request for TLS is eight bytes, and what follows is a login."""
        if len(data) == 8:
            self.transport.write(b"N")
        else:
            self.transport.loseConnection()


def hangs_up() -> Any:
    """A port of such."""
    factory = Factory.forProtocol(_HangsUp)
    factory.noisy = False
    return reactor.listenTCP(0, factory, interface="127.0.0.1")
