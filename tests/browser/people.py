"""Users in browsers of their own, each with a client in a page."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.browser.pages import befriend, open_client, serve
from tests.browser.served import Served

_numbers = itertools.count()
PASSWORD = "correct horse"


class People:
    """Makes users, each in a browser of its own."""

    def __init__(self, server: Served, new_context: Callable[..., BrowserContext]) -> None:
        self._new_context = new_context
        self.origin = server.origin

    def context(self, script: str | None = None) -> BrowserContext:
        """A browser; ``script`` runs in every page before anything else."""
        context = self._new_context()
        serve(context, self.origin)
        if script is not None:
            context.add_init_script(script)
        return context

    def tab(self, context: BrowserContext, **options: Any) -> Page:
        """Another page with a client."""
        return open_client(context, self.origin, **options)

    def new(self, context: BrowserContext | None = None, **options: Any) -> Page:
        """A page where a new user has logged in."""
        page = self.tab(context or self.context(), **options)
        name = f"user{next(_numbers)}"
        page.evaluate("([name, word]) => client.register(name, word)", [name, PASSWORD])
        page.evaluate("until(() => client.state === 'ready')")
        return page

    def pair(self) -> tuple[Page, Page, int]:
        """Two friends, and their conversation."""
        alice, bob = self.new(), self.new()
        return alice, bob, befriend(alice, bob)
