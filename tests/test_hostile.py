"""What clients send who mean no good: answered once, with fixed texts, and without a log line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.process import FAST, Server, reactor
from tests.raw import connect, post

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: imd.v1.json\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with the usual limits."""
    running = Server(config=FAST)
    await running.start()
    yield running
    await running.close()


class Bytes(Protocol):
    """A TCP connection; ``until`` waits for the peer to close it, and has what came."""

    def __init__(self) -> None:
        self._heard = b""
        self.until: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.until.callback(self._heard)


async def say(port: int, *parts: bytes) -> bytes:
    """Send each part in a turn of its own; what was answered until the server closed."""
    protocol = Bytes()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), protocol)
    for part in parts:
        protocol.transport.write(part)
        await deferLater(reactor, 0.05, lambda: None)
    return await protocol.until


async def test_an_origin_that_is_no_url_is_refused_like_any_other(server: Server) -> None:
    request = UPGRADE.replace(b"Connection: Upgrade", b"Connection: Upgrade, close") + KEY
    answer = await say(server.port, request + b"Origin: http://[\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert "Traceback" not in server.output


@pytest.mark.parametrize(
    "rest",
    [
        b"Sec-WebSocket-Key: <evil>\r\n",
        KEY + b"Sec-WebSocket-Protocol: imd.v1.json, evil, evil\r\n",
        KEY + b'Sec-WebSocket-Extensions: permessage-deflate; evil="\r\n',
    ],
)
async def test_a_refused_handshake_does_not_quote_the_request(server: Server, rest: bytes) -> None:
    upgrade = UPGRADE.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")
    answer = await say(server.port, upgrade + rest + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"evil" not in answer


async def test_a_body_that_is_too_large_is_refused_once_and_never_carried_out(
    server: Server,
) -> None:
    params = b'{"user":"alice","password":"secret"}'
    spaces = 65536 - len(params)
    answer = await say(
        server.port,
        b"POST /v1/account.register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (len(params), params)
        + b"%x\r\n%b\r\n" % (spaces, b" " * spaces),
        b"1\r\n \r\n" * 5 + b"0\r\n\r\n",
    )
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 413 ")
    login = {"user": "alice", "password": "secret", "device": "d"}
    assert (await post(server.port, "/v1/account.login", login))[0] == 401


async def test_nobody_is_asked_for_a_body_that_was_refused(server: Server) -> None:
    answer = await say(
        server.port,
        b"POST /v1/account.login HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("opcode", [0x89, 0x8A])
async def test_a_flood_of_pings_ends_the_session_that_sends_it(opcode: int) -> None:
    server = Server(config="")
    await server.start()
    raw = await connect(server.port)
    raw.transport.write(bytes((opcode, 0x80, 0, 0, 0, 0)) * 10_000)
    bye = await raw.hear("bye")
    assert (bye["code"], bye["retry"]) == (4006, 30_000)
    assert await raw.closed == 4006
    await server.close()


async def test_names_are_not_to_be_found_by_trying_whichever_method() -> None:
    # So few that none becomes free before all are asked for.
    server = Server(config=f"{FAST}finds_per_minute = 5\n")
    await server.start()
    params = {"user": "alice", "password": "secret"}
    _, alice = await post(server.port, "/v1/account.register", params)
    for verb in ("accept", "decline", "remove", "block", "unblock"):
        answer = await post(server.port, f"/v1/friend.{verb}", {"user": "x"}, alice["token"])
        assert answer[0] == 404
    for method in ("friend.remove", "friend.block", "user.find"):
        status, _ = await post(server.port, f"/v1/{method}", {"user": "x"}, alice["token"])
        assert status == 429
    await server.close()
