"""Every code of protocol §9, from a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from tests.outages import until
from tests.process import FAST, Server
from tests.raw import Raw, connect, login, pair, post, resume
from tests.tight import Start, servers

PASSWORDS = """
[passwords]
memory_kib = 8
passes = 1
[limits]
"""


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with the usual limits."""
    running = Server(config=FAST)
    await running.start()
    yield running
    await running.close()


@pytest_twisted.async_yield_fixture()
async def tight() -> AsyncIterator[Start]:
    """Begins servers with a tight limit: all of them at once would hit one another's tests."""
    async with servers(PASSWORDS) as start:
        yield start


def hello(**fields: Any) -> dict[str, Any]:
    return {"type": "hello", "req": 1, **fields}


# -- nack and error


async def test_bad_request_for_a_malformed_frame(server: Server) -> None:
    raw = await login(server.port, "alice")
    raw.say({"type": "fetch", "req": 5, "conv": 1, "limit": 0})
    assert (await raw.hear("error"))["code"] == "bad_request"
    raw.say({"type": "ping", "n": 1})
    await raw.hear("pong", n=1)


async def test_bad_id_for_an_id_that_is_no_uuid(server: Server) -> None:
    alice, _, conv = await pair(server.port)
    alice.text(conv, id="message-1")
    assert await alice.hear("nack", id="message-1", code="bad_id")


async def test_too_large_for_a_text_above_the_limit(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    fits = alice.text(conv, "é" * 8192)
    await alice.hear("ack", id=fits)
    assert len((await bob.hear("msg"))["body"]["text"]) == 8192
    long = alice.text(conv, "é" * 8192 + "x")
    assert await alice.hear("nack", id=long, code="too_large")


async def test_forbidden_for_strangers_former_friends_and_unknown_conversations(
    server: Server,
) -> None:
    alice, bob, conv = await pair(server.port)
    mallory = await login(server.port, "mallory")
    assert await mallory.hear("nack", id=mallory.text(conv), code="forbidden")
    assert await mallory.hear("nack", id=mallory.text(conv + 1), code="forbidden")
    await bob.call("friend.block", user="alice")
    assert await alice.hear("nack", id=alice.text(conv), code="forbidden")
    assert await bob.hear("nack", id=bob.text(conv), code="forbidden")


async def test_not_found_for_what_does_not_exist_or_is_not_mine(server: Server) -> None:
    alice, _, conv = await pair(server.port)
    mallory = await login(server.port, "mallory")
    answers = []
    for conversation in (conv, conv + 1):
        mallory.say({"type": "fetch", "req": 7, "conv": conversation, "limit": 1})
        answers.append(await mallory.hear("error", req=7))
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "not_found"
    assert (await alice.call("user.find", user="nobody"))["code"] == "not_found"
    assert (await alice.call("no.method"))["code"] == "not_found"
    device = alice.welcome["device"]
    assert (await mallory.call("device.revoke", device=device))["code"] == "not_found"


async def test_no_file_for_a_file_that_was_not_uploaded(server: Server) -> None:
    alice, _, conv = await pair(server.port)
    body = {"file": 5, "name": "a.txt", "size": 1, "mime": "text/plain", "sha256": "0" * 64}
    id = "01920000-0000-7000-8000-000000000001"
    alice.say({"type": "send", "id": id, "conv": conv, "kind": "file", "body": body})
    assert await alice.hear("nack", id=id, code="no_file")


async def test_exists_for_a_name_that_is_taken(server: Server) -> None:
    await login(server.port, "alice")
    status, body = await post(
        server.port, "/v1/account.register", {"user": "Alice", "password": "x"}
    )
    assert (status, body["error"]["code"]) == (409, "exists")
    raw = await connect(server.port)
    raw.say(hello(user="alice", password="x", device="d", register=True))
    assert (await raw.hear("error"))["code"] == "exists"
    assert await raw.closed == 4501


async def test_conflict_for_an_id_with_another_body_and_the_first_stays(server: Server) -> None:
    alice, _, conv = await pair(server.port)
    id = alice.text(conv, "one")
    ack = await alice.hear("ack", id=id)
    alice.text(conv, "two", id=id)
    assert await alice.hear("nack", id=id, code="conflict")
    alice.text(conv, "one", id=id)
    again = await alice.hear("ack", id=id)
    assert (again["seq"], again["at"], again["dup"]) == (ack["seq"], ack["at"], True)


async def test_limit_for_one_device_too_many(tight: Start) -> None:
    server = await tight(devices=2)
    alice = await login(server.port, "alice")
    await login(server.port, "alice", register=None)
    raw = await connect(server.port)
    raw.say(hello(user="alice", password="secret", device="third"))
    assert (await raw.hear("error"))["code"] == "limit"
    assert await raw.closed == 4501
    devices = (await alice.call("device.list"))["data"]["items"]
    assert len(devices) == 2


async def test_unauthorized_is_the_same_for_unknown_names_and_wrong_passwords(
    server: Server,
) -> None:
    await login(server.port, "alice")
    answers = [
        await post(
            server.port, "/v1/account.login", {"user": user, "password": "no", "device": "d"}
        )
        for user in ("alice", "nobody")
    ]
    assert answers[0] == answers[1]
    assert answers[0][1]["error"]["code"] == "unauthorized"
    assert (await post(server.port, "/v1/account.get"))[0] == 401
    assert (await post(server.port, "/v1/account.get", token="wrong"))[0] == 401


async def test_locked_after_too_many_wrong_passwords_even_for_the_right_one(
    server: Server,
) -> None:
    await login(server.port, "alice")
    login_with = {"user": "alice", "device": "d"}
    for _ in range(5):
        status, _body = await post(
            server.port, "/v1/account.login", login_with | {"password": "no"}
        )
        assert status == 401
    status, body = await post(server.port, "/v1/account.login", login_with | {"password": "secret"})
    assert (status, body["error"]["code"]) == (429, "locked")


# -- closes: come back later


async def test_4000_draining_announces_when_to_come_back(server: Server) -> None:
    alice = await login(server.port, "alice")
    ended = Deferred.fromCoroutine(server.kill(15))
    bye = await alice.hear("bye")
    assert bye["code"] == 4000
    assert 0 <= bye["retry"] <= 10_000
    assert await alice.closed == 4000
    # twistd ends itself by the signal that it was given, once all is closed.
    assert await ended == -15


async def test_4002_for_a_client_that_does_not_read(tight: Start) -> None:
    server = await tight(paused_seconds=1, other_rate=0)
    alice, bob, conv = await pair(server.port)
    bob.transport.pauseProducing()
    bulk = [{"type": "fetch", "req": n, "conv": conv, "limit": 200} for n in range(8)]
    for _ in range(5):
        alice.text(conv, "x" * 16000)
    await alice.hear("ack", seq=5)
    for _ in range(100):
        bob.say(*bulk)
    await until(lambda: "code 4002" in server.output)
    bob.transport.resumeProducing()
    assert await bob.closed in (4002, 1006)
    assert alice.heard("bye") == []


async def test_4003_for_silence(tight: Start) -> None:
    server = await tight(heartbeat_seconds=1, silence_seconds=5)
    raw = await login(server.port, "alice")
    assert await raw.closed == 4003


async def test_4004_without_hello(tight: Start) -> None:
    server = await tight(hello_seconds=1)
    raw = await connect(server.port)
    assert await raw.closed == 4004


async def test_4006_for_a_rate_held_too_long(tight: Start) -> None:
    server = await tight(rate=5, burst=5, rate_held_seconds=1)
    alice, _, conv = await pair(server.port)
    for _ in range(60):
        alice.text(conv)
    assert (await alice.hear("bye"))["retry"] >= 30_000
    assert await alice.closed == 4006


# -- closes: do not come back


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b"\xef\xbb\xbf{}",
        '{"type":"hello"}'.encode("utf-16"),
        b'{"type":"shout"}',
        b"[",
    ],
)
async def test_4500_for_what_is_no_frame(server: Server, payload: bytes) -> None:
    raw = await login(server.port, "alice")
    try:
        payload.decode()
    except UnicodeDecodeError:
        raw.sendMessage(payload)
        assert await raw.closed == 1007
    else:
        raw.say(payload)
        assert await raw.closed == 4500


async def test_4500_for_a_frame_before_hello_a_second_hello_and_binary(server: Server) -> None:
    early = await connect(server.port)
    early.say({"type": "ping", "n": 1})
    twice = await login(server.port, "alice")
    twice.say(hello(user="bob", password="secret", device="d", register=True))
    binary = await login(server.port, "bob")
    binary.sendMessage(b'{"type":"ping","n":1}', isBinary=True)
    assert await gatherResults([early.closed, twice.closed, binary.closed]) == [4500] * 3


async def test_4500_at_the_tenth_malformed_frame(server: Server) -> None:
    raw = await login(server.port, "alice")
    for n in range(9):
        raw.say({"type": "ping", "n": n, "extra": 1})
    for _ in range(9):
        assert (await raw.hear("error"))["code"] == "bad_request"
    raw.say({"type": "ping"})
    assert await raw.closed == 4500


async def test_4501_for_bad_credentials_and_for_a_revoked_device(server: Server) -> None:
    raw = await connect(server.port)
    raw.say(hello(token="no such token"))
    assert (await raw.hear("error"))["code"] == "unauthorized"
    assert await raw.closed == 4501
    alice = await login(server.port, "alice")
    other = await login(server.port, "alice", register=None)
    await alice.call("device.revoke", device=other.welcome["device"])
    assert await other.closed == 4501
    assert await alice.hear("event", name="device.revoked")


async def test_4502_for_the_older_of_two_sessions_of_a_device(server: Server) -> None:
    first = await login(server.port, "alice")
    second = await resume(server.port, first.welcome["token"])
    assert await first.closed == 4502
    assert second.welcome["session"] > first.welcome["session"]
    second.say({"type": "ping", "n": 3})
    await second.hear("pong", n=3)


async def test_4503_for_a_capability_that_the_client_cannot_do_without(server: Server) -> None:
    raw = await connect(server.port)
    raw.say(hello(user="a", password="b", device="c", register=True, caps=["groups", "!groups"]))
    assert await raw.closed == 4503


async def test_4505_for_one_connection_too_many_of_an_address(tight: Start) -> None:
    server = await tight(connections_per_address=6, trusted_addresses=[], hello_seconds=60)
    raws = [await connect(server.port) for _ in range(6)]
    assert isinstance(raws[0], Raw)
    over = await connect(server.port)
    assert await over.closed == 4505
    assert (await post(server.port, "/v1/account.get"))[0] == 503
