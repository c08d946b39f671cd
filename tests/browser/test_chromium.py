"""The browser and the server are there, and what a page complains about is heard."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext

from tests.browser.conftest import Complaints
from tests.browser.served import Served


def test_a_page_of_the_server_loads(
    new_context: Callable[..., BrowserContext], server: Served
) -> None:
    page = new_context().new_page()
    response = page.goto(server.origin)
    assert response is not None
    assert response.ok
    assert page.title() == "imd"
    assert page.evaluate("isSecureContext")


def test_a_server_can_be_killed_between_two_requests(
    new_context: Callable[..., BrowserContext], server: Served
) -> None:
    page = new_context().new_page()
    url = f"{server.origin}/healthz"
    assert page.goto(url)
    server.kill()
    server.start()
    response = page.goto(url)
    assert response is not None
    assert response.text() == "alive\n"


def test_a_name_that_is_no_secure_context_leads_to_the_server(
    new_context: Callable[..., BrowserContext], server: Served
) -> None:
    page = new_context().new_page()
    page.goto(f"http://imd.test:{server.port}/healthz")
    assert not page.evaluate("isSecureContext")


def test_errors_of_pages_are_heard(
    new_context: Callable[..., BrowserContext], complaints: Complaints
) -> None:
    page = new_context().new_page()
    with page.context.expect_event("weberror"):
        page.evaluate("setTimeout(() => { throw new Error('lost') }); console.error('said')")
    assert [line.split(" (")[0] for line in complaints] == ["said", "uncaught: lost"]
    assert len(complaints.unexpected()) == 2
    complaints.expected += ["said", "lost"]
