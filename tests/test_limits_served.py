"""Limits that only show on a socket: sizes of messages, and numbers of connections."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.error import ConnectError

from tests.limited import limits
from tests.outages import until
from tests.process import FAST, Server
from tests.raw import Raw, connect, login, pair, post, resume
from tests.tight import Start, servers


@pytest_twisted.async_yield_fixture()
async def start() -> AsyncIterator[Start]:
    """Starts servers with some limits."""
    async with servers(FAST) as start:
        yield start


@limits("hello_bytes", "frame_bytes")
@pytest.mark.parametrize(("hello", "frame"), [(500, 3000), (4096, 65536)])
async def test_a_message_of_more_bytes_is_closed_1009(start: Start, hello: int, frame: int) -> None:
    server = await start(hello_bytes=hello, frame_bytes=frame)
    early = await connect(server.port)
    early.sendMessage(b"{}".ljust(hello + 1))
    assert await early.closed == 1009
    late = await login(server.port, "alice")
    late.sendMessage(b'{"type":"ping","n":1}'.ljust(frame))
    await late.hear("pong", n=1)
    late.sendMessage(b'{"type":"ping","n":2}'.ljust(frame + 1))
    assert await late.closed == 1009
    assert late.heard("pong") == []
    fits = await connect(server.port)
    fits.sendMessage(b'{"type":"hello","req":1}'.ljust(hello))
    assert (await fits.hear("error"))["code"] == "bad_request"


@limits("connections_per_address")
@pytest.mark.parametrize("most", [2, 5])
async def test_one_connection_too_many_of_an_address_is_closed_4505(
    start: Start, most: int
) -> None:
    server = await start(connections_per_address=most, trusted_addresses=[])
    kept = [await login(server.port, f"user{n}") for n in range(most)]
    over = await connect(server.port)
    assert await over.closed == 4505
    assert (await post(server.port, "/v1/account.get"))[0] == 503
    await gone(server, kept[0])
    again = await login(server.port, "alice")
    again.say({"type": "ping", "n": 1})
    await again.hear("pong")


@limits("connections")
async def test_one_connection_too_many_of_the_process_is_dropped(start: Start) -> None:
    server = await start(connections=3)
    kept = [await login(server.port, name) for name in "abc"]
    with pytest.raises((ConnectionRefusedError, ConnectError)):
        await connect(server.port)
    await gone(server, kept[0])
    await login(server.port, "d")
    kept[1].say({"type": "ping", "n": 1})
    await kept[1].hear("pong")


async def gone(server: Server, raw: Raw) -> None:
    """Break the only connection that ends, and wait until the server knows."""
    raw.transport.abortConnection()
    await raw.closed
    await until(lambda: " ended after " in server.output)


def resident(server: Server) -> int:
    """KiB of memory that the server process holds."""
    with open(f"/proc/{server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4


@limits("paused_seconds")
async def test_twenty_megabytes_for_a_client_that_does_not_read_cost_no_memory(
    start: Start,
) -> None:
    server = await start(paused_seconds=100)
    alice, bob, conversation = await pair(server.port)
    await pushed(alice, conversation, 100)
    bob.say({"type": "ping", "n": 1})
    await bob.hear("pong")
    before = resident(server)
    bob.transport.pauseProducing()
    await pushed(alice, conversation, 1300)
    grown = resident(server) - before
    assert grown < 4096, f"{grown} KiB more"
    bob.transport.resumeProducing()
    head = await bob.hear("head", conv=conversation)
    while head["last"] < 1400:
        head = await bob.hear("head", conv=conversation)
    # A run of pushes came before the buffers were full, then a gap that the head shows.
    assert len(bob.heard("msg")) < 1300
    bob.say({"type": "fetch", "req": 1, "conv": conversation, "after": 1399, "limit": 1})
    assert (await bob.hear("msgs", req=1))["items"][0]["seq"] == 1400


async def pushed(sender: Raw, conversation: int, count: int) -> None:
    """Send texts of the full size in windows of 20, each when the one before is stored."""
    for _ in range(count // 20):
        ids = [sender.text(conversation, "x" * 16000) for _ in range(20)]
        for id in ids:
            await sender.hear("ack", id=id)


@limits("paused_seconds")
async def test_a_client_that_never_reads_is_closed_and_catches_up_later(start: Start) -> None:
    server = await start(paused_seconds=1)
    alice, bob, conversation = await pair(server.port)
    bob.transport.pauseProducing()
    # Or the kernel may make room for all of it, and nobody would have to wait.
    bob.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await pushed(alice, conversation, 500)
    await until(lambda: "code 4002" in server.output)
    bob.transport.resumeProducing()
    assert await bob.closed in (4002, 1006)
    again = await resume(server.port, bob.welcome["token"])
    assert (await again.hear("heads"))["items"][0]["last"] == 500
