"""How ``imd user``, ``imd erase`` and ``imd export`` give their orders, and how they end.

Orders go to the store itself, beside a server or without one, or with ``--url`` to a server.
"""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import msgspec
from twisted.logger import ILogObserver, Logger, textFileLogObserver

from imd.admin import Admin
from imd.auth.password import Passwords
from imd.config import S3, Settings, admin_token, merge
from imd.errors import ConfigError, Refusal, Unavailable
from imd.files.directory import DirectoryBlobs
from imd.interfaces.files import Blobs
from imd.interfaces.storage import Storage
from imd.offline import Here, check_place, run_here, with_storage
from imd.ops.logs import JournalSink, JsonSink, Lines, clean
from imd.sources import Sources

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
#: Seconds that a server may take for an answer.
SECONDS = 30

Params = Mapping[str, Any]


class Orders(Protocol):
    """Who carries orders out, there or here.  Raises ``Refusal``, ``Unavailable``, ``Failed``."""

    async def call(self, order: str, params: Params) -> Any:
        """Carry out an order; its result as of JSON."""

    def stream(self, order: str, params: Params) -> AsyncGenerator[bytes, None]:
        """Carry out an order whose result is JSON lines; each part is some of them."""


#: A command: gives its orders, and prints what came of them.
Run = Callable[[Orders, argparse.Namespace], Awaitable[None]]


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
        begin(lambda orders: run(orders, options))
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except (Refusal, Unavailable, Failed, OSError) as error:
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
) -> Callable[[Callable[[Orders], Awaitable[None]]], None]:
    """What runs a command, there or here.  Raises ``ConfigError``, ``Failed``."""
    if url is None:
        check_place(settings, makes)
        return lambda work: with_storage(
            settings, lambda storage: _beside(settings, storage, work), makes
        )
    token = admin_token(settings)
    if not token:
        raise ConfigError("admin-token-file", "--url needs the admin token; give --token-file")
    if not url.startswith(("http://", "https://")):
        raise Failed("--url: http://… or https://…")
    return lambda work: run_here(work(_OverHttp(url, token)))


async def _beside(
    settings: Settings, storage: Storage, work: Callable[[Orders], Awaitable[None]]
) -> None:
    """Carry orders out on the store itself."""
    cost = settings.passwords
    passwords = Passwords(Here(), cost.memory_kib, cost.passes)

    async def evict(user: int) -> None:
        """Servers find it in storage."""

    with _blobs(settings) as blobs:
        log = Logger("imd.admin.Admin", observer=_observer(settings))
        admin = Admin(storage, passwords, Sources(), evict, blobs, log)
        await work(_Beside(admin, _origin(os.environ), settings.files.startswith(S3)))


def _observer(settings: Settings) -> ILogObserver:
    """Writes as the log of the server; to standard error what that writes to its output."""
    if settings.log == "text":
        return textFileLogObserver(sys.stderr)
    try:
        sink = JournalSink() if settings.log == "journald" else JsonSink(sys.stderr.fileno())
    except OSError as error:
        raise ConfigError("log", f"cannot write to {settings.log}: {error.strerror}") from None
    return Lines(sink, settings.node or f"{socket.gethostname()}-{os.getpid()}", time.time)


def _origin(environ: Mapping[str, str]) -> str:
    """Who gives the orders: whose the process is, and who became that by sudo."""
    try:
        who = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        who = f"user {os.getuid()}"
    before = environ.get("SUDO_USER")
    return f"the command line of {who}" + (f", by sudo of {clean(before)}" if before else "")


@contextmanager
def _blobs(settings: Settings) -> Iterator[Blobs | None]:
    """Where the bytes of files are; None if there are none here."""
    place = Path(settings.files) if settings.files else Path(settings.data) / "files"
    if settings.files.startswith(S3) or not place.exists():
        yield None
        return
    blobs = DirectoryBlobs(place, Here(), 0)
    try:
        yield blobs
    finally:
        blobs.close()


class _Beside:
    """``Orders`` on the store itself; see there.  Also raises ``ConfigError``."""

    def __init__(self, admin: Admin, origin: str, is_in_s3: bool) -> None:
        self._admin = admin
        self._origin = origin
        self._is_in_s3 = is_in_s3

    async def call(self, order: str, params: Params) -> Any:
        raw = msgspec.json.encode(params)
        return msgspec.to_builtins(await self._admin.call(order, raw, self._origin))

    def stream(self, order: str, params: Params) -> AsyncGenerator[bytes, None]:
        if params.get("files") and self._is_in_s3:
            raise ConfigError("files", "only a server reads those in S3; give --url, or --output -")
        return self._admin.stream(order, msgspec.json.encode(params), self._origin)


class _OverHttp:
    """``Orders`` of a server; see there."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    async def call(self, order: str, params: Params) -> Any:
        with self._answer(order, params) as answer:
            return msgspec.json.decode(answer.read())

    async def stream(self, order: str, params: Params) -> AsyncGenerator[bytes, None]:
        with self._answer(order, params) as answer:
            while line := answer.readline():
                yield line

    @contextmanager
    def _answer(self, order: str, params: Params) -> Iterator[Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}/v1/admin/{order}", data=msgspec.json.encode(params), headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                yield answer
        except urllib.error.HTTPError as error:
            raise Failed(_told(error)) from None
        except (OSError, ValueError, HTTPException) as error:
            raise Failed(f"{self._url}: {getattr(error, 'reason', error)}") from None


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message: str = msgspec.json.decode(error.read())["error"]["message"]
        return message
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.url}: {error.code} {error.reason}"
