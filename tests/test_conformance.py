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
from tests.broken_client import DEFECTS, SLOW

#: Real seconds of a protocol second, and how late a client may be.
SCALE, SLACK = 0.05, 10.0
#: Delays are compared with each other, and a busy machine adds to each: they are longer.
UNHURRIED = "r9-backoff"
#: A broken client is waited for in vain, but not for long.
SHORT = 1.0

ALL = scenarios()
HURRIED = [scenario for scenario in ALL if scenario.name != UNHURRIED]
RULES = {f"R{number}" for number in range(1, 10)}


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """Plays against the Python client."""
    from twisted.internet import reactor

    kit = Kit(reactor, PYTHON, SCALE, SLACK)
    yield kit
    pytest_twisted.blockon(Deferred.fromCoroutine(kit.stop()))


@pytest.mark.limit(90)
@pytest.mark.parametrize("scenario", HURRIED, ids=[f"{each.rule}-{each.name}" for each in HURRIED])
async def test_the_python_client_keeps_the_rule(kit: Kit, scenario: Scenario) -> None:
    verdict = await kit.play(scenario)
    assert verdict.faults == ()


@pytest.mark.limit(90)
async def test_the_python_client_keeps_rule_r9_backoff() -> None:
    from twisted.internet import reactor

    (scenario,) = (each for each in ALL if each.name == UNHURRIED)
    kit = Kit(reactor, PYTHON, 0.4, SLACK)
    try:
        assert (await kit.play(scenario)).faults == ()
    finally:
        await kit.stop()


@pytest.mark.limit(90)
@pytest.mark.parametrize("name", DEFECTS)
async def test_a_defect_is_found(name: str) -> None:
    from twisted.internet import reactor

    command = (sys.executable, "-m", "tests.broken_client", name)
    kit = Kit(reactor, command, 0.5 if name in SLOW else SCALE, SHORT)
    try:
        for scenario in ALL:
            if scenario.name in DEFECTS[name][1]:
                verdict = await kit.play(scenario)
                assert verdict.faults, scenario.name
    finally:
        await kit.stop()


def test_every_rule_has_scenarios() -> None:
    assert {scenario.rule for scenario in ALL} >= RULES


def test_every_scenario_has_a_defect_that_it_finds() -> None:
    found = {name.split("[")[0] for _, names in DEFECTS.values() for name in names}
    assert {scenario.name.split("[")[0] for scenario in ALL} == found
    assert {name for _, names in DEFECTS.values() for name in names} <= {s.name for s in ALL}
