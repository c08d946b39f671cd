"""How fast the page is: what comes before the first paint, and a conversation of ten thousand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.served import Served
from tests.browser.visitors import Visitor, Visitors

MESSAGES = 10_000
#: Bytes, as they are transferred with their headers.
FIRST_PAINT = 100 * 1024
#: Rows that may be in the document at a time, however many there are.
ROWS = 200
#: Seconds that ten thousand messages may take to be stored, or to be scrolled through: many more
#: than they need, so that only a page that hangs is ended.
LONG = 600
#: ms of a frame, at 60 a second.
FRAME = 1000 / 60
#: Sends so many messages by a device of its own, as fast as the server takes them.
_SEND = """
([url, user, password, conv, count]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, "imd.v1.json");
  let acked = 0;
  const send = (frames) => socket.send(JSON.stringify(frames));
  const text = (i) => `Message ${i}: ` + "some words that fill a line or two. ".repeat(i % 7);
  const next = (from) => {
    const frames = [];
    for (let i = from; i < Math.min(from + 50, count); i++)
      frames.push({ type: "send", id: crypto.randomUUID(), conv, kind: "text",
                    body: { text: text(i) } });
    if (frames.length) send(frames);
  };
  socket.onopen = () =>
    send({ type: "hello", req: 1, user, password, device: "writer" });
  socket.onclose = ({ code }) => reject(new Error(`closed: ${code}`));
  socket.onmessage = ({ data }) => {
    for (const frame of [JSON.parse(data)].flat()) {
      if (frame.type === "heads" && frame.done) next(0);
      if (frame.type === "ack" && ++acked % 50 === 0) next(acked);
    }
    if (acked >= count) resolve(acked);
  };
})
"""
#: Scrolls up by so many px a frame.
_SCROLL = """
async ([step, frames]) => {
  const scroller = document.querySelector(".scroller");
  for (let i = 0; i < frames; i++) {
    scroller.scrollTop -= step;
    await new Promise(requestAnimationFrame);
  }
}
"""
#: Scrolls up; the most rows there were, and the numbers of all messages that were shown.
_READ = """
async ([step, frames]) => {
  const scroller = document.querySelector(".scroller");
  const seen = new Set();
  let most = 0;
  for (let i = 0; i < frames; i++) {
    scroller.scrollTop -= step;
    await new Promise(requestAnimationFrame);
    const texts = [...document.querySelectorAll(".row .text")];
    const numbers = texts.map((one) => Number(one.textContent.match(/\\d+/)[0]));
    if (numbers.some((number, at) => number !== numbers[0] + at)) throw new Error("a gap");
    most = Math.max(most, numbers.length);
    for (const number of numbers) seen.add(number);
  }
  return [most, [...seen]];
}
"""


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def test_little_is_transferred_before_something_is_seen(visitors: Visitors) -> None:
    page = visitors.come().page
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    total, first = page.evaluate(
        """() => {
          const [paint] = performance.getEntriesByName("first-contentful-paint");
          const all = [...performance.getEntriesByType("navigation"),
                       ...performance.getEntriesByType("resource")];
          const sum = (list) => list.reduce((bytes, one) => bytes + one.encodedBodySize, 0);
          return [sum(all), sum(all.filter((one) => one.responseEnd <= paint.startTime))];
        }"""
    )
    print(f"until the first paint: {first} bytes, in all: {total} bytes")
    assert 0 < first <= total < FIRST_PAINT


def shown(page: Page) -> list[int]:
    """The numbers of the messages in the document."""
    texts = page.locator(".row .text").all_text_contents()
    return [int(text.split(":")[0].removeprefix("Message ")) for text in texts]


class Work:
    """What the main thread of a page does, in ms of its processor time, frame by frame."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        # Of the thread, not of the wall: what else the machine does is not the page's fault.
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def _spent(self) -> float:
        found = self._session.send("Performance.getMetrics")["metrics"]
        parts = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
        spent: float = sum(one["value"] for one in found if one["name"] in parts)
        return spent * 1000

    def scrolling(self, step: int, frames: int) -> list[float]:
        """Scroll up by so many px a frame; script, style and layout of each."""
        spent, last = [], self._spent()
        for _ in range(frames):
            self._page.evaluate(_SCROLL, [step, 1])
            now = self._spent()
            spent.append(now - last)
            last = now
        return spent


def told(what: str, spent: list[float]) -> None:
    """Print what was measured."""
    shares = {share: round(percentile(spent, share), 2) for share in (0.5, 0.95, 0.99, 1)}
    print(f"{what}: {len(spent)} frames, CPU ms by share: {shares}")


def percentile(spent: list[float], share: float) -> float:
    """What this share of the frames did not exceed."""
    return sorted(spent)[min(len(spent) - 1, int(len(spent) * share))]


@pytest.fixture
def reader(visitors: Visitors, server: Served) -> Visitor:
    """Somebody who has ten thousand messages to read."""
    alice, bob = visitors.pair()
    conv = int(bob.page.evaluate("location.hash.split('/').pop()"))
    bob.page.keyboard.press("Escape")
    arguments: list[Any] = [server.url, alice.name, "correct horse", conv, MESSAGES]
    assert alice.page.evaluate(_SEND, arguments) == MESSAGES
    alice.page.close()
    unread = bob.page.locator(".conversations .badge")
    expect(unread).to_contain_text("999+", timeout=LONG * 1000)
    bob.page.reload()
    bob.open(alice.name)
    expect(bob.row(f"Message {MESSAGES - 1}:")).to_have_count(1, timeout=LONG * 1000)
    return bob


def test_ten_thousand_messages_scroll_with_little_work(reader: Visitor) -> None:
    page = reader.page
    work = Work(page)
    back = work.scrolling(120, 300)
    told("loading while scrolling back", back)
    page.get_by_role("button", name="To the newest messages").click()
    seen: set[int] = set()
    end = time.monotonic() + LONG
    # How many frames pass while the database reads is nothing that the page decides.
    while 0 not in seen and time.monotonic() < end:
        most, numbers = page.evaluate(_READ, [700, 20])
        assert most <= ROWS
        seen.update(numbers)
    assert seen == set(range(MESSAGES))
    down = work.scrolling(-300, 300)
    told("scrolling through all", down)
    for spent in (back, down):
        assert percentile(spent, 0.5) < FRAME / 4
        assert percentile(spent, 0.95) < FRAME
    page.get_by_role("button", name="To the newest messages").click()
    reader.sees(f"Message {MESSAGES - 1}:")
    assert len(shown(page)) <= ROWS


def test_what_is_read_stays_where_it_is_while_messages_come(
    visitors: Visitors, server: Served
) -> None:
    alice, bob = visitors.pair()
    conv = int(bob.page.evaluate("location.hash.split('/').pop()"))
    arguments: list[Any] = [server.url, alice.name, "correct horse", conv, 400]
    assert alice.page.evaluate(_SEND, arguments) == 400
    bob.sees("Message 399:")
    bob.page.reload()
    bob.sees("Message 399:")
    bob.page.evaluate(_SCROLL, [600, 5])
    bob.page.evaluate(_SCROLL, [0, 60])
    row = (
        "() => [...document.querySelectorAll('.row')]"
        ".find((one) => one.getBoundingClientRect().top > 200)"
    )
    anchor = bob.page.evaluate_handle(row)
    top = "row => row.getBoundingClientRect().top"
    there = anchor.evaluate(top)
    alice.write("something new meanwhile")
    bob.page.get_by_role("button", name="To the newest messages").wait_for()
    expect(bob.page.locator(".latest .badge")).to_have_text("1")
    bob.page.evaluate(_SCROLL, [0, 5])
    assert abs(anchor.evaluate(top) - there) < 2
    bob.page.get_by_role("button", name="To the newest messages").click()
    bob.sees("something new meanwhile")
    alice.sees("something new meanwhile", "read")
