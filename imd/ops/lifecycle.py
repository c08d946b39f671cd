"""Starting in order, stopping in order, and failing with one line."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from imd.checks import cannot_listen, endpoint_fault
from imd.errors import ConfigError
from imd.ops.certificate import TlsEndpoint
from imd.ops.logs import clean

#: Characters of a line for the operator.
MOST_TOLD = 1000
#: Connections that a listener takes in one turn of the reactor at most.
ACCEPTS = 8
#: What a process exits with when its configuration is at fault (sysexits.h, EX_CONFIG).
EX_CONFIG = 78


def tell(line: str) -> None:
    """Write a line for the operator to standard error, and to the log once there is one."""
    # From its start on, twistd takes what is written to ``sys.stderr`` into the log.
    shown = clean(line, MOST_TOLD)
    for stream in {sys.stderr, sys.__stderr__}:
        if stream is not None:
            stream.write(f"imd: {shown}\n")


def fail(error: ConfigError) -> NoReturn:
    """End the process with the one line that says what to correct."""
    tell(str(error))
    raise SystemExit(EX_CONFIG)


class Step(Service):
    """A part of the process: ``begin`` blocks until it works, ``end`` until it is over."""

    def __init__(
        self,
        name: str,
        begin: Callable[[], Any],
        end: Callable[[], Awaitable[Any] | None],
    ) -> None:
        self.setName(name)  # type: ignore[no-untyped-call]
        self._begin = begin
        self._end = end

    def startService(self) -> None:
        """Begin; what an operator can mend ends the process."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._begin()
        except ConfigError as error:
            fail(error)

    def stopService(self) -> Deferred[Any]:
        """End; fires when it is over."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ending = self._end()
        if ending is not None:
            await ending


def is_inherited(description: str) -> bool:
    """Whether an endpoint takes a socket that the service manager has bound.

    Other processes may take connections from the same socket.
    """
    return "systemd" in description.split(":")[:2]


def _take_few(port: Any) -> None:
    """Let a port of Twisted take no more than ``ACCEPTS`` connections in one turn.

    By itself it takes a hundred and more.  When thousands come back at once every step of a login
    would then be done for all of them before the next message of those who are logged in is read.
    """
    read = getattr(port, "doRead", None)
    if read is None:
        # Somebody else's kind of endpoint.
        return

    def read_few() -> None:
        port.numberAccepts = min(port.numberAccepts, ACCEPTS)
        read()

    port.doRead = read_few


class Listener(Service):
    """A listening port.  It is bound before anything else starts, and closed before all else.

    If it ``waits`` it takes nothing before ``open`` from a socket that was inherited: what comes
    earlier stays in there for a process that can serve it.
    """

    def __init__(
        self,
        description: str,
        factory: IProtocolFactory,
        reactor: Any,
        key: str = "listen",
        waits: bool = False,
    ) -> None:
        self.setName("listener")  # type: ignore[no-untyped-call]
        self._key = key
        self._description = description
        self._factory = factory
        self._reactor = reactor
        self._waits = waits and is_inherited(description)
        # Of a socket that was inherited it is one of Twisted's, which can pause.
        self._port: Any = None
        self._tls: TlsEndpoint | None = None

    def privilegedStartService(self) -> None:
        """Bind; a port that cannot be had ends the process."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            endpoint = self._endpoint()
        except ConfigError as error:
            fail(error)
        outcome: list[Any] = []
        endpoint.listen(self._factory).addBoth(outcome.append)
        if outcome and isinstance(outcome[0], Failure):
            fail(ConfigError(self._key, cannot_listen(self._description, outcome[0].value)))
        self._port = outcome[0] if outcome else None
        if self._port is None:
            return
        _take_few(self._port)
        if self._waits:
            self._port.stopReading()

    def open(self) -> None:
        """Take connections from now on, if that had to wait."""
        if self._waits and self._port is not None:
            self._port.startReading()

    def renew(self) -> None:
        """Read the certificate again, if there is one.  Raises ``ConfigError``."""
        if self._tls is not None:
            self._tls.renew()

    def check(self) -> None:
        """Read the string and the files that it names.  Raises ``ConfigError``.

        Sockets of the service manager are there for the daemon alone, so nothing is said of them.
        """
        if not is_inherited(self._description):
            self._endpoint()

    def _endpoint(self) -> IStreamServerEndpoint:
        try:
            return self._made()
        except Exception as error:
            # Whatever kind of endpoint it is, and whatever it misses: a file, a number, a name.
            text = f"{self._description}: {endpoint_fault(error)}"
            raise ConfigError(self._key, text) from None

    def _made(self) -> IStreamServerEndpoint:
        if not self._description.startswith("ssl:"):
            endpoint: IStreamServerEndpoint = serverFromString(self._reactor, self._description)
            return endpoint
        self._tls = TlsEndpoint(self._description, self._reactor)
        return self._tls

    def stopService(self) -> Deferred[Any]:
        """Take no more connections."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else maybeDeferred(int)


class OrderedService(Service):
    """Children that start one after the other, and stop one after the other, last first.

    Twisted's own ``MultiService`` stops all at once; but sessions must be gone before the
    storage is that their messages go to.
    """

    _log = Logger()

    def __init__(self, children: tuple[Service, ...], observer: ILogObserver | None = None) -> None:
        self.children = children
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Become part of an application; twistd asks that for who writes the log."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)

    def privilegedStartService(self) -> None:
        """What needs privileges, in order."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        for child in self.children:
            child.privilegedStartService()

    def startService(self) -> None:
        """Start in order."""
        super().startService()  # type: ignore[no-untyped-call]
        for child in self.children:
            child.startService()

    def stopService(self) -> Deferred[Any]:
        """Stop in the reverse order, each when the one before is over."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(self.children):
            try:
                await maybeDeferred(child.stopService)
            except Exception:
                self._log.failure("{name} did not stop cleanly", name=child.name)
