"""The conformance kit: the Python client passes, and no scenario passes a client it is against."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from imd.conformance.main import PYTHON
from imd.conformance.play import Kit, scenarios
from imd.conformance.script import Scenario
from tests.broken_client import DEFECTS
from tests.conformance_runs import QUICK, SLOW, assert_keeps, client_kit

#: Many messages are handled in 200 ms of protocol time, which have to be long enough for that.
UNHURRIED = "r7-coalesced"
#: A defect is looked for with longer and longer seconds: what a client does wrong comes too late
#: to be seen if the machine is slow beside them.  It is waited for in vain, but not for long.
SCALES, SHORT = (QUICK, SLOW, 5.0), 1.0

ALL = scenarios()
HURRIED = [scenario for scenario in ALL if scenario.name != UNHURRIED]
RULES = {f"R{number}" for number in range(1, 10)}


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """Plays against the Python client."""
    kit = client_kit(PYTHON, QUICK)
    yield kit
    pytest_twisted.blockon(Deferred.fromCoroutine(kit.stop()))


@pytest.mark.limit(300)
@pytest.mark.parametrize("scenario", HURRIED, ids=[f"{each.rule}-{each.name}" for each in HURRIED])
async def test_the_python_client_keeps_the_rule(kit: Kit, scenario: Scenario) -> None:
    await assert_keeps(kit, client_kit(PYTHON, SLOW), scenario)


async def test_the_python_client_keeps_the_rule_of_marks() -> None:
    (scenario,) = (each for each in ALL if each.name == UNHURRIED)
    await assert_keeps(None, client_kit(PYTHON, SLOW), scenario)


@pytest.mark.limit(600)
@pytest.mark.parametrize("name", DEFECTS)
async def test_a_defect_is_found(name: str) -> None:
    left = [scenario for scenario in ALL if scenario.name in DEFECTS[name][1]]
    for scale in SCALES:
        left = await _not_found(name, left, scale)
        if not left:
            break
    assert left == []


async def _not_found(name: str, chosen: list[Scenario], scale: float) -> list[Scenario]:
    from twisted.internet import reactor

    kit = Kit(reactor, (sys.executable, "-m", "tests.broken_client", name), scale, SHORT)
    try:
        return [scenario for scenario in chosen if not (await kit.play(scenario)).faults]
    finally:
        await kit.stop()


def test_every_rule_has_scenarios() -> None:
    assert {scenario.rule for scenario in ALL} >= RULES


def test_every_scenario_has_a_defect_that_it_finds() -> None:
    found = {name.split("[")[0] for _, names in DEFECTS.values() for name in names}
    assert {scenario.name.split("[")[0] for scenario in ALL} == found
    assert {name for _, names in DEFECTS.values() for name in names} <= {s.name for s in ALL}
