"""The page without a mouse, and on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.served import Served
from tests.browser.visitors import Visitor, Visitors

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def with_friends(visitors: Visitors, alice: Visitor, count: int) -> list[Visitor]:
    """Friends who wrote in this order."""
    friends = [visitors.come().enter() for _ in range(count)]
    for friend in friends:
        friend.act("ask", alice.name)
        alice.act("accept", friend.name)
        friend.open(alice.name)
        friend.write("hello")
        friend.sees("hello", "delivered")
    return friends


def test_the_list_and_the_shortcuts(visitors: Visitors) -> None:
    alice = visitors.come().enter()
    first, second, third = with_friends(visitors, alice, 3)
    page = alice.page
    links = page.locator(".conversations a")
    expect(links).to_have_count(3)
    expect(links.nth(0)).to_contain_text(third.name)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("End")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name=f"Conversation with {second.name}")).to_be_visible()
    expect(alice.field).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.get_by_role("region", name=f"Conversation with {first.name}")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Choose a conversation")).to_be_visible()
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("Control+,")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("searchbox").fill(first.name)
    expect(links).to_have_count(1)
    page.get_by_role("searchbox").fill("nobody at all")
    expect(page.get_by_text("Nobody by that name here")).to_be_visible()


def test_a_conversation_that_rises_leaves_the_others_in_their_places(visitors: Visitors) -> None:
    alice = visitors.come().enter()
    first, second, _ = with_friends(visitors, alice, 3)
    links = alice.page.locator(".conversations a")
    expect(links.nth(2)).to_contain_text(first.name)
    alice.page.evaluate(
        """() => {
          globalThis.moved = [];
          const name = (item) => item.querySelector(".name").textContent;
          new MutationObserver((changes) => {
            for (const { removedNodes } of changes) moved.push(...[...removedNodes].map(name));
          }).observe(document.querySelector(".conversations"), { childList: true });
        }"""
    )
    second.write("I first")
    expect(links.nth(0)).to_contain_text(second.name)
    assert alice.page.evaluate("moved") == [second.name]


def test_friends_who_stay_as_they_are_are_not_drawn_anew(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    carol = visitors.come().enter()
    alice.page.get_by_role("button", name="People").click()
    remove = alice.button(f"Remove: {bob.name}").element_handle()
    carol.act("ask", alice.name)
    alice.button(f"Accept: {carol.name}").wait_for()
    assert remove.evaluate("button => button.isConnected")


def test_enter_sends_and_shift_makes_a_line(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.field.fill("")
    alice.field.press("Enter")
    alice.page.keyboard.type("one")
    alice.page.keyboard.press("Shift+Enter")
    alice.page.keyboard.type("two")
    alice.page.keyboard.press("Enter")
    expect(bob.page.locator(".row .text")).to_have_text(["one\ntwo"], use_inner_text=True)
    expect(alice.field).to_be_focused()


def test_a_long_text_is_folded(visitors: Visitors) -> None:
    alice, _ = visitors.pair()
    alice.write("\n".join(f"line {i}" for i in range(200)))
    alice.sees("line 199", "read")
    high = "() => document.querySelector('.row .text')?.getBoundingClientRect().height"
    alice.page.wait_for_function(f"({high})() < 300")
    alice.button("Show all").click()
    alice.page.wait_for_function(f"({high})() > 3000")
    alice.button("Show less").click()
    alice.page.wait_for_function(f"({high})() < 300")


def test_a_phone_shows_one_pane_and_goes_back(visitors: Visitors) -> None:
    alice, bob = visitors.pair(**PHONE)
    page = alice.page
    expect(page.get_by_role("navigation")).to_be_hidden()
    alice.write("from the bus")
    bob.sees("from the bus")
    alice.field.fill("two")
    alice.field.press("Enter")
    expect(alice.field).to_have_value("two\n")
    alice.button("Back to the conversations").tap()
    expect(page.get_by_role("navigation")).to_be_visible()
    expect(alice.field).to_have_count(0)
    page.get_by_role("link", name=bob.name).tap()
    alice.sees("from the bus", "read")
    page.go_back()
    expect(page.get_by_role("navigation")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_somebody_who_changes_the_display_name_is_called_by_it(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.button("Settings").click()
    alice.page.get_by_label("Display name").fill("Alice of the Library")
    alice.button("Save").click()
    expect(alice.page.get_by_text("Saved.")).to_be_visible()
    expect(bob.page.get_by_role("link", name="Alice of the Library")).to_be_visible()
    expect(bob.page.get_by_role("heading", name="Alice of the Library")).to_be_visible()
    bob.page.get_by_role("searchbox").fill("library")
    expect(bob.page.get_by_role("link", name="Alice of the Library")).to_be_visible()


def test_friends_are_removed_requests_declined_and_blocks_lifted(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    carol = visitors.come().enter()
    carol.act("ask", alice.name)
    alice.page.get_by_role("button", name="People").click()
    alice.button(f"Decline: {carol.name}").click()
    expect(alice.page.get_by_text("They would like to talk with you")).to_have_count(0)
    bob.field.fill("half a sen")
    alice.button(f"Remove: {bob.name}").click()
    alice.button("Cancel").click()
    alice.button(f"Remove: {bob.name}").click()
    alice.button("Remove").click()
    expect(alice.page.get_by_text("Nobody yet.")).to_be_visible()
    expect(bob.page.get_by_text("You are not friends any more.")).to_be_visible()
    expect(bob.field).to_be_hidden()
    carol.act("ask", alice.name)
    alice.button(f"Block: {carol.name}").click()
    alice.button("Block").click()
    alice.button(f"Unblock: {carol.name}").click()
    expect(alice.button(f"Unblock: {carol.name}")).to_have_count(0)
    bob.act("ask", alice.name)
    alice.button(f"Accept: {bob.name}").click()
    expect(bob.field).to_be_visible()
    expect(bob.field).to_have_value("half a sen")


def test_enter_while_an_input_method_composes_chooses_and_does_not_send(
    visitors: Visitors,
) -> None:
    alice, bob = visitors.pair()
    keys = alice.context.new_cdp_session(alice.page)
    alice.field.focus()
    keys.send("Input.imeSetComposition", {"text": "ni", "selectionStart": 2, "selectionEnd": 2})
    enter = {"type": "rawKeyDown", "key": "Process", "code": "Enter", "windowsVirtualKeyCode": 229}
    keys.send("Input.dispatchKeyEvent", enter)
    alice.field.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    # Safari ends the composition before it tells of the key.
    alice.field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    expect(alice.field).to_have_value("ni")
    keys.send("Input.insertText", {"text": "你好"})
    expect(alice.field).to_have_value("你好")
    expect(alice.page.locator(".row")).to_have_count(0)
    alice.field.press("Enter")
    bob.sees("你好", "received")


def test_nothing_moves_for_those_who_do_not_want_it(visitors: Visitors) -> None:
    for choice, moving in (("no-preference", True), ("reduce", False)):
        guest = visitors.come(reduced_motion=choice).enter()
        # In one turn of the page: what moves may have come to rest before the next question.
        click = "button => { button.click(); return document.getAnimations().length; }"
        assert bool(guest.button("Settings").evaluate(click)) is moving


def test_a_short_conversation_stands_beside_the_field(visitors: Visitors) -> None:
    alice, _ = visitors.pair()
    alice.write("hello")
    # In one turn of the page: a row is drawn anew when its state changes.
    near = """() => {
      const row = document.querySelector(".row")?.getBoundingClientRect();
      const field = document.querySelector("textarea").getBoundingClientRect();
      return row && 0 < field.y - row.bottom && field.y - row.bottom < 40;
    }"""
    alice.page.wait_for_function(near)


def test_a_reload_opens_the_same_conversation_and_the_title_counts(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    alice.write("one")
    bob.sees("one", "received")
    bob.page.reload()
    bob.sees("one", "received")
    expect(bob.page).to_have_title("imd")
    bob.page.keyboard.press("Escape")
    alice.write("two", "three")
    expect(bob.page).to_have_title("(2) imd")
    assert bob.page.evaluate("Notification.permission") != "granted"


def test_passwords_change_when_the_old_one_is_right(visitors: Visitors) -> None:
    alice = visitors.come().enter()
    alice.button("Settings").click()
    page = alice.page

    def change(old: str, new: str, again: str) -> None:
        page.get_by_label("Present password").fill(old)
        page.get_by_label("New password", exact=True).fill(new)
        page.get_by_label("Password, once more").fill(again)
        alice.button("Change password").click()

    change("wrong", "new one", "new one")
    expect(page.get_by_text("The present password is not right.")).to_be_visible()
    change("correct horse", "new one", "another")
    expect(page.get_by_text("The two passwords differ.")).to_be_visible()
    change("correct horse", "new one", "new one")
    expect(page.get_by_text("Changed. Your other devices were logged out.")).to_be_visible()


def test_what_is_refused_at_the_door_is_explained(visitors: Visitors) -> None:
    alice = visitors.come().enter()
    other = visitors.come(alice.name)
    page = other.page
    page.get_by_label("Name", exact=True).fill(alice.name)
    page.get_by_label("Password", exact=True).fill("wrong")
    other.button("Log in").click()
    expect(page.get_by_text("Name or password is not right.")).to_be_visible()
    other.button("New here? Create an account").click()
    page.get_by_label("Password", exact=True).fill("one")
    page.get_by_label("Password, once more").fill("two")
    other.button("Create account").click()
    expect(page.get_by_text("The two passwords differ.")).to_be_visible()
    page.get_by_label("Password, once more").fill("one")
    other.button("Create account").click()
    expect(page.get_by_text("That name is taken.")).to_be_visible()
