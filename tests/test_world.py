"""Any interleaving of sends, reads, crashes, kills and cut links keeps every guarantee."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from tests import oracles
from tests.world import Device, World

DEVICES = st.integers(0, 3)
MOVES = st.integers(1, 6)


class Faults(RuleBasedStateMachine):
    """Two users with two devices each, over links and a storage that do as they are told."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.world.settle(2)
        self.friends = True

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.settle()
            oracles.always(self.world)
            oracles.finally_(self.world)
        finally:
            self.world.close()

    def device(self, index: int) -> Device:
        return self.world.devices[index]

    @rule(index=DEVICES, count=st.integers(1, 5))
    def send(self, index: int, count: int) -> None:
        for n in range(count):
            self.device(index).send(self.world.conversation, f"{index}: {n}")

    @rule(index=DEVICES)
    def read(self, index: int) -> None:
        self.device(index).read(self.world.conversation)

    @rule(index=DEVICES, moves=MOVES)
    def up(self, index: int, moves: int) -> None:
        link = self.device(index).link
        for _ in range(moves):
            if link is not None:
                link.deliver_up()

    @rule(index=DEVICES, moves=MOVES)
    def down(self, index: int, moves: int) -> None:
        for _ in range(moves):
            self.device(index).deliver_down()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 25.0]))
    def time(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        for device in self.world.everyone:
            device.tick()

    @rule()
    def flow(self) -> None:
        for device in self.world.everyone:
            self.world.step(device)

    @rule(held=st.booleans())
    def hold_commits(self, held: bool) -> None:
        self.world.server.gate.held = held

    @rule(steps=MOVES)
    def commit(self, steps: int) -> None:
        for _ in range(steps):
            self.world.server.gate.step()

    @rule(index=DEVICES)
    def cut(self, index: int) -> None:
        self.device(index).lost()

    @rule(index=DEVICES)
    def reconnect(self, index: int) -> None:
        self.device(index).connect()

    @rule(index=DEVICES, stored=st.booleans())
    def crash(self, index: int, stored: bool) -> None:
        self.device(index).crash(stored)

    @rule(index=DEVICES, pause=st.booleans())
    def slow_reader(self, index: int, pause: bool) -> None:
        link = self.device(index).link
        if link is not None:
            link.connection.paused() if pause else link.connection.resumed()

    @precondition(lambda self: not self.world.server.gate.held)
    @rule()
    def kill_server(self) -> None:
        self.world.kill_server()

    @precondition(lambda self: self.world.server.gate.held)
    @rule()
    def kill_server_in_a_commit(self) -> None:
        self.world.kill_server()

    @rule()
    def remove_or_add_friend(self) -> None:
        if self.friends:
            self.world.befriend("remove", 1, 2)
        else:
            self.world.befriend("add", 2, 1)
            self.world.befriend("accept", 1, 2)
        self.friends = not self.friends

    @invariant()
    def safe(self) -> None:
        if hasattr(self, "world"):
            oracles.always(self.world)


FaultsTests = Faults.TestCase
FaultsTests.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class WorldTests(SynchronousTestCase):
    """Named histories."""

    def world(self, **options: object) -> World:
        world = World(**options)  # type: ignore[arg-type]
        self.addCleanup(world.close)
        world.settle(2)
        return world

    def check(self, world: World) -> None:
        world.settle()
        oracles.always(world)
        oracles.finally_(world)

    def test_a_message_is_sent_delivered_and_read_on_every_device(self) -> None:
        world = self.world()
        alice, _, bob, _ = world.devices
        alice.send(world.conversation, "hi")
        world.settle(5)
        bob.read(world.conversation)
        self.check(world)
        for device in world.devices:
            self.assertEqual(len(device.disk.messages[world.conversation]), 1)
        (peer,) = alice.rules.conversations[world.conversation].peers
        self.assertEqual((peer.delivered, peer.read), (1, 1))

    def test_a_thousand_messages_for_somebody_away_come_in_order(self) -> None:
        world = self.world(devices=1)
        alice, bob = world.devices
        bob.lost()
        bob.retry_at = None
        for n in range(1000):
            alice.send(world.conversation, str(n))
        world.settle(60)
        self.assertEqual(len(alice.acked), 1000)
        bob.connect()
        self.check(world)
        texts = [m.text for m in bob.disk.messages[world.conversation].values()]
        self.assertEqual(texts, [str(n) for n in range(1000)])

    def test_a_commit_whose_server_dies_before_the_ack_is_not_stored_twice(self) -> None:
        world = self.world()
        alice = world.devices[0]
        world.server.gate.held = True
        id = alice.send(world.conversation, "once")
        world.step(alice)
        world.server.gate.step()
        self.assertEqual(len(world.log()), 1)
        self.assertNotIn(id, alice.acked)
        world.kill_server()
        self.check(world)
        self.assertEqual(alice.acked[id], 1)
        self.assertEqual(len(world.log()), 1)

    def test_a_server_that_dies_before_the_commit_gets_the_message_again(self) -> None:
        world = self.world()
        alice = world.devices[0]
        world.server.gate.held = True
        id = alice.send(world.conversation, "again")
        world.step(alice)
        world.kill_server()
        self.assertEqual(world.log(), [])
        self.check(world)
        self.assertEqual(alice.acked[id], 1)

    def test_after_removal_sends_are_refused_and_history_stays(self) -> None:
        world = self.world()
        alice, _, bob, _ = world.devices
        alice.send(world.conversation, "before")
        world.settle(5)
        world.befriend("remove", 2, 1)
        id = alice.send(world.conversation, "after")
        self.check(world)
        self.assertEqual(alice.refused, {id: "forbidden"})
        self.assertEqual(len(bob.disk.messages[world.conversation]), 1)
