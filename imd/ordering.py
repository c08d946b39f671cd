"""How ``imd user`` and ``imd erase`` give their orders, and how they end.

Orders go to the store itself, beside a server or without one, or with ``--url`` to a server.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from imd.admin import Admin
from imd.auth.password import Passwords
from imd.config import Settings, admin_token, merge
from imd.errors import ConfigError, Refusal, Unavailable
from imd.interfaces.storage import Storage
from imd.offline import Here, run_here, with_storage
from imd.ops.logs import clean
from imd.sources import Sources

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
#: Seconds that a server may take for an answer.
SECONDS = 30

Call = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
#: A command: gives its orders by the first, and prints what came of them.
Run = Callable[[Call, argparse.Namespace], Awaitable[None]]


class Failed(Exception):
    """It was not done; the text says why."""


def add_places(command: argparse.ArgumentParser) -> None:
    """Options that say which server or store is meant."""
    command.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    command.add_argument("--store", metavar="URL", help='"sqlite", or postgresql://…')
    command.add_argument("--data", metavar="DIRECTORY", help="of the embedded store")
    command.add_argument("--url", metavar="URL", help="a server, to ask over HTTP instead")
    token = "a file with its admin token; else that of the configuration"  # noqa: S105
    command.add_argument("--token-file", metavar="FILE", help=token)


def carry_out(
    options: argparse.Namespace,
    run: Run,
    ask: Callable[[argparse.Namespace], None] = lambda options: None,
    makes: bool = False,
) -> int:
    """Run a command where the options say; 0, 1 if it was refused, 78 for a bad configuration.

    ``ask`` comes first, and may ask whoever is at the keyboard; what it finds out goes into the
    options.  ``makes``: a store of SQLite that is not there yet is made.
    """
    try:
        settings = _settings(options)
        begin = _place(settings, options.url, makes)
        ask(options)
        begin(lambda call: run(call, options))
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except (Refusal, Unavailable, Failed) as error:
        sys.stderr.write(f"imd: {clean(getattr(error, 'message', str(error)))}\n")
        return 1
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("imd: interrupted\n")
        return 1
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    given = {key: getattr(options, key) for key in ("store", "data") if getattr(options, key)}
    if options.token_file:
        given["admin-token-file"] = options.token_file
    return merge(given, options.config)


def _place(
    settings: Settings, url: str | None, makes: bool
) -> Callable[[Callable[[Call], Awaitable[None]]], None]:
    """What runs a command, there or here.  Raises ``ConfigError``, ``Failed``."""
    if url is None:
        return lambda work: with_storage(
            settings, lambda storage: work(_beside(settings, storage)), makes
        )
    token = admin_token(settings)
    if not token:
        raise ConfigError("admin-token-file", "--url needs the admin token; give --token-file")
    if not url.startswith(("http://", "https://")):
        raise Failed("--url: http://… or https://…")
    return lambda work: run_here(work(_over_http(url, token)))


def _beside(settings: Settings, storage: Storage) -> Call:
    """What carries orders out on the store itself."""
    cost = settings.passwords
    passwords = Passwords(Here(), cost.memory_kib, cost.passes)

    async def evict(user: int) -> None:
        """Servers find it in storage."""

    admin = Admin(storage, passwords, Sources(), evict)

    async def call(order: str, params: Mapping[str, Any]) -> Any:
        raw = msgspec.json.encode(params)
        return msgspec.to_builtins(await admin.call(order, raw, "the command line"))

    return call


def _over_http(url: str, token: str) -> Call:
    async def call(order: str, params: Mapping[str, Any]) -> Any:
        return _post(url, token, order, params)

    return call


def _post(url: str, token: str, order: str, params: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(  # noqa: S310
        f"{url.rstrip('/')}/v1/admin/{order}",
        data=msgspec.json.encode(params),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        raise Failed(_told(error)) from None
    except (OSError, ValueError) as error:
        raise Failed(f"{url}: {getattr(error, 'reason', error)}") from None


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message: str = msgspec.json.decode(error.read())["error"]["message"]
        return message
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.url}: {error.code} {error.reason}"
