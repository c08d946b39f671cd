"""``twistd imd``: the one module that knows all others, and puts them together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
from twisted.application.service import IService  # noqa: E402
from twisted.logger import ILogObserver  # noqa: E402
from twisted.python import usage  # noqa: E402

from imd.config import LISTEN, ROLES, Settings, argv, load  # noqa: E402
from imd.daemon import process  # noqa: E402
from imd.errors import ConfigError  # noqa: E402
from imd.ops.lifecycle import fail  # noqa: E402
from imd.ops.logs import JournalSink, JsonSink, Lines, Sink  # noqa: E402
from imd.ops.supervisor import Supervisor  # noqa: E402


class Options(usage.Options):
    """The command line; each option is also a key of the configuration file."""

    longdesc = "imd, an instant-messaging server.  Without options: everything in one process."
    optParameters = [  # noqa: RUF012
        ["role", None, None, f"one of {', '.join(ROLES)} [default: all]"],
        ["config", None, None, "TOML file with any of these keys, and [limits]"],
        ["listen", None, None, f"server endpoint of clients [default: {LISTEN}]"],
        ["data", None, None, "directory of the embedded parts [default: ./imd-data]"],
        ["store", None, None, "where accounts and messages are kept [default: sqlite]"],
        ["status", None, None, "who knows which user is where [default: memory]"],
        ["files", None, None, "where file bytes are kept [default: DATA/files]"],
        ["transfer-listen", None, None, "server endpoint of the transfer"],
        ["node", None, None, "unique name of this process [default: host name and pid]"],
    ]
    _repeated = ("transfer", "auth", "origin")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for key in self._repeated:
            self[key] = []

    def opt_transfer(self, endpoint: str) -> None:
        """client endpoint of a transfer (repeatable)"""
        self["transfer"].append(endpoint)

    def opt_auth(self, checker: str) -> None:
        """who checks logins (repeatable) [default: password]"""
        self["auth"].append(checker)

    def opt_origin(self, origin: str) -> None:
        """browser origin that may connect, beside the server's own (repeatable)"""
        self["origin"].append(origin)

    def parseOptions(self, options: Any = None) -> None:
        """Parse; a mistake ends the process with one line, not with all of the help."""
        try:
            self.settings = self.load(options)
        except ConfigError as error:
            fail(error)

    def load(self, options: Any = None) -> Settings:
        """Parse, merge with the file, and check.  Raises ``ConfigError``."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            text = f"{str(error).rstrip('.')}; see twistd imd --help"
            raise ConfigError("options", text) from None
        given = {key: value for key, value in self.items() if key != "config"}
        return load(argv(given, self._repeated), self["config"])


def makeService(options: Options, reactor: Any = None) -> IService:
    """Put a process together; nothing is opened before it starts."""
    if reactor is None:
        from twisted.internet import reactor
    try:
        supervisor = Supervisor.of(os.environ, reactor)
        return process(options.settings, reactor, supervisor, _observer(options))
    except ConfigError as error:
        fail(error)


def _observer(options: Options) -> ILogObserver | None:
    """What writes the log instead of twistd; None where twistd does it."""
    settings = options.settings
    parent: Mapping[str, Any] = options.parent or {}
    if settings.log == "text":
        return None
    if parent.get("syslog"):
        raise ConfigError("log", 'with --syslog it has to be "text"')
    node = settings.node or f"{socket.gethostname()}-{os.getpid()}"
    return Lines(_sink(settings.log, parent), node, time.time)


def _sink(log: str, parent: Mapping[str, Any]) -> Sink:
    path = parent.get("logfile") or ("-" if parent.get("nodaemon") else "twistd.log")
    try:
        if log == "journald":
            return JournalSink()
        if path == "-":
            return JsonSink(os.dup(1))
        return JsonSink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as error:
        raise ConfigError("log", f"cannot write to {log}: {error.strerror}") from None
