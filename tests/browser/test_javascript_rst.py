"""The example of docs/javascript.rst is a page that works."""

from __future__ import annotations

import re
import textwrap

from playwright.sync_api import Dialog, expect

from tests.browser.people import PASSWORD, People
from tests.process import ROOT


def example() -> str:
    """The HTML block of the document."""
    text = (ROOT / "docs" / "javascript.rst").read_text()
    block = text.split(".. code:: html\n\n")[1].split("\nA page of another host")[0]
    return textwrap.dedent(block)


def test_the_example_sends_and_receives(people: People) -> None:
    alice, bob, conv = people.pair()
    context = people.context()
    context.route("**/example", lambda r: r.fulfill(body=example(), content_type="text/html"))
    context.route("**/favicon.ico", lambda route: route.fulfill(body=""))
    page = context.new_page()
    answers = [alice.evaluate("client.account.name"), PASSWORD]

    def answer(dialog: Dialog) -> None:
        dialog.accept(answers.pop(0))

    page.on("dialog", answer)
    page.goto(f"{people.origin}/example")
    bob.evaluate("conv => until(() => client.state === 'ready')", conv)
    bob.evaluate("conv => client.send(conv, 'are you there?')", conv)
    page.get_by_text("peer: are you there? (received)").wait_for()
    page.locator("#text").fill("yes")
    page.locator("button").click()
    # Delivered already, if the other one was faster than the database here.
    page.get_by_text(re.compile(r"me: yes \((sent|delivered)\)")).wait_for()
    expect(page.locator("li")).to_have_count(2)
    bob.evaluate("until(() => texts('message').includes('yes'))")
    page.reload()
    page.get_by_text("me: yes").wait_for()
    expect(page.locator("li")).to_have_count(2)
