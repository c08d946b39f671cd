"""Files by imd.js: what is to be uploaded is stored first, and goes on after whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.browser.conftest import Complaints
from tests.browser.pages import befriend, load_client, open_client
from tests.browser.people import People
from tests.browser.served import Served

PIECE = 5 << 20
#: Whoever looks at a first byte waits for ``release``; ``aborted`` counts what is given up then.
HOLD = """() => {
  globalThis.looking = globalThis.aborted = 0;
  const released = new Promise((resolve) => (globalThis.release = resolve));
  const read = Blob.prototype.arrayBuffer;
  Blob.prototype.arrayBuffer = async function () {
    if (this.size === 1) {
      looking += 1;
      await released;
    }
    return read.call(this);
  };
  const abort = AbortController.prototype.abort;
  AbortController.prototype.abort = function (reason) {
    aborted += looking;
    abort.call(this, reason);
  };
}"""
NO_DATABASE = "Object.defineProperty(globalThis, 'indexedDB', { get() {} });"
#: Sends a file of so many bytes, which are told by their places; its id.
SEND = """
async ([conv, size, name]) => {
  const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31) ^ (i >> 8));
  const { id, state } = await client.files.send(conv, new File([bytes], name));
  if (state !== "uploading") throw new Error(state);
  return id;
}
"""
#: What the other one gets: the row, and what its link leads to.
GET = """
async ([conv, id]) => {
  const { message } = await until(() =>
    seen.find(([name, detail]) => name === "message" && detail.message.id === id)?.[1]);
  const { url } = await client.files.link(conv, message.seq);
  const answer = await fetch(url);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const right = bytes.every((byte, i) => byte === (((i * 31) ^ (i >> 8)) & 255));
  return { kind: message.kind, body: message.body, size: bytes.length, right };
}
"""
SENT = "id => until(() => seen.some(([n, d]) => n === 'sent' && d.message.id === id))"
FAILED = "id => until(() => seen.find(([n, d]) => n === 'failed' && d.message.id === id)?.[1].code)"


def send(page: Page, conv: int, size: int, name: str = "a.bin") -> str:
    """Let a page send a file."""
    id_: str = page.evaluate(SEND, [conv, size, name])
    return id_


def check(page: Page, conv: int, id_: str, size: int) -> dict[str, Any]:
    """The page gets the file, with the right bytes; the message's body."""
    got = page.evaluate(GET, [conv, id_])
    assert (got["kind"], got["size"], got["right"]) == ("file", size, True)
    body: dict[str, Any] = got["body"]
    assert body["size"] == size
    return body


class Gate:
    """Lets pieces pass to the server, so many, and then breaks every connection."""

    def __init__(self, page: Page, pieces: int) -> None:
        self.left = pieces
        self.offsets: list[int] = []
        self._context = page.context
        self._context.route("**/v1/files/*", self._judge)

    def _judge(self, route: Route) -> None:
        if route.request.method != "PATCH":
            route.fallback()
            return
        self.offsets.append(int(route.request.headers["upload-offset"]))
        if self.left:
            self.left -= 1
            route.fallback()
        else:
            route.abort()

    def closed(self) -> Any:
        """To be entered: waits, when it is left, until a piece did not pass.  Those before it
        have come to the server then; what a page tells of may still be on its way.
        """
        return self._context.expect_event("requestfailed", lambda each: each.method == "PATCH")


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
def test_the_other_one_gets_the_same_bytes(people: People, size: int) -> None:
    alice, bob, conv = people.pair()
    id_ = send(alice, conv, size)
    alice.evaluate(SENT, id_)
    assert check(bob, conv, id_, size)["mime"] == "application/octet-stream"
    told = [d for n, d in alice.evaluate("seen") if n == "progress"]
    assert told[-1] == {"conv": conv, "id": id_, "sent": size, "size": size}
    assert [one["sent"] for one in told] == sorted(one["sent"] for one in told)


def test_a_page_that_is_loaded_again_goes_on_where_the_upload_was(
    people: People, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob, conv = people.pair()
    gate = Gate(alice, 1)
    with gate.closed():
        id_ = send(alice, conv, 2 * PIECE + 3)
    alice.reload()
    gate.left = 9
    gate.offsets.clear()
    load_client(alice)
    assert alice.evaluate(
        "([conv, id]) => client.history(conv).then(({ items }) => items.at(-1).id === id)",
        [conv, id_],
    )
    alice.evaluate(SENT, id_)
    assert min(gate.offsets) == PIECE
    check(bob, conv, id_, 2 * PIECE + 3)


def test_a_killed_server_is_waited_for(
    people: People, server: Served, complaints: Complaints
) -> None:
    complaints.expected += ["Failed to load resource", "WebSocket connection", "ERR_CONNECTION"]
    alice, bob, conv = people.pair()
    gate = Gate(alice, 1)
    with gate.closed():
        id_ = send(alice, conv, 2 * PIECE)
    server.kill()
    gate.left = 99
    server.start()
    alice.evaluate("client.reconnect()")
    alice.evaluate(SENT, id_)
    bob.evaluate("client.reconnect()")
    check(bob, conv, id_, 2 * PIECE)


def test_a_file_that_is_changed_while_it_is_uploaded_fails(
    people: People, complaints: Complaints, tmp_path: Path
) -> None:
    complaints.expected.append("Failed to load resource")
    # Without a database there is no copy of it.
    alice, bob = people.new(people.context(NO_DATABASE)), people.new()
    conv = befriend(alice, bob)
    path = tmp_path / "draft"
    path.write_bytes(bytes(2 * PIECE))
    alice.evaluate(
        """conv => {
          const input = document.body.appendChild(document.createElement("input"));
          input.type = "file";
          input.onchange = async () =>
            (globalThis.sending = (await client.files.send(conv, input.files[0])).id);
        }""",
        conv,
    )
    gate = Gate(alice, 1)
    with gate.closed():
        alice.locator("input").set_input_files(path)
    path.write_bytes(b"another draft")
    gate.left = 99
    assert alice.evaluate(FAILED, alice.evaluate("sending")) == "unreadable"


def test_an_upload_that_is_given_up_while_its_file_is_looked_at_keeps_nobody_waiting(
    people: People, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, _, conv = people.pair()
    alice.evaluate(HOLD)
    busy = {"Retry-After": "600"}
    alice.context.route("**/v1/files/*", lambda route: route.fulfill(status=503, headers=busy))
    send(alice, conv, 9)
    alice.evaluate("until(() => looking)")
    alice.evaluate("() => void client.logout().then(() => (globalThis.out = true))")
    alice.evaluate("until(() => aborted)")
    alice.evaluate("() => release()")
    alice.evaluate("until(() => globalThis.out)")


def test_another_tab_goes_on_when_the_one_that_uploads_is_closed(
    people: People, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    context = people.context()
    alice, bob = people.new(context), people.new()
    conv = befriend(alice, bob)
    second = open_client(context, people.origin)
    gate = Gate(alice, 1)
    with gate.closed():
        id_ = send(second, conv, 2 * PIECE)
    second.evaluate("size => until(() => seen.some(([n, d]) => d.sent === size))", PIECE)
    gate.left = 9
    alice.close()
    second.evaluate(SENT, id_)
    check(bob, conv, id_, 2 * PIECE)
    rows = second.evaluate("conv => client.history(conv).then(({ items }) => items.length)", conv)
    assert rows == 1


def test_a_cancelled_file_is_forgotten_and_the_next_one_goes(
    people: People, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob, conv = people.pair()
    gate = Gate(alice, 0)
    first = send(alice, conv, 10)
    alice.evaluate("until(() => seen.some(([n]) => n === 'progress'))")
    alice.evaluate("id => client.files.cancel(id)", first)
    assert alice.evaluate("id => code(client.files.cancel(id))", first) == "not_found"
    assert alice.evaluate("async (id) => !(await client.files.local(id))", first)
    gate.left = 9
    second = send(alice, conv, 11)
    check(bob, conv, second, 11)
    assert bob.evaluate("texts('message').length") == 1
    aborted = """
    async (conv) => {
      const ending = new AbortController();
      const { id } = await client.files.send(conv, new Blob(["x"]), { signal: ending.signal });
      ending.abort();
      await until(() => seen.some(([n, d]) => d.id === id && n === "discarded")
                        || seen.some(([n, d]) => n === "sent" && d.message.id === id));
    }
    """
    alice.evaluate(aborted, conv)


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [(413, "too_large", 0), (507, "full", 0), (400, "bad_request", 0), (503, None, 1)],
)
def test_what_the_server_refuses_fails_and_can_be_tried_again(
    people: People, complaints: Complaints, status: int, code: str | None, again: int
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob, conv = people.pair()
    refusals = [status]

    def judge(route: Route) -> None:
        if route.request.method == "PATCH" and refusals:
            route.fulfill(status=refusals.pop(), headers={"Retry-After": "0"}, body="{}")
        else:
            route.fallback()

    alice.context.route("**/v1/files/*", judge)
    id_ = send(alice, conv, 100)
    if code is not None:
        assert alice.evaluate(FAILED, id_) == code
        assert alice.evaluate("id => client.retry(id).then((m) => m.id)", id_) == id_
    alice.evaluate(SENT, id_)
    check(bob, conv, id_, 100)


def test_too_large_is_refused_before_anything_is_stored(people: People) -> None:
    alice, _, conv = people.pair()
    refused = """
    async (conv) => {
      const most = 104857600;
      const large = new Blob(Array(26).fill(new Uint8Array(most / 25)));
      const error = await client.files.send(conv, large).catch((error) => error);
      return [error.code, error.most, (await client.history(conv)).items.length];
    }
    """
    assert alice.evaluate(refused, conv) == ["too_large", 104857600, 0]


def test_a_slot_that_the_server_has_forgotten_is_asked_for_again(
    people: People, complaints: Complaints
) -> None:
    complaints.expected.append("Failed to load resource")
    alice, bob, conv = people.pair()
    gone = [404]

    def judge(route: Route) -> None:
        if gone:
            route.fulfill(status=gone.pop(), body="{}")
        else:
            route.fallback()

    alice.context.route("**/v1/files/*", judge)
    id_ = send(alice, conv, 100)
    alice.evaluate(SENT, id_)
    check(bob, conv, id_, 100)
