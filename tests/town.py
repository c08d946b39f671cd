"""The users of ``tests.soak``: regulars who write to each other and come and go, guests who make
friends, send a file and leave for good, and flies that log in by token and vanish.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from imd.bench.peer import BenchError, Peer, connect
from imd.client import Client, MemoryStore
from imd.client.errors import Disconnected
from imd.client.values import Message, Sent
from tests.cluster import Cluster, befriend
from tests.outages import sleep, until
from tests.process import reactor

#: Friends of each regular, on one side of the ring that they form.
NEIGHBOURS = 2
#: Seconds between two departures, two pairs of guests, two flies.
LEAVES, GUESTS, FLIES = 1.0, 5.0, 0.5
#: Seconds for which a regular stays away, a fly stays, at most.
AWAY, STAY = 6.0, 4.0
#: Bytes of a file.
FILE = 200_000


class Ledger(Struct):
    """What was done, and what came of it."""

    said: int = 0
    sent: int = 0
    shown: int = 0
    lost: int = 0
    doubled: int = 0
    returns: int = 0
    breaks: int = 0
    guests: int = 0
    flies: int = 0
    #: Visits of guests and flies that ended with a broken connection: on a busy machine an answer
    #: may take longer than a client waits.
    broken: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.said} said, {self.sent} sent, {self.shown} shown, {self.lost} lost, "
            f"{self.doubled} doubled; {self.returns} returns ({self.breaks} after a break), "
            f"{self.guests} guests, {self.flies} flies, {self.broken} visits broken off, "
            f"{len(self.faults)} faults"
        )


class Regular:
    """A user who comes and goes; what the store holds outlives each stay."""

    def __init__(self, url: Callable[[], str], name: str, ledger: Ledger) -> None:
        self.name = name
        self.is_busy = False
        #: Messages said, by conversation.
        self.said: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._url, self._ledger = url, ledger
        # What was stored and not shown yet has to be kept until the next stay.
        self._store = MemoryStore()
        self.client = self._new()

    def _new(self) -> Client:
        client = Client(self._url(), self.name, "secret", store=self._store, register=True)
        client.on_message(self._show)
        return client

    def say(self, conversation: int) -> None:
        """Write the next message of mine there."""
        number = self.said[conversation] = self.said.get(conversation, 0) + 1
        self._ledger.said += 1
        self.client.send(conversation, str(number)).addCallbacks(self._sent, self._unsent)

    def heard(self, conversation: int) -> int:
        """How many messages of the other one were shown."""
        return self._heard.get(conversation, 0)

    def _sent(self, sent: Sent) -> None:
        self._ledger.sent += 1

    def _unsent(self, failure: Failure) -> None:
        # It is in the outbox of the next stay, which nobody here waits for.
        failure.trap(Disconnected)
        self._ledger.sent += 1

    def _show(self, message: Message) -> None:
        """The numbers of each conversation come one by one; a gap is a loss."""
        number, before = int(message.text), self.heard(message.conversation)
        self._ledger.shown += 1
        self._ledger.lost += max(0, number - before - 1)
        self._ledger.doubled += number <= before
        self._heard[message.conversation] = max(number, before)

    async def come(self) -> None:
        """Log in: by password the first time, by token later."""
        self.client.start()
        await self.client.ready()

    async def go(self, abruptly: bool) -> None:
        """Leave; ``abruptly``: the connection breaks without a goodbye."""
        connection = self.client._link._connection
        if abruptly and connection is not None:
            connection.abort()
        await self.client.stop()

    async def return_(self) -> None:
        """Come back, wherever the balancer sends us."""
        self.client = self._new()
        await self.come()


class Town:
    """All who use a cluster, at ``rate`` messages a second."""

    def __init__(self, cluster: Cluster, users: int, rate: float) -> None:
        self.ledger = Ledger()
        self._urls = itertools.cycle([server.url for server in cluster.connectors])
        self._rate = rate
        self._regulars = [Regular(self._url, f"user{n}", self.ledger) for n in range(users)]
        #: Two regulars and their conversation.
        self._ways: list[tuple[Regular, Regular, int]] = []
        self._tokens: list[str] = []
        self._numbers = itertools.count()
        self._began = 0.0
        self._running: set[Deferred[None]] = set()
        self._loops = [
            (LoopingCall(self._talk), 0.02),
            (LoopingCall(self._do, self._leave), LEAVES),
            (LoopingCall(self._do, self._guests), GUESTS),
            (LoopingCall(self._do, self._fly), FLIES),
        ]
        self._top = tempfile.TemporaryDirectory(prefix="imd-town-")

    def _url(self) -> str:
        return next(self._urls)

    async def settle(self) -> None:
        """Everybody comes, and makes friends."""
        for regular in self._regulars:
            await regular.come()
        for n, step in itertools.product(range(len(self._regulars)), range(1, NEIGHBOURS + 1)):
            one, other = self._regulars[n], self._regulars[(n + step) % len(self._regulars)]
            conversation = await befriend(one.client, other.client)
            self._ways += [(one, other, conversation), (other, one, conversation)]
        for one, _, conversation in self._ways:
            await until(lambda: conversation in one.client.conversations)  # noqa: B023
        for n in range(40):
            self._tokens.append(await self._device(f"fly{n}"))

    async def _device(self, name: str) -> str:
        peer = await connect(reactor, self._url(), lambda reason: None)
        welcome = await peer.login(user=name, password="secret", device="fly", register=True)
        peer.hang_up()
        return str(welcome.token)

    @property
    def conversations(self) -> list[int]:
        """Those of the regulars."""
        return sorted({conversation for _, _, conversation in self._ways})

    def start(self) -> None:
        """Live from now on."""
        self._began = reactor.seconds()
        for loop, seconds in self._loops:
            loop.start(seconds)

    async def stop(self) -> None:
        """Say no more, wait until all that was said is shown, and go."""
        for loop, _ in self._loops:
            loop.stop()
        await DeferredList(list(self._running))
        await until(self._is_quiet, patience=120.0)
        for regular in self._regulars:
            await regular.go(abruptly=False)
        self._top.cleanup()

    def _is_quiet(self) -> bool:
        all_shown = all(b.heard(c) == a.said.get(c, 0) for a, b, c in self._ways)
        return all_shown and all(regular.client.pending == 0 for regular in self._regulars)

    def _do(self, what: Callable[[], Awaitable[None]]) -> None:
        """Begin something; how it fails is a fault of the run."""
        doing: Deferred[None] = Deferred.fromCoroutine(what())  # type: ignore[arg-type]
        self._running.add(doing)
        doing.addErrback(self._fault, what.__name__)
        doing.addBoth(lambda _: self._running.discard(doing))

    def _fault(self, failure: Failure, what: str) -> None:
        if failure.check(Disconnected, BenchError):
            self.ledger.broken += 1
            return
        self.ledger.faults.append(f"{what}: {failure.value!r}")
        print(failure.getTraceback(), flush=True)

    # -- what happens

    def _talk(self) -> None:
        due = (reactor.seconds() - self._began) * self._rate
        there = [way for way in self._ways if not way[0].is_busy]
        while there and self.ledger.said < due:
            one, _, conversation = random.choice(there)
            one.say(conversation)

    async def _leave(self) -> None:
        there = [regular for regular in self._regulars if not regular.is_busy]
        if not there:
            # On a busy machine it takes long to come back.
            return
        regular = random.choice(there)
        regular.is_busy = True
        abruptly = random.random() < 0.5
        await regular.go(abruptly)
        await sleep(random.random() * AWAY)
        await regular.return_()
        regular.is_busy = False
        self.ledger.returns += 1
        self.ledger.breaks += abruptly

    async def _fly(self) -> None:
        if not self._tokens:
            return
        # Nobody else's meanwhile: of two sessions of one device the older one is closed.
        token = self._tokens.pop(0)
        try:
            await self._visit(token)
        finally:
            self._tokens.append(token)
        self.ledger.flies += 1

    async def _visit(self, token: str) -> None:
        peer: Peer = await connect(reactor, self._url(), lambda reason: None)
        await peer.login(token=token)
        await sleep(random.random() * STAY)
        peer.is_closed_by_us = True
        if random.random() < 0.5:
            peer.sendClose(1000)
        else:
            peer.hang_up()

    async def _guests(self) -> None:
        """Two new users: friends, a text, a file, no friends any more, logged out."""
        number = next(self._numbers)
        names = [f"guest{number}-{side}" for side in "ab"]
        one, other = (Client(self._url(), name, "secret", register=True) for name in names)
        try:
            await self._meet(one, other, number)
        finally:
            for client in (one, other):
                await client.stop()
        self.ledger.guests += 2

    async def _meet(self, one: Client, other: Client, number: int) -> None:
        shown: list[Message] = []
        other.on_message(shown.append)
        for client in (one, other):
            client.start()
            await client.ready()
        conversation = await befriend(one, other)
        path = Path(self._top.name, str(number))
        path.write_bytes(os.urandom(FILE))
        await one.send(conversation, "hello")
        await one.send_file(conversation, path)
        await until(lambda: len(shown) == 2)
        fetched = path.with_suffix(".fetched")
        await other.fetch_file(shown[1], fetched)
        same = fetched.read_bytes() == path.read_bytes()
        path.unlink()
        fetched.unlink()
        await one.friends.remove(other.name)
        for client in (one, other):
            await client.call("account.logout")
        if not same:
            raise AssertionError(f"the file of {one.name} is another one")
