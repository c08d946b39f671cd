"""The driver of imd.js for ``imd conformance``: its client lives in a page of Chromium.

Needs ``--static`` to be the directory of imd.js.  A protocol second takes ``scale`` real ones
since the page's timers and its monotonic clock run faster.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from playwright.async_api import BrowserContext, Error, Page, async_playwright

from tests.browser import chromium
from tests.debian import program

_OPEN = """
async ({ url, user, password, scale }) => {
  const later = setTimeout, clock = performance.now.bind(performance);
  globalThis.setTimeout = (work, delay = 0, ...rest) => later(work, delay * scale, ...rest);
  performance.now = () => clock() / scale;
  const { Client } = await import("/static/imd.js");
  const client = (globalThis.client = new Client({ url }));
  const tell = (name, give) =>
    client.addEventListener(name, ({ detail }) => {
      const report = give(detail);
      if (report) globalThis.report(report);
    });
  tell("state", ({ state }) => ({ state }));
  tell("message", ({ message: { conv, seq, id, from, body } }) =>
    seq === null ? null : { shown: { conv, seq, id, from, text: body.text ?? "" } });
  tell("sent", ({ message: { conv, seq, id } }) => ({ sent: { conv, seq, id } }));
  tell("failed", ({ message: { id }, code }) => ({ failed: { id, code } }));
  tell("receipt", ({ conv, user, delivered, read }) =>
    ({ receipt: { conv, user, delivered, read } }));
  globalThis.orders = {
    async send({ conv, text }) {
      const { id } = await client.send(conv, text);
      return { accepted: { id, text } };
    },
    async read({ conv, seq }) {
      await client.read(conv, seq);
    },
    async history({ conv, before, limit }) {
      const { items } = await client.history(conv, { before, limit });
      return { history: { seqs: items.map(({ seq }) => seq) } };
    },
    async stored({ conv }) {
      const { items } = await client.history(conv, { limit: 200 });
      const seqs = items.map(({ seq }) => seq).filter((seq) => seq !== null);
      return { stored: { seqs, pending: items.filter((m) => m.state === "pending").length } };
    },
    async close() {
      await client.close();
      return { closed: true };
    },
  };
  if (!(await client.start())) client.login(user, password).catch(() => {});
}
"""


def report(fields: dict[str, Any]) -> None:
    """Tell the kit something."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Driver:
    """Carries out orders in a page."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._page: Page | None = None

    async def obey(self, order: dict[str, Any]) -> None:
        """Carry out one order."""
        if order["do"] == "open":
            await self._open(order)
        elif order["do"] == "crash":
            await self._crash()
        elif self._page is not None:
            try:
                told = await self._page.evaluate("order => orders[order.do](order)", order)
            except Error as error:
                told = {"error": error.message}
            if told is not None:
                report(told)
            if order["do"] == "close":
                await self._page.close()

    async def _open(self, order: dict[str, Any]) -> None:
        origin = order["url"].replace("ws", "http", 1).removesuffix("/ws")
        page = self._page = await self._context.new_page()
        page.on("pageerror", lambda error: sys.stderr.write(f"uncaught: {error}\n"))
        await page.goto(f"{origin}/static/imd.js")
        await page.evaluate(_OPEN, order)

    async def _crash(self) -> None:
        """Kill the process of the page."""
        page = self._page
        if page is not None:
            session = await self._context.new_cdp_session(page)
            crashed = asyncio.get_running_loop().create_future()
            page.on("crash", lambda _: crashed.done() or crashed.set_result(None))
            killing = asyncio.ensure_future(session.send("Page.crash"))
            await crashed
            killing.cancel()
            await page.close()
        report({"crashed": True})


async def drive() -> None:
    """Drive one client after the other, until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program("chromium-headless-shell"),
            args=chromium.arguments(),
            headless=True,
        )
        context = await browser.new_context()
        await context.expose_function("report", report)
        report({"driver": "imd.js", "crash": True})
        driver = Driver(context)
        while line := await reader.readline():
            await driver.obey(json.loads(line))
        await browser.close()


if __name__ == "__main__":
    asyncio.run(drive())
