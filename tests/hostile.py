"""A peer that knows the protocol too well, and a chat that has to go on beside it."""

from __future__ import annotations

import base64
import os
import socket
import struct
import time
from typing import Any

from twisted.internet.threads import deferToThread

from tests.process import PATIENCE, Server
from tests.raw import Raw


class Chat:
    """A server, and two friends who chat on it."""

    def __init__(self, server: Server, alice: Raw, bob: Raw, conversation: int) -> None:
        self.server = server
        self.port = server.port
        self._alice, self._bob, self._conversation = alice, bob, conversation

    async def goes_on(self) -> None:
        """A message comes through."""
        id = self._alice.text(self._conversation, "still here")
        await self._alice.hear("ack", id=id)
        await self._bob.hear("msg", id=id)
        assert "Traceback" not in self.server.output


class Peer:
    """A blocking socket in the hands of somebody who knows the protocol too well."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)

    def write(self, data: bytes) -> bool:
        """Send what the server still takes; whether that was all."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def go_on(self, data: bytes) -> None:
        """Send it again and again, until the server has hung up."""
        end = time.monotonic() + PATIENCE
        while self.write(data):
            assert time.monotonic() < end, "the server goes on listening"
            time.sleep(0.25)

    def read(self, seconds: float = PATIENCE, websocket: bool = False) -> bytes:
        """All that comes until the server closes, or says that it will, at most for so long."""
        data, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                break
            except OSError:
                return data
            if not piece:
                return data
            data += piece
            if websocket and close_code(data) is not None:
                return data
        raise AssertionError(f"still open after {seconds} s: {data[:200]!r}")

    def upgrade(self) -> None:
        """Become a WebSocket."""
        self.write(handshake())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head


def handshake(*lines: str, drop: str = "", method: str = "GET", path: str = "/ws") -> bytes:
    """A request for a WebSocket; ``lines`` come first, the header ``drop`` is left out."""
    key = base64.b64encode(os.urandom(16)).decode()
    usual = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "imd.v1.json",
    }
    kept = [f"{name}: {value}" for name, value in usual.items() if name != drop]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *kept, "", ""]).encode("latin-1")


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, **how: Any
) -> bytes:
    """A WebSocket frame; ``masked=False``, ``length=`` and ``form=`` bend the rules."""
    masked = how.get("masked", True)
    size = how.get("length", len(payload))
    form = how.get("form") or (0 if size < 126 else 126 if size < 65536 else 127)
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    head = struct.pack("!BB", first, (0x80 if masked else 0) | (form or size))
    head += {0: b"", 126: struct.pack("!H", size & 0xFFFF), 127: struct.pack("!Q", size)}[form]
    return head + (b"\0\0\0\0" if masked else b"") + payload


TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def close_code(data: bytes) -> int | None:
    """The code in the last close frame of what the server sent; None for a drop without one."""
    code = None
    while len(data) >= 2:
        opcode, size, data = data[0] & 15, data[1] & 127, data[2:]
        if size > 125:
            wide = 2 if size == 126 else 8
            size, data = int.from_bytes(data[:wide], "big"), data[wide:]
        if opcode == CLOSE:
            code = int.from_bytes(data[:2], "big")
        data = data[size:]
    return code


def frame_type(data: bytes) -> int:
    """The opcode of a frame."""
    return data[0] & 15


async def hostile(chat: Chat, *pieces: bytes, upgrade: bool = True) -> bytes:
    """Send these pieces, and return all that the server said before it closed."""

    def attack() -> bytes:
        peer = Peer(chat.port)
        with peer.socket:
            if upgrade:
                peer.upgrade()
            for piece in pieces:
                peer.write(piece)
            return peer.read(websocket=upgrade)

    answer: bytes = await deferToThread(attack)
    await chat.goes_on()
    return answer


def status(answer: bytes) -> int:
    """The status of an HTTP answer."""
    assert answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), answer[:100]
    return int(answer[9:12])


async def first(chat: Chat, request: bytes) -> bytes:
    """The answer to a request on a connection that stays open."""

    def ask() -> bytes:
        peer = Peer(chat.port)
        with peer.socket:
            peer.write(request)
            return peer.socket.recv(65536)

    answer: bytes = await deferToThread(ask)
    await chat.goes_on()
    return answer


def resident(server: Server) -> int:
    """KiB of memory that the server process holds."""
    with open(f"/proc/{server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4
