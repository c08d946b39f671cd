"""Links and transfers over Perspective Broker, on connections in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import ConfigError
from imd.interfaces.nodes import Arrivals
from imd.transfer import blob
from imd.transfer.broker import Answer, Gone
from imd.transfer.exchange import Connector
from imd.transfer.link import MOST_HINTS, Link
from tests.contracts.transfer import Seen, Startable, TransferContract, push
from tests.transfer_net import Net, Wire


class LinkTests(TransferContract, SynchronousTestCase):
    """The contract, over one transfer."""

    def setUp(self) -> None:
        self.net = Net()

    def make(self, node: str, arrivals: Arrivals) -> Startable:
        """See ``TransferContract``."""
        return self.net.link(node, arrivals)

    def settle(self) -> None:
        """See ``TransferContract``."""
        self.net.settle()


class SeveralTransfersTests(LinkTests):
    """The contract, over three transfers."""

    def setUp(self) -> None:
        self.net = Net(3)

    def test_node_that_comes_back_is_reached_again_and_looks_for_what_it_missed(self) -> None:
        (a, _), (b, seen) = self.start("a", "b")
        self.stop(b)
        b.start()
        self.settle()
        self.assertEqual(seen.losses, 3, "once for each transfer")
        a.forward("b", push(1))
        self.settle()
        self.assertEqual(seen.hints, [push(1)])


class Case(SynchronousTestCase):
    """Nodes on a net, each with what it has seen."""

    transfers = 1

    def setUp(self) -> None:
        self.net = Net(self.transfers)

    def join(self, node: str, boot: str = "boot") -> tuple[Link, Seen]:
        seen = Seen()
        link = self.net.link(node, seen, boot)
        link.start()
        self.net.settle()
        seen.losses = 0
        return link, seen

    def wire(self, number: int, station: int = 0) -> Wire:
        """The connection that was made as the ``number``th to a transfer."""
        return self.net.stations[station].wires[number]


def forwards(wire: Wire) -> list[tuple[bytes, bytes]]:
    """Record what a connector forwards over a connection from now on: (destination, blob)."""
    seen: list[tuple[bytes, bytes]] = []
    root: Any = wire.server.localObjectForID(b"root")
    original = root.remote_forward

    def recorded(destination: bytes, raw: bytes) -> Any:
        seen.append((destination, raw))
        return original(destination, raw)

    root.remote_forward = recorded
    return seen


class FlowTests(Case):
    """How much is on its way, and what waits."""

    def setUp(self) -> None:
        super().setUp()
        self.a, _ = self.join("a")
        self.b, self.seen = self.join("b")
        self.forwarded = forwards(self.wire(0))

    def burst(self, *seqs: int, size: int = 20) -> None:
        for seq in seqs:
            self.a.forward("b", push(seq, size))
        self.net.settle()

    def test_two_blobs_are_on_their_way_and_the_rest_leaves_together_when_one_is_answered(
        self,
    ) -> None:
        self.wire(1).is_frozen = True
        for seq in range(10):
            self.burst(seq)
        self.assertEqual(len(self.forwarded), 2)
        self.wire(1).is_frozen = False
        self.net.settle()
        sizes = [len(blob.split(raw)[1]) for _, raw in self.forwarded]
        self.assertEqual(sizes, [1, 1, 8])
        self.assertEqual(self.seen.hints, [push(seq) for seq in range(10)])

    def test_slow_destination_does_not_hold_up_another(self) -> None:
        _, seen_c = self.join("c")
        self.wire(1).is_frozen = True
        for seq in range(5):
            self.a.forward(None, push(seq))
            self.net.settle()
        self.assertEqual(seen_c.hints, [push(seq) for seq in range(5)])
        self.assertEqual(self.seen.hints, [])

    def test_blobs_are_as_large_as_they_may_be_and_no_larger(self) -> None:
        hints = 1000
        self.burst(*range(hints), size=1000)
        self.assertEqual(self.seen.hints, [push(seq, 1000) for seq in range(hints)])
        sizes = [len(raw) for _, raw in self.forwarded]
        self.assertLessEqual(max(sizes), blob.MOST_BYTES)
        self.assertEqual(len(sizes), 4)

    def test_backlog_that_runs_over_is_dropped_and_the_destination_told(self) -> None:
        self.wire(1).is_frozen = True
        self.burst(1)
        self.burst(2)
        self.burst(*range(3, MOST_HINTS + 3))
        self.assertEqual(self.seen.losses, 0)
        self.burst(MOST_HINTS + 3, MOST_HINTS + 4)
        self.wire(1).is_frozen = False
        self.net.settle()
        self.assertEqual(self.seen.losses, 1)
        expected = [push(seq) for seq in (1, 2, MOST_HINTS + 3, MOST_HINTS + 4)]
        self.assertEqual(self.seen.hints, expected)

    def test_backlog_is_bounded_in_bytes_as_well(self) -> None:
        self.wire(1).is_frozen = True
        self.burst(1)
        self.burst(2)
        self.burst(*range(3, 90), size=50_000)
        self.wire(1).is_frozen = False
        self.net.settle()
        self.assertEqual(self.seen.losses, 1)
        self.assertLess(len(self.seen.hints), 10)
        self.assertEqual(self.seen.hints[-1], push(89, 50_000))

    def test_hint_that_fits_into_no_blob_is_lost_and_the_others_are_not(self) -> None:
        self.a.forward("b", push(1))
        self.a.forward("b", push(2, blob.MOST_BYTES))
        self.a.forward("b", push(3))
        self.net.settle()
        self.assertEqual(self.seen.hints, [push(1), push(3)])
        self.assertEqual(self.seen.losses, 1)

    def test_nothing_is_remembered_of_a_destination_with_nothing_to_carry(self) -> None:
        self.burst(1)
        self.a.forward("nobody", push(1))
        self.net.settle()
        self.assertEqual(self.a._backlogs, {})
        self.assertEqual(self.a._touched, {})

    def test_garbage_in_a_blob_counts_as_a_loss_and_harms_nobody(self) -> None:
        with capturedLogs() as logs:
            self.wire(0).client.localObjectForID(b"root").forward("b", b"\xc1").send(None)
            self.net.settle()
        self.assertEqual([e["log_level"] for e in logs], [LogLevel.warn])
        self.assertEqual(self.seen.losses, 1)
        self.burst(1)
        self.assertEqual(self.seen.hints, [push(1)])


class TransferOverloadTests(Case):
    """A destination that many send more to than it takes."""

    def test_transfer_drops_what_waits_and_tells_the_destination(self) -> None:
        _, seen = self.join("slow")
        self.wire(0).is_frozen = True
        sources = [self.join(f"source{n}")[0] for n in range(20)]
        for _ in range(2):
            for source in sources:
                source.forward("slow", push(1, 250_000))
            self.net.settle()
        waiting = self.net.stations[0].exchange._connectors[b"slow"]._backlog
        self.assertLessEqual(waiting._bytes, 4 * 1024 * 1024)
        self.wire(0).is_frozen = False
        self.net.settle()
        self.assertGreaterEqual(seen.losses, 1)
        self.assertLess(len(seen.hints), 40)
        for source in sources:
            self.assertEqual(source._backlogs, {}, "a source is answered for what was dropped")
        sources[0].forward("slow", push(2))
        self.net.settle()
        self.assertEqual(seen.hints[-1], push(2))


class LivenessTests(Case):
    """Who does not answer is dropped, and comes back."""

    def test_connector_that_does_not_answer_is_dropped_by_the_transfer(self) -> None:
        a, seen_a = self.join("a")
        self.join("b")
        self.wire(1).is_frozen = True
        a.forward("b", push(1))
        self.net.pass_time(9.5)
        self.assertEqual(seen_a.gone, [])
        self.net.pass_time(1)
        self.assertEqual(seen_a.gone, ["b"])
        self.assertEqual(seen_a.losses, 0, "the transfer did not answer either, but it lives")
        self.assertTrue(a.attached)

    def test_connector_that_says_nothing_is_dropped_by_the_transfer(self) -> None:
        _, seen_a = self.join("a")
        self.join("b")
        self.wire(1).is_frozen = True
        self.net.pass_time(21)
        self.assertEqual(seen_a.gone, ["b"])
        self.assertEqual(seen_a.losses, 0)

    def test_transfer_that_does_not_answer_a_ping_is_given_up(self) -> None:
        a, seen = self.join("a")
        self.wire(0).is_frozen = True
        self.net.pass_time(14.5)
        self.assertTrue(a.attached)
        self.net.pass_time(1)
        self.assertFalse(a.attached)
        self.assertEqual(seen.losses, 1)

    def test_healthy_connections_stay(self) -> None:
        a, seen_a = self.join("a")
        _, seen_b = self.join("b")
        self.net.pass_time(120)
        self.assertEqual((seen_a.losses, seen_a.gone, seen_b.gone), (0, [], []))
        self.assertEqual(len(self.net.stations[0].wires), 2)
        self.assertTrue(a.attached)

    def test_link_comes_back_with_pauses_that_grow_to_a_limit(self) -> None:
        a, seen = self.join("a")
        self.net.stations[0].crash()
        self.net.pass_time(60)
        self.assertFalse(a.attached)
        self.assertEqual(seen.losses, 1)
        self.net.stations[0].is_down = False
        self.net.pass_time(8)
        self.assertTrue(a.attached)
        self.assertEqual(seen.losses, 2)

    def test_connections_that_are_never_answered_are_given_up_with_pauses(self) -> None:
        self.net.stations[0].factory.buildProtocol = lambda addr: Mute()
        self.join("a")
        self.net.pass_time(120)
        self.assertLess(len(self.net.stations[0].wires), 15)
        self.assertGreater(len(self.net.stations[0].wires), 5)


class Mute:
    """A server that takes connections and says nothing."""

    def makeConnection(self, transport: Any) -> None:
        """Called by Twisted."""

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted."""

    def connectionLost(self, reason: Any) -> None:
        """Called by Twisted."""


class RogueTransferTests(Case):
    """A transfer that does not keep to the conversation."""

    def setUp(self) -> None:
        super().setUp()
        self.a, self.seen = self.join("a")

    def say(self, method: bytes, *args: bytes | int) -> None:
        """As if the transfer called the connector."""
        root: Any = self.wire(0).server.localObjectForID(b"root")
        Deferred.fromCoroutine(root.broker.ask(method, *args)).addErrback(lambda f: f.trap(Gone))
        self.net.settle()

    def test_calls_out_of_place_cost_it_the_connection(self) -> None:
        for method, args in (
            (b"peer", (b"sideways", b"b")),
            (b"peer", (b"up", b"\xff")),
            (b"push", (b"\xff", blob.LOST)),
            (b"push", (b"b", b"x" * (blob.MOST_BYTES + 1))),
            (b"forward", (b"b", b"x")),
            (b"push", (1, 2)),
        ):
            self.setUp()
            self.say(method, *args)
            self.assertFalse(self.a.attached, (method, args))
            self.assertEqual((self.seen.losses, self.seen.hints), (1, []))

    def test_refusal_is_an_error_of_the_operator_and_tried_again_with_pauses(self) -> None:
        self.net.stations[0].crash()
        self.net.settle()
        self.net.stations[0].is_down = False
        self.patch(Connector, "remote_attach", lambda *args: Answer.REFUSED)
        with capturedLogs() as logs:
            self.net.pass_time(60)
        errors = [event for event in logs if event["log_level"] == LogLevel.error]
        self.assertGreater(len(errors), 3)
        self.assertLess(len(errors), 20)
        self.assertFalse(self.a.attached)


class NamesTests(Case):
    """Two of one name."""

    def test_second_of_one_name_takes_the_place_of_the_first(self) -> None:
        a, seen_a = self.join("a")
        with capturedLogs() as logs:
            first, _ = self.join("b", "boot 1")
            second, seen = self.join("b", "boot 2")
        levels = [event["log_level"] for event in logs]
        self.assertIn(LogLevel.error, levels)
        self.assertTrue(second.attached)
        self.assertFalse(first.attached)
        self.assertEqual(seen_a.gone, ["b"])
        a.forward("b", push(1))
        self.net.settle()
        self.assertEqual(seen.hints, [push(1)])

    def test_first_waits_long_before_it_comes_again(self) -> None:
        first, _ = self.join("b", "boot 1")
        self.join("b", "boot 2")
        self.net.pass_time(29)
        self.assertFalse(first.attached)
        self.net.pass_time(2)
        self.assertTrue(first.attached)

    def test_node_without_a_usable_name_is_a_mistake_of_the_operator(self) -> None:
        for name in ("", "x" * 256):
            with self.assertRaises(ConfigError) as raised:
                self.net.link(name, Seen())
            self.assertEqual(raised.exception.key, "node")


class FailoverTests(Case):
    """Two transfers."""

    transfers = 2

    def test_destinations_are_spread_over_the_transfers(self) -> None:
        a, _ = self.join("a")
        for n in range(20):
            self.join(f"node{n}")
        through = [forwards(self.wire(0, station)) for station in (0, 1)]
        a.forward(None, push(1))
        self.net.settle()
        self.assertEqual(sum(map(len, through)), 20)
        self.assertGreater(min(map(len, through)), 3)

    def test_each_transfer_can_fail_without_a_hint_being_held_up(self) -> None:
        a, seen_a = self.join("a")
        _, seen_b = self.join("b")
        for number, station in enumerate(self.net.stations):
            station.crash()
            self.net.settle()
            a.forward("b", push(number))
            self.net.settle()
            self.assertEqual(seen_b.hints[-1], push(number))
            station.is_down = False
            self.net.pass_time(10)
        self.assertEqual(seen_a.gone, [])
        self.assertEqual(seen_a.losses, 4, "each link was lost, and is back")

    def test_what_was_on_its_way_is_lost_and_the_destination_told_by_the_other_way(self) -> None:
        a, _ = self.join("a")
        _, seen = self.join("b")
        used = next(s for s in (0, 1) if self.carries(a, s))
        losses = len(seen.hints)
        self.wire(1, used).is_frozen = True
        a.forward("b", push(10))
        self.net.settle()
        self.wire(0, used).cut()
        self.net.settle()
        self.assertEqual(seen.losses, 1)
        self.assertEqual(len(seen.hints), losses)

    def carries(self, a: Link, station: int) -> bool:
        seen = forwards(self.wire(0, station))
        a.forward("b", push(0))
        self.net.settle()
        return bool(seen)

    def test_peer_that_leaves_one_transfer_only_is_reached_by_the_other(self) -> None:
        a, seen_a = self.join("a")
        _, seen_b = self.join("b")
        for station in (0, 1):
            self.net.stations[station].is_down = True
            self.wire(1, station).cut()
            self.net.settle()
            if station == 0:
                self.assertEqual(seen_a.gone, [])
                a.forward("b", push(1))
                self.net.settle()
                self.assertEqual(seen_b.hints, [push(1)])
        self.assertEqual(seen_a.gone, ["b"])

    def test_peers_that_only_the_lost_transfer_reached_are_unreachable(self) -> None:
        a, seen = self.join("a")
        self.net.stations[1].is_down = True
        self.join("b")
        self.net.stations[0].crash()
        self.net.settle()
        self.assertTrue(a.attached)
        self.assertEqual(seen.gone, ["b"])
        self.assertEqual(seen.losses, 1)

    def test_unknown_destination_is_reported_when_it_left_unseen(self) -> None:
        a, seen = self.join("a")
        self.join("b")
        for station in self.net.stations:
            # As if the news of it were still on its way.
            del station.exchange._connectors[b"b"]
        a.forward("b", push(1))
        a.forward("b", push(2))
        self.net.settle()
        self.assertEqual(seen.gone, ["b"])
        self.assertEqual(a._backlogs, {})
