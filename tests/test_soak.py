"""How ``python -m tests.soak`` tells what grows, and a short form of it."""

from __future__ import annotations

import pytest

from tests.soak import Series, measured


def series(*values: float) -> Series:
    made = Series("process: MiB", "MiB")
    for minute, value in enumerate(values):
        made.add(minute, value)
    return made


def test_what_grows_all_the_time_is_not_flat() -> None:
    assert not series(*(70 + 0.2 * n for n in range(60))).is_flat


def test_growth_while_it_warms_up_and_single_peaks_are_forgiven() -> None:
    warm = [70 + min(n, 25) for n in range(60)]
    assert series(*warm).is_flat
    warm[40] = warm[59] = 300
    assert series(*warm).is_flat


def test_one_look_says_nothing() -> None:
    assert series(70).slope == 0.0


@pytest.mark.limit(600)
async def test_a_short_soak_loses_and_doubles_nothing() -> None:
    result = await measured(minutes=0.05, rate=50, users=6)
    assert result.ledger.said > 0
    assert {s.unit for s in result.series} >= {"MiB", "files", "timers", "keys"}
    result.check()
