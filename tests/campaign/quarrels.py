"""Friends who part and make up again, while messages are on their way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, gatherResults

from imd.client import Disconnected, Refused
from imd.errors import Code
from imd.tasks import sleep
from tests.campaign.device import Device, now
from tests.campaign.evidence import Apart
from tests.campaign.plan import Quarrel
from tests.process import reactor

#: Seconds after which an answer is no longer waited for: the client may have died meanwhile.
ANSWER = 5.0
#: What a server says that may do it later.
_PASSING = (Code.UNAVAILABLE, Code.INTERNAL, Code.LIMIT)


class Pair(Struct, frozen=True):
    """A conversation and the devices of its two members."""

    conversation: int
    one: Sequence[Device]
    other: Sequence[Device]


class Quarrels:
    """The quarrels of one run; those of one pair wait for each other."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._locks = [DeferredLock() for _ in pairs]
        #: From when to when who were no friends for certain.
        self.apart: list[Apart] = []

    async def run(self, quarrels: Sequence[Quarrel]) -> None:
        """Have them all; in the end everybody is friends again."""
        began = reactor.seconds()
        await gatherResults([Deferred.fromCoroutine(self._at(began, each)) for each in quarrels])

    async def _at(self, began: float, quarrel: Quarrel) -> None:
        await sleep(reactor, began + quarrel.at - reactor.seconds())
        number = quarrel.pair % len(self._pairs)
        async with self._locks[number]:
            await self._quarrel(self._pairs[number], quarrel.seconds)

    async def _quarrel(self, pair: Pair, seconds: float) -> None:
        begin = now()
        await insist(pair.one, "friend.remove", user=pair.other[0].user)
        since = now()
        await sleep(reactor, seconds)
        until = now()
        await befriend(pair.one, pair.other)
        self.apart.append(Apart(pair.conversation, since, until, begin, now()))


async def befriend(one: Sequence[Device], other: Sequence[Device]) -> None:
    """Make two users friends."""
    await insist(one, "friend.add", user=other[0].user)
    await insist(other, "friend.accept", user=one[0].user)


async def insist(devices: Sequence[Device], method: str, **params: Any) -> None:
    """Call until there is an answer; that it was done already is one, too."""
    turn = 0
    while True:
        turn += 1
        client = devices[turn % len(devices)].client
        calling: Deferred[Any] = Deferred.fromCoroutine(client.call(method, **params))
        try:
            await calling.addTimeout(ANSWER, reactor)
            return
        except Refused as error:
            if error.code not in _PASSING:
                return
        except (Disconnected, defer.TimeoutError):
            pass
        await sleep(reactor, 0.1)
