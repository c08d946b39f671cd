"""What is wrong with a setting, in words for who has to correct it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from errno import EACCES, EADDRINUSE, ENOENT
from typing import Any
from urllib.parse import urlsplit

import msgspec

from imd.errors import ConfigError
from imd.throttle import trusts

NO_SUCH_KEY = "there is no such key"
#: The greatest number, for which there is no other bound; clients read numbers in JavaScript.
MOST = 2**53 - 1
#: Characters of ``node``; what tells runs of it apart is added.
NODE_CHARACTERS = 190
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?")
#: What Python and Twisted say of the string of an endpoint, and what that means.
_ENDPOINT = (
    (r".*missing 1 required positional argument: '(\w+)'", r"its \1 is missing"),
    (r".*got an unexpected keyword argument '(\w+)'", r'there is no parameter "\1="'),
    (r".*takes .* positional arguments? but .*", "it has more parts than there are parameters"),
    (r"invalid literal for int\(\) with base 8: (.*)", r"\1 is no mode, such as 660"),
    (r"invalid literal for int\(\) with base 10: (.*)", r"\1 is no number"),
    (r"Unknown endpoint type: .*", "begin with the kind: tcp:, ssl:, unix:, systemd: or haproxy:"),
    (r".*private keys do not match.*", "the private key is not that of the certificate"),
    (r"\[\(.*", "a file of these holds no key without a passphrase, or no certificate, in PEM"),
)


def unknown(key: str, known: Iterable[str], tables: Mapping[str, Iterable[str]]) -> str:
    """What to say of a key that does not exist: the nearest one of the same place, or where else
    a key of that name stands.  ``tables`` has the names by table, "" for those in none.
    """
    for table, names in tables.items():
        if key in names:
            place = f"under [{table}]" if table else "above the first [table]"
            return f"{NO_SUCH_KEY} here; it stands {place}"
    near = get_close_matches(key.lower().replace("_", "-"), known, 1, 0.6)
    near = near or get_close_matches(key.lower().replace("-", "_"), known, 1, 0.6)
    advice = f"do you mean {near[0]}?" if near else "see etc/imd.toml for all of them"
    return f"{NO_SUCH_KEY}; {advice}"


def check_printable(key: str, value: Any) -> None:
    """Raise ``ConfigError`` for a text, at any depth, that no line can show."""
    if isinstance(value, str):
        if not value.isprintable():
            # Not shown: it may be a secret.
            raise ConfigError(key, "it holds a character that cannot be printed; take that away")
    elif isinstance(value, tuple):
        for one in value:
            check_printable(key, one)
    elif isinstance(value, msgspec.Struct):
        for f in msgspec.structs.fields(value):
            below = f"{key}.{f.encode_name}" if key else f.encode_name
            check_printable(below, getattr(value, f.name))


def check_numbers(
    table: str, values: msgspec.Struct, bounds: Mapping[str, tuple[int, int]]
) -> None:
    """Raise ``ConfigError`` for a number out of its bounds, 1 and ``MOST`` if none are named."""
    for f in msgspec.structs.fields(values):
        value = getattr(values, f.name)
        least, most = bounds.get(f.name, (1, MOST))
        if isinstance(value, int | float) and not least <= value <= most:
            shown = "2^53 - 1" if most == MOST else most
            raise ConfigError(f"{table}.{f.name}", f"a number from {least} to {shown}")


def check_networks(key: str, networks: Sequence[str]) -> None:
    """Raise ``ConfigError`` for what is no network."""
    try:
        trusts(networks)
    except ValueError as error:
        raise ConfigError(key, f"{error}; write it like 10.0.0.0/8") from None


def check_origin(origin: str) -> None:
    """Raise ``ConfigError`` for what no browser sends as its origin."""
    if not _ORIGIN.fullmatch(origin):
        raise ConfigError("origin", f'"{origin}" is none; write it like https://chat.example.org')


def check_node(node: str) -> None:
    """Raise ``ConfigError`` for a name that does not fit everywhere."""
    if len(node.encode(errors="replace")) > NODE_CHARACTERS:
        raise ConfigError("node", f"{NODE_CHARACTERS} bytes at most")


def check_http(key: str, url: str) -> None:
    """Raise ``ConfigError`` for what is no address of an HTTP server."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(key, f'"{url}" is no address; write it like https://s3.example.org')


def endpoint_fault(error: BaseException) -> str:
    """What is wrong with the string of an endpoint, or with a file that it names."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot read {error.filename}: {error.strerror}"
    if isinstance(error, LookupError):
        return "no such socket was handed over"
    text = str(error)
    for pattern, meaning in _ENDPOINT:
        if re.match(pattern, text):
            return re.sub(pattern, meaning, text, count=1)
    return text or type(error).__name__


def cannot_listen(description: str, error: BaseException | None) -> str:
    """Why an endpoint cannot be listened at, and what to do; ``error`` as Twisted has it."""
    cause: Any = getattr(error, "socketError", error)
    number = getattr(cause, "errno", None)
    reason = getattr(cause, "strerror", None) or cause
    advice = _advice(description.startswith("unix:"), number)
    return f"cannot listen on {description}: {str(reason).rstrip('.')}{advice}"


def _advice(is_unix: bool, number: int | None) -> str:
    if number == EADDRINUSE:
        return "; stop what has it, or take another"
    if number == EACCES and not is_unix:
        return "; below 1024 it takes CAP_NET_BIND_SERVICE: take a higher one, or a proxy"
    if number in (EACCES, ENOENT) and is_unix:
        return "; its directory has to be there, and writable for this user"
    return ""
