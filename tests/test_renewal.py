"""SIGHUP: new certificates are shown, bad ones are not, and sessions go on."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from twisted.internet.threads import deferToThread

from imd.client import Client
from imd.errors import ConfigError
from imd.tls import TransferTls
from imd.transfer.endpoints import Renewal, dial, door
from tests.process import FAST, PATIENCE, Server, reactor

# Twisted still hands the objects of pyOpenSSL around.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


class Files:
    """A certificate, its chain and its key, at paths where an operator renews them."""

    def __init__(self, directory: Path, *names: str) -> None:
        self._names = names
        self._authority = trustme.CA()
        self._middle = self._authority.create_child_ca()
        self.cert, self.chain = directory / "cert.pem", directory / "chain.pem"
        self.key, self.ca = directory / "key.pem", directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.issue()

    def issue(self, days: int = 1) -> str:
        """Write another certificate; its text."""
        now = datetime.datetime.now(datetime.UTC)
        began, ends = now - datetime.timedelta(days=9), now + datetime.timedelta(days=days)
        issued = self._middle.issue_cert(*self._names, not_before=began, not_after=ends)
        own, *chain = [blob.bytes() for blob in issued.cert_chain_pems]
        self.cert.write_bytes(own)
        self.chain.write_bytes(b"".join(chain))
        self.key.write_bytes(issued.private_key_pem.bytes())
        return own.decode().strip()

    def spoil(self) -> None:
        """A key that is not the certificate's."""
        cert = self.cert.read_bytes()
        self.issue()
        self.cert.write_bytes(cert)


#: What an operator may do wrong, by what is said of it.
MISTAKES: dict[str, Callable[[Files], object]] = {
    "expired": lambda files: files.issue(days=-1),
    "key": Files.spoil,
    "No such file": lambda files: files.cert.unlink(),
    "cert": lambda files: files.cert.write_text("-----BEGIN"),
}


class Secure(Server):
    """A server that speaks TLS."""

    def __init__(self, files: Files) -> None:
        super().__init__(config=FAST)
        pem = f"privateKey={files.key}:certKey={files.cert}:extraCertChain={files.chain}"
        self._options = (f"--listen=ssl:{self.port}:interface=127.0.0.1:{pem}",)
        self._trusted = ssl.create_default_context(cafile=str(files.ca))

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"wss://127.0.0.1:{self.port}/ws"

    def shown(self) -> str:
        """The certificate that a new connection is shown; it blocks, and the chain must hold."""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as plain,
            self._trusted.wrap_socket(plain, server_hostname="127.0.0.1") as link,
        ):
            return ssl.DER_cert_to_PEM_cert(link.getpeercert(True) or b"").strip()

    def _answers(self) -> bool:
        try:
            return bool(self.shown())
        except OSError:
            return False


async def test_a_listener_shows_the_new_certificate_and_keeps_its_sessions(tmp_path: Path) -> None:
    files = Files(tmp_path, "127.0.0.1")
    server = Secure(files)
    await server.start()
    client = Client(server.url, "alice", "secret", register=True, ca=str(files.ca), reactor=reactor)
    states: list[str] = []
    try:
        client.start()
        await client.ready()
        client.on_state(states.append)
        issued = files.issue()
        await server.hang_up("certificates and keys were read again")
        assert await deferToThread(server.shown) == issued
        for why, spoil in MISTAKES.items():
            spoil(files)
            await server.hang_up("what was read before stays in use")
            assert why in server.output
            assert await deferToThread(server.shown) == issued
        await client.call("account.get")
        assert states == []
    finally:
        await client.stop()
        await server.close()


def table(files: Files) -> TransferTls:
    """The files as the configuration names them."""
    files.cert.write_bytes(files.cert.read_bytes() + files.chain.read_bytes())
    return TransferTls(str(files.cert), str(files.key), str(files.ca))


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("side", ["door", "dial"])
def test_between_nodes_a_bad_certificate_is_refused_and_the_old_kept(
    tmp_path: Path, side: str, mistake: str
) -> None:
    files = Files(tmp_path, "transfer.imd.internal")
    tls, renewals = table(files), list[Renewal]()
    if side == "door":
        renewals.append(door("tls:0:interface=127.0.0.1", tls, reactor).renew)
    else:
        dial("tls:127.0.0.1:9", tls, reactor, renewals)
    (renew,) = renewals
    files.issue()
    renew()
    MISTAKES[mistake](files)
    with pytest.raises(ConfigError, match="transfer-tls"):
        renew()
