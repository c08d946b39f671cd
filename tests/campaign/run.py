"""One run of a plan, from the start of the servers to the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from imd.tasks import sleep
from tests.campaign import dump
from tests.campaign.checker import Violation, check
from tests.campaign.device import Device, now, ready
from tests.campaign.evidence import Apart, Evidence, Gauge, Probe, Revoked
from tests.campaign.history import Acked
from tests.campaign.liveness import repairs
from tests.campaign.losses import Losses
from tests.campaign.nemesis import Nemesis
from tests.campaign.place import Engines, Place
from tests.campaign.plan import HARMLESS, Loss, Plan, Send, stream
from tests.campaign.quarrels import Pair, Quarrels, befriend
from tests.process import reactor

#: Seconds until every client has to be connected again, and until all is converged after that:
#: delays between attempts grow to half a minute, while two sweeps take eight seconds.
RECONNECT, CONVERGE = 90.0, 30.0
#: Seconds after which every session has to be in user status again, and what was killed is not: a
#: lease and some more.
ENTERED = 20.0
#: Seconds until every revoked device has to know it, whose connector may just have come back.
EXPELLED = 20.0
#: So many times as long all of this may take on a machine that is busy.  Where a server has a
#: defect on purpose it may never come, and nobody waits for it.
PATIENCE = 2.0
#: Messages that are sent in one turn at most, if the clients are behind the plan.
BURST = 20
#: Pairs that become friends at once, and seconds until everybody has to have heard of it.
MEETINGS, ACQUAINTED = 16, 120.0
#: Seconds in which a sweep may still find what was told in another way, and in which none may.
LAST_SWEEP, QUIET = 5.5, 5.0
#: Seconds between two looks into the database.
PROBE = 3.0

T = TypeVar("T")


class Outcome(Struct):
    """What a run was like."""

    seed: str
    faults: Counter[str]
    #: How many of them began before the last message was sent.
    amid: int
    messages: int
    acked: int
    #: Heads that a server had to send because a push had not come.
    repairs: int
    #: Seconds that each phase took.
    seconds: dict[str, float]
    #: Seconds until all clients were connected, and all had everything, after the last fault.
    reconnected: float
    converged: float
    violations: list[Violation]
    evidence: Evidence


class Campaign:
    """A run in progress."""

    def __init__(self, plan: Plan, engines: Engines, variant: str = "", limits: str = "") -> None:
        self._plan = plan
        self._patience = 1.0 if variant else PATIENCE
        self._place = Place(engines, stream(plan.seed, "balancer"), variant, limits)
        self._devices: list[Device] = []
        #: One for each loss of the plan; nobody counts on them.
        self._lost: list[Device] = []
        self._conversations: dict[tuple[int, int], int] = {}
        self._places: list[tuple[list[int], list[int]]] = []
        self._probes: list[Probe] = []
        self._failures: list[str] = []
        self._waits = (0.0, 0.0)
        self._seconds: dict[str, float] = {}
        self._talked = 0.0
        self._quiet = 0.0
        self._keys: list[Gauge] = []
        self._apart: list[Apart] = []
        self._revoked: list[Revoked] = []
        self._healed = 0.0

    async def run(self) -> Outcome:
        """Do it all, and check."""
        nemesis = Nemesis(self._place, self._devices)
        globalLogPublisher.addObserver(self._logged)
        try:
            await self._timed("start", self._place.start())
            await self._timed("populate", self._populate())
            await self._timed("act", self._act(nemesis))
            await self._timed("settle", self._settle())
            evidence = await self._timed("collect", self._collect())
        finally:
            globalLogPublisher.removeObserver(self._logged)
            await self._timed("close", self._place.close())
        return await self._timed("check", self._outcome(evidence, nemesis))

    async def _timed(self, phase: str, work: Coroutine[Any, Any, T]) -> T:
        began = reactor.seconds()
        try:
            return await work
        finally:
            self._seconds[phase] = reactor.seconds() - began

    def _logged(self, event: dict[str, Any]) -> None:
        """What only a log would tell: defects of the clients, or of the campaign itself."""
        if event["log_level"] >= LogLevel.critical:
            failure = event.get("log_failure")
            trace = failure.getTraceback() if failure is not None else ""
            self._failures.append(f"{formatEvent(event)}\n{trace}")

    # -- people

    async def _populate(self) -> None:
        sizes = self._plan.sizes
        self._devices += [
            self._device(n, n // sizes.devices) for n in range(sizes.users * sizes.devices)
        ]
        # The accounts have to be there before the other devices log in.
        firsts = self._devices[:: sizes.devices]
        first = len(self._devices)
        losers = enumerate((loss.user for loss in self._plan.losses), first)
        self._lost = [self._device(number, user) for number, user in losers]
        for loss, lost in zip(self._plan.losses, self._lost, strict=True):
            lost.silent = not loss.writes
        others = [each for each in self._devices if each not in firsts]
        for turn in (firsts, others, self._lost):
            for device in turn:
                device.start()
            await ready(turn)
        for device in self._lost:
            device.find()
        pairs, some = self._plan.friends, DeferredSemaphore(MEETINGS)
        await gatherResults([some.run(self._befriend, *pair) for pair in pairs])
        await _until(self._acquainted, ACQUAINTED)
        self._conversations = {pair: self._between(*pair) for pair in pairs}
        self._places = [self._seen_by(user) for user in range(sizes.users)]

    def _device(self, number: int, user: int) -> Device:
        # Half of the devices are programs that keep everything in memory.
        file = str(self._place.directory / f"{number}.db") if number % 2 else ""
        chance = stream(self._plan.seed, f"device-{number}")
        return Device(self._place.url, f"user-{user:03}", number, chance, file)

    def _befriend(self, one: int, other: int) -> Deferred[None]:
        return Deferred.fromCoroutine(befriend(self._of(one), self._of(other)))

    def _between(self, one: int, other: int) -> int:
        """The conversation of two users; 0 if the first has not heard of it yet."""
        found, peer = self._of(one)[0].client.conversations, self._of(other)[0].client.me
        return next((c.id for c in found.values() if c.peers[0].user == peer), 0)

    def _of(self, user: int) -> list[Device]:
        each = self._plan.sizes.devices
        return self._devices[user * each : (user + 1) * each]

    def _acquainted(self) -> bool:
        return all(
            self._between(*pair) in device.client.conversations
            for pair in self._plan.friends
            for user in pair
            for device in self._of(user)
        )

    def _seen_by(self, user: int) -> tuple[list[int], list[int]]:
        """The conversations of a user, and those of others."""
        mine = [id for pair, id in self._conversations.items() if user in pair]
        foreign = [id for pair, id in self._conversations.items() if user not in pair]
        return mine, foreign

    # -- what happens

    async def _act(self, nemesis: Nemesis) -> None:
        probing = LoopingCall(self._probe)
        probing.clock = reactor
        probing.start(PROBE)
        quarrels = Quarrels([self._pair(*pair) for pair in self._plan.friends])
        self._apart = quarrels.apart
        plan = self._plan
        losses = Losses([self._loss(n) for n in range(len(plan.losses))])
        self._revoked = losses.revoked
        work = [self._talk(), quarrels.run(plan.quarrels), nemesis.run(plan.faults), losses.run()]
        try:
            await gatherResults([Deferred.fromCoroutine(each) for each in work])
        finally:
            probing.stop()
        self._healed = now()

    def _loss(self, number: int) -> tuple[Loss, Device, list[Device], int]:
        loss = self._plan.losses[number]
        mine, _ = self._places[loss.user]
        return loss, self._lost[number], self._of(loss.user), mine[0]

    def _pair(self, one: int, other: int) -> Pair:
        return Pair(self._conversations[one, other], self._of(one), self._of(other))

    async def _probe(self) -> None:
        engines = self._place.engines
        found = await deferToThread(dump.probe, engines.postgres.url(self._place.database))
        if found is not None:
            self._probes.append(found)
        keys = await deferToThread(dump.keys, engines.redis)
        # The entries of each user, and a lease of each node that lived; a name of its own each.
        nodes = sum(each.lives for each in self._place.connectors)
        most = self._plan.sizes.users + nodes
        self._keys.append(Gauge("keys", keys, most))

    async def _talk(self) -> None:
        began = reactor.seconds()
        for n, send in enumerate(self._plan.sends):
            wait = began + send.at - reactor.seconds()
            if wait > 0 or n % BURST == 0:
                await sleep(reactor, max(wait, 0.0))
            self._devices[send.device].send(self._where(send), f"message {n}")
        self._talked = reactor.seconds()

    def _where(self, send: Send) -> int:
        mine, foreign = self._places[send.device // self._plan.sizes.devices]
        choice = foreign if send.foreign and foreign else mine
        return choice[send.where % len(choice)]

    # -- the end

    async def _settle(self) -> None:
        began, more = reactor.seconds(), self._patience
        there, everybody = ("ready", "stopped"), [*self._devices, *self._lost]
        await _until(lambda: all(d.client.state in there for d in everybody), more * RECONNECT)
        connected = reactor.seconds()
        await _until(self._converged, more * CONVERGE)
        self._waits = (connected - began, reactor.seconds() - connected)
        await _until(lambda: all(d.client.state == "stopped" for d in self._lost), more * EXPELLED)
        await _until(self._entered, more * ENTERED)
        if self._plan.sizes.quiet:
            await sleep(reactor, LAST_SWEEP)
            self._quiet = now()
            await sleep(reactor, QUIET)

    def _entered(self) -> bool:
        """Whether user status knows all sessions; which, the checker says.  What a connector has
        left that was killed counts until its lease runs out.
        """
        redis = self._place.engines.redis
        if dump.leases(redis) > len(self._place.connectors):
            return False
        return sum(entry.leased for entry in dump.entries(redis)) >= len(self._devices)

    def _converged(self) -> bool:
        """Whether the clients agree; whether they are right, the checker says."""
        if any(device.client.pending for device in self._devices):
            return False
        return all(self._agreed(pair, id) for pair, id in self._conversations.items())

    def _agreed(self, pair: tuple[int, int], id: int) -> bool:
        devices = [device.client for user in pair for device in self._of(user)]
        last = max(client.conversations[id].known for client in devices)
        if any(client.conversations[id].handled != last for client in devices):
            return False
        cursors: dict[int, set[tuple[int, int]]] = {}
        for client in devices:
            mine = client.conversations[id]
            # A session is not told what it has said itself.
            me = max(mine.delivered, mine.told_delivered), max(mine.read, mine.told_read)
            cursors.setdefault(client.me, set()).add(me)
            for peer in mine.peers:
                cursors.setdefault(peer.user, set()).add((peer.delivered, peer.read))
        return all(len(views) == 1 for views in cursors.values())

    async def _collect(self) -> Evidence:
        place, engines = self._place, self._place.engines
        entries = dump.entries(engines.redis)
        rows, logs, cursors = dump.tables(engines.postgres.url(place.database))
        for process in place.processes:
            process.look()
        everybody = [*self._devices, *self._lost]
        await gatherResults([Deferred.fromCoroutine(each.stop()) for each in everybody])
        accidents = [line for process in place.processes for line in process.accidents]
        return Evidence(
            histories=[device.history for device in everybody],
            rows=rows,
            logs=logs,
            cursors=cursors,
            probes=self._probes,
            entries=entries,
            apart=self._apart,
            revoked=self._revoked,
            healed=self._healed,
            # On a busy machine a push is late, and the sweep tells of it first.
            calm=self._quiet > 0 and {fault.kind for fault in self._plan.faults} <= HARMLESS,
            quiet=self._quiet,
            gauges={**place.gauges(), "user status": self._keys},
            output=place.output(),
            accidents=[*accidents, *self._failures],
        )

    async def _outcome(self, evidence: Evidence, nemesis: Nemesis) -> Outcome:
        histories = evidence.histories
        acked = {event.id for history in histories for event in history.of(Acked)}
        return Outcome(
            seed=self._plan.seed,
            faults=nemesis.done,
            amid=sum(at < self._talked for at in nemesis.times),
            messages=len(evidence.rows),
            acked=len(acked),
            repairs=sum(repairs(history) for history in histories),
            seconds=self._seconds,
            reconnected=self._waits[0],
            converged=self._waits[1],
            violations=check(evidence),
            evidence=evidence,
        )


async def _until(true: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds, or give up: the checker will see what is missing."""
    end = reactor.seconds() + seconds
    while not true() and reactor.seconds() < end:
        await sleep(reactor, 0.2)
