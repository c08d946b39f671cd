"""Limits by address hold for clients behind a proxy, and nobody can lie about an address."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.process import FAST, PATIENCE, Server
from tests.raw import connect, post

LIMITS = FAST + "connections_per_address = 2\nlogins_per_minute = 2\nhello_seconds = 60\n"
WRONG = {"user": "nobody", "password": "wrong", "device": "d"}


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """One behind a proxy on this host."""
    made = Server(config=f'proxies = ["127.0.0.1"]\nhosts = ["chat.example.org"]\n{LIMITS}')
    await made.start()
    yield made
    await made.close()


def named(*hops: str) -> dict[str, dict[str, str]]:
    """What a proxy adds to a handshake."""
    return {"headers": {"X-Forwarded-For": ", ".join(hops)}}


async def test_one_connection_too_many_of_a_client_behind_a_proxy_is_closed_4505(
    server: Server,
) -> None:
    kept = [await connect(server.port, **named("203.0.113.7")) for _ in range(2)]
    # Whatever it writes itself stands before what the proxy adds.
    many = await connect(server.port, **named("198.51.100.1", "203.0.113.7"))
    assert await many.closed == 4505
    other = await connect(server.port, **named("203.0.113.8"))
    kept[0].sendClose()
    await kept[0].closed
    again = await connect(server.port, **named("203.0.113.7"))
    for live in (kept[1], other, again):
        assert not live.closed.called


async def test_logins_are_limited_by_the_client_behind_a_proxy(server: Server) -> None:
    async def login(address: str) -> int:
        head = {"X-Forwarded-For": address}
        status, _ = await post(server.port, "/v1/account.login", WRONG, **head)
        return status

    assert [await login("203.0.113.7") for _ in range(3)] == [401, 401, 429]
    assert await login("203.0.113.8") == 401


async def test_a17_another_host_is_misdirected_and_a_named_one_is_not(server: Server) -> None:
    def ask(host: str) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as link:
            link.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return link.makefile("rb").readline().strip()

    assert await deferToThread(ask, "evil.example") == b"HTTP/1.1 421 Misdirected Request"
    assert await deferToThread(ask, "chat.example.org") == b"HTTP/1.1 200 OK"


async def test_the_proxy_protocol_tells_addresses_too() -> None:
    server = Server(config=LIMITS)
    server._options = (f"--listen=haproxy:tcp:{server.port}:interface=127.0.0.1",)

    def login(port: int) -> bytes:
        body = b'{"user":"nobody","password":"wrong","device":"d"}'
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
            link.sendall(
                b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 8080\r\n"
                b"POST /v1/account.login HTTP/1.1\r\nHost: imd\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            return link.makefile("rb").readline().split()[1]

    server._answers = lambda: _is_listening(server.port)  # type: ignore[method-assign]
    try:
        await server.start()
        found = [await deferToThread(login, server.port) for _ in range(3)]
        assert found == [b"401", b"401", b"429"]
    finally:
        await server.close()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
