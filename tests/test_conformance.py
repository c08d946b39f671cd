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
from tests.conformance_runs import LIMIT, QUICK, SCALES, assert_keeps, client_kit

#: A defect is looked for with longer and longer seconds: what a client does wrong comes too late
#: to be seen if the machine is slow beside them.  It is waited for in vain, but not for long.
LONGER, SHORT = (*SCALES, 50.0), 1.0

ALL = scenarios()
RULES = {f"R{number}" for number in range(1, 10)}


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """Plays against the Python client."""
    kit = client_kit(PYTHON, QUICK)
    yield kit
    pytest_twisted.blockon(Deferred.fromCoroutine(kit.stop()))


@pytest.mark.limit(LIMIT)
@pytest.mark.parametrize("scenario", ALL, ids=[f"{each.rule}-{each.name}" for each in ALL])
async def test_the_python_client_keeps_the_rule(kit: Kit, scenario: Scenario) -> None:
    await assert_keeps(kit, PYTHON, scenario)


@pytest.mark.limit(LIMIT)
@pytest.mark.parametrize("name", DEFECTS)
async def test_a_defect_is_found(name: str) -> None:
    left = [scenario for scenario in ALL if scenario.name in DEFECTS[name][1]]
    for scale in LONGER:
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
