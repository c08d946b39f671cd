"""The rules core of imd.js, in the browser it is made for; the tests are in ``js/``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.pages import open_page, serve

HERE = Path(__file__).parent / "js"
ORIGIN = "http://127.0.0.1:9"
_TEST = re.compile(r"^export async function (\w+)", re.MULTILINE)
SUITES = ("rules", "parts")
TESTS = [
    (suite, name) for suite in SUITES for name in _TEST.findall((HERE / f"{suite}.js").read_text())
]


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """One page for all: these tests share nothing, and talk to nobody."""
    context = browser.new_context()
    serve(context, ORIGIN)
    context.route(
        f"{ORIGIN}/js/*", lambda route: route.fulfill(path=HERE / route.request.url.split("/")[-1])
    )
    yield open_page(context, ORIGIN)
    context.close()


@pytest.mark.parametrize(("suite", "name"), TESTS)
def test_rules(page: Page, suite: str, name: str) -> None:
    page.evaluate(
        "async ([suite, name]) => (await import(`/js/${suite}.js`))[name]()", [suite, name]
    )


def test_every_rule_has_tests() -> None:
    assert {name[:2] for _, name in TESTS if name[0] == "R"} == {f"R{n}" for n in range(1, 10)}
