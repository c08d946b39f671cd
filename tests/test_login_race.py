"""A login that races with a send loses no message, whichever way the two run.

The sender commits, then looks up who is where; a login registers, then reads the heads.  All
orders of their steps are played over the real ``Online``, ``Routing`` and ``Sweep`` of two nodes.
That the order matters is proved as well: each other one loses messages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.hints import AnyHint
from imd.interfaces.feed import FeedPage
from imd.interfaces.nodes import Arrivals, Entry, UserStatus
from imd.sweep import INTERVAL, Sweep
from imd.tasks import spawn
from tests.application import Listener
from tests.interleavings import Schedule, Stepped, every
from tests.nodes import Node, World, push

ALICE, BOB, CONVERSATION = 1, 2, 7
#: Steps that change nothing beside those that they follow.
ANSWERS = ("register answered", "lookup answered", "commit answered")


class Session(Listener):
    """A session as its client sees it: REGISTERING it hears nothing, then live frames and heads."""

    ready = synced = False
    heads = 0

    def push(self, conversation: int, frame: bytes) -> None:
        if self.ready:
            super().push(conversation, frame)

    @property
    def knows(self) -> int:
        """The last message that it was told of."""
        return max([self.heads, *(f.get("seq", f.get("last")) for f in self.pushed)])


class Late:
    """``Arrivals`` that take a step to arrive, or never do."""

    def __init__(self, arrivals: Arrivals, schedule: Schedule, lossy: bool) -> None:
        self._arrivals = arrivals
        self._schedule = schedule
        self._lossy = lossy

    def received(self, source: str, hints: Sequence[AnyHint]) -> None:
        if not self._lossy:
            spawn(self._receive(source, hints), Logger(), "arrival")

    async def _receive(self, source: str, hints: Sequence[AnyHint]) -> None:
        await self._schedule.step("received")
        self._arrivals.received(source, hints)

    def lost(self) -> None:
        self._arrivals.lost()

    def unreachable(self, node: str) -> None:
        self._arrivals.unreachable(node)


class Cached:
    """User status whose first answer is kept, as it must never be."""

    def __init__(self, status: UserStatus) -> None:
        self._status = status
        self._kept: tuple[Entry, ...] | None = None

    async def lookup(self, users: Sequence[int]) -> tuple[Entry, ...]:
        if self._kept is None:
            self._kept = await self._status.lookup(users)
        return self._kept


class Race:
    """Alice sends on one node while Bob logs in on another."""

    def __init__(self, test: SynchronousTestCase, schedule: Schedule, lossy: bool = False) -> None:
        self.world = world = World(test)
        self.schedule = schedule
        self.here, self.there = Node("here", world), Node("there", world)
        for node in (self.here, self.there):
            for port in (node.status, node.feed):
                port._port = Stepped(port._port, schedule)
        transfer = self.there.transfer
        transfer._arrivals = Late(transfer._arrivals, schedule, lossy)
        self.bob = Session(BOB)
        #: What a token covered that the session was told of, and what the session knew then.
        self.tokens: list[tuple[int, int]] = []
        for node in (self.here, self.there):
            world.do(node.cluster.online.beat())
            node.transfer.start()
        self.there.cluster.sweep.start(self.covered)
        world.turn()

    def covered(self, token: str) -> None:
        if self.bob.synced:
            self.tokens.append((int(token), self.bob.knows))

    def play(self, *actors: Any) -> None:
        """All that happens, in the order of the schedule."""

        def begin() -> None:
            for actor in actors:
                spawn(actor, Logger(), "actor")

        self.schedule.run(begin, lambda: self.world.clock.advance(0))

    def sweep_at_last(self) -> None:
        """Faults are over: a beat, an interval, a sweep."""
        self.world.do(self.there.cluster.online.beat())
        self.world.clock.advance(INTERVAL)
        self.world.turn()

    @property
    def lost(self) -> bool:
        """Whether Bob does not know of a message that is committed."""
        return self.bob.knows < len(self.world.feed.entries)

    # -- actors

    async def log_in(self) -> None:
        await self.schedule.step("enter")
        assert await self.there.cluster.online.enter(self.bob)
        self.bob.ready = True
        await self.read_heads()

    async def read_heads(self) -> None:
        await self.schedule.step("heads")
        heads = len(self.world.feed.entries)
        await self.schedule.step("heads answered")
        self.bob.heads = heads
        self.bob.synced = True

    async def log_in_backwards(self) -> None:
        await self.read_heads()
        assert await self.there.cluster.online.enter(self.bob)
        self.bob.ready = True

    async def commit(self) -> int:
        await self.schedule.step("commit")
        seq = len(self.world.feed.entries) + 1
        self.world.feed.head(CONVERSATION, seq, ALICE, BOB)
        await self.schedule.step("commit answered")
        return seq

    async def send(self) -> None:
        seq = await self.commit()
        self.here.cluster.routing.tell(push(CONVERSATION, seq, ALICE, BOB))

    async def send_by_an_earlier_look_up(self) -> None:
        cached = self.cache()
        await cached.lookup((ALICE, BOB))
        await self.send()

    async def send_twice_by_one_look_up(self) -> None:
        self.cache()
        await self.send()
        await self.send()

    def cache(self) -> Cached:
        cached = Cached(self.here.status)  # type: ignore[arg-type]
        self.here.cluster.routing._others._status = cached  # type: ignore[union-attr]
        return cached

    async def crash_after_the_commit(self) -> None:
        await self.commit()

    async def wipe(self) -> None:
        await self.schedule.step("wipe")
        self.world.board.entries.clear()
        self.world.board.leases.clear()

    async def sweep(self) -> None:
        await self.schedule.step("sweep")
        self.world.clock.advance(INTERVAL)


class Outcome(NamedTuple):
    """What came of all orders of some steps."""

    #: How many there are, and in how many of them a message was lost.
    orders: int
    lost: int
    #: How many tokens covered something that the session was not told of, and how many did not.
    dishonest: int
    honest: int


class LoginRaceTests(SynchronousTestCase):
    def races(
        self,
        *actors: str,
        quiet: Collection[str] = (),
        lossy: bool = False,
        sweep: bool = False,
    ) -> Outcome:
        """Play all orders of these."""

        def scenario(schedule: Schedule) -> Race:
            race = Race(self, schedule, lossy)
            race.play(*(getattr(race, actor)() for actor in actors))
            if sweep:
                race.sweep_at_last()
            race.there.cluster.sweep.stop()
            return race

        orders = lost = dishonest = honest = 0
        for _, race in every(scenario, quiet):
            orders += 1
            lost += race.lost
            dishonest += sum(known < token for token, known in race.tokens)
            honest += sum(known >= token for token, known in race.tokens)
        return Outcome(orders, lost, dishonest, honest)

    def assert_none_lost(self, outcome: Outcome, orders: int) -> None:
        self.assertEqual((outcome.lost, outcome.dishonest), (0, 0))
        self.assertGreaterEqual(outcome.orders, orders)

    def assert_some_lost(self, outcome: Outcome) -> None:
        self.assertTrue(0 < outcome.lost < outcome.orders)

    # -- the order of protocol §4

    def test_commit_then_look_up_and_register_then_heads_lose_nothing(self) -> None:
        self.assert_none_lost(self.races("log_in", "send"), 100)

    def test_nor_with_two_messages(self) -> None:
        self.assert_none_lost(self.races("log_in", "send", "send", quiet=ANSWERS), 100)

    # -- every other order does

    def test_heads_before_registering_lose_some(self) -> None:
        self.assert_some_lost(self.races("log_in_backwards", "send"))

    def test_a_look_up_before_the_commit_loses_some(self) -> None:
        self.assert_some_lost(self.races("log_in", "send_by_an_earlier_look_up"))

    def test_a_route_that_is_kept_loses_some(self) -> None:
        self.assert_some_lost(self.races("log_in", "send_twice_by_one_look_up", quiet=ANSWERS))

    # -- with faults hints lose some, and the sweep finds all of them

    def faulty(self, *actors: str, lossy: bool = False, sweeping: Sequence[str] = ()) -> None:
        self.assert_some_lost(self.races(*actors, quiet=ANSWERS, lossy=lossy))
        outcome = self.races(*actors, *sweeping, quiet=ANSWERS, lossy=lossy, sweep=True)
        self.assert_none_lost(outcome, 5)

    def test_a_lost_hint(self) -> None:
        self.faulty("log_in", "send", lossy=True, sweeping=["sweep"])

    def test_a_sender_that_ends_after_the_commit(self) -> None:
        self.faulty("log_in", "crash_after_the_commit", sweeping=["sweep"])

    def test_a_user_status_that_forgets_everything(self) -> None:
        self.faulty("log_in", "send", "wipe")

    # -- tokens

    def swept(self, lossy: bool) -> None:
        outcome = self.races("log_in", "send", "sweep", quiet=ANSWERS, lossy=lossy)
        self.assertEqual(outcome.dishonest, 0)
        self.assertGreater(outcome.honest, 100)

    def test_a_sweep_beside_a_login_and_a_send_hands_out_no_token_too_many(self) -> None:
        self.swept(lossy=False)

    def test_nor_does_it_where_the_hint_is_lost(self) -> None:
        self.swept(lossy=True)

    def test_a_sweep_that_told_nobody_would(self) -> None:
        async def nothing(sweep: Sweep, page: FeedPage) -> set[int]:
            return set()

        self.patch(Sweep, "_repair", nothing)
        outcome = self.races("log_in", "send", "sweep", quiet=ANSWERS, lossy=True)
        self.assertGreater(outcome.dishonest, 0)
