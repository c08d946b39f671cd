"""Private Redis servers with options, what may stand in front of a Redis, and how it is used."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TextIO, TypeVar

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapServerTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from imd.errors import Unavailable
from imd.interfaces.nodes import Entry
from imd.status import redis, redis_dial, redis_link
from imd.status.redis import RedisUserStatus
from tests.servers import PATIENCE, Redis, redis_binary

T = TypeVar("T")
reactor: Any = _reactor

#: Seconds between two looks at what is waited for.
TICK = 0.01


@asynccontextmanager
async def running(*nodes: str, url: str) -> AsyncIterator[list[RedisUserStatus]]:
    """User status of each of these nodes, connected and with a lease that no test outlives."""
    statuses = [RedisUserStatus(url, node, reactor) for node in nodes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis, "LEASE_MS", 600_000)
        try:
            with patience():
                for status in statuses:
                    status.start()
                for status in statuses:
                    await until_up(status)
                    assert await status.beat() is False
            yield statuses
        finally:
            for status in statuses:
                await status.stop()


class Stopwatch:
    """Time that this process had: where others held it up, only a hundredth of a second counts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._tick = LoopingCall(self._count)
        self._tick.clock = reactor

    def _count(self) -> None:
        self.seconds += TICK

    def __enter__(self) -> Stopwatch:
        self._tick.start(TICK, now=False)
        return self

    def __exit__(self, *failure: object) -> None:
        self._tick.stop()


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Where not the time is tested, a Redis that others hold up is not given up at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_link, "DEADLINE", 60.0)
        patch.setattr(redis_dial, "CONNECT_SECONDS", 60.0)
        patch.setattr(redis_dial, "SENTINEL_SECONDS", 60.0)
        yield


@pytest.fixture
def unhurried() -> Iterator[None]:
    """All of a test has patience."""
    with patience():
        yield


async def patiently(call: Awaitable[T]) -> T:
    """What a call gives, however long it takes."""
    with patience():
        return await call


async def until_up(status: RedisUserStatus, seconds: float = 60.0) -> None:
    """Wait until Redis can be asked."""
    with Stopwatch() as watch:
        while not status.up:
            assert watch.seconds < seconds, "Redis is not back"
            await deferLater(reactor, TICK, lambda: None)


async def until_out(status: RedisUserStatus) -> None:
    """Wait until it is known that Redis is away."""
    while not status.counts.outages:
        await deferLater(reactor, TICK, lambda: None)


async def until_new(status: RedisUserStatus, connects: int = 1) -> None:
    """Wait until there is another connection than the first ones."""
    while status.counts.connects <= connects:
        await deferLater(reactor, 0.01, lambda: None)
    assert status.up


async def fails(call: Awaitable[Any]) -> float:
    """The seconds that a call takes to say that Redis is not available; see ``Stopwatch``."""
    with Stopwatch() as watch, pytest.raises(Unavailable):
        await call
    return watch.seconds


def fails_at_once(call: Coroutine[Any, Any, Any]) -> None:
    """A call says that Redis is not available before anything else can happen."""
    with pytest.raises(Unavailable):
        call.send(None)


async def all_of(calls: Sequence[tuple[Callable[..., Awaitable[Any]], Any]]) -> None:
    """Make calls, 50 at a time."""
    left = iter(calls)

    async def work() -> None:
        for call, arguments in left:
            await call(*arguments)

    working = [Deferred.fromCoroutine(work()) for _ in range(50)]
    await gatherResults(working, consumeErrors=True)


async def one_works(status: RedisUserStatus) -> None:
    """Every call does what it should, however long it takes."""
    with patience():
        await works(status)


async def works(status: RedisUserStatus) -> None:
    """Every call does what it should, in time."""
    await status.register(1, 11, 5)
    assert await status.lookup([1]) == (Entry(1, 11, 5, "n1"),)


def at(port: int) -> str:
    """The URL of a Redis on this port."""
    return f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """What is logged about a Redis meanwhile, at the level of info and above."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.info and "redis" in event:
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


class TunedRedis(Redis):
    """A private Redis with more options."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), *self._options]

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("PING").startswith(("+PONG", "-NOAUTH"))
        return False


class Sentinel(Redis):
    """Watches a master called ``chat``; two of three have to agree that it is down."""

    def __init__(self, master: Redis) -> None:
        super().__init__()
        self._master = master

    def _arguments(self) -> list[str]:
        conf = self.directory / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor chat 127.0.0.1 {self._master.port} 2\n"
            "sentinel down-after-milliseconds chat 3000\n"
            "sentinel failover-timeout chat 3000\n"
        )
        return [str(redis_binary()), str(conf), "--sentinel"]

    def state(self) -> dict[str, str]:
        """What it knows about the master."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as link:
            link.sendall(b"SENTINEL MASTER chat\r\n")
            reply = link.makefile()
            # A length stands before each key and each value.
            words = [(reply.readline(), reply.readline())[1] for _ in range(_count(reply))]
        stripped = [word.rstrip() for word in words]
        return dict(zip(stripped[::2], stripped[1::2], strict=True))


def _count(reply: TextIO) -> int:
    return int(reply.readline()[1:])


class Middle:
    """Listens in front of a Redis and passes on what both say, with whatever goes wrong."""

    def __init__(self, redis: Redis, tls: Any = None) -> None:
        self._redis = redis
        self._tls = tls
        self._listener: Any = None
        self.links: list[_Near] = []
        self.port = 0
        #: Seconds by which every answer is late.
        self.delay = 0.0
        #: Answers that wait until they are let go; None if they are passed on at once.
        self.held: list[Callable[[], None]] | None = None
        #: Answers that are not passed on from here: what is sent in their place, and whether
        #: that is the end of the connection.
        self.instead: bytes | None = None
        self.hang_up = False

    async def start(self) -> None:
        """Listen on a free port, the same as before if there was one."""
        endpoint: Any = TCP4ServerEndpoint(reactor, self.port, interface="127.0.0.1")
        if self._tls is not None:
            endpoint = wrapServerTLS(self._tls, endpoint)
        factory = Factory.forProtocol(_Near)
        factory.middle = self  # type: ignore[attr-defined]
        self._listener = await endpoint.listen(factory)
        self.port = self._listener.getHost().port

    async def stop(self) -> None:
        """Take no more connections, and cut those that are there."""
        await self._listener.stopListening()
        await self.cut()

    async def cut(self) -> None:
        """Cut all connections."""
        for link in list(self.links):
            link.transport.abortConnection()
            await link.gone

    def let_go(self) -> None:
        """Pass on the answers that wait, and hold no more."""
        held, self.held = self.held or [], None
        for pass_on in held:
            pass_on()

    def connect(self, near: _Near) -> Deferred[Any]:
        """Dial the Redis behind."""
        factory = Factory.forProtocol(_Far)
        factory.near = near  # type: ignore[attr-defined]
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self._redis.port).connect(factory)


class _Near(Protocol):
    def connectionMade(self) -> None:
        self.middle: Middle = self.factory.middle  # type: ignore[union-attr]
        self.middle.links.append(self)
        self.gone: Deferred[None] = Deferred()
        self._asked: list[bytes] = []
        self.far: Any = None
        self.middle.connect(self).addCallbacks(
            self._reached, lambda _: self.transport.abortConnection()
        )

    def _reached(self, far: Any) -> None:
        self.far = far
        asked, self._asked = self._asked, []
        far.transport.write(b"".join(asked))

    def dataReceived(self, data: bytes) -> None:
        if self.far is None:
            self._asked.append(data)
        else:
            self.far.transport.write(data)

    def answer(self, data: bytes) -> None:
        """Give an answer, or whatever stands in for it."""
        if self.middle.instead is not None:
            data = self.middle.instead
        if self.middle.held is not None:
            self.middle.held.append(functools.partial(self._write, data))
        elif self.middle.delay:
            deferLater(reactor, self.middle.delay, self._write, data)
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.gone.called:
            self.transport.write(data)
            if self.middle.hang_up:
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.middle.links.remove(self)
        if self.far is not None:
            self.far.transport.abortConnection()
        self.gone.callback(None)


class _Far(Protocol):
    def connectionMade(self) -> None:
        self._near: _Near = self.factory.near  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self._near.answer(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._near.gone.called:
            self._near.transport.loseConnection()
