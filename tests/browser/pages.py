"""Pages with a client in them, on the origin of a server but with nothing of its own page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Route

import imd.web

WEB = Path(imd.web.__file__).parent
_BLANK = '<!doctype html><link rel="icon" href="data:,"><title>blank</title>'
#: Runs before a test: ``seen`` collects what the client tells, ``until`` waits for it, for a
#: minute: many times as long as it takes.
_START = """
async ([options, start]) => {
  const { Client, ImdError } = await import("/imd.js");
  const client = (globalThis.client = new Client(options));
  globalThis.ImdError = ImdError;
  globalThis.seen = [];
  for (const name of ["state", "account", "message", "sent", "failed", "receipt", "event",
                      "friends", "withdrawn", "discarded", "upload", "progress", "stale"])
    client.addEventListener(name, ({ detail }) => seen.push([name, detail]));
  globalThis.until = async (check) => {
    const end = performance.now() + 60_000;
    for (let result; performance.now() < end; ) {
      if ((result = await check())) return result;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`never: ${check}; seen: ${JSON.stringify(seen.slice(-20))}`);
  };
  globalThis.texts = (name) =>
    seen.filter(([each]) => each === name).map(([, { message }]) => message.body.text);
  globalThis.code = (promise) => promise.then(() => "no error", (error) => error.code);
  return start ? client.start() : null;
}
"""


def serve(context: BrowserContext, origin: str) -> None:
    """Let a context find the modules of ``imd.web``, and ``/blank``, under an origin."""

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(origin).split("?")[0]
        if path == "/blank":
            route.fulfill(body=_BLANK, content_type="text/html")
        elif path.startswith("/v1/"):
            route.continue_()
        else:
            route.fulfill(path=WEB / path.lstrip("/"), content_type="text/javascript")

    # To the browser an answer of ours comes from nowhere, which may not speak with 127.0.0.1.
    context.grant_permissions(["local-network-access"], origin=origin)
    context.route(f"{origin}/**", answer)


def open_page(context: BrowserContext, origin: str) -> Page:
    """A blank page."""
    page = context.new_page()
    page.goto(f"{origin}/blank")
    return page


def open_client(context: BrowserContext, origin: str, start: bool = True, **options: Any) -> Page:
    """A page with ``client`` in it, started."""
    page = open_page(context, origin)
    load_client(page, start, **options)
    return page


def load_client(page: Page, start: bool = True, **options: Any) -> Any:
    """Put ``client`` into a page; what ``start`` returned."""
    return page.evaluate(_START, [options, start])


def befriend(alice: Page, bob: Page) -> int:
    """Two clients that are logged in become friends; their conversation."""
    name = bob.evaluate("client.account.name")
    alice.evaluate("name => client.friends.add(name)", name)
    entry = bob.evaluate(
        "name => client.friends.accept(name)", alice.evaluate("client.account.name")
    )
    conv: int = entry["conv"]
    for page in (alice, bob):
        page.evaluate(
            "conv => until(async () => (await client.conversations()).some(c => c.conv === conv))",
            conv,
        )
    return conv
