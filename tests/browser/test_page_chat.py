"""Two people chat at the page, in real browsers, and nothing that happens stops them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import Complaints
from tests.browser.served import Served
from tests.browser.visitors import Visitors

#: What Chromium says by itself when it cannot connect.
NO_CONNECTION = ["WebSocket connection to", "ERR_CONNECTION_REFUSED", "Failed to load resource"]


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def test_two_people_meet_and_a_message_shows_how_far_it_came(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    bob.page.keyboard.press("Escape")
    alice.write("Good morning")
    alice.sees("Good morning", "delivered")
    link = bob.page.get_by_role("link", name=alice.name)
    expect(link).to_contain_text("Unread messages: 1")
    expect(bob.page).to_have_title("(1) imd")
    bob.open(alice.name)
    bob.sees("Good morning", "received")
    alice.sees("Good morning", "read")
    expect(link.locator(".badge")).to_have_count(0)
    expect(bob.page).to_have_title("imd")
    bob.write("And to you")
    alice.sees("And to you", "received")
    bob.sees("And to you", "read")
    expect(alice.page.locator("[aria-live]")).to_have_text(f"{bob.name}: And to you")


def test_a_reload_keeps_the_login_the_conversation_and_the_draft(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.write("one", "two")
    bob.sees("two")
    bob.field.fill("half a thou")
    bob.page.reload()
    bob.sees("one", "received")
    expect(bob.field).to_have_value("half a thou")
    alice.write("three")
    bob.sees("three", "received")
    assert bob.texts() == ["one", "two", "three"]


def test_a_killed_server_loses_nothing_that_was_written(
    visitors: Visitors, server: Served, complaints: Complaints
) -> None:
    complaints.expected += NO_CONNECTION
    alice, bob = visitors.pair()
    alice.write("before")
    bob.sees("before", "received")
    server.kill()
    expect(alice.page.get_by_text("No connection.")).to_be_visible()
    alice.write("meanwhile 1", "meanwhile 2")
    alice.sees("meanwhile 2", "pending")
    bob.write("also here")
    server.start()
    for person in (alice, bob):
        person.try_now()
    alice.sees("meanwhile 2", "read")
    alice.sees("also here", "received")
    bob.sees("meanwhile 1", "received")
    expect(alice.page.get_by_text("No connection.")).to_have_count(0)
    assert sorted(alice.texts()) == sorted(bob.texts())
    assert len(bob.texts()) == 4


def test_a_message_that_waited_is_not_drawn_anew_when_it_is_sent(
    visitors: Visitors, server: Served, complaints: Complaints
) -> None:
    complaints.expected += NO_CONNECTION
    alice, _ = visitors.pair()
    server.kill()
    alice.write("one", "two")
    alice.sees("two", "pending")
    rows = alice.page.locator(".row").element_handles()
    server.start()
    alice.try_now()
    alice.sees("two", "sent")
    assert [row.evaluate("row => row.isConnected") for row in rows] == [True, True]


def test_what_was_written_offline_survives_a_reload(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.cut_off()
    alice.write("kept")
    alice.sees("kept", "pending")
    alice.page.reload()
    alice.sees("kept", "pending")
    alice.reconnect()
    bob.sees("kept", "received")
    alice.sees("kept", "read")


def test_two_tabs_show_the_same(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    first, second = alice.page, alice.tab()
    second.get_by_role("link", name=bob.name).click()
    alice.write("from the first tab")
    alice.page = second
    alice.sees("from the first tab", "read")
    alice.write("from the second tab")
    bob.sees("from the second tab", "received")
    for page in (first, second):
        alice.page = page
        alice.sees("from the second tab", "read")
        assert alice.texts() == ["from the first tab", "from the second tab"]
    first.close()
    bob.write("is anybody there?")
    alice.sees("is anybody there?", "received")


def test_a_tab_shows_what_the_one_that_was_closed_did_not_pass_on(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    first, second = alice.page, alice.tab()
    second.get_by_role("link", name=bob.name).click()
    alice.page = second
    bob.write("passed on")
    alice.sees("passed on", "received")
    first.evaluate("() => { BroadcastChannel.prototype.postMessage = () => {}; }")
    bob.write("kept for itself")
    alice.page = first
    alice.sees("kept for itself", "received")
    first.close()
    alice.page = second
    alice.sees("kept for itself", "received")
    assert alice.texts() == ["passed on", "kept for itself"]


def test_another_device_has_the_history(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.write("for the record")
    bob.sees("for the record")
    other = visitors.come(bob.name)
    other.login()
    other.open(alice.name)
    other.sees("for the record", "received")
    other.write("from my phone")
    alice.sees("from my phone")
    bob.sees("from my phone", "read")


def test_a_refused_message_says_so_and_is_sent_again_or_deleted(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.cut_off()
    alice.write("hello?")
    bob.page.get_by_role("button", name="People").click()
    bob.button(f"Block: {alice.name}").click()
    bob.button("Block").click()
    bob.button(f"Unblock: {alice.name}").wait_for()
    expect(bob.page.locator(".closed")).to_have_text(f"You have blocked {alice.name}.")
    alice.reconnect()
    alice.sees("hello?", "failed")
    expect(alice.page.get_by_text("They do not take messages from you.")).to_be_visible()
    first = alice.row("hello?").element_handle()
    alice.button("Send again").click()
    alice.page.wait_for_function("row => !row.isConnected", arg=first)
    alice.sees("hello?", "failed")
    alice.button("Delete").click()
    expect(alice.row("hello?")).to_have_count(0)
    expect(alice.page.locator(".closed")).to_be_visible()
    expect(alice.field).to_be_hidden()


def test_a_revoked_device_is_asked_to_log_in_and_goes_on(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    bob.write("still here")
    alice.sees("still here")
    other = visitors.come(alice.name)
    other.login()
    other.button("Settings").click()
    other.page.get_by_role("button", name="Log out Chrome on Linux").click()
    expect(alice.page.get_by_text("You were logged out.")).to_be_visible()
    alice.page.get_by_label("Name", exact=True).fill(alice.name)
    alice.page.get_by_label("Password", exact=True).fill("wrong")
    alice.button("Log in").click()
    expect(alice.page.get_by_text("Name or password is not right.")).to_be_visible()
    alice.login()
    alice.sees("still here", "received")


def test_logging_out_leaves_nothing(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    bob.write("private")
    alice.sees("private")
    alice.field.fill("a draft")
    alice.button("Settings").click()
    alice.button("Log out").click()
    alice.page.get_by_role("dialog", name="Log out here?").get_by_role(
        "button", name="Log out"
    ).click()
    alice.button("Log in").wait_for()
    assert alice.page.evaluate("sessionStorage.length") == 0
    assert alice.page.evaluate("location.hash") == ""
    alice.page.reload()
    alice.button("Log in").wait_for()
    expect(alice.page.get_by_text("private")).to_have_count(0)
