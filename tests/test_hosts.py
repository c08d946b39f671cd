"""Names of the server, and addresses of clients behind proxies."""

from __future__ import annotations

import pytest

from imd.connector.hosts import Hosts, Proxies

PROXIES = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "imd",
        "127.0.0.1",
        "127.0.0.1:8080",
        "203.0.113.9",
        "[::1]",
        "[::1]:8080",
        "[2001:db8::7]:443",
        "chat.example.org",
        "Chat.Example.ORG:443",
        "chat.example.org.",
        "web.example.org:8443",
        "",
    ],
)
def test_a17_addresses_short_names_and_those_of_the_settings_are_good(host: str) -> None:
    hosts = Hosts(["chat.example.org"], ["https://web.example.org:8443", "null"])
    assert hosts.knows(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "chat.example.org.evil.example",
        "xchat.example.org",
        "example.org",
        "127.0.0.1.evil.example",
        "127.1.evil.example",
        "localhost.evil.example",
        "[evil.example]",
        "[::1.evil.example]",
    ],
)
def test_a17_other_names_are_not(host: str) -> None:
    assert not Hosts(["chat.example.org"], ["https://web.example.org:8443"]).knows(host.encode())


def test_a_star_is_any_name() -> None:
    assert Hosts(["*"]).knows(b"evil.example")


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        # What a client wrote stands before what the proxy did.
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["198.51.100.1,10.0.0.9 , 10.1.1.1"], "198.51.100.1"),
        ("fd00::5", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        # No proxy: it may say what it likes.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("", ["198.51.100.1"], ""),
        # Nothing but proxies: the first that asked.
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        # What is no address hides what stands before it.
        ("127.0.0.1", ["198.51.100.1, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, junk, 10.0.0.2"], "10.0.0.2"),
        ("127.0.0.1", ["", ","], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7:4711"], "127.0.0.1"),
    ],
)
def test_the_last_that_is_no_proxy_is_the_client(peer: str, values: list[str], client: str) -> None:
    assert Proxies(PROXIES).client(peer, values) == client


def test_without_proxies_nobody_is_believed() -> None:
    assert Proxies().client("127.0.0.1", ["203.0.113.7"]) == "127.0.0.1"
