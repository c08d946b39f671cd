"""What hostile peers do to a WebSocket and its handshake, by the ids of the list of abuses.

Every case ends in an answer or a close, and leaves a server on which others chat on.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.tcp import Server as TcpServer
from twisted.internet.threads import deferToThread

from imd.config import Settings
from imd.daemon import process
from imd.ops.supervisor import Supervisor
from tests.hostile import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Chat,
    Peer,
    close_code,
    first,
    frame,
    frame_type,
    handshake,
    hostile,
    resident,
    status,
)
from tests.process import Server, free_port, reactor
from tests.raw import connect, pair


@pytest_twisted.async_yield_fixture(scope="module")
async def chat() -> AsyncIterator[Chat]:
    """One server for all cases: what one of them breaks, the next ones notice."""
    server = Server()
    await server.start()
    yield Chat(server, *await pair(server.port))
    await server.close()


# -- WebSocket

FRAMES: dict[str, tuple[list[bytes], set[int | None]]] = {
    "a01 unmasked": ([frame(TEXT, b"{}", masked=False)], {1002}),
    "a01 opcode 3": ([frame(3)], {1002}),
    "a01 opcode 11": ([frame(11)], {1002}),
    "a01 rsv 1": ([frame(TEXT, b"{}", rsv=4)], {1002}),
    "a01 rsv 3": ([frame(TEXT, b"{}", rsv=1)], {1002}),
    "a02 stray continuation": ([frame(0, b"{}")], {1002}),
    "a02 text inside a fragmented message": (
        [frame(TEXT, b"{", fin=False), frame(TEXT, b"}")],
        {1002},
    ),
    "a03 fragmented ping": ([frame(PING, b"x", fin=False)], {1002}),
    "a03 ping of 126 bytes": ([frame(PING, b"x" * 126)], {1002}),
    "a03 close of 126 bytes": ([frame(CLOSE, b"\x03\xe8" + b"x" * 124)], {1002}),
    "a04 length 2^40": ([frame(TEXT, b"x", length=2**40)], {1009}),
    "a04 length 2^63": ([frame(TEXT, b"x", length=2**63)], {1002, 1009}),
    "a04 length 125 in 16 bits": ([frame(TEXT, b"x" * 125, form=126)], {1002}),
    "a04 length 65535 in 64 bits": ([frame(TEXT, b"x" * 100, length=65535, form=127)], {1002}),
    "a05 one byte too many": ([frame(TEXT, b"x" * 4097)], {1009}),
    "a05 one byte too many in fragments": (
        [frame(TEXT, b"x", fin=False), frame(0, b"x", fin=False) * 4096],
        {1009},
    ),
    "a07 ff fe": ([frame(TEXT, b"\xff\xfe")], {1007}),
    "a07 cut code point": ([frame(TEXT, "{é".encode()[:-1])], {1007}),
    "a07 overlong": ([frame(TEXT, b"\xc0\xaf")], {1007}),
    "a07 surrogate": ([frame(TEXT, b"\xed\xa0\x80")], {1007}),
    "a07 bad byte early in an unfinished message": ([frame(TEXT, b"\xff", fin=False)], {1007}),
    "a08 close with one byte": ([frame(CLOSE, b"\x03")], {1002}),
    "a08 close 999": ([frame(CLOSE, struct.pack("!H", 999))], {1002}),
    "a08 close 1005": ([frame(CLOSE, struct.pack("!H", 1005))], {1002}),
    "a08 close 2999": ([frame(CLOSE, struct.pack("!H", 2999))], {1002}),
    "a08 close with a bad reason": ([frame(CLOSE, b"\x03\xe8\xff")], {1002, 1007}),
    "a08 a proper close is answered": ([frame(CLOSE, b"\x03\xe8")], {1000}),
    "a11 binary": ([frame(BINARY, b"{}")], {4500}),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_that_breaks_the_rules_is_closed_with_its_code(chat: Chat, name: str) -> None:
    pieces, codes = FRAMES[name]
    if frame_type(pieces[0]) == CLOSE:
        # To a close that is none, a drop is an answer too.
        codes = codes | {None}
    assert close_code(await hostile(chat, *pieces)) in codes


async def test_a04_a_length_that_is_believed_by_nobody_costs_no_memory(chat: Chat) -> None:
    before = resident(chat.server)
    for _ in range(20):
        await hostile(chat, frame(TEXT, b"x", length=2**40))
    assert resident(chat.server) - before < 2048


async def test_a05_many_fragments_of_nothing_never_become_a_message_of_size(chat: Chat) -> None:
    fragments = frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 5000
    answer = await hostile(chat, fragments, frame(0, b"no json"))
    assert close_code(answer) == 4500


# -- the handshake


async def test_a13_a14_a20_who_is_slow_or_speaks_something_else_is_dropped_in_time(
    chat: Chat,
) -> None:
    """All of them at once, because each takes its ten seconds; whoever writes goes on with it
    until the server has hung up.
    """

    def silence(peer: Peer) -> None:
        """A13."""

    def drip(peer: Peer) -> None:
        """A14: a header every now and then."""
        peer.write(b"GET /ws HTTP/1.1\r\n")
        peer.go_on(b"X: y\r\n")

    def half_a_line(peer: Peer) -> None:
        """A14: never a line."""
        peer.go_on(b"G")

    def tls(peer: Peer) -> None:
        """A20."""
        context = ssl.create_default_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        peer.write(outgoing.read())

    def head_that_stalls(peer: Peer) -> None:
        """A14: never an end."""
        peer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")

    def run(attack: Callable[[Peer], None]) -> None:
        peer = Peer(chat.port)
        with peer.socket:
            attack(peer)
            # Raises if the server goes on waiting.
            peer.read()

    attacks = (silence, drip, half_a_line, tls, head_that_stalls)
    running = [deferToThread(run, attack) for attack in attacks]
    await chat.goes_on()
    for done in running:
        await done
    await chat.goes_on()


HANDSHAKES: dict[str, tuple[bytes, set[int]]] = {
    "a15 head of 17 KiB": (handshake("X: " + "x" * 17000), {400, 413, 431}),
    "a15 head of 17 KiB in many lines": (
        handshake(*[f"X{n}: {'x' * 300}" for n in range(56)]),
        {400, 413, 431},
    ),
    "a15 1000 headers": (handshake(*[f"X{n}: y" for n in range(1000)]), {400, 413, 431}),
    "a15 a line without end": (b"GET /" + b"x" * 70000, {400, 414, 431}),
    "a16 origin of another site": (handshake("Origin: https://evil.example"), {403}),
    "a16 origin null": (handshake("Origin: null"), {403}),
    "a16 origin empty": (handshake("Origin:"), {403}),
    "a16 origin whose user is our host": (
        handshake("Origin: http://127.0.0.1@evil.example"),
        {403},
    ),
    "a16 two origins": (handshake("Origin: http://127.0.0.1", "Origin: http://evil"), {400}),
    "a17 no host": (handshake(drop="Host"), {400}),
    "a17 two hosts": (handshake("Host: 127.0.0.1"), {400}),
    "a17 host with a path": (handshake("Host: 127.0.0.1/x", drop="Host"), {400}),
    "a17 host with a user": (handshake("Host: a@127.0.0.1", drop="Host"), {400}),
    "a17 host with a space": (handshake("Host: a b", drop="Host"), {400}),
    "a17 host of another": (handshake("Host: evil.example", drop="Host"), {421}),
    "a17 host and origin of another": (
        handshake("Host: evil.example", "Origin: http://evil.example", drop="Host"),
        {421},
    ),
    "a18 no key": (handshake(drop="Sec-WebSocket-Key"), {400}),
    "a18 key of 15 bytes": (
        handshake("Sec-WebSocket-Key: c2hvcnRlciB0aGFuIDE2", drop="Sec-WebSocket-Key"),
        {400},
    ),
    "a18 key that is no base64": (
        handshake("Sec-WebSocket-Key: <script>alert(1)</script>", drop="Sec-WebSocket-Key"),
        {400},
    ),
    "a18 two keys": (handshake("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), {400}),
    "a18 version 12": (
        handshake("Sec-WebSocket-Version: 12", drop="Sec-WebSocket-Version"),
        {400, 426},
    ),
    "a18 no version": (handshake(drop="Sec-WebSocket-Version"), {400, 426}),
    "a18 no upgrade": (handshake(drop="Upgrade"), {426}),
    "a18 no connection": (handshake(drop="Connection"), {400, 426}),
    "a18 post": (handshake("Content-Length: 0", method="POST"), {405}),
    "a18 no subprotocol": (handshake(drop="Sec-WebSocket-Protocol"), {400}),
    "a18 another subprotocol": (
        handshake("Sec-WebSocket-Protocol: <b>", drop="Sec-WebSocket-Protocol"),
        {400},
    ),
    "a18 http 1.0": (handshake().replace(b"HTTP/1.1", b"HTTP/1.0", 1), {400, 426}),
    "a19 token in the query": (handshake(path="/ws?token=canary-of-a-secret"), {400}),
    "a20 another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", {400}),
    "a20 http 2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake_that_is_none_is_refused_in_fixed_words(chat: Chat, name: str) -> None:
    request, expected = HANDSHAKES[name]
    if name.startswith(("a15", "a20")):
        answer = await hostile(chat, request, upgrade=False)
    else:
        answer = await first(chat, request)
    if answer or not name.startswith("a15"):
        # Where the head is too large, all that is certain is the end of the connection.
        assert status(answer) in expected, answer[:200]
    for echo in (b"<script>", b"evil", b"canary", b"<b>", b"SSH", b"Twisted", b"utobahn"):
        assert echo not in answer
    assert "canary" not in chat.server.output


@pytest.mark.parametrize("origin", [(), ("Origin: http://127.0.0.1",)])
async def test_a16_no_origin_and_the_own_one_are_let_in(
    chat: Chat, origin: tuple[str, ...]
) -> None:
    assert status(await first(chat, handshake(*origin))) == 101


async def test_a18_the_version_that_is_spoken_is_named(chat: Chat) -> None:
    answer = await first(chat, HANDSHAKES["a18 version 12"][0])
    assert b"sec-websocket-version: 13" in answer.lower()


async def test_accepted_sockets_send_without_delay(tmp_path: Path) -> None:
    """TCP_NODELAY as the kernel has it for the server's end of a WebSocket."""
    port = free_port()
    settings = Settings(data=str(tmp_path), listen=f"tcp:{port}:interface=127.0.0.1")
    service = process(settings, reactor, Supervisor("", 0.0, reactor))
    service.privilegedStartService()
    service.startService()
    try:
        raw = await connect(port)
        client = raw.transport.getHost()
        (accepted,) = (
            reader
            for reader in reactor.getReaders()
            if isinstance(reader, TcpServer) and reader.getPeer() == client
        )
        assert accepted.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        raw.transport.abortConnection()
        await raw.closed
    finally:
        await service.stopService()
