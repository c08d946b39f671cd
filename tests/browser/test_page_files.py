"""Files at the page: picked, dropped, pasted; seen while they go, and got as they were."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Route, expect

from tests.browser.conftest import Complaints
from tests.browser.pictures import png
from tests.browser.served import Served
from tests.browser.visitors import Visitor, Visitors, check_access

HOSTILE = '<img src=x onerror="globalThis.harmed=1">\u202egpj.exe'
PICTURE = png(320, 200)
#: Gives files to an element in an event of a kind, as the browser does.
GIVE = """
(element, [kind, files]) => {
  const data = new DataTransfer();
  for (const [name, type, bytes] of files)
    data.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  const event = (type) =>
    kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
      : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
  const types = kind === "paste" ? ["paste"] : kind === "hover" ? ["dragenter"]
                                             : ["dragenter", "dragover", "drop"];
  return types.every((type) => !element.dispatchEvent(event(type)));
}
"""


@pytest.fixture
def visitors(server: Served, new_context: Callable[..., BrowserContext]) -> Visitors:
    """People who come to the server's page."""
    return Visitors(server, new_context)


def a_file(name: str, mime: str, content: bytes) -> Any:
    """What is picked."""
    return {"name": name, "mimeType": mime, "buffer": content}


def pick(person: Visitor, *files: Any) -> None:
    """Choose files by the button."""
    with person.page.expect_file_chooser() as chooser:
        person.button("Attach files").click()
    chooser.value.set_files(list(files))


def give(element: Locator, kind: str, *files: tuple[str, str, bytes]) -> None:
    """Drop or paste files; the page took the events."""
    listed = [[name, mime, list(content)] for name, mime, content in files]
    assert element.evaluate(GIVE, [kind, listed])


def got(person: Visitor, name: str) -> bytes:
    """What is downloaded under this name."""
    with person.page.expect_download() as download:
        person.button(f"Download {name}").click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def is_shown(person: Visitor, name: str) -> None:
    """The preview is a picture with pixels in it."""
    image = person.button(f"Show {name}").locator("img")
    expect(image).to_be_visible()
    expect(image).not_to_have_js_property("naturalWidth", 0)


def hold(person: Visitor, statuses: dict[str, int] | None = None) -> dict[str, int]:
    """Break what is uploaded, or answer it with a status; until ``statuses`` is empty."""
    held = {"PATCH": 0} if statuses is None else statuses

    def judge(route: Route) -> None:
        status = held.get(route.request.method)
        if status is None:
            route.fallback()
        elif status:
            route.fulfill(status=status, body="{}")
        else:
            route.abort()

    person.context.route("**/v1/files/*", judge)
    return held


def release(person: Visitor, held: dict[str, int]) -> None:
    """The network is back, and the browser says so: nobody waits for the next attempt."""
    held.clear()
    person.page.evaluate("() => void dispatchEvent(new Event('online'))")


def test_a_picture_and_a_text_are_sent_seen_and_downloaded(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    text = "häuser\n".encode() * 1000
    pick(alice, a_file("hills.png", "image/png", PICTURE), a_file("notes.txt", "text/plain", text))
    bob.sees("notes.txt", "received")
    bob.sees("hills.png", "received")
    for name in ("hills.png", "notes.txt"):
        alice.sees(name, "read")
    expect(bob.row("notes.txt").locator("small")).to_have_text(re.compile(r"TXT · 7\.8\skB"))
    for person in (alice, bob):
        is_shown(person, "hills.png")
        assert got(person, "hills.png") == PICTURE
        assert got(person, "notes.txt") == text
        check_access(person.page)
    bob.button("Show hills.png").click()
    whole = bob.page.get_by_role("dialog", name="hills.png").get_by_role("img", name="hills.png")
    expect(whole).to_be_visible()
    bob.page.keyboard.press("Escape")
    expect(bob.button("Show hills.png")).to_be_focused()
    bob.page.reload()
    is_shown(bob, "hills.png")


def test_what_is_dropped_or_pasted_is_sent(visitors: Visitors) -> None:
    alice, bob = visitors.pair()
    thread = alice.page.locator(".thread")
    give(thread, "hover", ("a.txt", "text/plain", b""))
    expect(alice.page.get_by_text(f"Drop files here to send them to {bob.name}")).to_be_visible()
    give(thread, "drop", ("one.txt", "text/plain", b"1"), ("two.txt", "text/plain", b""))
    expect(alice.page.locator(".drop")).to_be_hidden()
    give(alice.field, "paste", ("image.png", "image/png", PICTURE))
    for name in ("one.txt", "two.txt", "image.png"):
        bob.sees(name, "received")
    is_shown(bob, "image.png")
    assert got(bob, "one.txt") == b"1"
    assert got(bob, "two.txt") == b""


def test_an_upload_shows_how_far_it_is_and_outlives_a_reload(
    visitors: Visitors, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob = visitors.pair()
    held = hold(alice)
    content = bytes(range(256)) * 4096 * 6
    pick(alice, a_file("large.bin", "", content), a_file("not this.bin", "", b"never"))
    bar = alice.page.get_by_role("progressbar", name="Upload of large.bin")
    expect(bar).to_be_visible()
    alice.sees("large.bin", "uploading")
    check_access(alice.page)
    alice.button("Cancel the upload of not this.bin").click()
    expect(alice.row("not this.bin")).to_have_count(0)
    alice.page.reload()
    alice.sees("large.bin", "uploading")
    release(alice, held)
    bob.sees("large.bin", "received")
    alice.sees("large.bin", "read")
    expect(bar).to_have_count(0)
    assert got(bob, "large.bin") == content
    expect(bob.page.locator(".row")).to_have_count(1)


WORDS = {
    507: "The server has no room for files now.",
    413: "This file is larger than this server takes.",
}


@pytest.mark.parametrize("status", WORDS)
def test_a_refused_file_says_why_and_is_sent_again_or_deleted(
    visitors: Visitors, complaints: Complaints, status: int
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob = visitors.pair()
    held = hold(alice, {"PATCH": status})
    pick(alice, a_file("a.txt", "text/plain", b"abc"), a_file("b.txt", "text/plain", b"b"))
    for name in ("a.txt", "b.txt"):
        alice.sees(name, "failed")
        expect(alice.row(name).get_by_text(WORDS[status])).to_be_visible()
    held.clear()
    alice.row("b.txt").get_by_role("button", name="Delete").click()
    expect(alice.row("b.txt")).to_have_count(0)
    alice.row("a.txt").get_by_role("button", name="Send again").click()
    bob.sees("a.txt", "received")
    assert got(bob, "a.txt") == b"abc"


def test_what_is_too_large_is_named_with_the_limit(visitors: Visitors) -> None:
    alice, _ = visitors.pair()
    # As large a file as Playwright would not carry.
    alice.page.evaluate(
        """() => {
          const real = Object.getOwnPropertyDescriptor(Blob.prototype, "size").get;
          const get = function () { return real.call(this) === 3 ? 2 ** 31 : real.call(this); };
          Object.defineProperty(Blob.prototype, "size", { get });
        }"""
    )
    pick(alice, a_file("movie.mkv", "video/x-matroska", b"abc"))
    why = "movie.mkv: This file is larger than 100 MB, the most that this server takes."
    expect(alice.page.get_by_role("alert")).to_have_text(why)
    expect(alice.page.locator(".row")).to_have_count(0)


def test_a_hostile_name_stays_text_and_a_lie_is_no_picture(
    visitors: Visitors, complaints: Complaints
) -> None:
    alice, bob = visitors.pair()
    lie = b"<script>globalThis.harmed = 1</script>"
    pick(alice, a_file("lie.png", "image/png", lie))
    give(alice.field, "paste", (HOSTILE, "text/html", lie))
    shown = HOSTILE.replace("\u202e", "\ufffd")
    bob.sees(shown, "received")
    expect(bob.row(shown).locator(".title")).to_have_text(shown)
    expect(bob.row("lie.png").locator(".picture")).to_be_hidden()
    assert got(bob, "lie.png") == lie
    for person in (alice, bob):
        assert person.page.evaluate("globalThis.harmed === undefined")


def test_a_link_that_has_expired_is_renewed(visitors: Visitors, complaints: Complaints) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob = visitors.pair()
    expired = [404]

    def judge(route: Route) -> None:
        if expired and route.request.method == "GET":
            route.fulfill(status=expired.pop(), body="{}")
        else:
            route.fallback()

    bob.context.route("**/v1/files/*", judge)
    pick(alice, a_file("hills.png", "image/png", PICTURE))
    is_shown(bob, "hills.png")
    assert expired == []
