"""What others write stays text, and links lead where they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import Complaints
from tests.browser.served import Served
from tests.browser.visitors import Visitors

HOSTILE = [
    "<script>globalThis.harmed = 1</script>",
    '<img src="x" onerror="globalThis.harmed = 1">',
    '"><svg/onload=globalThis.harmed=1>',
    "javascript:globalThis.harmed=1",
    "{{constructor.constructor('globalThis.harmed=1')()}}",
    "</textarea><iframe srcdoc='<script>top.harmed=1</script>'>",
    "${globalThis.harmed=1}",
]


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def test_hostile_texts_and_names_stay_text(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.button("Settings").click()
    alice.page.get_by_label("Display name").fill(HOSTILE[1])
    alice.button("Save").click()
    expect(alice.page.get_by_text("Saved.")).to_be_visible()
    alice.page.keyboard.press("Escape")
    alice.write(*HOSTILE)
    for text in HOSTILE:
        bob.sees(text, "received")
    assert bob.texts() == HOSTILE
    bob.page.reload()
    bob.sees(HOSTILE[0])
    expect(bob.page.get_by_role("heading", name=HOSTILE[1])).to_be_visible()
    for page in (alice.page, bob.page):
        assert page.evaluate("globalThis.harmed === undefined")
        assert page.locator(":is(.row, nav) :is(script, iframe, img, a[href^=java])").count() == 0


def test_a_hostile_note_stays_text(visitors: Visitors) -> None:
    alice, mallory = visitors.come().enter(), visitors.come().enter()
    mallory.page.get_by_role("button", name="People").click()
    mallory.page.get_by_label("Name", exact=True).fill(alice.name)
    mallory.page.get_by_label("A word about yourself").fill(HOSTILE[0])
    mallory.button("Send request").click()
    expect(alice.page.get_by_text("Requests: 1")).to_be_attached()
    alice.page.get_by_role("button", name="People").click()
    expect(alice.page.get_by_text(HOSTILE[0])).to_be_visible()
    assert alice.page.evaluate("globalThis.harmed === undefined")


LINKS = {
    "see https://example.org/a?b=c#d.": ["https://example.org/a?b=c#d"],
    "(http://example.org/x_(y))": ["http://example.org/x_(y)"],
    "https://a.example, https://b.example!": ["https://a.example/", "https://b.example/"],
    "看https://example.org/路。": ["https://example.org/%E8%B7%AF"],
    "ftp://example.org javascript:alert(1) data:text/html,x": [],
    "https://good.example@evil.example/": [],
    "https://": [],
    "https://example.org/\u202egpj.exe": ["https://example.org/"],
}


def test_links_are_plain_web_addresses_that_tell_nothing(visitors: Visitors) -> None:
    alice, _ = visitors.pair()
    for text, expected in LINKS.items():
        alice.write(text)
        row = alice.page.locator(".row").last
        expect(row.locator(".text")).to_have_text(text)
        links = row.locator("a").evaluate_all("all => all.map((a) => [a.href, a.rel, a.target])")
        assert links == [[href, "noopener noreferrer", "_blank"] for href in expected], text


def test_nothing_comes_from_elsewhere(visitors: Visitors, server: Served) -> None:
    alice = visitors.come()
    asked: list[str] = []
    alice.context.on("request", lambda request: asked.append(request.url))
    alice.page.reload()
    alice.enter()
    assert asked
    assert [url for url in asked if not url.startswith(server.origin)] == []


def test_the_policy_stops_markup_that_gets_in(visitors: Visitors, complaints: Complaints) -> None:
    complaints.expected.append("requires 'TrustedHTML'")
    page = visitors.come().page
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return ''; } "
        "catch (error) { return error.name; } }"
    )
    assert refused == "TypeError"
