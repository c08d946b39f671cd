"""Where PostgreSQL is: a URL of libpq, with its host names looked up away from the reactor.

libpq asks the name service itself otherwise, and the whole process would wait for it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.threads import deferToThreadPool

from imd.errors import ConfigError

#: libpq's side of the link: a peer that went away is noticed within seconds.
_LINK = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
_SSLMODES = ("verify-full", "verify-ca", "require", "prefer", "allow", "disable")
#: The most that PostgreSQL keeps of an application's name.
_NAME_BYTES = 63


class Address:
    """The parameters of a connection; ``node`` names this process to the server.

    Raises ``ConfigError``, which does not repeat the URL: it may hold a password.
    """

    def __init__(self, url: str, node: str, reactor: Any) -> None:
        try:
            given = parse_dsn(url)
        except psycopg2.ProgrammingError:
            raise ConfigError("store", "this is no URL that PostgreSQL's libpq can read") from None
        _check(given)
        self._reactor = reactor
        name = f"imd:{node}"[:_NAME_BYTES]
        self.parameters: dict[str, str] = _LINK | given | {"application_name": name}

    async def dsn(self) -> str:
        """The parameters for libpq; raises ``OSError`` for a name that is not known."""
        return str(make_dsn(**(self.parameters | await self._hosts())))

    async def _hosts(self) -> dict[str, str]:
        """All addresses of all hosts, in order, as libpq tries them."""
        given = self.parameters
        names = given.get("host", "").split(",")
        ports = given.get("port", "").split(",")
        if "hostaddr" in given or not any(map(_is_name, names)):
            return {}
        found = []
        for i, name in enumerate(names):
            port = ports[i] if len(ports) > 1 else ports[0]
            found += [(name, address, port) for address in await self._lookup(name)]
        hosts, addresses, numbers = zip(*found, strict=True)
        return {
            "host": ",".join(hosts),
            "hostaddr": ",".join(addresses),
            "port": ",".join(numbers),
        }

    async def _lookup(self, name: str) -> Sequence[str]:
        """Its addresses; an empty one stands for what libpq has to find by itself."""
        if not _is_name(name):
            return [""]
        pool = self._reactor.getThreadPool()
        found = await deferToThreadPool(self._reactor, pool, _addresses, name)
        return list(dict.fromkeys(found))


def _check(given: dict[str, str]) -> None:
    """What libpq looks at only when it connects, and would be tried for ever."""
    for port in given.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            # Not shown: it may be the beginning of a password.
            what = "what is special in a user or password is written like %2F"
            raise ConfigError("store", f"the port is a number to 65535; {what}")
    if given.get("sslmode", _SSLMODES[0]) not in _SSLMODES:
        raise ConfigError("store", f"sslmode is one of {', '.join(_SSLMODES)}")


def _is_name(host: str) -> bool:
    """Whether this is a host name: no socket directory, no address, not nothing."""
    return bool(host) and host[0] not in "/@" and not _is_address(host)


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _addresses(name: str) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
