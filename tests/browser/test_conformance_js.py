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
from tests.conformance_runs import LIMIT, QUICK, assert_keeps, client_kit

COMMAND = (sys.executable, "-m", "tests.browser.conformance_driver")
ALL = scenarios()


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    """Plays against imd.js; one browser for all scenarios."""
    kit = client_kit(COMMAND, QUICK, WEB)
    yield kit
    pytest_twisted.blockon(Deferred.fromCoroutine(kit.stop()))


@pytest.mark.limit(LIMIT)
@pytest.mark.parametrize("scenario", ALL, ids=[f"{each.rule}-{each.name}" for each in ALL])
async def test_imd_js_keeps_the_rule(kit: Kit, scenario: Scenario) -> None:
    await assert_keeps(kit, COMMAND, scenario, WEB)
