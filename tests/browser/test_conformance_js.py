"""imd.js plays the scenarios of the conformance kit, in a page of Chromium."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from imd.conformance.play import Kit, scenarios
from imd.conformance.script import Scenario
from tests.browser.pages import WEB
from tests.conformance_runs import QUICK, SLOW, assert_keeps, client_kit

COMMAND = (sys.executable, "-m", "tests.browser.conformance_driver")
ALL = scenarios()
#: Many messages are handled in 200 ms of protocol time, which have to be long enough for that.
UNHURRIED = [scenario for scenario in ALL if scenario.name == "r7-coalesced"]
HURRIED = [scenario for scenario in ALL if scenario not in UNHURRIED]


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """Plays against imd.js; one browser for all scenarios."""
    kit = client_kit(COMMAND, QUICK, WEB)
    yield kit
    pytest_twisted.blockon(Deferred.fromCoroutine(kit.stop()))


@pytest.mark.limit(300)
@pytest.mark.parametrize("scenario", HURRIED, ids=[f"{each.rule}-{each.name}" for each in HURRIED])
async def test_imd_js_keeps_the_rule(kit: Kit, scenario: Scenario) -> None:
    await assert_keeps(kit, client_kit(COMMAND, SLOW, WEB), scenario)


@pytest.mark.limit(120)
async def test_imd_js_keeps_the_rule_of_marks() -> None:
    (scenario,) = UNHURRIED
    await assert_keeps(None, client_kit(COMMAND, SLOW, WEB), scenario)
