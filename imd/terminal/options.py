"""Options and configuration that the terminal programs share."""

from __future__ import annotations

import argparse
import math
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from imd.errors import Refusal
from imd.names import login_name
from imd.terminal.codes import Ending, Exit

#: Where a server listens if nobody said otherwise.
DEFAULT_URL = "ws://127.0.0.1:8080/ws"
#: What the configuration file may hold.
KEYS = ("url", "user", "ca", "password-file")
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Access(Struct, frozen=True):
    """Which account of which server, and what to get in with."""

    url: str
    user: str
    ca: str | None
    password_file: str | None
    register: bool
    instance: str


class Parser(argparse.ArgumentParser):
    """A parser whose errors end the program with ``EX_USAGE``."""

    def error(self, message: str) -> NoReturn:
        """See ``ArgumentParser``."""
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


def add_access(parser: argparse.ArgumentParser, instance: str) -> None:
    """Add the options that ``access`` reads; ``instance`` is the usual one."""
    parser.add_argument("--url", help=f"the server; usually {DEFAULT_URL}")
    parser.add_argument("--user", help="the name to log in with")
    parser.add_argument("--register", action="store_true", help="make the account if there is none")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="read the password from FILE; else from $CREDENTIALS_DIRECTORY/imd-password, else it"
        " is asked for. Needed for the first login only",
    )
    parser.add_argument("--ca", metavar="FILE", help="trust these authorities (PEM) only")
    parser.add_argument("--config", metavar="FILE", help="not $XDG_CONFIG_HOME/imd/chat.toml")
    parser.add_argument(
        "--instance",
        metavar="NAME",
        default=instance,
        help=f"keep the state, and log in, as the device NAME (usual: {instance})",
    )


def access(given: argparse.Namespace, environment: Mapping[str, str]) -> Access:
    """Options before the file before defaults; raises ``Ending``."""
    file = _configured(given.config, environment)
    user = given.user or file.get("user")
    if user is None:
        raise Ending(Exit.USAGE, "who are you? give --user NAME, or user = … in the configuration")
    if not _INSTANCE.fullmatch(given.instance):
        raise Ending(Exit.USAGE, "--instance: letters, digits, - and _, at most 32")
    return Access(
        server_url(given.url or file.get("url") or DEFAULT_URL),
        _user(user),
        given.ca or file.get("ca"),
        given.password_file or file.get("password-file"),
        given.register,
        given.instance,
    )


def _user(name: str) -> str:
    try:
        return login_name(name)
    except Refusal as error:
        raise Ending(Exit.USAGE, f"--user: {error}") from error


def seconds(text: str) -> float:
    """The type of an option that is a time to wait."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: not a number of seconds")
    return value


def server_url(text: str) -> str:
    """The WebSocket's URL, also from that of the server's page.  Raises ``Ending``."""
    try:
        parts = urlsplit(text)
        scheme, port = _SCHEMES.get(parts.scheme), parts.port
    except ValueError as error:
        raise Ending(Exit.USAGE, f"--url: {error}") from error
    if scheme is None or not parts.hostname or port == 0:
        raise Ending(Exit.USAGE, "--url: this is no ws://HOST:PORT/ws and no wss://…")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Ending(Exit.USAGE, "--url: only host, port and path; no password belongs into it")
    path = "/ws" if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc.lower(), path, "", ""))


def config_path(environment: Mapping[str, str]) -> Path:
    """The configuration file, by the XDG base directory specification."""
    given = environment.get("XDG_CONFIG_HOME", "")
    home = Path(environment.get("HOME") or Path.home())
    return (Path(given) if Path(given).is_absolute() else home / ".config") / "imd" / "chat.toml"


def _configured(given: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    path = Path(given) if given else config_path(environment)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if given:
            raise Ending(Exit.CONFIG, f"{path}: there is no such file") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Ending(Exit.CONFIG, f"{path}: {error}") from error
    return _checked(path, text)


def _checked(path: Path, text: str) -> dict[str, str]:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Ending(Exit.CONFIG, f"{path}: {error}") from error
    for key, value in values.items():
        if key not in KEYS:
            raise Ending(Exit.CONFIG, f"{path}: {key}: there is no such key")
        if not isinstance(value, str):
            raise Ending(Exit.CONFIG, f"{path}: {key}: has to be a string")
    return values
