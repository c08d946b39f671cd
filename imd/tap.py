"""``twistd imd``: the one module that knows all others, and puts them together."""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
from twisted.application.service import IService  # noqa: E402
from twisted.logger import Logger  # noqa: E402
from twisted.python import usage  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402

from imd.accounts import Accounts  # noqa: E402
from imd.auth.password import BoundedPool, Passwords  # noqa: E402
from imd.config import LISTEN, ROLES, Settings, argv, load  # noqa: E402
from imd.connector.http import Front  # noqa: E402
from imd.connector.hub import Hub  # noqa: E402
from imd.connector.site import Crowd, ImdSite  # noqa: E402
from imd.connector.websocket import ClientFactory, WebSocketPort  # noqa: E402
from imd.delivery import Delivery  # noqa: E402
from imd.errors import ConfigError  # noqa: E402
from imd.friends import Friends  # noqa: E402
from imd.limits import Limits  # noqa: E402
from imd.messaging import Messaging  # noqa: E402
from imd.online import Online  # noqa: E402
from imd.ops.lifecycle import Listener, OrderedService, Step, fail, tell  # noqa: E402
from imd.registry import Registry  # noqa: E402
from imd.routing import Routing  # noqa: E402
from imd.status.memory import MemoryUserStatus  # noqa: E402
from imd.storage.sqlite import SqliteStorage  # noqa: E402
from imd.throttle import Keyed, TokenBucket  # noqa: E402

#: Seconds that sessions get to finish when the server stops.
DRAIN_SECONDS = 20.0


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
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            fail(ConfigError("options", f"{str(error).rstrip('.')}; see twistd imd --help"))

    def postOptions(self) -> None:
        """Merge with the file, and check."""
        given = {key: value for key, value in self.items() if key != "config"}
        try:
            self.settings = load(argv(given, self._repeated), self["config"])
        except ConfigError as error:
            fail(error)


class Sources:
    """The real time, ids and secrets."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, by the wall clock."""
        return time.time_ns() // 1_000_000

    def new_id(self) -> int:
        """A random id, 1 to 2**52 - 1."""
        return secrets.randbelow(2**52 - 1) + 1

    def new_token(self) -> str:
        """256 random bits."""
        return secrets.token_urlsafe(32)

    def new_epoch(self) -> str:
        """A name for a log, or a mark of a start."""
        return secrets.token_hex(6)


class Rates:
    """Token buckets by the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: Keyed[int] = Keyed(limits.rate, limits.burst)

    def sends(self, user: int) -> TokenBucket:
        """The one bucket of all sessions of a user."""
        return self._users.bucket(user)

    def others(self) -> TokenBucket:
        """A new bucket for everything else on one connection."""
        return TokenBucket(self._limits.other_rate, self._limits.other_burst)


class Daemon:
    """One process: its parts, and how they start and stop."""

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._sources = Sources()
        self._node = settings.node or f"{socket.gethostname()}-{os.getpid()}"
        cost = settings.passwords
        self._pool = BoundedPool(reactor)
        self._passwords = Passwords(self._pool, cost.memory_kib, cost.passes)
        self._crowd = Crowd(settings.limits)
        self._site = ImdSite(Resource(), self._crowd, reactor)
        self._storage: SqliteStorage | None = None
        self._hub: Hub | None = None
        self._unready: str | None = "starting"

    def service(self) -> OrderedService:
        """The tree.  The port is bound first of all and closed first of all."""
        return OrderedService(
            (
                Step("storage", self._open_storage, self._close_storage),
                Step("passwords", self._pool.start, self._pool.stop),
                Step("sessions", self._open_sessions, self._drain),
                Listener(self._settings.listen, self._site, self._reactor),
            )
        )

    def _open_storage(self) -> None:
        self._storage = SqliteStorage.open_threaded(
            Path(self._settings.data),
            new_epoch=self._sources.new_epoch,
            reactor=self._reactor,
            broken=self._broken,
        )

    def _close_storage(self) -> None:
        if self._storage is not None:
            self._storage.close()

    def _broken(self, error: str) -> None:
        """The disk failed: nothing more can be promised, so the process ends."""
        self._unready = f"storage: {error}"
        self._log.critical("storage failed, the process ends: {error}", error=error)
        tell(f"data: {error}; check the disk, then start again")
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    def _open_sessions(self) -> None:
        settings, clock, sources = self._settings, self._reactor, self._sources
        storage, limits = self._storage, settings.limits
        assert storage is not None  # noqa: S101
        registry = Registry()
        routing = Routing(Delivery(registry))
        status = MemoryUserStatus(self._node, clock)
        messaging = Messaging(storage, routing, clock, sources.now_ms, limits)
        friends = Friends(storage, routing, messaging.covered, clock, sources, limits)
        accounts = Accounts(storage, self._passwords, friends, routing, clock, sources, limits)
        self._hub = Hub(
            accounts=accounts,
            messaging=messaging,
            online=Online(self._node, registry, status, routing),
            rates=Rates(limits),
            limits=limits,
            clock=clock,
            now_ms=sources.now_ms,
            fraction=random.random,
        )
        websocket = WebSocketPort(
            ClientFactory(self._hub, limits, clock, self._crowd), settings.origin
        )
        self._site.resource = Front(accounts, websocket, self._ready, self._crowd.crowded)
        self._hub.start()
        self._unready = None

    def _ready(self) -> str | None:
        return self._unready

    async def _drain(self) -> None:
        self._unready = "stopping"
        if self._hub is not None:
            await self._hub.drain(DRAIN_SECONDS)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Put a process together; nothing is opened before it starts."""
    if reactor is None:
        from twisted.internet import reactor
    return Daemon(options.settings, reactor).service()
