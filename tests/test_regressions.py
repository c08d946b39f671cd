"""The known defects of earlier servers of this design, one test each: they must not come back.

D1 to D11 concern delivery, S1 to S5 security and the API.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest_twisted

from tests.process import Server
from tests.raw import Raw, connect, login, pair, post, resume


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with the usual limits."""
    running = Server()
    await running.start()
    yield running
    await running.close()


async def quiet(raw: Raw) -> None:
    """Whatever the server had to say before this moment has been heard."""
    n = time.monotonic_ns() % 2**40
    raw.say({"type": "ping", "n": n})
    await raw.hear("pong", n=n)


async def test_d1_a_message_that_was_acknowledged_is_never_sent_again(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    await alice.hear("ack", id=alice.text(conv))
    message = await bob.hear("msg")
    bob.say({"type": "mark", "conv": conv, "delivered": message["seq"]})
    await alice.hear("receipt", delivered=message["seq"])
    await quiet(bob)
    await quiet(alice)
    assert bob.heard("msg") == alice.heard("msg") == []


async def test_d2_offline_messages_stay_until_the_client_says_it_has_them(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    token = bob.welcome["token"]
    bob.transport.abortConnection()
    await bob.closed
    await alice.hear("ack", id=alice.text(conv, "one"))
    for _ in range(3):
        again = await resume(server.port, token, tail=10)
        assert [m["body"]["text"] for m in (await again.hear("msgs"))["items"]] == ["one"]
        again.transport.abortConnection()
        await again.closed
    last = await resume(server.port, token, tail=10)
    await last.hear("msgs")
    last.say({"type": "mark", "conv": conv, "delivered": 1})
    await alice.hear("receipt", delivered=1)
    after = await resume(server.port, token, tail=10)
    heads = await after.hear("heads")
    await quiet(after)
    assert heads["items"][0]["delivered"] == 1
    assert after.heard("msgs") == []


async def test_d3_receipts_reach_a_sender_on_the_same_connector(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    alice.text(conv)
    bob.say({"type": "mark", "conv": conv, "read": (await bob.hear("msg"))["seq"]})
    receipt = await alice.hear("receipt", conv=conv, user=bob.welcome["user"]["id"])
    assert (receipt["delivered"], receipt["read"]) == (1, 1)


async def test_d4_the_very_first_send_of_a_new_account_works(server: Server) -> None:
    alice, _, conv = await pair(server.port)
    assert (await alice.hear("ack", id=alice.text(conv)))["seq"] == 1


async def test_d5_delivered_is_said_by_the_client_and_not_by_a_socket(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    alice.text(conv)
    await bob.hear("msg")
    await quiet(bob)
    await quiet(alice)
    assert alice.heard("receipt") == []
    bob.say({"type": "mark", "conv": conv, "delivered": 1})
    await alice.hear("receipt", delivered=1, read=0)


async def test_d6_messages_to_people_who_are_online_are_stored_and_a_full_window_drops_none(
    server: Server,
) -> None:
    alice, bob, conv = await pair(server.port)
    frames = [
        {
            "type": "send",
            "id": f"01920000-0000-7000-8000-{n:012}",
            "conv": conv,
            "kind": "text",
            "body": {"text": str(n)},
        }
        for n in range(256)
    ]
    for start in range(0, 256, 64):
        alice.say(frames[start : start + 64])
    for n in range(256):
        assert (await alice.hear("ack", id=frames[n]["id"]))["seq"] == n + 1
    bob.say({"type": "fetch", "req": 9, "conv": conv, "limit": 200, "after": 0})
    found = await bob.hear("msgs", req=9)
    assert [item["seq"] for item in found["items"]] == list(range(1, 201))
    assert found["more"]


async def test_d7_thousands_of_closed_connections_leave_no_memory_and_no_work(
    server: Server,
) -> None:
    alice = await login(server.port, "alice")

    async def churn(times: int) -> int:
        for _ in range(times):
            raw = await resume(server.port, alice.welcome["token"])
            raw.transport.abortConnection()
            await raw.closed
        with open(f"/proc/{server.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4

    await churn(300)
    before = await churn(50)
    after = await churn(300)
    assert after - before < 1500, f"{after - before} KiB more after 300 connections"


async def test_d8_a_peer_that_falls_silent_is_noticed(server: Server) -> None:
    await server.kill()
    config = server.directory / "imd.toml"
    config.write_text(config.read_text() + "heartbeat_seconds = 1\nsilence_seconds = 5\n")
    await server.start()
    raw = await login(server.port, "alice")
    assert await raw.closed == 4003


async def test_d9_a_late_close_does_not_erase_a_newer_login(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    again = await resume(server.port, bob.welcome["token"])
    assert await bob.closed == 4502
    await again.hear("heads")
    alice.text(conv, "still here")
    assert (await again.hear("msg"))["body"]["text"] == "still here"


async def test_d10_a_second_device_gets_everything_and_the_first_stays(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    second = await login(server.port, "bob", register=None)
    alice.text(conv, "both")
    assert (await bob.hear("msg"))["seq"] == (await second.hear("msg"))["seq"] == 1
    bob.text(conv, "from the first")
    assert (await second.hear("msg", seq=2))["from"] == bob.welcome["user"]["id"]
    bob.say({"type": "mark", "conv": conv, "read": 1})
    assert (await second.hear("receipt"))["read"] == 1


async def test_d11_a_text_of_the_full_size_is_stored_and_a_kill_loses_no_acknowledged_one(
    server: Server,
) -> None:
    alice, bob, conv = await pair(server.port)
    token = bob.welcome["token"]
    await alice.hear("ack", id=alice.text(conv, "x" * 16384))
    await server.kill()
    await server.start()
    again = await resume(server.port, token, tail=1)
    (item,) = (await again.hear("msgs"))["items"]
    assert item["body"]["text"] == "x" * 16384


async def test_s1_nobody_is_anybody_without_a_credential_and_from_is_not_the_clients_to_say(
    server: Server,
) -> None:
    alice, bob, conv = await pair(server.port)
    for hello in (
        {"type": "hello", "req": 1, "user": "alice"},
        {"type": "hello", "req": 1, "user": alice.welcome["user"]["id"]},
    ):
        raw = await connect(server.port)
        raw.say(hello)
        assert (await raw.hear("error"))["code"] == "bad_request"
    forged = {"type": "send", "id": "01920000-0000-7000-8000-000000000001", "conv": conv}
    forged |= {"kind": "text", "body": {"text": "x"}, "from": bob.welcome["user"]["id"]}
    alice.say(forged)
    assert await alice.hear("nack", id=forged["id"], code="bad_request")
    mallory = await login(server.port, "mallory")
    assert await mallory.hear("nack", id=mallory.text(conv), code="forbidden")


async def test_s2_nobody_reads_or_marks_in_the_conversation_of_others(server: Server) -> None:
    alice, bob, conv = await pair(server.port)
    alice.text(conv, "private")
    await bob.hear("msg")
    mallory = await login(server.port, "mallory")
    mallory.say({"type": "fetch", "req": 2, "conv": conv, "limit": 10})
    assert (await mallory.hear("error", req=2))["code"] == "not_found"
    mallory.say({"type": "mark", "conv": conv, "read": 1})
    await quiet(mallory)
    await quiet(alice)
    assert alice.heard("receipt") == []
    mallory.say({"type": "sync", "req": 3, "tail": 50})
    assert (await mallory.hear("heads", req=3))["items"] == []
    assert mallory.heard("msgs") == mallory.heard("msg") == []


async def test_s3_lengths_are_bounded_before_anything_is_believed(server: Server) -> None:
    early = await connect(server.port)
    early.sendMessage(b" " * 4097)
    late = await login(server.port, "alice")
    late.sendMessage(b" " * 65537)
    assert await early.closed == 1009
    assert await late.closed == 1009
    status, _ = await post(server.port, "/v1/account.register", b" " * 65537)
    assert status == 413


async def test_s4_friendships_of_others_cannot_be_ended_and_a_bad_token_is_an_error(
    server: Server,
) -> None:
    alice, bob, conv = await pair(server.port)
    mallory = await login(server.port, "mallory")
    for verb in ("remove", "decline", "accept"):
        answer = await mallory.call(f"friend.{verb}", user="alice")
        assert answer["code"] == "not_found"
    await alice.hear("ack", id=alice.text(conv))
    status, body = await post(server.port, "/v1/friend.list", token="expired")
    assert (status, body["error"]["code"]) == (401, "unauthorized")
    assert (await bob.call("friend.list"))["data"]["items"][0]["state"] == "accepted"


async def test_s5_methods_are_one_table_whichever_way_they_are_called(server: Server) -> None:
    alice, bob, _ = await pair(server.port)
    token = alice.welcome["token"]
    status, by_http = await post(server.port, "/v1/friend.list", token=token)
    assert (status, by_http) == (200, (await alice.call("friend.list"))["data"])
    bob_id = bob.welcome["user"]["id"]
    for who in (bob_id, "bob", "BOB"):
        found = (await alice.call("user.find", user=who))["data"]
        assert (found["user"], found["name"]) == (bob_id, "bob")
    assert (await post(server.port, "/v1/account.logout", token=token))[0] == 200
    assert await alice.closed == 4501
    assert (await post(server.port, "/v1/account.get", token=token))[0] == 401


async def test_a_login_whose_client_has_gone_leaves_no_device() -> None:
    server = Server(config="[passwords]\nmemory_kib = 65536\npasses = 4\n")
    await server.start()
    alice = await login(server.port, "alice")
    gone = await connect(server.port)
    hello = {"type": "hello", "req": 1, "user": "alice", "password": "secret", "device": "gone"}
    gone.say(hello)
    await quiet(alice)
    gone.transport.abortConnection()
    await gone.closed
    # Logins of one name take turns: this one comes after the other.
    await login(server.port, "alice", register=None, device="next")
    devices = (await alice.call("device.list"))["data"]["items"]
    assert [device["label"] for device in devices] == ["test", "next"]
    await server.close()


async def test_too_many_logins_are_sent_away_for_a_while_and_not_for_ever() -> None:
    server = Server(config="[passwords]\nmemory_kib = 8\npasses = 1\n")
    await server.start()
    await login(server.port, "alice")
    wrong = {"type": "hello", "req": 1, "user": "alice", "password": "no", "device": "d"}
    began = time.monotonic()
    for _ in range(5):
        guess = await connect(server.port)
        guess.say(wrong)
        assert await guess.closed == 4501
    right = await connect(server.port)
    right.say(wrong | {"password": "secret"})
    assert (await right.hear("error"))["code"] == "locked"
    # Of the minute since the last guess there is left what has not passed.
    left = (await right.hear("bye"))["retry"]
    assert 60_000 - 1000 * (time.monotonic() - began) <= left <= 60_000
    assert await right.closed == 4006
    await server.close()


async def test_a_registration_that_is_refused_for_its_device_label_leaves_no_account(
    server: Server,
) -> None:
    params = {"user": "alice", "password": "secret", "device": "a\u202eb"}
    assert (await post(server.port, "/v1/account.register", params))[0] == 400
    raw = await connect(server.port)
    raw.say({"type": "hello", "req": 1, "register": True, **params})
    assert (await raw.hear("error"))["code"] == "bad_request"
    assert (await post(server.port, "/v1/account.register", params | {"device": "d"}))[0] == 200
