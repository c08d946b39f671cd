"""People at the chat page, each in a browser of their own: they press what is to be seen."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.served import Served

PASSWORD = "correct horse"
_numbers = itertools.count()
#: Another client in the page does what forms would: it shares the page's connection.
_ACT = """
async ([verb, args]) => {
  const { Client } = await import("/imd.js");
  const client = new Client({ device: "Chrome on Linux" });
  const verbs = {
    register: (name, password) => client.register(name, password),
    ask: (name) => client.friends.add(name),
    accept: async (name) => (await client.friends.accept(name)).conv,
  };
  await client.start();
  try {
    return await verbs[verb](...args);
  } finally {
    await client.close();
  }
}
"""


class Visitor:
    """Somebody at the page; ``name`` is the account's."""

    def __init__(
        self, context: BrowserContext, server: Served, name: str, origin: str = ""
    ) -> None:
        self.context = context
        self.name = name
        self._origin = origin or server.origin
        self.page = self.tab()

    def tab(self) -> Page:
        """The page in another tab."""
        page = self.context.new_page()
        page.goto(self._origin + "/")
        return page

    def button(self, name: str, exact: bool = True) -> Locator:
        """A button by what it is called."""
        return self.page.get_by_role("button", name=name, exact=exact)

    def act(self, verb: str, *args: str) -> Any:
        """Do something that is not the subject of the test, without its form."""
        return self.page.evaluate(_ACT, [verb, list(args)])

    def enter(self) -> Visitor:
        """Make the account, without the form."""
        self.act("register", self.name, PASSWORD)
        self.button("Settings").wait_for()
        return self

    def register(self) -> Visitor:
        """Make the account."""
        self.try_to_register()
        self.button("Settings").wait_for()
        return self

    def try_to_register(self) -> None:
        """Fill in the form; it may be refused."""
        self.button("New here? Create an account").click()
        self._enter("Create account", "Password", "Password, once more")

    def login(self) -> None:
        """Log in."""
        self._enter("Log in", "Password")
        self.button("Settings").wait_for()

    def _enter(self, press: str, *passwords: str) -> None:
        self.page.get_by_label("Name", exact=True).fill(self.name)
        for label in passwords:
            self.page.get_by_label(label, exact=True).fill(PASSWORD)
        self.button(press).click()

    def ask(self, name: str) -> None:
        """Ask for friendship."""
        self.page.get_by_role("button", name="People").click()
        self.page.get_by_label("Name", exact=True).fill(name)
        self.button("Send request").click()
        expect(self.page.get_by_text(f"{name} was asked.")).to_be_visible()
        self.page.keyboard.press("Escape")

    def accept(self, name: str) -> None:
        """Accept it."""
        self.page.get_by_role("button", name="People").click()
        self.button(f"Accept: {name}").click()
        self.button(f"Message: {name}").wait_for()
        self.page.keyboard.press("Escape")

    def open(self, name: str) -> None:
        """Open the conversation with somebody."""
        self.page.get_by_role("navigation").get_by_role("link", name=name).click()
        self.field.wait_for()

    def cut_off(self) -> None:
        """From now on this browser reaches no server."""
        self.context.route_web_socket("**/ws", lambda socket: socket.close())
        self.page.reload()
        expect(self.page.get_by_text("No connection.")).to_be_visible()

    def reconnect(self) -> None:
        """It reaches the server again; the page is opened anew."""
        address = self.page.url
        self.page.close()
        # The newest route counts.
        self.context.route_web_socket("**/ws", lambda socket: socket.connect_to_server() and None)
        self.page = self.context.new_page()
        self.page.goto(address)

    def try_now(self) -> None:
        """Do not wait for the next attempt to connect, unless it was made meanwhile: in one turn
        of the page, since the button goes when it succeeds.
        """
        self.page.evaluate(
            "() => [...document.querySelectorAll('.banner button')]"
            ".find((button) => button.textContent === 'Try now')?.click()"
        )

    @property
    def field(self) -> Locator:
        """Where a message is written."""
        return self.page.get_by_role("textbox", name="Message to")

    def write(self, *texts: str) -> None:
        """Send messages: by Enter, or on a touch screen by the button."""
        touch = self.page.evaluate("matchMedia('(hover: none) and (pointer: coarse)').matches")
        for text in texts:
            self.field.fill(text)
            self.button("Send").click() if touch else self.field.press("Enter")
            expect(self.field).to_have_value("")

    def row(self, text: str | re.Pattern[str]) -> Locator:
        """The message with this text."""
        return self.page.locator(".row").filter(has_text=text)

    def sees(self, text: str, state: str | None = None) -> None:
        """The message is shown once, in this state."""
        row = self.row(text)
        expect(row).to_have_count(1)
        if state is not None:
            expect(row).to_have_class(re.compile(rf"\bis-{state}\b"))

    def texts(self) -> list[str]:
        """All messages that are shown."""
        return self.page.locator(".row .text").all_text_contents()


def at_rest(page: Page) -> None:
    """Nothing moves any more: while it does, the page is in no state to be judged."""
    page.wait_for_function("() => document.getAnimations().length === 0")


def check_access(page: Page) -> None:
    """Nobody is shut out: axe finds nothing."""
    at_rest(page)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


class Visitors:
    """Lets people come."""

    def __init__(self, server: Served, new_context: Callable[..., BrowserContext]) -> None:
        self._server = server
        self._new_context = new_context

    def come(self, name: str = "", **options: Any) -> Visitor:
        """Somebody who is not logged in; ``options`` are the browser's."""
        context = self._new_context(**{"locale": "en-GB", **options})
        return Visitor(context, self._server, name or f"guest{next(_numbers)}")

    def pair(self, **options: Any) -> tuple[Visitor, Visitor]:
        """Two friends with their conversation open."""
        alice, bob = self.come(**options).enter(), self.come(**options).enter()
        alice.act("ask", bob.name)
        bob.act("accept", alice.name)
        alice.open(bob.name)
        bob.open(alice.name)
        return alice, bob
