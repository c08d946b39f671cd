"""Processes that take clients from one socket that a service manager has bound."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread

from imd.ops.lifecycle import Listener
from tests.debian import program
from tests.outages import until
from tests.process import FAST, ROOT, Server, command, free_port
from tests.test_renewal import Files
from tests.test_supervisor import Manager

SHARED = "systemd:domain=INET:name=clients"
_HANDED_OVER = 'exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=clients "$@"'
_ASK = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"


class Inherited(Server):
    """A server that is handed its socket, and tells a manager how it is."""

    def __init__(self, shared: socket.socket, listen: str = SHARED, config: str = "") -> None:
        super().__init__(f"--listen={listen}", config=config + FAST)
        self.port = shared.getsockname()[1]
        self._descriptors |= {3: shared.fileno()}
        self._manager = Manager(str(self.directory / "notify"))
        self.heard: list[str] = []
        # The kernel keeps ten messages, and a server says one or more each second.
        self._hearing = LoopingCall(self._hear)
        self._hearing.start(0.05)

    def _hear(self) -> None:
        self.heard += self._manager.heard()

    def says(self, word: str) -> int:
        """How often the manager was told so."""
        self._hear()
        return sum(word in each for each in self.heard)

    def _command(self) -> list[str]:
        told = f"NOTIFY_SOCKET={self._manager.address}"
        return ["/bin/sh", "-c", _HANDED_OVER, "sh", told, *command()]

    def _answers(self) -> bool:
        return self.says("READY=1") > 0

    async def close(self) -> None:
        """See ``Server``."""
        await super().close()
        self._hearing.stop()
        self._manager.close()


class Activated(Inherited):
    """A server that the first client starts, by a tool of systemd."""

    def _command(self) -> list[str]:
        tool = str(Path(program("systemd")).with_name("systemd-socket-activate"))
        told = [f"NOTIFY_SOCKET={self._manager.address}", f"PYTHONPATH={ROOT}"]
        given = [f"--setenv={each}" for each in told]
        where = f"--listen=127.0.0.1:{self.port}"
        return [tool, where, "--fdname=clients", *given, *command()]


@pytest.fixture
def shared() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as made:
        yield made


@pytest_twisted.async_yield_fixture()
async def two(shared: socket.socket) -> AsyncIterator[list[Inherited]]:
    """Two servers at one socket that are not started."""
    made = [Inherited(shared), Inherited(shared)]
    yield made
    for each in made:
        await each.close()


def ask(port: int) -> socket.socket:
    """A connection on which a request stands."""
    link = socket.create_connection(("127.0.0.1", port), 60)
    link.sendall(_ASK)
    return link


def status(link: socket.socket) -> str:
    """Of the answer; it blocks."""
    with link, link.makefile("rb") as answer:
        return answer.readline().decode().split(" ")[1]


async def test_clients_wait_in_the_socket_for_a_process_that_can_serve_them(
    shared: socket.socket,
) -> None:
    nowhere = f'store = "postgresql://imd@127.0.0.1:{free_port()}/imd"\n'
    early, late = Inherited(shared, config=nowhere), Inherited(shared)
    try:
        early.begin()
        await until(lambda: early.says("STATUS=PostgreSQL"))
        links = [ask(early.port) for _ in range(8)]
        beats = early.says("WATCHDOG=1")
        await until(lambda: early.says("WATCHDOG=1") > beats + 1)
        for link in links:
            link.setblocking(False)
            with pytest.raises(BlockingIOError):
                link.recv(1)
            link.settimeout(60)
        await late.start()
        assert [await deferToThread(status, link) for link in links] == ["200"] * 8
        assert not early.says("READY=1")
    finally:
        await early.close()
        await late.close()


async def test_the_first_client_starts_a_process_that_serves_it_reloads_and_ends(
    shared: socket.socket,
) -> None:
    server = Activated(shared)
    shared.close()
    server._descriptors.pop(3)
    server.begin()
    links: list[socket.socket] = []

    def connected() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            links.append(ask(server.port))
        return bool(links)

    try:
        await until(connected)
        assert await deferToThread(status, links[0]) == "200"
        await until(lambda: server.says("READY=1") == 1)
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: server.says("READY=1") == 2)
        assert server.says("RELOADING=1") == 1
        assert await server.kill(signal.SIGTERM) == -signal.SIGTERM
        assert server.says("STOPPING=1") == 1
    finally:
        await server.close()


async def test_one_that_stops_leaves_the_socket_to_the_other(two: list[Inherited]) -> None:
    for each in two:
        await each.start()
    first, second = two
    os.kill(first.pid, signal.SIGTERM)
    await until(lambda: first.says("STOPPING=1"))
    for _ in range(20):
        assert await deferToThread(lambda: status(ask(second.port))) == "200"
    assert await first.kill(signal.SIGTERM) == -signal.SIGTERM
    assert await deferToThread(lambda: status(ask(second.port))) == "200"


# Twisted still hands the objects of pyOpenSSL around.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
async def test_tls_is_spoken_on_an_inherited_socket_and_its_certificate_renewed(
    shared: socket.socket, tmp_path: Path
) -> None:
    files = Files(tmp_path, "127.0.0.1")
    trusted = ssl.create_default_context(cafile=str(files.ca))
    pem = f"privateKey={files.key}:certKey={files.cert}:extraCertChain={files.chain}"
    server = Inherited(shared, f"ssl:{SHARED}:{pem}")

    def shown() -> str:
        with (
            socket.create_connection(("127.0.0.1", server.port), 60) as plain,
            trusted.wrap_socket(plain, server_hostname="127.0.0.1") as link,
        ):
            link.sendall(_ASK)
            assert b" 200 " in link.recv(1000)
            return ssl.DER_cert_to_PEM_cert(link.getpeercert(True) or b"").strip()

    try:
        await server.start()
        before = await deferToThread(shown)
        issued = files.issue()
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "were read again" in server.output)
        assert await deferToThread(shown) == issued != before
    finally:
        await server.close()


@pytest.mark.parametrize("listen", [SHARED, "systemd:domain=INET:index=0", f"haproxy:{SHARED}"])
def test_a_socket_that_was_not_handed_over_is_told(listen: str) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit):
        Listener(listen, Factory(), MemoryReactorClock()).privilegedStartService()
    assert f"imd: listen: {listen}: no such socket was handed over" in errors.getvalue()
