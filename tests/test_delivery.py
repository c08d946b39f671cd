"""A hint is carried out for the sessions that it concerns, and for no others."""

from __future__ import annotations

import json
from typing import Any

from msgspec import structs
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from imd.delivery import Delivery
from imd.errors import Close
from imd.hints import Notify, Push, Receipt, Replace, Revoke
from imd.journey import Journey
from imd.registry import Registry
from imd.times import Times
from tests.application import Listener
from tests.nodes import push


class Broken(Listener):
    """A session that cannot take anything."""

    def push(self, conversation: int, frame: bytes) -> None:
        raise LookupError("a defect")

    def notify(self, frame: bytes) -> None:
        raise LookupError("a defect")


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = Registry()
        self.delivery = Delivery(self.registry)
        self.phone, self.laptop, self.bob = Listener(1, 1, 5), Listener(1, 2, 5), Listener(2, 3, 5)
        for live in (self.phone, self.laptop, self.bob):
            self.registry.add(live)

    def test_a_push_goes_to_all_sessions_of_its_users_but_one(self) -> None:
        self.assertTrue(self.delivery.deliver(push(7, 1, 1, 2, 9), but=self.phone))
        self.assertEqual(self.phone.pushed, [])
        self.assertEqual(self.laptop.pushed, [{"seq": 1}])
        self.assertEqual(self.bob.pushed, [{"seq": 1}])

    def test_nobody_here_is_reported_and_the_one_left_out_is_somebody(self) -> None:
        self.assertFalse(self.delivery.deliver(push(7, 1, 8, 9)))
        self.assertTrue(self.delivery.deliver(push(7, 1, 2), but=self.bob))

    def test_each_session_that_is_told_is_told_to_a_journey(self) -> None:
        devices: list[int] = []

        def observe(event: Any) -> None:
            devices.append(event["device"])

        journey = Journey(Logger("journey", observer=observe))  # type: ignore[arg-type]
        Delivery(self.registry, None, journey).deliver(push(7, 1, 1, 2, 9), but=self.phone)
        self.assertEqual(devices, [2, 3])

    def test_a_receipt_is_a_push_of_its_conversation(self) -> None:
        self.assertTrue(self.delivery.deliver(Receipt((2,), 7, 1, 5, 4)))
        (told,) = self.bob.pushed
        expected = {"type": "receipt", "conv": 7, "user": 1, "delivered": 5, "read": 4}
        self.assertEqual(told, expected)
        self.assertFalse(self.delivery.deliver(Receipt((9,), 7, 1, 5, 4)))

    def test_how_long_pushes_and_receipts_took_is_taken_of_those_that_went_somewhere(self) -> None:
        times = Times(lambda: 5.0, lambda: 3000)
        delivery = Delivery(self.registry, times)
        times.awaits(7, 1, 2, since=4.0)
        stamped = Push((1,), 7, 1, b'{"type":"msg","at":1000}')
        delivery.deliver(structs.replace(stamped, users=(9,)))
        self.assertEqual(times.received.count, 0)
        delivery.deliver(stamped)
        self.assertEqual((times.received.count, times.received.total), (1, 2.0))
        delivery.deliver(Receipt((2,), 7, 1, 1, 0))
        self.assertEqual((times.delivered.count, times.delivered.total), (1, 1.0))

    def test_an_event_goes_to_all_sessions_of_its_users(self) -> None:
        self.assertTrue(self.delivery.deliver(Notify((1, 9), json.dumps("x").encode())))
        self.assertEqual((self.phone.notified, self.laptop.notified), (["x"], ["x"]))
        self.assertEqual(self.bob.notified, [])
        self.assertFalse(self.delivery.deliver(Notify((9,), b"1")))

    def test_a_revocation_closes_the_sessions_of_its_devices(self) -> None:
        self.assertTrue(self.delivery.deliver(Revoke(1, (2, 3))))
        self.assertEqual(self.laptop.closed, Close.BAD_CREDENTIALS)
        self.assertEqual((self.phone.closed, self.bob.closed), (None, None))
        self.assertFalse(self.delivery.deliver(Revoke(9, (1,))))

    def test_a_replacement_closes_older_sessions_of_its_device_only(self) -> None:
        self.assertTrue(self.delivery.deliver(Replace(1, 1, 5)))
        self.assertIsNone(self.phone.closed)
        self.assertTrue(self.delivery.deliver(Replace(1, 1, 6)))
        self.assertEqual(self.phone.closed, Close.REPLACED)
        self.assertIsNone(self.laptop.closed)
        self.assertFalse(self.delivery.deliver(Replace(9, 1, 6)))

    def test_a_defect_in_one_session_ends_it_and_nothing_else(self) -> None:
        broken = Broken(1, 9)
        registry = Registry()
        for live in (broken, self.phone):
            registry.add(live)
        for hint in (push(7, 1, 1), Notify((1,), b"1")):
            broken.closed = None
            self.assertTrue(Delivery(registry).deliver(hint))
            self.assertEqual(broken.closed, Close.INTERNAL)
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual((self.phone.pushed, self.phone.notified), ([{"seq": 1}], [1]))
