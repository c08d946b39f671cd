"""Work that many want done at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from imd.connector.turnstile import Turnstile


class Reactor:
    """Has turns: what is called later in one is called in the next."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class TurnstileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.done: list[str] = []
        reactor: Any = Reactor()
        self.turn = reactor.turn
        self.reactor = reactor
        self.turnstile = Turnstile(reactor, 2)

    def enter(self, *names: str) -> None:
        for name in names:
            self.turnstile.enter(lambda name=name: self.done.append(name))

    def test_a_few_are_through_at_once_and_the_others_in_their_order(self) -> None:
        self.enter("a", "b", "c")
        self.assertEqual(self.done, ["a", "b"])
        self.enter("d", "e")
        self.turn()
        self.assertEqual(self.done, ["a", "b", "c", "d"])
        self.turn()
        self.assertEqual(self.done, ["a", "b", "c", "d", "e"])

    def test_each_turn_has_room_again_and_leaves_nothing_behind(self) -> None:
        self.enter("a")
        self.turn()
        self.enter("b", "c", "d")
        self.assertEqual(self.done, ["a", "b", "c"])
        self.turn()
        self.turn()
        self.assertEqual((self.done[-1], self.reactor.calls), ("d", []))

    def test_who_enters_from_inside_waits_behind_the_others(self) -> None:
        self.turnstile.enter(lambda: self.enter("inner"))
        self.enter("outer")
        self.turn()
        self.assertEqual(self.done, ["inner", "outer"])
