"""imd.js against a real server: log in, send, receive, and what survives."""

from __future__ import annotations

from tests.browser.conftest import Complaints
from tests.browser.pages import load_client
from tests.browser.people import PASSWORD, People
from tests.browser.served import Served


def test_a_message_is_sent_received_delivered_and_read(people: People) -> None:
    alice, bob, conv = people.pair()
    message = alice.evaluate("conv => client.send(conv, 'hello')", conv)
    assert message["state"] == "pending"
    assert message["seq"] is None
    bob.evaluate("until(() => texts('message').includes('hello'))")
    alice.evaluate("until(() => texts('sent').includes('hello'))")
    receipt = """field => until(() => seen.some(([n, d]) =>
      n === 'receipt' && d.user !== client.account.id && d[field] === 1))"""
    alice.evaluate(receipt, "delivered")
    bob.evaluate("conv => client.read(conv, 1)", conv)
    alice.evaluate(receipt, "read")
    (mine,) = alice.evaluate("conv => client.history(conv)", conv)["items"]
    assert mine["id"] == message["id"]
    assert (mine["seq"], mine["state"], mine["mine"]) == (1, "read", True)
    (theirs,) = bob.evaluate("conv => client.history(conv)", conv)["items"]
    assert (theirs["state"], theirs["body"]) == ("received", {"text": "hello"})
    (summary,) = bob.evaluate("client.conversations()")
    assert (summary["unread"], summary["seq"], summary["last"]["id"]) == (0, 1, message["id"])


def test_a_reload_logs_in_again_and_shows_what_was_there(people: People) -> None:
    alice, bob, conv = people.pair()
    alice.evaluate("conv => client.send(conv, 'one')", conv)
    bob.evaluate("until(() => texts('message').includes('one'))")
    bob.reload()
    account = load_client(bob)
    assert account["name"].startswith("user")
    bob.evaluate("until(() => client.state === 'ready')")
    items = bob.evaluate("conv => client.history(conv)", conv)["items"]
    assert [item["body"]["text"] for item in items] == ["one"]
    alice.evaluate("conv => client.send(conv, 'two')", conv)
    bob.evaluate("until(() => texts('message').includes('two'))")
    assert bob.evaluate("texts('message')") == ["two"]


def test_what_is_sent_while_the_server_is_dead_arrives_once_when_it_is_back(
    people: People, server: Served, complaints: Complaints
) -> None:
    complaints.expected.append("WebSocket connection to")
    alice, bob, conv = people.pair()
    server.kill()
    for i in range(5):
        alice.evaluate("([conv, i]) => client.send(conv, `m${i}`)", [conv, i])
    alice.reload()
    server.start()
    load_client(alice)
    for page in (alice, bob):
        page.evaluate("client.reconnect().then(() => until(() => client.state === 'ready'))")
    bob.evaluate("until(() => texts('message').length === 5)")
    assert bob.evaluate("texts('message')") == [f"m{i}" for i in range(5)]


def test_refusals_have_their_codes(people: People) -> None:
    alice, bob, conv = people.pair()
    name = alice.evaluate("client.account.name")
    other = people.tab(people.context())
    login = "([name, word]) => code(client.login(name, word))"
    assert other.evaluate(login, [name, "wrong"]) == "unauthorized"
    assert other.evaluate("client.state") == "loggedout"
    register = "([name, word]) => code(client.register(name, word))"
    assert other.evaluate(register, [name, PASSWORD]) == "exists"
    assert other.evaluate(login, [name, PASSWORD]) == "no error"
    assert alice.evaluate("code(client.friends.find('nobody.here'))") == "not_found"
    send = "([conv, text]) => code(client.send(conv, text))"
    assert alice.evaluate(send, [conv, "x" * 16385]) == "too_large"
    assert alice.evaluate(send, [conv, "\0"]) == "bad_request"
    bob.evaluate("name => client.friends.block(name)", name)
    message = alice.evaluate("conv => client.send(conv, 'no')", conv)
    alice.evaluate("until(() => texts('failed').includes('no'))")
    (row,) = alice.evaluate("conv => client.history(conv)", conv)["items"]
    assert (row["id"], row["state"], row["code"]) == (message["id"], "failed", "forbidden")
    alice.evaluate("id => client.discard(id)", message["id"])
    assert alice.evaluate("conv => client.history(conv)", conv)["items"] == []


def test_logout_forgets_everything_in_every_tab(people: People) -> None:
    alice, _, conv = people.pair()
    tab = people.tab(alice.context)
    tab.evaluate("until(() => client.state === 'ready')")
    alice.evaluate("conv => client.send(conv, 'x')", conv)
    tab.evaluate("client.logout()")
    for page in (alice, tab):
        page.evaluate("until(() => client.state === 'loggedout' && client.account === null)")
        assert page.evaluate("client.conversations()") == []
        assert page.evaluate("conv => code(client.send(conv, 'x'))", conv) == "unauthorized"
    alice.reload()
    assert load_client(alice) is None
