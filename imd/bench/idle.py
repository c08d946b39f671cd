"""What a connection costs that is logged in and says nothing, and what a login costs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from imd.bench.peer import Peer, connect
from imd.bench.people import AT_ONCE, Progress
from imd.bench.subject import Subject
from imd.tasks import sleep

#: Devices of one account; the server's default limit.
DEVICES = 10
#: Seconds for memory to settle before it is read.
SETTLE = 3.0


class Idle(Struct):
    """The figures of a run."""

    connections: int
    kib_per_connection: float
    logins_per_second: float
    cpu_us_per_login: float


async def tokens(reactor: Any, url: str, count: int, failed: Callable[[str], None]) -> list[str]:
    """Tokens of so many devices."""
    run = secrets.token_hex(4)
    progress = Progress("devices", count)
    at_once = DeferredSemaphore(AT_ONCE)

    async def account(n: int) -> list[str]:
        async with at_once:
            return [await device(n, d) for d in range(min(DEVICES, count - n * DEVICES))]

    async def device(n: int, d: int) -> str:
        peer = await connect(reactor, url, failed)
        name = f"idle-{run}-{n}"
        welcome = await peer.login(user=name, password="bench", device=str(d), register=not d)  # noqa: S106
        peer.hang_up()
        progress.step()
        return str(welcome.token)

    accounts = range(-(-count // DEVICES))
    found = await gatherResults([Deferred.fromCoroutine(account(n)) for n in accounts])
    return [token for group in found for token in group]


async def measure(
    reactor: Any, subject: Subject, count: int, failed: Callable[[str], None]
) -> Idle:
    """Log in so many devices by token and keep them."""
    known = await tokens(reactor, subject.urls[0], count, failed)
    await sleep(reactor, SETTLE)
    memory, cpu, start = subject.rss(), sum(subject.cpus().values()), reactor.seconds()
    peers = await _log_in(reactor, subject.urls[0], known, failed)
    seconds, cpu = reactor.seconds() - start, sum(subject.cpus().values()) - cpu
    await sleep(reactor, SETTLE)
    grown = subject.rss() - memory
    for peer in peers:
        peer.hang_up()
    return Idle(count, grown / 1024 / count, count / seconds, cpu / count * 1e6)


async def _log_in(
    reactor: Any, url: str, known: list[str], failed: Callable[[str], None]
) -> list[Peer]:
    progress = Progress("logins", len(known))
    at_once = DeferredSemaphore(AT_ONCE)

    async def login(token: str) -> Peer:
        async with at_once:
            peer = await connect(reactor, url, failed)
            await peer.login(token=token)
        progress.step()
        return peer

    return list(await gatherResults([Deferred.fromCoroutine(login(token)) for token in known]))
