"""``imd doctor`` against real engines and files: each finding is provoked once."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import pytest
import trustme
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import Site

from imd.doctor import engines, machine
from imd.doctor.judge import Finding
from imd.doctor.main import examine
from imd.status import redis_dial
from imd.storage.database import NAME
from imd.transfer.service import TransferService
from tests.process import PATIENCE, environment, free_port, reactor
from tests.s3_server import S3Server
from tests.servers import Postgres, Redis

# Twisted still hands the objects of pyOpenSSL around.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

POSTGRES_AWAY = 'store = "postgresql://127.0.0.1:1/imd"\n'
TLS = '[transfer-tls]\ncert = "own.pem"\nkey = "key.pem"\nca = "ca.pem"\n'


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory of the test, and patience with a machine that has much to do."""
    monkeypatch.setattr(engines, "SECONDS", 60.0)
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 60.0)
    with contextlib.chdir(tmp_path):
        yield


async def found(config: str = "", *options: str, url: str | None = None) -> dict[str, Finding]:
    """The worst finding of each name; none holds a secret."""
    path = Path("imd.toml")
    path.touch(mode=0o600)
    path.write_text(config)
    findings = await examine(options, str(path), url, reactor)
    assert not [one for one in findings if "canary" in str(one)]
    order = {"ok": 0, "warn": 1, "fail": 2}
    return {one.name: one for one in sorted(findings, key=lambda one: order[one.level])}


def shown(findings: dict[str, Finding], name: str) -> str:
    """A finding as a line without its name."""
    finding = findings[name]
    return f"{finding.level} {finding.text}; {finding.todo}"


# -- configuration, machine, files


async def test_a_mistake_in_the_configuration_is_the_one_finding() -> None:
    for config, key in {
        'rle = "all"': "rle",
        'listen = "tcp:http"': "listen",
        'auth = ["nobody"]': "auth",
        'role = "transfer"\ntransfer-listen = "tls:1"': "transfer-tls",
    }.items():
        (finding,) = (await found(config)).values()
        assert (finding.name, finding.wrong) == (key, True)
    assert "no such key" in shown(await found('rle = "all"'), "rle")


async def test_a_process_that_has_all_it_needs_is_well_and_nothing_is_made(tmp_path: Path) -> None:
    said = await found('listen = "tcp:1:backlog=1"\nlimits.connections = 1')
    assert {one.level for name, one in said.items() if name not in ("clock", "library")} == {"ok"}
    assert "will be made at the start" in said["data"].text
    assert [path.name for path in tmp_path.iterdir()] == ["imd.toml"]


async def test_sockets_of_the_service_manager_are_not_missed() -> None:
    said = await found('listen = "systemd:domain=INET:name=clients"')
    assert said["configuration"].level == "ok"


async def test_limits_of_the_machine_are_compared_with_the_configuration() -> None:
    first, *_ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = await found(f'listen = "tcp:{first}:backlog=1000000"\nlimits.connections = {soft}')
    assert shown(said, "limits.nofile").startswith(f"warn {soft} open files")
    assert "sysctl net.core.somaxconn=1000000" in said["listen.backlog"].todo
    assert said["listen.port"].level == "warn"


def test_what_the_kernel_does_not_tell_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._numbers("/no/where", 5) == (5,)
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert machine.clock().level == "ok"


def test_libraries_are_those_that_imd_was_installed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["msgspec>=0.22", "twisted[tls]>=999.1", "no-such-thing>=1", "x>=1; extra == 'y'"]
    monkeypatch.setattr(metadata, "requires", lambda _: needed)
    said = {one.name: one.level for one in machine.libraries()}
    wanted = {"msgspec": "ok", "twisted": "fail", "no-such-thing": "fail"}
    assert said == {f"library.{name}": level for name, level in wanted.items()}


async def test_directories_are_looked_at(tmp_path: Path) -> None:
    data = tmp_path / "imd-data"
    data.mkdir(mode=0o755)
    (data / NAME).write_bytes(b"\0" * 60 + (999).to_bytes(4) + b"\0" * 36)
    said = await found("limits.file_reserve_bytes = 9007199254740991")
    assert said["data.mode"].todo.startswith("run: chmod 700")
    assert "install a newer imd" in shown(said, "store.schema")
    assert said["files.free"].level == "fail"
    Path("file").touch()
    assert "is not writable" in shown(await found('data = "file"'), "data")
    (data / NAME).unlink()
    (data / NAME).mkdir()
    assert "Is a directory" in shown(await found(), "store.schema")


# -- certificates


def write(authority: trustme.CA, *names: str, days: int = 90, ca: trustme.CA | None = None) -> None:
    """A certificate, its key, and the authority, as the tables here name them."""
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1000)
    issued = authority.issue_cert(*names, not_after=ends, not_before=begins)
    Path("own.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path("key.pem")
    os.chmod("key.pem", 0o600)
    (ca or authority).cert_pem.write_to_path("ca.pem")


async def test_certificates_of_the_listener_are_read() -> None:
    authority = trustme.CA()
    listen = 'listen = "ssl:0:privateKey=key.pem:certKey=own.pem"\nhosts = ["chat.example.org"]'
    write(authority, "chat.example.org", days=10)
    assert "renew it" in shown(await found(listen), "listen.certificate")
    write(authority, "other.example.org")
    os.chmod("key.pem", 0o644)
    said = await found(listen)
    assert "it lacks chat.example.org" in shown(said, "listen.certificate.names")
    assert "others can read" in shown(said, "listen.certificate.key")
    write(authority, "chat.example.org", days=-1)
    (expired,) = (await found(listen)).values()
    assert "has expired" in expired.text


async def test_certificates_of_transfers_are_held_to_their_role_and_authority() -> None:
    authority, middle = trustme.CA(), trustme.CA().create_child_ca()
    config = f'role = "transfer"\ntransfer-listen = "tls:0"\n{TLS}'
    write(authority, "transfer.imd.internal")
    said = await found(config)
    assert said["transfer-tls.cert"].level == said["transfer-tls.ca"].level == "ok"
    write(authority, "connector.imd.internal", ca=trustme.CA())
    said = await found(config)
    assert "it lacks transfer.imd.internal" in said["transfer-tls.cert.names"].text
    assert "none of the authorities" in said["transfer-tls.cert.chain"].text
    write(middle, "transfer.imd.internal", ca=middle)
    assert "transfer-tls.cert.chain" not in await found(config)


async def test_a_file_that_holds_no_certificate_is_named() -> None:
    Path("ca.pem").write_text("canary")
    config = f'{POSTGRES_AWAY}status = "rediss://127.0.0.1:1?ca=ca.pem"'
    (finding,) = (await found(config)).values()
    assert (finding.name, finding.wrong) == ("status", True)


# -- engines


async def test_engines_that_are_away_are_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = f'{POSTGRES_AWAY}status = "redis://127.0.0.1:1"\ntransfer = ["unix:none.sock"]\n'
    said = await found(config)
    for name in ("store", "status", "transfer"):
        assert said[name].text.startswith("cannot be reached: "), said[name]
    assert "Connection refused" in said["store"].text
    monkeypatch.setattr(engines, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/imd"
        said = await found(f'store = "{store}"')
    assert "does not answer within" in said["store"].text


async def test_postgresql_is_held_to_the_terms_of_the_daemon(
    store_url: str, database: str, postgres: Postgres
) -> None:
    said = await found(f'store = "{store_url}"')
    names = ("store", "store.clock", "store.durability", "store.connections", "store.terms")
    assert [said[name].level for name in names] == ["ok"] * 5
    said = await found(f'store = "{database}"')
    assert "run: imd migrate" in shown(said, "store.terms")
    name = database.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    assert (await found(f'store = "{database}"'))["store.durability"].level == "fail"
    said = await found(f'store = "{database}"\nunsafe-durability = true')
    assert said["store.durability"].level == "warn"


async def test_a_wrong_password_of_postgresql_is_not_shown(postgres: Postgres) -> None:
    said = await found(f'store = "postgresql://nobody:canary@127.0.0.1:{postgres.port}/imd"')
    assert said["store"].level == "fail"


async def test_redis_is_held_to_what_leases_need(empty_redis: Redis) -> None:
    config = f'{POSTGRES_AWAY}status = "{empty_redis.url}"'
    said = await found(config)
    names = ("status", "status.clock", "status.version", "status.memory")
    assert [said[name].level for name in names] == ["ok"] * 4
    empty_redis.ask("CONFIG SET maxmemory 100mb")
    empty_redis.ask("CONFIG SET maxmemory-policy allkeys-lru")
    try:
        assert "noeviction" in (await found(config))["status.memory"].todo
    finally:
        empty_redis.ask("CONFIG SET maxmemory 0")
        empty_redis.ask("CONFIG SET maxmemory-policy noeviction")


async def test_an_acl_that_keeps_figures_from_us_is_a_warning(empty_redis: Redis) -> None:
    commands = "+evalsha +eval +role +hget +hset +hdel +hgetall +exists +get +set +pexpire"
    rule = f"ACL SETUSER doctor on >canary resetchannels ~imd:* -@all {commands}"
    assert empty_redis.ask(rule) == "+OK"
    place = f"127.0.0.1:{empty_redis.port}"
    try:
        said = await found(f'{POSTGRES_AWAY}status = "redis://doctor:canary@{place}"')
        assert (said["status"].level, said["status.info"].level) == ("ok", "warn")
        said = await found(f'{POSTGRES_AWAY}status = "redis://doctor:canary2@{place}"')
        assert "refuses user and password" in said["status"].text
    finally:
        empty_redis.ask("ACL DELUSER doctor")


@asynccontextmanager
async def serving(listen: str) -> AsyncIterator[TransferService]:
    """A transfer."""
    from imd.tls import TransferTls

    service = TransferService(listen, TransferTls("own.pem", "key.pem", "ca.pem"), reactor)
    service.start()
    try:
        yield service
    finally:
        await service.stop()


async def test_a_transfer_is_greeted_and_its_certificate_checked() -> None:
    shared = f'{POSTGRES_AWAY}status = "redis://127.0.0.1:1"\n'
    async with serving("unix:t.sock"):
        said = await found(f'{shared}transfer = ["unix:t.sock"]')
        assert said["transfer"].level == "ok"
    authority = trustme.CA()
    write(authority, "transfer.imd.internal", "connector.imd.internal")
    async with serving("tls:0:interface=127.0.0.1") as service:
        dial = f'{shared}transfer = ["tls:127.0.0.1:{service.host.port}"]\n'
        assert (await found(dial + TLS))["transfer"].level == "ok"
        write(trustme.CA(), "connector.imd.internal")
        said = (await found(dial + TLS))["transfer"]
        assert said.level == "fail"
        assert "certificate verify failed" in said.text


class _Mail(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"220 mail.example.org ESMTP\r\n" * 20)  # type: ignore[union-attr]


async def test_a_transfer_that_is_something_else_is_said_to_be() -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(_Mail), interface="127.0.0.1")
    place = f"tcp:127.0.0.1:{port.getHost().port}"
    said = await found(f'{POSTGRES_AWAY}status = "redis://127.0.0.1:1"\ntransfer = ["{place}"]')
    await port.stopListening()
    assert said["transfer"].level == "fail"
    assert "not Perspective Broker" in said["transfer"].text


async def test_a_bucket_gets_an_object_of_ours_and_has_none_afterwards(s3: S3Server) -> None:
    from imd.files.s3_link import S3Link

    await s3.make_bucket("doctor")
    account = s3.account
    table = f'[s3]\nendpoint = "{account.endpoint}"\nkey = "{account.key}"\n'
    config = f'files = "s3://doctor/a"\n{table}secret = '
    assert (await found(f'{config}"{account.secret}"'))["files"].level == "ok"
    link = S3Link(account, "doctor", reactor)
    assert (await link.ask("GET", "")).texts("Key") == []
    await link.close()
    assert "the store answers 403" in (await found(f'{config}"canary"'))["files"].text


class _Ready(Resource):
    isLeaf = True
    code = 200

    def render_GET(self, request: object) -> bytes:
        request.setResponseCode(self.code)  # type: ignore[attr-defined]
        return b"ready\n" if self.code == 200 else b"starting\n"


async def test_a_node_that_runs_is_asked() -> None:
    page = _Ready()
    port = reactor.listenTCP(0, Site(page), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    try:
        assert (await found(url=url))["node"].text == f"{url}/readyz says ready"
        page.code = 503
        assert "answers 503 starting" in (await found(url=url))["node"].text
    finally:
        await maybeDeferred(port.stopListening)
    assert "does not answer" in (await found(url=f"http://127.0.0.1:{free_port()}"))["node"].text


# -- the command


def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as a process."""
    return subprocess.run(
        [sys.executable, "-m", "imd", "doctor", *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )


def test_the_command_prints_a_line_each_and_says_by_its_code_what_is_wrong(tmp_path: Path) -> None:
    good = command(tmp_path, "--json")
    assert (good.returncode, good.stderr) == (0, "")
    first = json.loads(good.stdout.splitlines()[0])
    assert (first["level"], first["name"]) == ("ok", "configuration")
    (tmp_path / "imd.toml").write_text(POSTGRES_AWAY)
    bad = command(tmp_path, "--config=imd.toml", "--listen=tcp:0")
    assert bad.returncode == 1
    assert "\nfail  store  cannot be reached: " in bad.stdout
    wrong = command(tmp_path, "--bogus")
    assert wrong.returncode == 78
    assert wrong.stdout.startswith("fail  options  option --bogus not recognized")


def test_a_database_that_a_server_has_open_is_not_judged_by_what_lies_in_its_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "imd.sqlite3"
    path.write_bytes(bytes(100))
    assert "has schema 0" in machine._embedded(path)[0].text
    path.with_name("imd.sqlite3-wal").write_bytes(b"x")
    (found,) = machine._embedded(path)
    assert (found.level, found.text) == ("ok", f"{path} is open; its server has looked at it")
