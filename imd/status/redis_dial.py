"""From a URL to a connection that is fit for use."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)

from imd.errors import ConfigError, Unavailable
from imd.status.redis_reply import ErrorReply
from imd.status.redis_scripts import LOOKUP, evaluate
from imd.status.redis_url import Place, Target

if TYPE_CHECKING:
    from imd.status.redis_protocol import RedisConnection

T = TypeVar("T")

#: Seconds to connect and to be let in, and for one sentinel to name the master.
CONNECT_SECONDS = 1.0
SENTINEL_SECONDS = 0.3
_PEM_END = b"-----END CERTIFICATE-----"


class Dialer:
    """Makes connections to one Redis: logged in, to a master, and it runs scripts."""

    def __init__(self, target: Target, reactor: Any) -> None:
        """Raises ``ConfigError`` where a file of the URL cannot be used."""
        self._target = target
        self._reactor = reactor
        self._tls = Tls(target) if target.tls else None
        self._sentinels = deque(target.places if target.master else ())

    def __str__(self) -> str:
        return str(self._target)

    async def dial(self) -> RedisConnection:
        """Connect.  Takes a second at most, and 0.3 s more for each sentinel that is silent."""
        endpoint = await self._endpoint()
        work = self._open(endpoint)
        return await self._within(CONNECT_SECONDS, work, "it does not answer")

    async def _endpoint(self) -> IStreamClientEndpoint:
        if self._target.socket:
            return UNIXClientEndpoint(self._reactor, self._target.socket)
        if self._target.master:
            return self._at(await self._master())
        return self._at(self._target.places[0])

    def _at(self, place: Place) -> IStreamClientEndpoint:
        tcp = HostnameEndpoint(self._reactor, place.host, place.port)
        return tcp if self._tls is None else wrapClientTLS(self._tls.to(place.host), tcp)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T], why: str) -> T:
        try:
            return await Deferred.fromCoroutine(work).addTimeout(seconds, self._reactor)
        except TimeoutError:
            raise Unavailable(why) from None

    # -- a server

    async def _open(self, endpoint: IStreamClientEndpoint) -> RedisConnection:
        connection = await self._connect(endpoint)
        try:
            await self._enter(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self, endpoint: IStreamClientEndpoint) -> RedisConnection:
        # Not before ``imd.ops.monotonic.install``: it installs the reactor.
        from imd.status.redis_protocol import RedisConnections

        return cast("RedisConnection", await endpoint.connect(RedisConnections()))

    async def _enter(self, connection: RedisConnection) -> None:
        if self._target.password:
            await self._log_in(connection)
        if self._target.db:
            await connection.ask("SELECT", self._target.db)
        role = await connection.ask("ROLE")
        if not isinstance(role, list) or role[:1] != [b"master"]:
            raise Unavailable("it is not a master")
        await evaluate(connection, LOOKUP, ())

    async def _log_in(self, connection: RedisConnection) -> None:
        user = (self._target.user,) if self._target.user else ()
        try:
            await connection.ask("AUTH", *user, self._target.password)
        except ErrorReply as error:
            # A server without this command would quote the password.
            code = str(error).partition(" ")[0]
            raise Unavailable(f"it refuses user and password: {code}") from None

    # -- sentinels

    async def _master(self) -> Place:
        """What the first sentinel says that says anything; the next time another is first."""
        self._sentinels.rotate(-1)
        why = ""
        for sentinel in tuple(self._sentinels):
            try:
                return await self._within(SENTINEL_SECONDS, self._ask(sentinel), "silent")
            except Exception as error:
                why = f"sentinel {sentinel}: {error}"
        raise Unavailable(why)

    async def _ask(self, sentinel: Place) -> Place:
        connection = await self._connect(self._at(sentinel))
        try:
            name = self._target.master
            reply = await connection.ask("SENTINEL", "get-master-addr-by-name", name)
        finally:
            connection.abort()
        try:
            host, port = reply
            return Place(host.decode(), int(port))
        except (TypeError, ValueError, AttributeError):
            raise Unavailable(f"knows no master {name}") from None


class Tls:
    """How to make sure of servers, and what to show them."""

    def __init__(self, target: Target) -> None:
        """Raises ``ConfigError``."""
        self._trust = _trust(target.ca) if target.ca else platformTrust()
        self._certificate = _certificate(target.cert, target.key) if target.cert else None
        for place in target.places:
            try:
                self.to(place.host)
            except Unavailable as error:
                raise ConfigError("status", str(error)) from None

    def to(self, host: str) -> Any:
        """For the server that has this name or address; raises ``Unavailable`` if none can."""
        try:
            return optionsForClientTLS(
                host, trustRoot=self._trust, clientCertificate=self._certificate
            )
        except (ValueError, UnicodeError):
            raise Unavailable(f"{host} cannot be the name of a server") from None


def _trust(path: str) -> Any:
    blocks = _read(path).split(_PEM_END)[:-1]
    try:
        found = [Certificate.loadPEM(block + _PEM_END) for block in blocks]
    except (SSL.Error, crypto.Error, ValueError):
        found = []
    if not found:
        raise ConfigError("status", f"ca={path} holds no certificates in PEM form")
    return trustRootFromCertificates(found)


def _certificate(cert: str, key: str) -> PrivateCertificate:
    pem = _read(cert) + (b"\n" + _read(key) if key else b"")
    try:
        return cast(PrivateCertificate, PrivateCertificate.loadPEM(pem))
    except (SSL.Error, crypto.Error, ValueError):
        raise ConfigError("status", f"cert={cert} is no certificate with its key") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError("status", f"cannot read {path}: {error.strerror}") from None
