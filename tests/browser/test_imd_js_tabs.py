"""Several tabs are one device: one connection, one order, and none that dies loses anything."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error

from tests.browser.conftest import Complaints
from tests.browser.pages import befriend, load_client
from tests.browser.people import PASSWORD, People
from tests.browser.served import Served

#: What a page on plain http of another host has: no locks, and no UUIDs.
INSECURE = """
Object.defineProperty(Navigator.prototype, "locks", { value: undefined });
Object.defineProperty(Crypto.prototype, "randomUUID", { value: undefined });
"""
#: The leader commits, but nothing it sends leaves the page: ``unsent`` has it.
MUTE = """() => {
  globalThis.unsent = "";
  WebSocket.prototype.send = (data) => void (unsent += data);
}"""
#: Lets ``freeze`` stop a page between two transactions: an open one would stop all other tabs, and
#: browsers do not freeze a page that has one.
FREEZE = """
let open = 0;
const begin = IDBDatabase.prototype.transaction;
IDBDatabase.prototype.transaction = function (...args) {
  const transaction = begin.apply(this, args);
  open += 1;
  for (const end of ["complete", "abort"]) transaction.addEventListener(end, () => (open -= 1));
  return transaction;
};
globalThis.freeze = () => {
  if (open) setTimeout(freeze, 1);
  else debugger;
};
"""
#: A leader without locks is taken for dead soon, or not even if it is held up for long.
SOON, NEVER = {"beat": 0.2, "lease": 1}, {"beat": 0.2, "lease": 600}
READY = "until(() => client.state === 'ready')"
SEND = "([conv, text]) => client.send(conv, text)"


class Pair:
    """A user with two tabs, of which the first holds the connection, and a friend."""

    def __init__(
        self, people: People, script: str | None = None, timings: dict[str, float] = SOON
    ) -> None:
        context = people.context(script)
        self.leader = people.new(context, timings=timings)
        self.friend = people.new()
        self.conv = befriend(self.leader, self.friend)
        self.sockets: list[str] = []
        self.other = context.new_page()
        self.other.on("websocket", lambda socket: self.sockets.append(socket.url))
        self.other.goto(self.leader.url)
        load_client(self.other, timings=timings)
        self.other.evaluate(READY)

    def received(self) -> list[str]:
        """The texts that the friend has got, all of them: a last one comes after them."""
        self.other.evaluate(SEND, [self.conv, "the end"])
        self.friend.evaluate("until(() => texts('message').includes('the end'))")
        *found, end = self.friend.evaluate(
            "seen.filter(([n, d]) => n === 'message' && !d.message.mine)"
            ".map(([, d]) => d.message.body.text)"
        )
        assert end == "the end"
        return found


@pytest.fixture(params=["locks", "lease"])
def script(request: pytest.FixtureRequest) -> str | None:
    """With Web Locks, and without."""
    return INSECURE if request.param == "lease" else None


@pytest.fixture
def pair(script: str | None, people: People) -> Pair:
    """Of whom the other tab takes over soon."""
    return Pair(people, script)


@pytest.fixture
def lasting(script: str | None, people: People) -> Pair:
    """Of whom the first tab leads as long as it lives."""
    return Pair(people, script, NEVER)


def test_one_tab_connects_and_all_hear(lasting: Pair) -> None:
    pair = lasting
    pair.other.evaluate(SEND, [pair.conv, "from the other"])
    pair.friend.evaluate(SEND, [pair.conv, "answer"])
    for page in (pair.leader, pair.other):
        page.evaluate("until(() => texts('sent').includes('from the other'))")
        page.evaluate("until(() => texts('message').includes('answer'))")
    # Whether it is delivered, one may know before the other.
    history = "async conv => (await client.history(conv)).items.map(({ state, ...item }) => item)"
    assert pair.other.evaluate(history, pair.conv) == pair.leader.evaluate(history, pair.conv)
    friends = pair.other.evaluate("client.friends.list()")
    assert [friend["state"] for friend in friends] == ["accepted"]
    pair.other.evaluate("conv => client.read(conv, 2)", pair.conv)
    pair.friend.evaluate("until(() => seen.some(([n, d]) => n === 'receipt' && d.read === 2))")
    assert pair.sockets == []


def test_two_tabs_that_send_at_once_keep_their_order_and_lose_nothing(pair: Pair) -> None:
    start = """([conv, name]) => {
      globalThis.sending = Promise.all(
        Array.from({ length: 40 }, (_, i) => client.send(conv, `${name}${i}`)));
    }"""
    pair.leader.evaluate(start, [pair.conv, "a"])
    pair.other.evaluate(start, [pair.conv, "b"])
    for page in (pair.leader, pair.other):
        page.evaluate("sending.then(() => 0)")
    texts = pair.received()
    assert len(texts) == 80
    for name in "ab":
        assert [t for t in texts if t[0] == name] == [f"{name}{i}" for i in range(40)]


def test_another_tab_takes_over_when_the_leader_is_closed(pair: Pair) -> None:
    pair.leader.close()
    pair.friend.evaluate(SEND, [pair.conv, "meanwhile"])
    pair.other.evaluate(SEND, [pair.conv, "still here"])
    pair.other.evaluate("until(() => texts('sent').includes('still here'))")
    pair.other.evaluate("until(() => texts('message').includes('meanwhile'))")
    assert pair.received() == ["still here"]
    assert len(pair.sockets) == 1


def test_what_a_leader_committed_but_never_sent_is_sent_by_the_next(pair: Pair) -> None:
    pair.leader.evaluate(MUTE)
    for i in range(3):
        pair.leader.evaluate(SEND, [pair.conv, f"a{i}"])
        pair.other.evaluate(SEND, [pair.conv, f"b{i}"])
    pair.leader.close()
    assert pair.received() == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_what_a_leader_stored_but_never_told_the_other_tabs_know_to_read(pair: Pair) -> None:
    pair.leader.evaluate("() => { BroadcastChannel.prototype.postMessage = () => {}; }")
    pair.friend.evaluate(SEND, [pair.conv, "untold"])
    pair.leader.evaluate("until(() => texts('message').includes('untold'))")
    pair.leader.close()
    pair.other.evaluate("until(() => seen.some(([name]) => name === 'stale'))")
    history = "async conv => (await client.history(conv)).items.map(({ body }) => body.text)"
    assert pair.other.evaluate(history, pair.conv) == ["untold"]


def test_a_leader_whose_process_dies_is_replaced(pair: Pair, complaints: Complaints) -> None:
    pair.leader.evaluate(MUTE)
    pair.leader.evaluate(SEND, [pair.conv, "last words"])
    with pair.leader.expect_event("crash"), pytest.raises(Error):
        pair.leader.goto("chrome://crash")
    assert pair.received() == ["last words"]


def test_a_page_in_the_back_forward_cache_lets_another_lead_and_comes_back(pair: Pair) -> None:
    event = "name => void dispatchEvent(new PageTransitionEvent(name, { persisted: true }))"
    pair.leader.evaluate(event, "pagehide")
    pair.friend.evaluate(SEND, [pair.conv, "one"])
    pair.other.evaluate("until(() => texts('message').includes('one'))")
    assert pair.leader.evaluate("texts('message')") == []
    pair.leader.evaluate("seen.length = 0")
    pair.leader.evaluate(event, "pageshow")
    pair.leader.evaluate("until(() => seen.some(([n]) => n === 'account'))")
    assert pair.leader.evaluate("seen.some(([n]) => n === 'stale')")
    pair.leader.evaluate(READY)
    pair.leader.evaluate(SEND, [pair.conv, "back"])
    pair.other.evaluate("until(() => texts('sent').includes('back'))")
    (first, _) = pair.leader.evaluate("conv => client.history(conv)", pair.conv)["items"]
    assert first["body"]["text"] == "one"


def test_a_question_to_a_leader_that_dies_is_answered_by_the_next_or_refused(pair: Pair) -> None:
    pair.leader.evaluate(MUTE)
    pair.other.evaluate(
        """conv => {
          globalThis.read = code(client.read(conv, 0));
          globalThis.call = code(client.call("account.get"));
        }""",
        pair.conv,
    )
    pair.leader.evaluate("until(() => unsent.includes('account.get'))")
    pair.leader.close()
    assert pair.other.evaluate("read") == "no error"
    assert pair.other.evaluate("call") == "offline"


def test_a_login_in_one_tab_is_a_login_in_all(people: People) -> None:
    context = people.context()
    first, second = people.tab(context), people.tab(context)
    second.evaluate("([n, p]) => client.register(n, p)", ["both.tabs", PASSWORD])
    for page in (first, second):
        page.evaluate(READY)
        assert page.evaluate("client.account.name") == "both.tabs"


def test_a_frozen_leader_that_wakes_up_spoils_nothing(people: People, server: Served) -> None:
    pair = Pair(people, INSECURE + FREEZE)
    # Its timers and what it hears stand still, as in a frozen page; the socket lives.
    session, frozen = pair.leader.context.new_cdp_session(pair.leader), []
    session.on("Debugger.paused", lambda event: frozen.append(event))
    session.send("Debugger.enable")
    pair.leader.evaluate("() => void setTimeout(freeze)")
    while not frozen:
        pair.other.wait_for_timeout(10)
    pair.friend.evaluate(SEND, [pair.conv, "while frozen"])
    pair.other.evaluate("until(() => texts('message').includes('while frozen'))")
    pair.other.evaluate(SEND, [pair.conv, "I lead now"])
    pair.other.evaluate("until(() => texts('sent').includes('I lead now'))")
    session.send("Debugger.disable")
    pair.leader.evaluate(
        "conv => until(async () => (await client.history(conv)).items.length === 2)", pair.conv
    )
    pair.leader.evaluate(SEND, [pair.conv, "awake"])
    pair.other.evaluate("until(() => texts('sent').includes('awake'))")
    for page in (pair.leader, pair.other):
        page.evaluate(READY)
    assert pair.received() == ["I lead now", "awake"]
