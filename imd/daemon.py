"""The processes of imd: which parts each role has, and how they start and stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from imd.accounts import Accounts, Call
from imd.admin import Admin
from imd.auth.checkers import OWN, checkers_of
from imd.auth.password import BoundedPool, Passwords
from imd.cluster import Cluster
from imd.config import Settings, admin_token
from imd.connector.admin import AdminPort, AdminToken
from imd.connector.files import FilesPort
from imd.connector.hosts import Hosts, Proxies
from imd.connector.http import Closed, Front
from imd.connector.hub import Hub
from imd.connector.pages import load
from imd.connector.site import Crowd, ImdSite
from imd.connector.websocket import ClientFactory, WebSocketPort
from imd.delivery import Delivery
from imd.downloads import Downloads
from imd.engines import endpoints_of, engine_of, files_of, status_of, transfer_of
from imd.errors import ConfigError
from imd.evictions import Evictions, Lookout
from imd.friends import Friends
from imd.interfaces.feed import Feed
from imd.interfaces.files import Blobs
from imd.interfaces.nodes import Arrivals
from imd.interfaces.storage import Storage
from imd.journey import Journey
from imd.logins import Logins
from imd.messaging import Messaging
from imd.online import Online
from imd.ops.lag import Lag
from imd.ops.lifecycle import EX_CONFIG, Listener, OrderedService, Step, tell
from imd.ops.metrics import MetricsPage
from imd.ops.supervisor import Renewal, Supervisor
from imd.registry import Registry
from imd.retention import Retention
from imd.rounds import Rounds
from imd.routing import Routing
from imd.sources import Rates, Sources
from imd.status.redis import RedisUserStatus
from imd.storage.database import make_private
from imd.times import Times
from imd.transfer.link import Link
from imd.transfer.local import LocalTransfer
from imd.transfer.service import TransferService
from imd.uploads import Uploads, tidying
from imd.watched import COMMON, CONNECTOR, Node, Process, own_port

#: Seconds that sessions get to finish when the server stops.
DRAIN_SECONDS = 20.0

_WAITING = "storage does not answer yet"


def transfer(settings: Settings, reactor: Any, supervisor: Supervisor) -> Step:
    """What carries hints between connectors.  Raises ``ConfigError``."""
    listen = settings.transfer_listen
    path = quoteStringArgument(f"{settings.data}/transfer.sock")
    service = TransferService(listen or f"unix:{path}:mode=600", settings.transfer_tls, reactor)
    supervisor.renewals.append(service.renew)

    def begin() -> None:
        if not listen:
            make_private(Path(settings.data))
        service.start()

    return Step("transfer", begin, service.stop)


def _transfer_watch(settings: Settings, reactor: Any) -> tuple[Step | Listener, ...]:
    """The figures of a process that is a transfer alone."""
    lag = Lag(reactor)
    page = MetricsPage(COMMON, Process(lag, reactor), settings.metrics, reactor)
    return (Step("lag", lag.start, lag.stop), *own_port(settings, page, reactor))


def connector(
    settings: Settings, reactor: Any, supervisor: Supervisor
) -> tuple[Step | Listener, ...]:
    """What holds client sessions, in the order of its start.  Raises ``ConfigError``.

    The port is bound first of all and closed first of all.  Where others may take from the same
    socket, this process does so only once it serves clients.
    """
    lag = Lag(reactor)
    parts = Connector(settings, reactor, lag)
    listener = Listener(settings.listen, parts.site, reactor, waits=True)
    parts.opened = listener.open
    supervisor.unready = parts.unready
    supervisor.renewals += [listener.renew, *parts.renewals]
    steps: list[Step | Listener] = [
        Step("lag", lag.start, lag.stop),
        *own_port(settings, parts.metrics, reactor),
        Step("storage", parts.start_storage, parts.engine.stop),
        Step("passwords", parts.pool.start, parts.pool.stop),
        Step("files", parts.start_files, parts.files.stop),
    ]
    if isinstance(parts.status, RedisUserStatus):
        steps.append(Step("user status", parts.status.start, parts.status.stop))
    steps.append(Step("sessions", parts.open_sessions, parts.drain))
    return (*steps, listener)


def everything(
    settings: Settings, reactor: Any, supervisor: Supervisor
) -> tuple[Step | Listener, ...]:
    """A connector, and a transfer where others are to dial it.  Raises ``ConfigError``."""
    own = (transfer(settings, reactor, supervisor),) if settings.transfer_listen else ()
    return (*own, *connector(settings, reactor, supervisor))


#: One function a role.
ROLES: dict[str, Callable[[Settings, Any, Supervisor], tuple[Step | Listener, ...]]] = {
    "all": everything,
    "connector": connector,
    "transfer": lambda settings, reactor, supervisor: (
        *_transfer_watch(settings, reactor),
        transfer(settings, reactor, supervisor),
    ),
}


def process(
    settings: Settings,
    reactor: Any,
    supervisor: Supervisor,
    observer: ILogObserver | None = None,
) -> OrderedService:
    """The whole process; nothing is opened before it starts.  Raises ``ConfigError``.

    What the supervisor is told of the stop comes before the stop of all else.  ``observer``
    writes the log; None leaves that to twistd.
    """
    first = Step("supervisor", supervisor.start, supervisor.stop)
    last = Step("readiness", lambda: None, supervisor.ending)
    steps = (first, *ROLES[settings.role](settings, reactor, supervisor), last)
    return OrderedService(steps, observer)


class Connector:
    """The parts of a connector, and what ties them together."""

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, lag: Lag) -> None:
        self._settings = settings
        self._reactor = reactor
        self._sources = Sources()
        self._node = node = self._sources.node_name(settings.node)
        cost = settings.passwords
        self.pool = BoundedPool(reactor)
        self._passwords = Passwords(self.pool, cost.memory_kib, cost.passes)
        self._checkers = checkers_of(settings.auth, reactor)
        self._crowd = Crowd(settings.limits, Proxies(settings.proxies))
        self._pages = load()
        self._admin_token = AdminToken(lambda: admin_token(settings))
        self.times = Times(reactor.seconds, self._sources.now_ms)
        self._journey = Journey(Logger("imd.journey")) if settings.log_messages else None
        self.metrics = MetricsPage(
            (*COMMON, *CONNECTOR), Node(self, lag, reactor), settings.metrics, reactor
        )
        hosts = Hosts(settings.hosts, settings.origin)
        self.site = ImdSite(Closed(self.unready), self._crowd, reactor, hosts, self.metrics)
        self.engine = engine_of(settings, node, self._sources, reactor, self._broken, self._refused)
        self.files = files_of(settings, reactor)
        self._blobs: Blobs | None = None
        self.status = status_of(settings, node, reactor)
        #: Called when clients are let in.
        self.opened: Callable[[], None] = lambda: None
        #: What reads certificates, keys and tokens again.
        self.renewals: list[Renewal] = [each.renew for each in self._checkers]
        self.renewals.append(self._admin_token.renew)
        self._endpoints = endpoints_of(settings, reactor, self.renewals)
        self._registry = Registry()
        self._storage: Storage | None = None
        self._transfer: Link | LocalTransfer | None = None
        self.cluster: Cluster | None = None
        self.hub: Hub | None = None
        self.messaging: Messaging | None = None
        self.online: Online | None = None
        self.delivery: Delivery | None = None
        self._tidying: Rounds | None = None
        self._lookout: Lookout | None = None
        self.retention: Retention | None = None
        self._unready: str | None = "starting"
        self._stopping = self._ending = False

    def start_files(self) -> None:
        """Open the store of files."""
        if self._settings.role == "connector" and not self._settings.files:
            self._log.warn("files: each connector keeps its own; name a place that all share")
        self._blobs = self.files.start()

    # -- storage, which may take its time

    def start_storage(self) -> None:
        """Open it, or begin to connect."""
        outcome: list[Any] = []
        starting = Deferred.fromCoroutine(self.engine.start()).addBoth(outcome.append)
        if outcome and isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        if outcome:
            self._storage = outcome[0]
        else:
            self._unready = _WAITING
            starting.addCallback(lambda _: self._storage_answered(outcome[0]))
            starting.addErrback(self._failed)

    def _storage_answered(self, result: Any) -> None:
        if self._stopping:
            return
        if isinstance(result, Failure):
            result.raiseException()
        self._storage = result
        self.open_sessions()

    def _failed(self, failure: Failure) -> None:
        """The start went wrong when it could no longer be refused."""
        if failure.check(ConfigError) is None:
            self._log.failure("the start failed", failure)
        tell(failure.getErrorMessage())
        self._end(1 if failure.check(ConfigError) is None else EX_CONFIG)

    def _broken(self, error: str) -> None:
        """The disk failed: nothing more can be promised, so the process ends."""
        self._unready = f"storage: {error}"
        self._log.critical("storage failed, the process ends: {error}", error=error)
        tell(f"data: {error}; check the disk, then start again")
        self._end(1)

    def _refused(self, error: ConfigError) -> None:
        """PostgreSQL was away at the start, and must not be used as it is.

        Once clients were let in the process stays: they, and those who watch ``/readyz``, learn
        more from it than from one that is gone.
        """
        if isinstance(self.site.resource, Closed) and not (self._stopping or self._ending):
            self._unready = str(error)
            tell(str(error))
            self._end(EX_CONFIG)

    def _end(self, code: int) -> None:
        self._ending = True
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, code)
        self._reactor.stop()

    # -- sessions

    def open_sessions(self) -> None:
        """Let clients in, if storage is there; else that is done once it is.  Among other nodes
        that also takes a first sweep.
        """
        if self._storage is None:
            return
        front, covered = self._front(self._storage)
        if self._transfer is None or self.cluster is None:
            self._let_in(front)
            return
        self._unready = _WAITING

        def swept(token: str) -> None:
            covered(token)
            if self._unready is _WAITING:
                self._let_in(front)

        self._transfer.start()
        self.cluster.sweep.start(swept)

    def _let_in(self, front: Front) -> None:
        self.site.resource = front
        self._unready = None
        self.opened()

    def _front(self, storage: Storage) -> tuple[Front, Callable[[str], None]]:
        """What clients see, and what takes tokens of the feed."""
        routing, online = self._among_others(storage)
        limits, clock, sources = self._settings.limits, self._reactor, self._sources
        self.online = online
        lanes, told = self.engine.lanes, (self.times, self._journey)
        self.messaging = messaging = Messaging(
            storage, routing, clock, sources.now_ms, limits, lanes, online.outranked, *told
        )
        friends = Friends(storage, routing, messaging.covered, clock, sources, limits)
        uploads = Uploads(storage, self._opened(), sources, limits)
        downloads = Downloads(storage, self._opened(), sources, limits)
        self._tidying = tidying(uploads, clock, sources.fraction)
        methods: dict[str, Call] = {"file.slot": uploads.slot, "file.link": downloads.link}
        own = OWN in self._settings.auth
        logins = Logins(storage, self._passwords, sources, self._checkers, own)
        accounts = Accounts(storage, logins, friends, routing, clock, sources, limits, methods)
        self.hub = hub = Hub(
            accounts=accounts,
            messaging=messaging,
            online=online,
            rates=Rates(limits),
            limits=limits,
            clock=clock,
            now_ms=sources.now_ms,
            fraction=sources.fraction,
        )
        hub.start()
        self._tidying.start()
        files = FilesPort(accounts, uploads, downloads, clock)
        self.site.stream = files.stream
        factory = ClientFactory(hub, limits, self._reactor, self._crowd)
        websocket = WebSocketPort(factory, self._settings.origin)
        crowded = self._crowd.crowded
        admin = self._administration(storage)
        front = Front(accounts, websocket, self.unready, crowded, self._pages, files, admin)
        return front, messaging.covered

    def _administration(self, storage: Storage) -> AdminPort:
        """What administrators reach here; and what they do beside us is found."""
        registry, clock = self._registry, self._reactor
        if self.engine.feed is None:
            self._lookout = Lookout(storage, registry, clock)
            self._lookout.start()
        self.retention = Retention(storage, self._settings.retention, self._sources, clock)
        self.retention.start()
        evict = Evictions(storage, registry).evict
        admin = Admin(storage, self._passwords, self._sources, evict, self._opened())
        return AdminPort(admin, self._admin_token, clock)

    def _opened(self) -> Blobs:
        if self._blobs is None:
            raise RuntimeError("clients come after the store of files")
        return self._blobs

    def _among_others(self, storage: Storage) -> tuple[Routing, Online]:
        node, registry, feed = self._node, self._registry, self.engine.feed
        if feed is None:
            self.delivery = Delivery(registry, self.times, self._journey)
            routing = Routing(self.delivery)
            return routing, Online(node, registry, self.status, routing)
        self.cluster = cluster = self._meet(storage, feed)
        self.delivery = cluster.delivery
        return cluster.routing, cluster.online

    def _meet(self, storage: Storage, feed: Feed) -> Cluster:
        def meet(arrivals: Arrivals) -> Link | LocalTransfer:
            self._transfer = transfer_of(
                self._endpoints, self._node, arrivals, self._sources, self._reactor
            )
            return self._transfer

        return Cluster(
            self._node,
            self._registry,
            storage,
            feed,
            self.status,
            meet,
            self._reactor,
            self.times,
            self._journey,
        )

    def unready(self) -> str | None:
        """Why this process should get no traffic; None if it should."""
        return self.engine.unready or self._unready

    @property
    def sessions(self) -> int:
        """How many clients are logged in."""
        return len(self._registry)

    async def drain(self) -> None:
        """Send all clients away, then leave the other nodes."""
        self._unready, self._stopping = "stopping", True
        for part in (self._tidying, self._lookout, self.retention):
            if part is not None:
                part.stop()
        if self.hub is not None:
            await self.hub.drain(DRAIN_SECONDS)
        if self.cluster is not None:
            self.cluster.sweep.stop()
        if self._transfer is not None:
            await self._transfer.stop()
