"""What the page shows when answers and events come in an unlucky order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.served import Served

#: A client that answers when the test wants it to: ``answers`` has one function for each question.
_CLIENT = """
globalThis.answers = [];
globalThis.marked = [];
globalThis.spoken = [];
const later = () => new Promise((resolve) => answers.push(resolve));
globalThis.client = Object.assign(new EventTarget(), {
  account: { id: 1, name: "me" },
  state: "ready",
  durable: true,
  conversations: later,
  friends: { list: async () => [] },
  history: later,
  read: async (conv, seq) => void marked.push(seq),
});
globalThis.tell = (name, detail = {}) => client.dispatchEvent(new CustomEvent(name, { detail }));
globalThis.message = (seq, mine = false) =>
  ({ conv: 7, seq, id: `m${seq}`, from: mine ? 1 : 2, at: Date.now(), kind: "text",
     body: { text: `text ${seq}` }, mine, state: mine ? "sent" : "received" });
globalThis.texts = (part) => [...part.querySelectorAll(".row .text")].map((one) => one.textContent);
// What an answer leads to without another one has happened then.
globalThis.settled = () => new Promise((resolve) => setTimeout(resolve));
"""
#: A conversation that is being opened.
_THREAD = """
const { Thread } = await import("/page/thread.js");
const nothing = () => {};
const actions = { back: nothing, profile: nothing, announce: nothing };
const conversation = { conv: 7, peer: { id: 2, name: "peer" }, unread: 1, read: 0 };
const thread = new Thread(client, conversation, actions);
document.body.replaceChildren(thread.element);
"""


@pytest.fixture
def page(server: Served, new_context: Callable[..., BrowserContext]) -> Page:
    """The page of a server, where nobody is logged in, with a client for its parts."""
    page = new_context(locale="en-GB").new_page()
    page.goto(server.origin)
    # Before that it forgets what others have left.
    page.locator("form").first.wait_for()
    page.evaluate(f"() => {{ {_CLIENT} }}")
    return page


def test_a_history_that_is_read_again_while_it_is_read_is_shown(page: Page) -> None:
    shown = page.evaluate(
        f"""async () => {{
          {_THREAD}
          tell("withdrawn", {{ conv: 7, above: 1 }});
          const [first, second] = answers;
          second({{ items: [message(1)], more: false }});
          await settled();
          first({{ items: [message(1), message(2)], more: false }});
          await settled();
          return texts(thread.element);
        }}"""
    )
    assert shown == ["text 1"]


@pytest.mark.parametrize(("closed", "marked"), [(False, [3]), (True, [])])
def test_what_a_conversation_shows_is_read_unless_it_was_closed_before(
    page: Page, closed: bool, marked: list[int]
) -> None:
    found = page.evaluate(
        f"""async (closed) => {{
          {_THREAD}
          if (closed) thread.close();
          answers[0]({{ items: [message(3)], more: false }});
          await settled();
          return marked;
        }}""",
        closed,
    )
    assert found == marked


def test_a_receipt_counts_for_messages_that_are_being_read(page: Page) -> None:
    states = page.evaluate(
        f"""async () => {{
          {_THREAD}
          tell("receipt", {{ conv: 7, user: 2, delivered: 2, read: 1 }});
          answers[0]({{ items: [1, 2, 3].map((seq) => message(seq, true)), more: false }});
          await settled();
          const rows = [...thread.element.querySelectorAll(".row")];
          return rows.map(({{ className }}) => className.match(/is-(\\w+)/)[1]);
        }}"""
    )
    assert states == ["read", "delivered", "sent"]


@pytest.mark.parametrize(
    ("newest", "again", "seqs"),
    [([2, 3], [], [1, 2, 3]), ([5, 6], [4, 5, 6], [4, 5, 6])],
    ids=["few", "more than one page"],
)
def test_a_conversation_whose_events_were_missed_shows_them_without_a_gap(
    page: Page, newest: list[int], again: list[int], seqs: list[int]
) -> None:
    shown = page.evaluate(
        f"""async ([newest, again]) => {{
          {_THREAD}
          for (const seqs of [[1], newest, again]) {{
            answers.at(-1)({{ items: seqs.map((seq) => message(seq)), more: false }});
            await settled();
            if (seqs.length === 1) tell("stale");
            await settled();
          }}
          return texts(thread.element);
        }}""",
        [newest, again],
    )
    assert shown == [f"text {seq}" for seq in seqs]


def test_what_comes_while_missed_events_are_read_leaves_no_gap(page: Page) -> None:
    shown = page.evaluate(
        f"""async () => {{
          {_THREAD}
          answers[0]({{ items: [message(1)], more: false }});
          await settled();
          tell("stale");
          await settled();
          tell("message", {{ message: message(7) }});
          answers[1]({{ items: [5, 6].map((seq) => message(seq)), more: true }});
          await settled();
          answers[2]({{ items: [4, 5, 6, 7].map((seq) => message(seq)), more: true }});
          await settled();
          return texts(thread.element);
        }}"""
    )
    assert shown == [f"text {seq}" for seq in (4, 5, 6, 7)]


def test_a_message_that_is_sent_while_missed_events_are_read_stays_sent(page: Page) -> None:
    states = page.evaluate(
        f"""async () => {{
          {_THREAD}
          const mine = message(2, true);
          const pending = {{ ...mine, seq: null, state: "pending" }};
          answers[0]({{ items: [message(1), pending], more: false }});
          await settled();
          tell("stale");
          await settled();
          tell("sent", {{ message: mine }});
          tell("receipt", {{ conv: 7, user: 2, delivered: 2, read: 2 }});
          answers[1]({{ items: [message(1), pending], more: false }});
          await settled();
          const rows = [...thread.element.querySelectorAll(".row")];
          return rows.map(({{ className }}) => className.match(/is-(\\w+)/)[1]);
        }}"""
    )
    assert states == ["received", "read"]


def test_only_what_was_missed_is_announced(page: Page) -> None:
    announced = page.evaluate(
        f"""async () => {{
          {_THREAD.replace("announce: nothing", "announce: (text) => spoken.push(text)")}
          tell("stale");
          for (const seqs of [[1, 2], [1, 2, 3]]) {{
            await settled();
            answers.pop()({{ items: seqs.map((seq) => message(seq)), more: false }});
          }}
          await settled();
          return spoken.map((text) => /text \\d/.exec(text)[0]);
        }}"""
    )
    assert announced == ["text 3"]


def test_an_older_list_of_conversations_does_not_replace_a_newer_one(page: Page) -> None:
    names = page.evaluate(
        """async () => {
          const { App } = await import("/page/app.js");
          const root = document.createElement("div");
          document.body.replaceChildren(root);
          new App(client, root).show();
          tell("conversations");
          while (answers.length < 2) await settled();
          const peer = { id: 2, name: "peer" };
          answers[1]([{ conv: 7, peer, last: null, seq: 0, unread: 0, read: 0, at: 0 }]);
          await settled();
          answers[0]([]);
          await settled();
          return [...root.querySelectorAll(".conversations .name")].map((one) => one.textContent);
        }"""
    )
    assert names == ["peer"]


@pytest.mark.parametrize(("code", "kept"), [("unauthorized", None), ("storage", "secret")])
def test_what_cannot_be_sent_stays_as_a_draft_unless_nobody_is_in_any_more(
    page: Page, code: str, kept: str | None
) -> None:
    draft = page.evaluate(
        """async (code) => {
          const { Composer } = await import("/page/composer.js");
          const composer = new Composer(7, "peer", () => Promise.reject({ code }), () => {});
          composer.field.value = "secret";
          composer.element.dispatchEvent(new Event("submit", { cancelable: true }));
          await settled();
          return sessionStorage.getItem("imd.draft.7");
        }""",
        code,
    )
    assert draft == kept
