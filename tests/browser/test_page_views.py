"""Every view renders at every size and in both colour schemes, and passes axe's rules.

``IMD_TEST_SCREENSHOTS=1`` writes what is seen to ``docs/screenshots``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import PATIENCE, Complaints
from tests.browser.pictures import png
from tests.browser.served import Served
from tests.browser.visitors import Visitor, Visitors, at_rest, check_access
from tests.process import ROOT

SHOTS = ROOT / "docs" / "screenshots"
SIZES: dict[str, dict[str, Any]] = {
    "phone": {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True},
    "desktop": {"viewport": {"width": 960, "height": 620}},
}
SCHEMES = ("light", "dark")
TALK = [
    ("alice", "Did the parcel arrive?"),
    ("bob", "Yes, this morning 📦 Thank you!"),
    ("bob", "The manual is at https://example.org/manual"),
    ("alice", "Good. Shall we try it on Saturday? I could come at ten, and bring the long cable."),
    ("bob", "שבת בעשר זה מצוין"),
    ("bob", "明天见!"),
    ("alice", "👍"),
]
FILES = [
    {"name": "From the hut.png", "mimeType": "image/png", "buffer": png()},
    {"name": "Timetable.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-" + bytes(48_200)},
]


@pytest.fixture(scope="module")
def stage(browser: Browser, server: Served) -> Iterator[tuple[Visitor, Visitor]]:
    """Alice and Bob, who have talked, and Carol, who would like to."""
    made: list[BrowserContext] = []

    def new_context(**options: Any) -> BrowserContext:
        made.append(browser.new_context(**options))
        made[-1].set_default_timeout(PATIENCE)
        return made[-1]

    visitors = Visitors(server, new_context)
    people = {name: visitors.come(name).enter() for name in ("alice", "bob", "carol", "dan")}
    alice, bob, carol, dan = people.values()
    for friend in (bob, dan):
        alice.act("ask", friend.name)
        friend.act("accept", "alice")
        friend.open("alice")
        alice.open(friend.name)
    carol.act("ask", "alice")
    dan.write("Are you coming tonight?")
    alice.sees("Are you coming tonight?")
    dan.page.locator("input[type=file]").set_input_files(FILES)
    alice.sees("Timetable.pdf", "received")
    alice.write("Lovely!")
    alice.page.locator("input[type=file]").set_input_files(FILES[1:])
    expect(dan.page.locator(".row")).to_have_count(5)
    alice.open("bob")
    for name, text in TALK:
        people[name].write(text)
        alice.sees(text)
        bob.sees(text)
    yield alice, bob
    for context in made:
        context.close()


def login(page: Page) -> None:
    """The first view."""
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def register(page: Page) -> None:
    """A new account."""
    page.get_by_role("button", name="New here? Create an account").click()
    expect(page.get_by_label("Password, once more")).to_be_visible()


def conversations(page: Page) -> None:
    """The list."""
    page.keyboard.press("Escape")
    expect(page.locator(".conversations a")).to_have_count(2)


def conversation(page: Page) -> None:
    """Messages."""
    page.get_by_role("link", name="bob").click()
    expect(page.locator(".row")).to_have_count(len(TALK))


def files(page: Page) -> None:
    """Messages with files."""
    page.keyboard.press("Escape")
    page.get_by_role("link", name="dan").click()
    expect(page.locator(".row")).to_have_count(5)
    picture = page.locator(".picture img")
    expect(picture).to_be_visible()
    expect(picture).not_to_have_js_property("naturalWidth", 0)


def people(page: Page) -> None:
    """Friends and requests."""
    page.keyboard.press("Escape")
    page.get_by_role("button", name="People").click()
    expect(page.get_by_role("button", name="Accept: carol")).to_be_visible()


def settings(page: Page) -> None:
    """Settings."""
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_text("This device")).to_be_visible()


OUTSIDE: list[Callable[[Page], None]] = [login, register]
INSIDE: list[Callable[[Page], None]] = [conversations, conversation, files, people, settings]


def check(page: Page, name: str) -> None:
    """Nobody is shut out, nothing is cut off; and a picture of it, if one was asked for."""
    check_access(page)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    if os.environ.get("IMD_TEST_SCREENSHOTS"):
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", scale="css")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_views_outside(
    server: Served, new_context: Callable[..., BrowserContext], size: str, scheme: str
) -> None:
    page = new_context(locale="en-GB", color_scheme=scheme, **SIZES[size]).new_page()
    page.goto(server.origin)
    for view in OUTSIDE:
        view(page)
        check(page, f"{view.__name__}-{size}-{scheme}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_views_inside(
    server: Served,
    stage: tuple[Visitor, Visitor],
    new_context: Callable[..., BrowserContext],
    size: str,
    scheme: str,
) -> None:
    context = new_context(locale="en-GB", color_scheme=scheme, **SIZES[size])
    visitor = Visitor(context, server, "alice")
    visitor.login()
    for view in INSIDE:
        view(visitor.page)
        check(visitor.page, f"{view.__name__}-{size}-{scheme}")


@pytest.mark.parametrize("size", [(320, 568), (550, 350)], ids=["narrow", "zoomed"])
def test_nothing_is_cut_off_on_narrow_or_zoomed_pages(
    server: Served,
    stage: tuple[Visitor, Visitor],
    new_context: Callable[..., BrowserContext],
    size: tuple[int, int],
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    visitor = Visitor(new_context(locale="en-GB", viewport=viewport), server, "alice")
    visitor.login()
    for view in INSIDE:
        view(visitor.page)
        at_rest(visitor.page)
        wide = (
            "() => [...document.querySelectorAll('#app, .scroller, dialog, dialog *, header *')]"
            ".filter(one => one.getClientRects().length && !one.closest('.spoken'))"
            ".filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
            ".map(one => one.outerHTML.slice(0, 80))"
        )
        assert visitor.page.evaluate(wide) == [], view.__name__


def test_the_views_in_chinese(
    server: Served, stage: tuple[Visitor, Visitor], new_context: Callable[..., BrowserContext]
) -> None:
    visitor = Visitor(new_context(locale="en-GB", **SIZES["desktop"]), server, "alice")
    visitor.login()
    page = visitor.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Language").select_option("zh")
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    check(page, "settings-chinese")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="bob").click()
    expect(page.get_by_role("textbox", name="发给 bob 的消息")).to_be_visible()
    check(page, "conversation-chinese")
    page.reload()
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    expect(page.get_by_role("textbox", name="发给 bob 的消息")).to_be_visible()


def test_the_browser_decides_the_language_at_first(
    server: Served, new_context: Callable[..., BrowserContext]
) -> None:
    for locale, label in (("zh-CN", "登录"), ("fr-FR", "Log in")):
        page = new_context(locale=locale).new_page()
        page.goto(server.origin)
        expect(page.get_by_role("button", name=label)).to_be_visible()


def test_offline_is_a_view_too(
    server: Served,
    stage: tuple[Visitor, Visitor],
    new_context: Callable[..., BrowserContext],
    complaints: Complaints,
) -> None:
    visitor = Visitor(new_context(locale="en-GB", **SIZES["phone"]), server, "alice")
    visitor.login()
    visitor.open("bob")
    visitor.cut_off()
    visitor.write("On my way")
    visitor.sees("On my way", "pending")
    check(visitor.page, "offline-phone-light")
