"""Logins by a real slapd, through both doors of a real server."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
import trustme
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from tests.outages import until
from tests.process import FAST, Server, reactor
from tests.raw import connect, login, post
from tests.slapd import ADMIN, BASE, Slapd


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """One directory for all tests; none of them changes it."""
    running = Slapd()
    yield running
    running.close()


def described(slapd: Slapd, **changes: object) -> str:
    """The option that names the directory."""
    words = {"host": "localhost", "port": slapd.port, "base": BASE, "ca": slapd.authority}
    return ":".join(["ldap", *(f"{key}={value}" for key, value in (words | changes).items())])


async def begun(*checkers: str) -> Server:
    """A server with these checkers."""
    server = Server(*(f"--auth={text}" for text in checkers), config=FAST)
    await server.start()
    return server


@pytest_twisted.async_yield_fixture()
async def server(slapd: Slapd) -> AsyncIterator[Server]:
    """A server that asks the directory by StartTLS, and has accounts of its own."""
    running = await begun("password", described(slapd))
    yield running
    await running.close()


async def status(server: Server, name: str, password: str) -> int:
    """How a login over HTTP ends."""
    params = {"user": name, "password": password, "device": "test"}
    return (await post(server.port, "/v1/account.login", params))[0]


async def closed(server: Server, name: str, password: str) -> int | None:
    """The code that a refused login over the WebSocket is closed with."""
    raw = await connect(server.port)
    hello = {"user": name, "password": password, "device": "test"}
    raw.say({"type": "hello", "req": 1, **hello})
    return await raw.closed


async def test_people_of_the_directory_log_in_by_both_doors(server: Server) -> None:
    alice = await login(server.port, "alice", password="right", register=None)
    bob = await login(server.port, "bob", password="right", register=None)
    assert (alice.welcome["user"]["name"], bob.welcome["user"]["name"]) == ("alice", "bob")
    params = {"user": "Alice", "password": "right", "device": "test"}
    code, again = await post(server.port, "/v1/account.login", params)
    assert (code, again["user"]) == (200, alice.welcome["user"])


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("alice", " "),
        ("nobody", "right"),
        ("ghost", "right"),
        ("twin", "right"),
        ("*", "right"),
        ("a*", "right"),
        ("*)(uid=*", "right"),
        ("alice)(objectClass=*", "right"),
        (f"uid=alice,{BASE}", "right"),
    ],
)
async def test_nobody_else_is_let_in(server: Server, name: str, password: str) -> None:
    assert await status(server, name, password) == 401
    assert await closed(server, name, password) == 4501


async def test_the_empty_password_is_refused_although_the_directory_takes_it(
    server: Server,
) -> None:
    assert await status(server, "alice", "") == 400
    assert await closed(server, "alice", "") == 4501


async def test_ldaps_and_a_searching_account_serve_as_well(slapd: Slapd) -> None:
    secret = slapd.directory / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    server = await begun(
        described(slapd, tls="ldaps", port=slapd.tls_port, bind=ADMIN, password=secret)
    )
    assert await status(server, "alice", "right") == 200
    assert await status(server, "alice", "wrong") == 401
    await server.close()


async def test_a_searching_account_that_is_refused_is_an_outage_and_no_verdict(
    slapd: Slapd,
) -> None:
    secret = slapd.directory / "wrong"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    server = await begun(described(slapd, bind=ADMIN, password=secret))
    assert await status(server, "alice", "right") == 503
    await until(lambda: "code 49" in server.output)
    secret.write_text("secret\n")
    await server.hang_up("certificates and keys were read again")
    assert await status(server, "alice", "right") == 200
    await server.close()


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
async def test_a_certificate_of_another_name_or_authority_ends_it(slapd: Slapd, tls: str) -> None:
    port = slapd.port if tls == "starttls" else slapd.tls_port
    stranger = slapd.directory / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    for changes in ({"host": "127.0.0.1"}, {"ca": stranger}):
        server = await begun(described(slapd, tls=tls, port=port, **changes))
        assert await status(server, "alice", "right") == 503
        assert await closed(server, "alice", "right") == 4001
        if "ca" in changes:
            stranger.write_bytes(slapd.authority.read_bytes())
            await server.hang_up("certificates and keys were read again")
            assert await status(server, "alice", "right") == 200
        await server.close()


async def test_a_directory_that_is_stopped_is_unavailable_in_time_and_nobody_else_waits(
    slapd: Slapd, server: Server
) -> None:
    own = await login(server.port, "carol")
    alice = await login(server.port, "alice", password="right", register=None)
    served = False
    slapd.signal(signal.SIGSTOP)
    try:
        # On a machine that is slower than the deadline of a directory one cannot see who waits.
        while not served:
            waiting = [closed(server, "bob", "right"), status(server, "alice", "right")]
            running = [Deferred.fromCoroutine(each) for each in waiting]
            other = await login(server.port, "carol", register=None)
            await own.call("account.get")
            await alice.call("account.get")
            served = not any(each.called for each in running)
            assert [await each for each in running] == [4001, 503]
    finally:
        slapd.signal(signal.SIGCONT)
    assert other.welcome["user"]["name"] == "carol"
    assert await status(server, "alice", "right") == 200


def ber(tag: int, *parts: bytes) -> bytes:
    """A short element of BER."""
    body = b"".join(parts)
    return bytes([tag, len(body)]) + body


class Forger(Protocol):
    """Agrees to StartTLS, and in the same breath, in the clear, finds alice and lets her in."""

    def dataReceived(self, data: bytes) -> None:
        first = data[4]
        yes = (ber(0x0A, b"\0"), ber(0x04), ber(0x04))
        uid = ber(0x30, ber(0x04, b"uid"), ber(0x31, ber(0x04, b"alice")))
        entry = ber(0x64, ber(0x04, b"uid=alice"), ber(0x30, uid))
        answers = [(0, ber(0x78, *yes)), (1, entry), (1, ber(0x65, *yes)), (2, ber(0x61, *yes))]
        messages = (ber(0x30, ber(0x02, bytes([first + n])), answer) for n, answer in answers)
        self.transport.write(b"".join(messages))  # type: ignore[union-attr]


async def test_an_answer_in_the_clear_behind_starttls_counts_for_nothing(slapd: Slapd) -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Forger), interface="127.0.0.1")
    server = await begun(described(slapd, port=port.getHost().port))
    assert await status(server, "alice", "right") == 503
    await until(lambda: "bytes follow the answer to StartTLS" in server.output)
    await server.close()
    await port.stopListening()
