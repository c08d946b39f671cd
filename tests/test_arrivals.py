"""What comes from other nodes is noted, carried out, and answered with a sweep where need be."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from imd.arrivals import Incoming
from imd.delivery import Delivery
from imd.errors import Close
from imd.hints import Notify, Replace, Revoke
from imd.interfaces.feed import FeedHead
from imd.recent import Recent
from imd.registry import Registry
from tests.application import Listener
from tests.nodes import push


class Asked:
    """What is asked of a sweep."""

    def __init__(self) -> None:
        self.strays: list[int] = []
        self.suspicions = 0
        self.missing: list[str] = []

    def stray(self, users: Iterable[int]) -> None:
        self.strays += users

    def suspect(self) -> None:
        self.suspicions += 1

    def miss(self, node: str) -> None:
        self.missing.append(node)


class ArrivalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.alice = Listener(1)
        registry = Registry()
        registry.add(self.alice)
        self.recent = Recent()
        self.incoming = Incoming(Delivery(registry), self.recent)
        self.asked = Asked()
        self.incoming.sweep = self.asked  # type: ignore[assignment]

    def test_hints_are_carried_out_in_their_order_and_noted(self) -> None:
        self.incoming.received("east", [push(7, 1, 1), push(7, 2, 1)])
        self.assertEqual(self.alice.pushed, [{"seq": 1}, {"seq": 2}])
        self.assertTrue(self.recent.has_head(FeedHead(7, 2, (1, 2))))
        self.assertEqual(self.asked.strays, [])

    def test_whoever_is_looked_for_here_in_vain_is_a_stray(self) -> None:
        self.incoming.received("east", [push(7, 1, 8, 9), Notify((5,), b"1"), push(7, 2, 1, 9)])
        self.assertEqual(self.asked.strays, [8, 9, 5])

    def test_hints_about_devices_that_went_by_themselves_make_no_strays(self) -> None:
        self.incoming.received("east", [Revoke(8, (1,)), Replace(9, 1, 2), Revoke(1, (1,))])
        self.assertEqual(self.asked.strays, [])
        self.assertEqual(self.alice.closed, Close.BAD_CREDENTIALS)

    def test_lost_hints_are_looked_for(self) -> None:
        self.incoming.lost()
        self.assertEqual(self.asked.suspicions, 1)

    def test_a_node_that_is_gone_is_missing(self) -> None:
        self.incoming.unreachable("east")
        self.assertEqual(self.asked.missing, ["east"])
