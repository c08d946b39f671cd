"""Accounts for a run: registered, logged in, and made friends."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from imd.bench.peer import Peer, connect

#: Logins and registrations at once; passwords take the server's processors.
AT_ONCE = 16


class Progress:
    """Says on the terminal how far a long piece of work is."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._shown:
            end = "\n" if self._done == self._total else ""
            sys.stderr.write(f"\r{self._what}: {self._done} of {self._total}{end}")


class Pair:
    """A sender, a receiver, and their conversation."""

    def __init__(self, sender: Peer, receiver: Peer, conversation: int) -> None:
        self.sender = sender
        self.receiver = receiver
        self.conversation = conversation


async def pairs(
    reactor: Any, urls: Sequence[str], count: int, failed: Callable[[str], None]
) -> list[Pair]:
    """So many pairs of new friends, the two of each at different ``urls`` if there are several."""
    run = secrets.token_hex(4)
    progress = Progress("pairs", count)
    at_once = DeferredSemaphore(AT_ONCE)

    async def make(n: int) -> Pair:
        where = urls[n % len(urls)], urls[(n + 1) % len(urls)]
        pair = await _pair(reactor, where, f"bench-{run}-{n}", failed)
        progress.step()
        return pair

    async def limited(n: int) -> Pair:
        async with at_once:
            return await make(n)

    return list(await gatherResults([Deferred.fromCoroutine(limited(n)) for n in range(count)]))


async def _pair(
    reactor: Any, urls: tuple[str, str], name: str, failed: Callable[[str], None]
) -> Pair:
    peers = []
    for side, url in zip("ab", urls, strict=True):
        peer = await connect(reactor, url, failed)
        await peer.login(user=f"{name}-{side}", password="bench", device="bench", register=True)  # noqa: S106
        peers.append(peer)
    await peers[0].call("friend.add", user=f"{name}-b")
    accepted = await peers[1].call("friend.accept", user=f"{name}-a")
    return Pair(peers[0], peers[1], accepted["conv"])
