"""How fast the page is: what comes before the first paint, and a conversation of ten thousand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.served import Served
from tests.browser.visitors import Visitors

MESSAGES = 10_000
#: Bytes, as they are transferred with their headers.
FIRST_PAINT = 100 * 1024
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
#: Scrolls up by so many pixels a frame until everything was seen; the frames' times in ms.
_SCROLL = """
async ([step, frames]) => {
  const scroller = document.querySelector(".scroller");
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 0; i < frames; i++) {
    scroller.scrollTop -= step;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}
"""


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def test_little_is_transferred_before_something_is_seen(visitors: Visitors) -> None:
    page = visitors.come().page
    page.wait_for_function("() => performance.getEntriesByType('paint').length > 0")
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


def percentile(times: list[float], share: float) -> float:
    """The time that this share of the frames did not exceed."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def work(page: Page) -> Iterator[float]:
    """Milliseconds of the processor that the page's main thread had since the one before."""
    link = page.context.new_cdp_session(page)
    link.send("Performance.enable", {"timeDomain": "threadTicks"})

    def total() -> float:
        metrics = link.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration") * 1000

    def differences() -> Iterator[float]:
        last = total()
        while True:
            yield (now := total()) - last
            last = now

    return differences()


def told(what: str, times: list[float]) -> None:
    """Print what was measured."""
    shares = {share: round(percentile(times, share), 1) for share in (0.5, 0.95, 0.99, 1)}
    print(f"{what}: {len(times)} frames, ms by share: {shares}")


def test_ten_thousand_messages_scroll_smoothly(visitors: Visitors, server: Served) -> None:
    alice, bob = visitors.pair()
    conv = int(bob.page.evaluate("location.hash.split('/').pop()"))
    bob.page.keyboard.press("Escape")
    arguments: list[Any] = [server.url, alice.name, "correct horse", conv, MESSAGES]
    assert alice.page.evaluate(_SEND, arguments) == MESSAGES
    alice.page.close()
    unread = bob.page.locator(".conversations .badge")
    expect(unread).to_contain_text(f"{MESSAGES}", timeout=60_000)
    bob.page.reload()
    bob.open(alice.name)
    bob.sees(f"Message {MESSAGES - 1}:", "received")
    spent = work(bob.page)
    next(spent)
    back = bob.page.evaluate(_SCROLL, [120, 600])
    costs = [next(spent) / len(back)]
    told("loading while scrolling back", back)
    loading = "() => document.querySelectorAll('.row').length"
    while bob.page.evaluate(loading) < MESSAGES:
        before = bob.page.evaluate(loading)
        bob.page.evaluate(_SCROLL, [4000, 60])
        assert bob.page.evaluate(loading) > before
    texts = bob.texts()
    assert [int(text.split(":")[0].removeprefix("Message ")) for text in texts] == list(
        range(MESSAGES)
    )
    next(spent)
    down = bob.page.evaluate(_SCROLL, [-400, 600])
    costs.append(next(spent) / len(down))
    told("scrolling through all", down)
    # 60 frames a second are 17 ms each.  What they take depends on what else the machine does;
    # what they cost does not.
    print(f"ms of the processor for a frame: {costs}")
    assert max(costs) < 17


def test_what_is_read_stays_where_it_is_while_more_is_loaded(
    visitors: Visitors, server: Served
) -> None:
    alice, bob = visitors.pair()
    conv = int(bob.page.evaluate("location.hash.split('/').pop()"))
    arguments: list[Any] = [server.url, alice.name, "correct horse", conv, 400]
    assert alice.page.evaluate(_SEND, arguments) == 400
    bob.sees("Message 399:")
    bob.page.reload()
    bob.sees("Message 399:")
    bob.page.evaluate(_SCROLL, [200, 5])
    row = (
        "() => [...document.querySelectorAll('.row')]"
        ".find((one) => one.getBoundingClientRect().top > 200)"
    )
    anchor = bob.page.evaluate_handle(row)
    top = "row => row.getBoundingClientRect().top"
    before, count = anchor.evaluate(top), bob.page.locator(".row").count()
    bob.page.evaluate("() => document.querySelector('.top').scrollIntoView()")
    bob.page.wait_for_function(
        "count => document.querySelectorAll('.row').length > count", arg=count
    )
    bob.page.evaluate(_SCROLL, [0, 5])
    anchor.evaluate("row => row.scrollIntoView()")
    there = anchor.evaluate(top)
    alice.write("something new meanwhile")
    bob.page.get_by_role("button", name="To the newest messages").wait_for()
    expect(bob.page.locator(".latest .badge")).to_have_text("1")
    assert abs(anchor.evaluate(top) - there) < 2
    assert before > 0
    bob.page.get_by_role("button", name="To the newest messages").click()
    bob.sees("something new meanwhile")
    alice.sees("something new meanwhile", "read")
