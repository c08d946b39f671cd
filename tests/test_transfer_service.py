"""A transfer on real sockets: who is let in, and who is not."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs

from imd.errors import ConfigError
from imd.tasks import sleep
from imd.tls import TransferTls
from imd.transfer.endpoints import dial, door
from imd.transfer.link import Link
from imd.transfer.service import TransferService
from tests.contracts.transfer import Seen, push
from tests.process import PATIENCE

# Twisted still hands the objects of pyOpenSSL around.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again; the test's time limit ends it."""
    while not condition():
        await sleep(reactor, 0.005)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(listen: str, tls: TransferTls | None = None) -> AsyncIterator[TransferService]:
    service = TransferService(listen, tls, reactor)
    service.start()
    try:
        yield service
    finally:
        await service.stop()


@asynccontextmanager
async def attached(
    node: str, to: str, tls: TransferTls | None = None
) -> AsyncIterator[tuple[Link, Seen]]:
    seen = Seen()
    link = Link(node, "boot", [dial(to, tls, reactor)], seen, reactor, lambda: 0.0)  # type: ignore[arg-type]
    link.start()
    try:
        await until(lambda: link.attached)
        yield link, seen
    finally:
        await link.stop()


async def exchange_hints(to: str, tls: TransferTls | None = None) -> None:
    async with attached("a", to, tls) as (a, _), attached("b", to, tls) as (b, seen):
        await until(lambda: bool(a._peers()))
        for seq in range(2000):
            a.forward("b", push(seq, 400))
        await until(lambda: len(seen.hints) == 2000)
        assert seen.hints == [push(seq, 400) for seq in range(2000)]
        assert b.attached


class Authority:
    """A certificate authority, and the tables of those that it has certified."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.path = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.path))

    def table(self, *names: str, ca: Path | None = None, days: int = 1) -> TransferTls:
        """``transfer-tls`` of one that has a certificate for these names."""
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        issued = self._authority.issue_cert(*names, not_after=expires)
        cert, key = self._directory / f"{names[0]}.pem", self._directory / f"{names[0]}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return TransferTls(str(cert), str(key), str(ca or self.path))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def other(tmp_path: Path) -> Authority:
    directory = tmp_path / "other"
    directory.mkdir()
    return Authority(directory)


TRANSFER, CONNECTOR = "transfer.imd.internal", "connector.imd.internal"
LISTEN = "tls:0:interface=127.0.0.1"


async def test_hints_pass_over_a_unix_socket_that_only_its_user_can_open(tmp_path: Path) -> None:
    path = tmp_path / "transfer.sock"
    async with serving(f"unix:{path}"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        await exchange_hints(f"unix:{path}")


async def test_transfer_that_comes_back_is_attached_to_again(tmp_path: Path) -> None:
    to = f"unix:{tmp_path}/transfer.sock"
    async with serving(to):
        seen = Seen()
        link = Link("a", "boot", [dial(to, None, reactor)], seen, reactor, lambda: 0.0)  # type: ignore[arg-type]
        link.start()
        await until(lambda: link.attached)
    await until(lambda: not link.attached)
    async with serving(to):
        await until(lambda: link.attached)
        await link.stop()
    assert seen.losses == 3


async def test_link_can_be_stopped_while_nobody_answers(tmp_path: Path) -> None:
    link = Link(
        "a",
        "boot",
        [dial(f"unix:{tmp_path}/nothing", None, reactor)],
        Seen(),
        reactor,  # type: ignore[arg-type]
    )
    link.start()
    await sleep(reactor, 0.05)  # type: ignore[arg-type]
    await link.stop()
    assert not link.attached


async def test_hints_pass_over_mutual_tls_with_intermediate_certificates(tmp_path: Path) -> None:
    root = trustme.CA()
    middle = Authority(tmp_path)
    middle._authority = root.create_child_ca()
    root.cert_pem.write_to_path(str(middle.path))
    async with serving(LISTEN, middle.table(TRANSFER)) as service:
        to = f"tls:127.0.0.1:{service.host.port}"
        await exchange_hints(to, middle.table(CONNECTOR))


@pytest.mark.parametrize(
    "names", [(f"A.{CONNECTOR}", "b.example.com"), (f"b.{CONNECTOR}", f"a.{CONNECTOR}")]
)
async def test_certificate_for_a_node_is_good_for_every_run_of_that_node(
    authority: Authority, names: tuple[str, ...]
) -> None:
    async with serving(LISTEN, authority.table(TRANSFER)) as service:
        to = f"tls:127.0.0.1:{service.host.port}"
        async with attached("a#1234", to, authority.table(*names)):
            assert list(service._exchange._connectors) == [b"a#1234"]


@pytest.mark.parametrize("name", [f"b.{CONNECTOR}", f"a.b.{CONNECTOR}", f"*.{CONNECTOR}"])
async def test_certificate_for_another_node_is_refused(authority: Authority, name: str) -> None:
    assert "refused" in await refused(authority.table(TRANSFER), authority.table(name))


async def test_small_messages_are_not_held_back_by_tcp_on_either_side(
    authority: Authority,
) -> None:
    async with serving(LISTEN, authority.table(TRANSFER)) as service:
        to = f"tls:127.0.0.1:{service.host.port}"
        async with attached("a", to, authority.table(CONNECTOR)) as (link, _):
            theirs: Any = service._exchange._connectors[b"a"].broker
            ours: Any = link._lines[0]._broker
            for broker in (ours, theirs):
                handle = broker.transport.getHandle()
                assert handle.get_protocol_version_name() == "TLSv1.3"
                sock = broker.transport.transport.socket
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def refused(served: TransferTls, shown: TransferTls) -> str:
    """Try to attach; returns why the transfer or the link let go of the connection."""
    with capturedLogs() as logs:
        async with serving(LISTEN, served) as service:
            to = f"tls:127.0.0.1:{service.host.port}"
            link = Link(
                "a",
                "boot",
                [dial(to, shown, reactor)],
                Seen(),
                reactor,  # type: ignore[arg-type]
                lambda: 0.0,
            )
            link.start()
            await until(lambda: link._lines[0]._attempts >= 2)
            assert not link.attached
            assert service._exchange._connectors == {}
            await link.stop()
    return " ".join(str(event.get("reason", "")) for event in logs)


async def test_certificate_of_another_authority_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    rogue = other(tmp_path).table(CONNECTOR, ca=authority.path)
    assert "unknown ca" in await refused(authority.table(TRANSFER), rogue)


async def test_transfer_of_another_authority_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    rogue = other(tmp_path).table(TRANSFER, ca=authority.path)
    assert "certificate verify failed" in await refused(rogue, authority.table(CONNECTOR))


async def test_certificate_that_has_expired_is_refused(authority: Authority) -> None:
    reasons = await refused(authority.table(TRANSFER), authority.table(CONNECTOR, days=-1))
    assert "certificate expired" in reasons
    reasons = await refused(authority.table(TRANSFER, days=-1), authority.table(CONNECTOR))
    assert "certificate verify failed" in reasons


@pytest.mark.parametrize(
    "name", [TRANSFER, f"evil-{CONNECTOR}", f"{CONNECTOR}.example.com", "192.0.2.1"]
)
async def test_connector_without_the_role_is_refused(authority: Authority, name: str) -> None:
    reasons = await refused(authority.table(TRANSFER), authority.table(name))
    assert "another role" in reasons


@pytest.mark.parametrize("name", [CONNECTOR, f"x.{TRANSFER}", "127.0.0.1"])
async def test_transfer_without_the_role_is_refused(authority: Authority, name: str) -> None:
    reasons = await refused(authority.table(name), authority.table(CONNECTOR))
    assert "VerificationError" in reasons, reasons


async def test_client_without_a_certificate_or_without_tls_hears_nothing(
    authority: Authority,
) -> None:
    def no_certificate(port: int) -> bytes:
        context = ssl.create_default_context(cafile=str(authority.path))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=TRANSFER) as sock,
        ):
            try:
                return sock.recv(1000)
            except ssl.SSLError as error:
                return str(error).encode()

    def no_tls(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(b"\x02\x82pb" * 100)
            try:
                return sock.recv(1000)
            except ConnectionError as error:
                return str(error).encode()

    async with serving(LISTEN, authority.table(TRANSFER)) as service:
        answer = await deferToThread(no_certificate, service.host.port)
        assert b"CERTIFICATE_REQUIRED" in answer.upper()
        # At most an alert, and no word of Perspective Broker.
        assert b"pb" not in await deferToThread(no_tls, service.host.port)
        assert service._exchange._connectors == {}


def test_plain_tcp_is_for_loopback_only_and_complained_about() -> None:
    for listen in ("tcp:9000", "tcp:9000:interface=0.0.0.0", "tcp:9000:interface=10.0.0.1"):
        with pytest.raises(ConfigError) as raised:
            door(listen, None, reactor)
        assert raised.value.key == "transfer-listen"
    for to in ("tcp:10.0.0.1:9000", "tcp:host=example.com:port=9000", "tcp:localhost:9000"):
        with pytest.raises(ConfigError) as raised:
            dial(to, None, reactor)
        assert raised.value.key == "transfer"
    with capturedLogs() as logs:
        door("tcp:9000:interface=127.0.0.1", None, reactor)
        door("tcp:9000:interface=\\:\\:1", None, reactor)
        dial("tcp:127.0.0.1:9000", None, reactor)
        dial("tcp:port=9000:host=127.0.0.1", None, reactor)
    assert [event["log_level"] for event in logs] == [LogLevel.warn] * 4


@pytest.mark.parametrize(
    "listen", ["", "unix:", "9000", "udp:9000", "tls:x", "unix:/x:mode=666", "unix:/x:mode=no"]
)
def test_endpoint_that_cannot_be_is_a_mistake_of_the_operator(
    listen: str, authority: Authority
) -> None:
    with pytest.raises(ConfigError) as raised:
        door(listen, authority.table(TRANSFER), reactor)
    assert raised.value.key == "transfer-listen"


@pytest.mark.parametrize("to", ["", "unix:", "tls:host", "tls:host:port", "tcp:", "quic:x:1"])
def test_transfer_that_cannot_be_dialled_is_a_mistake_of_the_operator(
    to: str, authority: Authority
) -> None:
    with pytest.raises(ConfigError) as raised:
        dial(to, authority.table(CONNECTOR), reactor)
    assert raised.value.key == "transfer"


def test_tables_that_cannot_be_used_name_the_key(authority: Authority, tmp_path: Path) -> None:
    good = authority.table(CONNECTOR)
    empty = tmp_path / "empty"
    empty.write_text("nothing")
    for field in ("cert", "key", "ca"):
        for path in (str(empty), str(tmp_path / "missing"), str(tmp_path)):
            values = {"cert": good.cert, "key": good.key, "ca": good.ca, field: path}
            with pytest.raises(ConfigError) as raised:
                dial("tls:127.0.0.1:1", TransferTls(**values), reactor)
            assert raised.value.key == f"transfer-tls.{field}"
    with pytest.raises(ConfigError) as raised:
        door(LISTEN, None, reactor)
    assert raised.value.key == "transfer-tls"


def test_key_of_another_certificate_is_a_mistake_of_the_operator(authority: Authority) -> None:
    good, another = authority.table(CONNECTOR), authority.table(TRANSFER)
    mixed = TransferTls(good.cert, another.key, good.ca)
    with pytest.raises(ConfigError) as raised:
        dial("tls:127.0.0.1:1", mixed, reactor)
    assert raised.value.key == "transfer-tls.key"
    with pytest.raises(ConfigError):
        door(LISTEN, mixed, reactor)


async def test_port_that_cannot_be_had_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = TransferService(f"tcp:{port}:interface=127.0.0.1", None, reactor)
        with pytest.raises(ConfigError, match="transfer-listen: cannot listen"):
            service.start()
    service = TransferService(f"unix:{tmp_path}/missing/transfer.sock", None, reactor)
    with pytest.raises(ConfigError, match="transfer-listen: cannot listen"):
        service.start()


async def test_a_renewed_certificate_is_shown_to_the_next_and_links_stay(
    authority: Authority,
) -> None:
    def serial(link: Link) -> int:
        broker: Any = link._lines[0]._broker
        number: int = broker.transport.getPeerCertificate().get_serial_number()
        return number

    async with serving(LISTEN, authority.table(TRANSFER)) as service:
        to, tls = f"tls:127.0.0.1:{service.host.port}", authority.table(CONNECTOR)
        async with attached("a", to, tls) as (first, _):
            authority.table(TRANSFER)
            service.renew()
            async with attached("b", to, tls) as (second, _):
                assert serial(first) != serial(second)
                await until(lambda: bool(first._peers()))
