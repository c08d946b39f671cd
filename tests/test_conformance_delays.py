"""The conformance kit's judgement of delays is right, however late a machine is."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from imd.conformance.delays import Delays, bound

#: What a machine may add, and what machines add: (always, and now and then).
LATE = 10.0
MACHINES = ((0.0, 0.0), (0.0, LATE), (LATE, 0.0), (LATE / 2, LATE / 2))
SEEDS = range(200)

Client = Callable[[int, random.Random], float]


def judged(client: Client, machine: tuple[float, float], seed: int) -> str | None:
    """What is wrong with a client on a machine."""
    delays, luck = Delays(LATE), random.Random(seed)
    while delays.fault is None and not delays.certain:
        always, at_times = machine
        delays.add(client(delays.count, luck) + always + at_times * luck.random())
    return delays.fault


class DelaysTests(SynchronousTestCase):
    """Clients on machines."""

    def judge(self, client: Client, wanted: str | None) -> None:
        for machine in MACHINES:
            for seed in SEEDS:
                fault = judged(client, machine, seed)
                self.assertEqual(fault and fault.split(":")[0], wanted, (machine, seed, fault))

    def test_a_client_that_keeps_the_rule_is_never_denied(self) -> None:
        self.judge(lambda power, luck: luck.random() * bound(power), None)

    def test_delays_that_do_not_grow_are_found(self) -> None:
        self.judge(lambda power, luck: luck.random(), "delays that do not grow")

    def test_delays_without_jitter_are_found(self) -> None:
        self.judge(lambda power, luck: bound(power), "delays without full jitter")

    def test_delays_with_half_the_jitter_are_found(self) -> None:
        self.judge(
            lambda power, luck: bound(power) * (0.5 + luck.random() / 2),
            "delays without full jitter",
        )

    def test_a_machine_that_is_very_late_now_and_then_makes_no_delay_grow(self) -> None:
        late = {1: 100.0, 9: 60.0, 20: 1000.0}
        delays = Delays(LATE)
        while delays.fault is None:
            self.assertFalse(delays.certain)
            delays.add(0.5 + late.get(delays.count, 0.0))
        self.assertIn("grow", delays.fault)

    def test_delays_that_say_as_little_as_possible_are_judged_in_the_end(self) -> None:
        delays = Delays(1e9)
        while delays.fault is None:
            delays.add(max(0.5 * bound(delays.count), 13.0 * (delays.count % 2)))
        self.assertIn("jitter", delays.fault)
        self.assertEqual(delays.count, 53)
