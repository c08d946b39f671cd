"""The URLs that name a Redis.

- ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]``
- ``rediss://…``, the same over TLS.  The chain and the name of the server are verified, against
  what the system trusts or, with ``?ca=FILE``, against the certificates in that file alone;
  ``?cert=FILE`` (``&key=FILE``, if the key is not in there) is the certificate to show.
- ``redis+unix://[[USER]:PASSWORD@]/PATH[?db=DB]``
- ``redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT]…/MASTER[/DB]``: the addresses of
  the sentinels, which are asked without a password, and their name of the master; user and
  password are those of the master.
- ``rediss+sentinel://…?ca=FILE…``, the same with sentinels and masters over TLS.  A sentinel has to
  show the name that stands here, a master the name or address that a sentinel says.

USER and PASSWORD are percent-encoded, and never part of an error or of ``str``.
"""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import unquote

from msgspec import Struct, structs

from imd.errors import ConfigError

REDIS_PORT = 6379
SENTINEL_PORT = 26379
_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?"
    r"(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:,\s]+))(?::(?P<port>\d{1,5}))?")
_TLS_KEYS = frozenset(("ca", "cert", "key"))


class Place(Struct, frozen=True):
    """A host name or address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(Struct, frozen=True):
    """A Redis, and how to log in.  Either ``places`` or ``socket``."""

    places: tuple[Place, ...] = ()
    socket: str = ""
    #: With a name ``places`` are sentinels.
    master: str = ""
    user: str = ""
    password: str = ""
    db: int = 0
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __str__(self) -> str:
        shown = self.socket or ",".join(map(str, self.places))
        return f"{self.master} of {shown}" if self.master else shown

    __repr__ = __str__


def parse(url: str) -> Target:
    """What a URL says; raises ``ConfigError``."""
    match = _URL.fullmatch(url)
    if match is None:
        _fail("no URL; what is special in a user or password is written like %40")
    parts = match.groupdict(default="")
    read = _SCHEMES.get(parts["scheme"])
    if read is None:
        _fail(f"one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    user, password = _login(match["login"])
    return read(parts["hosts"], parts["path"], _query(parts["query"]), user, password)


def _tcp(hosts: str, path: str, query: dict[str, str], user: str, password: str) -> Target:
    _only(query, frozenset())
    return Target((_place(hosts, REDIS_PORT),), "", "", user, password, _db(path[1:]))


def _tls(hosts: str, path: str, query: dict[str, str], user: str, password: str) -> Target:
    _check_files(query)
    place = _place(hosts, REDIS_PORT)
    return Target((place,), "", "", user, password, _db(path[1:]), tls=True, **query)


def _unix(hosts: str, path: str, query: dict[str, str], user: str, password: str) -> Target:
    _only(query, frozenset(("db",)))
    if hosts or len(path) < 2:
        _fail("redis+unix:// is followed by the absolute path of a socket")
    return Target((), unquote(path), "", user, password, _db(query.get("db", "")))


def _check_files(query: dict[str, str]) -> None:
    _only(query, _TLS_KEYS)
    if "key" in query and "cert" not in query:
        _fail("key= without cert=")


def _sentinel(hosts: str, path: str, query: dict[str, str], user: str, password: str) -> Target:
    _only(query, frozenset())
    return _sentinels(hosts, path, user, password)


def _tls_sentinel(hosts: str, path: str, query: dict[str, str], user: str, password: str) -> Target:
    _check_files(query)
    return structs.replace(_sentinels(hosts, path, user, password), tls=True, **query)


def _sentinels(hosts: str, path: str, user: str, password: str) -> Target:
    places = tuple(_place(host, SENTINEL_PORT) for host in hosts.split(","))
    master, _, db = path[1:].partition("/")
    if not master:
        _fail("…+sentinel:// needs the name of the master behind the hosts")
    return Target(places, "", unquote(master), user, password, _db(db))


_SCHEMES = {
    "redis": _tcp,
    "rediss": _tls,
    "redis+unix": _unix,
    "redis+sentinel": _sentinel,
    "rediss+sentinel": _tls_sentinel,
}


def _login(text: str | None) -> tuple[str, str]:
    if text is None:
        return "", ""
    user, _, password = text.partition(":")
    if not password or ":" in password or "@" in text:
        _fail("[USER]:PASSWORD is expected before the @; : and @ in them are written %3A and %40")
    return unquote(user), unquote(password)


def _place(text: str, port: int) -> Place:
    match = _HOST.fullmatch(text)
    if match is None:
        _fail("HOST or HOST:PORT is expected")
    found = Place(match["six"] or match["host"], int(match["port"] or port))
    if not 0 < found.port < 65536:
        _fail(f"there is no port {found.port}")
    return found


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", text):
        _fail("the database is a number")
    return int(text or 0)


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in filter(None, text.split("&")):
        key, _, value = item.partition("=")
        if key in found or not value:
            _fail(f"{key}= is expected once, with a value")
        found[key] = unquote(value)
    return found


def _only(query: dict[str, str], known: frozenset[str]) -> None:
    for key in query.keys() - known:
        _fail(f"{key}= is not understood in this URL")


def _fail(why: str) -> NoReturn:
    raise ConfigError("status", why)
