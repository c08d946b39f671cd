"""What imd.js keeps, and what it does when the browser, the server or the account fail it."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.conftest import Complaints
from tests.browser.pages import befriend, load_client, open_client, open_page
from tests.browser.people import PASSWORD, People
from tests.browser.served import Served

READY = "until(() => client.state === 'ready')"
SEND = "([conv, text]) => client.send(conv, text)"
#: The connection breaks as soon as a message has left: its ``ack`` is lost.
DEAF_ONCE = """() => {
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  send.call(this, data);
  if (!data.includes('"type":"send"')) return;
  WebSocket.prototype.send = send;
  this.onmessage = null;
  setTimeout(() => this.close(4000), 300);
};
}"""
NO_DATABASE = """
IDBFactory.prototype.open = () => { throw new DOMException("denied", "SecurityError"); };
"""
#: Counts what is read out of the database: no clock says how much work that is.
COUNT_READS = """() => {
globalThis.reads = 0;
for (const kind of [IDBObjectStore, IDBIndex])
  for (const name of ["get", "getAll", "openCursor"]) {
    const real = kind.prototype[name];
    kind.prototype[name] = function (...args) {
      const request = real.apply(this, args);
      request.addEventListener("success", () => {
        reads += Array.isArray(request.result) ? request.result.length : 1;
      });
      return request;
    };
  }
}"""


def login(page: Page, name: str) -> str:
    """Log in; the code of the refusal, if it is refused."""
    code: str = page.evaluate("([n, p]) => code(client.login(n, p))", [name, PASSWORD])
    return code


def name_of(page: Page) -> str:
    """Who is logged in."""
    name: str = page.evaluate("client.account.name")
    return name


def texts(page: Page, conv: int) -> list[str]:
    """The texts of a history."""
    items = page.evaluate("conv => client.history(conv, { limit: 200 })", conv)["items"]
    return [item["body"]["text"] for item in items]


def test_a_message_whose_ack_was_lost_is_shown_once_on_both_sides(people: People) -> None:
    alice, bob, conv = people.pair()
    alice.evaluate(DEAF_ONCE)
    alice.evaluate(SEND, [conv, "once"])
    alice.evaluate("until(() => texts('sent').includes('once'))")
    alice.evaluate(READY)
    bob.evaluate("until(() => texts('message').includes('once'))")
    alice.evaluate(SEND, [conv, "last"])
    alice.evaluate("until(() => texts('sent').includes('last'))")
    bob.evaluate("until(() => texts('message').includes('last'))")
    assert bob.evaluate("texts('message')") == ["once", "last"]
    assert alice.evaluate("texts('sent')") == ["once", "last"]
    assert texts(alice, conv) == texts(bob, conv) == ["once", "last"]


def test_a_reload_right_after_send_loses_nothing(people: People) -> None:
    alice, bob, conv = people.pair()
    for i in range(3):
        alice.evaluate(SEND, [conv, f"m{i}"])
        alice.reload()
        load_client(alice)
    bob.evaluate("until(() => texts('message').length === 3)")
    assert bob.evaluate("texts('message')") == ["m0", "m1", "m2"]


def test_the_network_that_comes_back_is_used_at_once(
    people: People, server: Served, complaints: Complaints
) -> None:
    complaints.expected.append("WebSocket connection to")
    slow = {"backoffBase": 1e9, "backoffLongest": 1e9}
    page = people.new(timings=slow)
    server.kill()
    # Nobody tries for hours now, unless something happens: the first delay is below a second.
    page.evaluate("until(() => client.retryAt > Date.now() + 3_600_000)")
    server.start()
    page.evaluate("dispatchEvent(new Event('online'))")
    page.evaluate(READY)


def test_a_new_installation_shows_what_came_before_it(people: People) -> None:
    alice, bob, conv = people.pair()
    for i in range(30):
        alice.evaluate(SEND, [conv, f"m{i}"])
    bob.evaluate("until(() => texts('message').length === 30)")
    bob.evaluate("until(async () => (await client.conversations())[0].delivered === 30)")
    alice.evaluate("until(() => seen.some(([n, d]) => n === 'receipt' && d.delivered === 30))")
    other = people.tab(people.context())
    assert login(other, name_of(bob)) == "no error"
    other.evaluate("until(async () => (await client.conversations())[0]?.last)")
    (summary,) = other.evaluate("client.conversations()")
    assert (summary["last"]["body"]["text"], summary["unread"]) == ("m29", 30)
    assert texts(other, conv) == [f"m{i}" for i in range(30)]
    page = other.evaluate("conv => client.history(conv, { before: 6, limit: 3 })", conv)
    assert [item["seq"] for item in page["items"]] == [3, 4, 5]
    assert page["more"] is True
    page = other.evaluate("conv => client.history(conv, { before: 3, limit: 3 })", conv)
    assert ([item["seq"] for item in page["items"]], page["more"]) == ([1, 2], False)
    assert other.evaluate("texts('message')") == []


def test_my_own_messages_count_as_read(people: People) -> None:
    alice, bob, conv = people.pair()
    alice.evaluate(SEND, [conv, "mine"])
    bob.evaluate(SEND, [conv, "yours"])
    alice.evaluate("until(() => texts('message').includes('yours'))")
    alice.evaluate("until(async () => (await client.conversations())[0].last.seq === 2)")
    assert alice.evaluate("client.conversations()")[0]["unread"] == 1


def test_a_revoked_device_stops_and_the_same_user_goes_on_where_it_was(people: People) -> None:
    alice, bob, conv = people.pair()
    alice.evaluate(SEND, [conv, "kept"])
    alice.evaluate("until(() => texts('sent').includes('kept'))")
    other = people.tab(people.context())
    assert login(other, name_of(alice)) == "no error"
    other.evaluate(READY)
    devices = other.evaluate("client.devices.list()")
    (old,) = [device["device"] for device in devices if not device.get("current")]
    other.evaluate("device => client.devices.revoke(device)", old)
    alice.evaluate("until(() => client.state === 'refused')")
    alice.evaluate(SEND, [conv, "queued"])
    alice.reload()
    assert load_client(alice) is None
    assert alice.evaluate("client.state") == "loggedout"
    assert login(alice, name_of(bob)) == "conflict"
    assert login(alice, name_of(other)) == "no error"
    bob.evaluate("until(() => texts('message').includes('queued'))")
    assert texts(alice, conv) == ["kept", "queued"]


def test_a_full_disk_stops_the_client_until_there_is_room(people: People) -> None:
    alice = people.new()
    bob = people.new(timings={"storage": 0.5})
    conv = befriend(alice, bob)
    bob.evaluate(
        """() => {
        globalThis.put = IDBObjectStore.prototype.put;
        IDBObjectStore.prototype.put = function (...args) {
          if (this.name === "message") throw new DOMException("full", "QuotaExceededError");
          return put.apply(this, args);
        };
        }"""
    )
    alice.evaluate(SEND, [conv, "kept for you"])
    bob.evaluate("until(() => client.state === 'waiting' && client.reason.code === 'storage')")
    assert bob.evaluate("texts('message')") == []
    assert alice.evaluate("seen.filter(([n, d]) => n === 'receipt')") == []
    bob.evaluate("() => void (IDBObjectStore.prototype.put = put)")
    bob.evaluate("until(() => texts('message').includes('kept for you'))")
    alice.evaluate("until(() => seen.some(([n, d]) => n === 'receipt' && d.delivered === 1))")


def test_what_cannot_be_stored_is_not_taken_for_sent(people: People) -> None:
    alice, _, conv = people.pair()
    alice.evaluate(
        """() => {
        IDBObjectStore.prototype.add = () => {
          throw new DOMException("full", "QuotaExceededError");
        };
        }"""
    )
    assert alice.evaluate("conv => code(client.send(conv, 'x'))", conv) == "storage"


def test_without_indexeddb_everything_works_but_says_that_it_does_not_last(
    people: People,
) -> None:
    page = people.new(people.context(NO_DATABASE))
    friend = people.new()
    assert page.evaluate("client.durable") is False
    assert friend.evaluate("client.durable") is True
    conv = befriend(page, friend)
    page.evaluate(SEND, [conv, "from memory"])
    friend.evaluate("until(() => texts('message').includes('from memory'))")
    page.evaluate("until(() => texts('sent').includes('from memory'))")
    assert texts(page, conv) == ["from memory"]
    page.evaluate("client.logout()")
    assert page.evaluate("client.conversations()") == []


def test_a_page_that_is_older_than_the_database_says_so(people: People) -> None:
    upgrade = """
    new Promise((resolve, reject) => {
      const request = indexedDB.open("imd", 99);
      request.onsuccess = () => resolve(request.result.close());
      request.onerror = request.onblocked = reject;
    })
    """
    page = people.new()
    page.evaluate(upgrade)
    page.evaluate("until(() => client.state === 'refused' && client.reason.code === 'version')")
    page.reload()
    load_client(page, start=False)
    assert page.evaluate("code(client.start())") == "version"


def test_twenty_thousand_messages_are_no_burden(people: People, complaints: Complaints) -> None:
    complaints.expected.append("WebSocket connection to")
    context = people.context()
    origin = people.origin
    page = open_page(context, origin)
    page.evaluate(
        """async () => {
          const { IndexedStore } = await import("/client/store.js");
          const { NOBODY } = await import("/client/types.js");
          const store = new IndexedStore("imd", () => {});
          await store.claim("fill");
          const account = { ...NOBODY, user: 1, name: "me", token: "t", epoch: "e" };
          const peers = [{ user: 2, name: "peer", delivered: 0, read: 0 }];
          const all = { base: 0, have: 20000, known: 20000, floor: 1 };
          const mine = { delivered: 20000, read: 10, toldDelivered: 20000, toldRead: 10 };
          const log = { id: 7, kind: "direct", ...all, ...mine, peers };
          const rows = Array.from({ length: 20000 }, (_, i) => ({
            type: "message",
            row: { conv: 7, seq: i + 1, id: `m${i}`, from: 1 + (i % 2), device: 1, at: i,
                   kind: "text", body: { text: `text ${i}` } },
          }));
          await store.write("fill", [
            { type: "account", account }, { type: "conversation", log }, ...rows,
          ]);
          await store.resign("fill");
          await store.close();
        }"""
    )
    page.evaluate(COUNT_READS)
    load_client(page, url="ws://127.0.0.1:9/ws")
    found = page.evaluate(
        """async () => {
          const [{ unread, last }] = await client.conversations();
          const { items, more } = await client.history(7);
          const middle = await client.history(7, { before: 10000 });
          await client.send(7, "one more");
          return { unread, last: last.seq, more, first: items[0].seq,
                   middle: middle.items.map((item) => item.seq), reads };
        }"""
    )
    assert (found["unread"], found["last"], found["more"]) == (9995, 20000, True)
    assert found["first"] == 19951
    assert found["middle"] == list(range(9950, 10000))
    # Two pages of 50, and what is known of accounts, conversations and the outbox.
    assert 100 <= found["reads"] < 200


def test_what_came_while_away_is_fetched_completely(people: People) -> None:
    alice, bob, conv = people.pair()
    bob.evaluate("client.close()")
    alice.evaluate(
        "conv => Promise.all(Array.from({ length: 450 }, (_, i) => client.send(conv, `m${i}`)))",
        conv,
    )
    alice.evaluate("until(() => texts('sent').length === 450)")
    bob.reload()
    load_client(bob)
    bob.evaluate("until(() => texts('message').length === 450)")
    assert bob.evaluate("texts('message')") == [f"m{i}" for i in range(450)]


def test_two_databases_are_two_devices(people: People) -> None:
    context = people.context()
    page = people.new(context)
    other = open_client(context, people.origin, database="second")
    assert login(other, name_of(page)) == "no error"
    other.evaluate(READY)
    assert page.evaluate("client.state") == "ready"
    assert len(page.evaluate("client.devices.list()")) == 2
