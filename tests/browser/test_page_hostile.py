"""The page while things go wrong: refusals, full or missing storage, hasty tabs, huge texts."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, WebSocketRoute, expect

from tests.browser.conftest import Complaints
from tests.browser.served import Served
from tests.browser.visitors import PASSWORD, Visitor, Visitors

NO_CONNECTION = "WebSocket connection"
TEXT_BYTES = 16384


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


REFUSALS = {
    "unauthorized": "Name or password is not right.",
    "locked": "Too many attempts. Try again later.",
    "limit": "That is too much at once. Try again later.",
    "unavailable": "The server is busy. Try again in a moment.",
    "something new": "Something went wrong. Try again.",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_login_says_what_to_do(visitors: Visitors, code: str) -> None:
    guest = visitors.come()

    def refuse(socket: WebSocketRoute) -> None:
        def answer(text: str | bytes) -> None:
            req = json.loads(text)["req"]
            socket.send(json.dumps({"type": "error", "req": req, "code": code, "message": "no"}))
            socket.close(code=4501)

        socket.on_message(answer)

    guest.context.route_web_socket("**/ws", refuse)
    guest.page.get_by_label("Name", exact=True).fill("somebody")
    guest.page.get_by_label("Password", exact=True).fill("secret")
    guest.button("Log in").click()
    expect(guest.page.get_by_text(REFUSALS[code])).to_be_visible()
    expect(guest.page.get_by_label("Password", exact=True)).to_have_value("secret")
    expect(guest.button("Log in")).to_be_enabled()


@pytest.mark.parametrize("name", ["two words", "x" * 33, "naïve", "a@b"])
def test_what_cannot_be_a_name_is_explained(visitors: Visitors, name: str) -> None:
    guest = visitors.come(name)
    guest.try_to_register()
    expect(guest.page.get_by_text("This cannot be a name.")).to_be_visible()


def test_capital_letters_in_a_name_do_not_matter(visitors: Visitors) -> None:
    guest = visitors.come("Capital.Letters").register()
    expect(guest.page.get_by_role("heading", name="capital.letters")).to_be_visible()
    again = visitors.come("CAPITAL.letters")
    again.login()
    expect(again.page.get_by_role("heading", name="capital.letters")).to_be_visible()


def test_the_longest_text_is_sent_and_a_longer_one_stays_in_the_field(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    longest = "ä" * (TEXT_BYTES // 2)
    alice.write(longest)
    bob.sees(longest, "received")
    alice.field.fill(longest + "x")
    alice.field.press("Enter")
    expect(alice.page.get_by_text("This message is too long.")).to_be_visible()
    expect(alice.field).to_have_value(longest + "x")
    alice.write("short")
    bob.sees("short", "received")


def test_what_is_far_too_long_does_not_get_into_the_field(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.page.keyboard.insert_text("hello ")
    alice.page.keyboard.insert_text("x" * 1_000_000)
    expect(alice.page.get_by_text("This message is too long.")).to_be_visible()
    expect(alice.field).to_have_value("hello ")
    alice.page.keyboard.insert_text("Bob")
    expect(alice.page.get_by_text("This message is too long.")).to_be_hidden()
    alice.field.press("Enter")
    bob.sees("hello Bob", "received")


def test_without_session_storage_drafts_are_not_kept_and_all_else_works(
    visitors: Visitors,
) -> None:
    alice, bob = visitors.pair()
    alice.context.add_init_script(
        "Object.defineProperty(globalThis, 'sessionStorage', "
        "{get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    alice.page.reload()
    alice.write("no drafts here")
    bob.sees("no drafts here", "received")


def test_a_full_storage_keeps_the_text_in_the_field(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.page.evaluate(
        """() => {
          const full = () => { throw new DOMException("full", "QuotaExceededError"); };
          for (const name of ["add", "put"]) {
            const real = IDBObjectStore.prototype[name];
            IDBObjectStore.prototype[name] = full;
            (globalThis.restore ??= []).push(() => (IDBObjectStore.prototype[name] = real));
          }
        }"""
    )
    alice.field.fill("precious")
    alice.field.press("Enter")
    expect(alice.page.get_by_text("This browser's storage is full").first).to_be_visible()
    expect(alice.field).to_have_value("precious")
    alice.page.evaluate("restore.forEach(each => each())")
    alice.field.press("Enter")
    bob.sees("precious", "received")


def test_without_storage_the_page_works_and_says_what_is_lost(
    server: Served, new_context: Callable[..., BrowserContext], visitors: Visitors
) -> None:
    context = new_context(locale="en-GB")
    context.add_init_script("Object.defineProperty(globalThis, 'indexedDB', {get() { return; }})")
    alice, bob = Visitor(context, server, "storeless"), visitors.come().enter()
    alice.register()
    expect(alice.page.get_by_text("This browser lets the page store nothing")).to_be_visible()
    bob.act("ask", alice.name)
    alice.accept(bob.name)
    alice.open(bob.name)
    bob.open(alice.name)
    alice.write("from a private window")
    bob.sees("from a private window", "received")


def test_plain_http_under_another_name_works(
    server: Served,
    new_context: Callable[..., BrowserContext],
    visitors: Visitors,
    complaints: Complaints,
) -> None:
    # Chromium remarks that a header counts on secure pages only.
    complaints.expected.append("Cross-Origin-Opener-Policy header has been ignored")
    alice = Visitor(new_context(locale="en-GB"), server, "lan", f"http://imd.test:{server.port}")
    assert not alice.page.evaluate("isSecureContext")
    alice.register()
    bob = visitors.come().enter()
    bob.act("ask", alice.name)
    alice.accept(bob.name)
    alice.open(bob.name)
    bob.open(alice.name)
    second = alice.tab()
    alice.write("over the LAN")
    bob.sees("over the LAN", "received")
    first, alice.page = alice.page, second
    alice.open(bob.name)
    alice.sees("over the LAN", "read")
    first.close()
    alice.write("from the tab that is left")
    # Without Web Locks the other tab takes over when the lease has run out.
    bob.sees("from the tab that is left")


def test_another_account_has_to_end_the_first_one_here(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    bob.write("private")
    alice.sees("private")
    other = visitors.come(alice.name)
    other.login()
    other.button("Settings").click()
    other.button("Log out Chrome on Linux").click()
    expect(alice.page.get_by_text("You were logged out.")).to_be_visible()
    mallory = visitors.come().enter()
    alice.page.get_by_label("Name", exact=True).fill(mallory.name)
    alice.page.get_by_label("Password", exact=True).fill(PASSWORD)
    alice.button("Log in").click()
    expect(alice.page.get_by_text("Somebody else is still logged in")).to_be_visible()
    alice.button("Log them out and forget their messages here").click()
    expect(alice.page.get_by_text("Somebody else is still logged in")).to_have_count(0)
    alice.name = mallory.name
    alice.login()
    expect(alice.page.get_by_text("No conversations yet")).to_be_visible()


def test_two_tabs_write_while_the_server_is_killed(
    visitors: Visitors, server: Served, complaints: Complaints
) -> None:
    complaints.expected.append(NO_CONNECTION)
    alice, bob = visitors.pair()
    second = Visitor(alice.context, server, alice.name)
    second.open(bob.name)
    alice.write("first 0")
    second.write("second 0")
    server.kill()
    for n in range(1, 4):
        alice.write(f"first {n}")
        second.write(f"second {n}")
    server.start()
    for person in (alice, bob):
        person.try_now()
    wanted = sorted(f"{tab} {n}" for tab in ("first", "second") for n in range(4))
    for person in (bob, alice, second):
        expect(person.page.locator(".row")).to_have_count(8)
        assert sorted(person.texts()) == wanted
    for tab in (alice, second):
        tab.sees("first 3", "read")
        tab.sees("second 3", "read")


def test_logging_out_in_one_tab_ends_the_other_while_it_writes(
    visitors: Visitors, server: Served
) -> None:
    alice, bob = visitors.pair()
    second = Visitor(alice.context, server, alice.name)
    second.open(bob.name)
    alice.button("Settings").click()
    alice.button("Log out").click()
    second.field.fill("almost")
    alice.page.get_by_role("dialog", name="Log out here?").get_by_role(
        "button", name="Log out"
    ).click()
    second.page.keyboard.press("Enter")
    for tab in (alice, second):
        expect(tab.button("Log in")).to_be_visible()
        assert tab.page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_wrong_by_a_day_changes_no_order(visitors: Visitors, days: int) -> None:
    alice, bob = visitors.pair()
    wrong = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    alice.page.clock.set_system_time(wrong)
    alice.write("one")
    bob.sees("one", "received")
    bob.write("two")
    alice.sees("two")
    alice.write("three")
    alice.sees("three", "read")
    for person in (alice, bob):
        assert person.texts() == ["one", "two", "three"]
