"""A browser for all tests, a server for each module, and no complaint of a page unheard.

These tests are plain functions that block: Playwright's synchronous API must not run inside a
coroutine, and browser and server are other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, expect, sync_playwright

from tests.browser import chromium
from tests.browser.people import People
from tests.browser.served import Served
from tests.debian import program

#: Milliseconds that Playwright waits for anything: many more than anything needs, so that only
#: what never comes is missed, however busy the machine is.
PATIENCE = 60_000
#: Milliseconds that Chromium may take to start: a dozen processes.
LAUNCH = 10 * PATIENCE


class Complaints(list[str]):
    """What pages complained about: errors on the console, and exceptions nobody caught.

    Put a piece of a complaint into ``expected``, and those with it are no failure.
    """

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        """Listen to all pages of a context."""
        context.on("console", self._console)
        context.on("weberror", lambda error: self.append(f"uncaught: {error.error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.append(f"{message.text} ({message.location.get('url')})")

    def unexpected(self) -> list[str]:
        """All that nobody expected."""
        return [line for line in self if not any(part in line for part in self.expected)]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    executable = program("chromium-headless-shell")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=chromium.arguments(),
            headless=True,
            timeout=LAUNCH,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """A server on SQLite; tests may kill it and start it again."""
    server = Served()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Fails the test if a page complained."""
    complaints = Complaints()
    yield complaints
    assert not complaints.unexpected()


@pytest.fixture
def new_context(
    browser: Browser, complaints: Complaints
) -> Iterator[Callable[..., BrowserContext]]:
    """Makes contexts (each like a browser of its own: no shared storage), and closes them."""
    made: list[BrowserContext] = []

    def new(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        complaints.watch(context)
        made.append(context)
        return context

    yield new
    for context in made:
        context.close()


@pytest.fixture
def people(server: Served, new_context: Callable[..., BrowserContext]) -> People:
    """Users of the server."""
    return People(server, new_context)
