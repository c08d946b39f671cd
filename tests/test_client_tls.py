"""The client over real sockets: the options of TCP, and the checks of TLS."""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString

from imd import decoding, wire
from imd.client import Client
from tests.client_driver import head, welcome
from tests.scripted_server import ServerSide

# Twisted still hands the objects of pyOpenSSL around.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


class Greeter:
    """Welcomes every client."""

    def opened(self, side: Any) -> None:
        self.side = side

    def received(self, payload: bytes) -> None:
        for frame in decoding.decode(payload):
            if isinstance(frame, wire.Hello):
                heads = wire.Heads(frame.req, [head(0)], True, "e1:1")
                self.side.sendMessage(wire.encode([welcome(frame.req), heads]))


def certificate(directory: Path, address: str) -> Path:
    """A PEM file with a self-signed certificate for an IP address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(san, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{address}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def listening(endpoint: str) -> AsyncIterator[int]:
    factory: Any = WebSocketServerFactory()
    factory.protocol = ServerSide
    factory.server = Greeter()
    factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
    port = await serverFromString(reactor, endpoint).listen(factory)
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


async def test_small_messages_are_not_held_back_by_tcp() -> None:
    async with listening("tcp:0:interface=127.0.0.1") as port:
        client = Client(f"ws://127.0.0.1:{port}/ws", "alice", "secret", reactor=reactor)
        client.start()
        await client.ready()
        transport: Any = client._link._connection.transport  # type: ignore[union-attr]
        nodelay = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await client.stop()
    assert nodelay == 1


async def test_server_with_a_trusted_certificate_is_talked_to(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "127.0.0.1")
    async with listening(f"ssl:0:interface=127.0.0.1:privateKey={pem}") as port:
        url = f"wss://127.0.0.1:{port}/ws"
        client = Client(url, "alice", "secret", ca=str(pem), reactor=reactor)
        client.start()
        await client.ready()
        await client.stop()


async def test_server_with_another_name_or_authority_is_not(tmp_path: Path) -> None:
    pem, other = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.2")
    for served, trusted in (pem, other), (other, other):
        async with listening(f"ssl:0:interface=127.0.0.1:privateKey={served}") as port:
            url = f"wss://127.0.0.1:{port}/ws"
            client = Client(url, "alice", "secret", ca=str(trusted), reactor=reactor)
            refused: Deferred[str] = Deferred()

            def changed(state: str, refused: Deferred[str] = refused) -> None:
                if state in ("ready", "waiting"):
                    refused.callback(state)

            client.on_state(changed)
            client.start()
            assert await refused == "waiting"
            await client.stop()
