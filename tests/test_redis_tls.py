"""Redis over TLS: the chain and the name are verified, and nothing is said before they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater

from imd.status import redis_dial
from imd.status.redis import RedisUserStatus
from tests.redis_places import Middle, fails, logged, one_works, running
from tests.servers import Redis

reactor: Any = _reactor

# Twisted still hands the objects of pyOpenSSL around.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


class Names:
    """A private authority, and files of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = trustme.CA()
        self.ca = self._file("ca.pem", self.authority.cert_pem)

    def issue(self, name: str) -> Path:
        """A certificate and its key in one file."""
        issued = self.authority.issue_cert(name)
        return self._file(f"{name}.pem", issued.private_key_and_cert_chain_pem)

    def _file(self, name: str, blob: Any) -> Path:
        path = self._directory / name
        path.write_bytes(blob.bytes())
        return path


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """A new authority."""
    return Names(tmp_path)


@asynccontextmanager
async def served(redis: Redis, pem: Path, clients: Names | None = None) -> AsyncIterator[int]:
    """A Redis behind TLS; see ``middle``."""
    made = await middle(redis, pem, clients)
    yield made.port
    await made.stop()


async def middle(redis: Redis, pem: Path, clients: Names | None = None) -> Middle:
    """TLS before a Redis; with ``clients`` it wants a certificate of that authority."""
    mine = PrivateCertificate.loadPEM(pem.read_bytes())
    trusted = None
    if clients:
        trusted = trustRootFromCertificates([Certificate.loadPEM(clients.ca.read_bytes())])
    options = CertificateOptions(
        privateKey=mine.privateKey.original, certificate=mine.original, trustRoot=trusted
    )
    made = Middle(redis, options)
    await made.start()
    return made


@pytest.fixture(autouse=True)
def _no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What refuses a connection is the certificate, and not how long its check takes."""
    for name in ("CONNECT_SECONDS", "SENTINEL_SECONDS"):
        monkeypatch.setattr(redis_dial, name, 60.0)


async def refused(url: str) -> str:
    """Why a Redis is not used."""
    with logged() as told:
        status = RedisUserStatus(url, "n1", reactor)
        status.start()
        assert await fails(status.beat()) < 0.35
        while not told:
            await deferLater(reactor, 0.01, lambda: None)
        await status.stop()
    (line,) = told
    return line


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_right_name_of_the_right_authority_is_talked_to(
    empty_redis: Redis, names: Names, host: str
) -> None:
    async with (
        served(empty_redis, names.issue(host)) as port,
        running("n1", url=f"rediss://{host}:{port}?ca={names.ca}") as (status,),
    ):
        await one_works(status)
        transport = status._link._connection.transport  # type: ignore[union-attr]
        assert transport.getTcpNoDelay()


@pytest.mark.parametrize(("shown", "host"), [("other", "localhost"), ("localhost", "127.0.0.1")])
async def test_another_name_is_refused(
    empty_redis: Redis, names: Names, shown: str, host: str
) -> None:
    async with served(empty_redis, names.issue(shown)) as port:
        why = await refused(f"rediss://u:s3cret@{host}:{port}?ca={names.ca}")
    assert "Mismatch" in why or "verif" in why.lower()
    assert "s3cret" not in why


@pytest.mark.parametrize("ca", ["of another authority", "of the system"])
async def test_an_unknown_authority_is_refused(
    empty_redis: Redis, names: Names, tmp_path: Path, ca: str
) -> None:
    (tmp_path / "other").mkdir()
    query = f"?ca={Names(tmp_path / 'other').ca}" if ca == "of another authority" else ""
    async with served(empty_redis, names.issue("localhost")) as port:
        why = await refused(f"rediss://localhost:{port}{query}")
    assert "certificate verify failed" in why


async def test_a_server_without_tls_is_refused(
    empty_redis: Redis, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for more, as we do, until we have waited for long enough.
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 1.0)
    before = empty_redis.ask("DBSIZE")
    await refused(f"rediss://127.0.0.1:{empty_redis.port}?ca={names.ca}")
    assert empty_redis.ask("DBSIZE") == before


@pytest.mark.parametrize(
    ("by_sentinel", "by_master", "good"),
    [
        ("localhost", "127.0.0.1", True),
        ("other", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("localhost", "other", False),
        ("localhost", "localhost", False),
    ],
)
async def test_sentinels_and_the_master_that_they_name_are_verified(
    empty_redis: Redis, names: Names, by_sentinel: str, by_master: str, good: bool
) -> None:
    """By the name in the URL, and by the address that the sentinel says."""
    master = await middle(empty_redis, names.issue(by_master))
    sentinel = await middle(empty_redis, names.issue(by_sentinel))
    port = str(master.port)
    sentinel.instead = f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n".encode()
    url = f"rediss+sentinel://u:s3cret@localhost:{sentinel.port}/chat?ca={names.ca}"
    try:
        if good:
            async with running("n1", url=url.replace("u:s3cret@", "")) as (status,):
                await one_works(status)
        else:
            why = await refused(url)
            assert "Mismatch" in why or "verif" in why.lower(), why
            assert "s3cret" not in why
    finally:
        await sentinel.stop()
        await master.stop()


async def test_a_certificate_of_our_own_is_shown(
    empty_redis: Redis, names: Names, tmp_path: Path
) -> None:
    both = names.issue("node")
    issued = names.authority.issue_cert("node")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes(issued.private_key_pem.bytes())
    cert.write_bytes(issued.cert_chain_pems[0].bytes())
    async with served(empty_redis, names.issue("localhost"), names) as port:
        url = f"rediss://localhost:{port}?ca={names.ca}"
        await refused(url)
        for query in (f"&cert={both}", f"&cert={cert}&key={key}"):
            async with running("n1", url=url + query) as (status,):
                await one_works(status)
