"""Asks PostgreSQL, Redis, transfers and the store of files, each within a few seconds."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from imd.checks import check_http
from imd.config import POSTGRESQL, REDIS, S3, Settings
from imd.doctor import judge
from imd.doctor.judge import Finding
from imd.engines import LANES, endpoints_of
from imd.errors import ConfigError, Unavailable
from imd.status.redis_dial import Dialer
from imd.status.redis_reply import ErrorReply
from imd.status.redis_url import parse
from imd.storage.postgres import SHARED
from imd.storage.postgres_address import Address
from imd.storage.postgres_link import Connection, reason
from imd.storage.postgres_terms import Terms
from imd.transfer.broker import Broker, BrokerFactory, Root

Asking = Coroutine[Any, Any, list[Finding]]

#: Seconds for each of them.
SECONDS = 5.0
#: Of a connector: its lanes, the one for cursors, and the others.
_CONNECTIONS = LANES + 1 + SHARED
_FACTS = """
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'max_connections')"""
_MOMENT = """
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version'),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"""


async def engines(settings: Settings, reactor: Any) -> list[Finding]:
    """All that a process with these settings has to reach."""
    if settings.role == "transfer":
        return []
    said: list[Finding] = []
    for name, todo, work in _all(settings, reactor):
        said += await _asked(name, todo, work)
    return said


def _all(settings: Settings, reactor: Any) -> Iterator[tuple[str, str, Asking]]:
    """Name, next step if it is away, and the work."""
    if settings.store.startswith(POSTGRESQL):
        yield "store", "start PostgreSQL, or correct store", _postgres(settings, reactor)
    if settings.status.startswith(REDIS):
        yield (
            "status",
            "start Redis, or correct status",
            _within(reactor, _redis(settings, reactor)),
        )
    # An own transfer that is dialled without being named is not asked.
    for place, endpoint in zip(settings.transfer, endpoints_of(settings, reactor), strict=False):
        todo = f"start the transfer at {place}; if it runs, see its log"
        yield "transfer", todo, _within(reactor, _transfer(place, endpoint, reactor))
    if settings.files.startswith(S3):
        yield (
            "files",
            "look at [s3] and at the bucket",
            _within(reactor, _bucket(settings, reactor)),
        )


async def _asked(name: str, todo: str, work: Asking) -> list[Finding]:
    try:
        return await work
    except ConfigError as error:
        text = str(error).removeprefix(f"{error.key}: ")
        return [judge.fail(name, text, "correct that first", wrong=True)]
    except TimeoutError:
        return [judge.fail(name, f"does not answer within {SECONDS:.0f} s", todo)]
    except Exception as error:
        # Whatever keeps it from answering: names, routes, certificates, passwords.
        return [judge.fail(name, f"cannot be reached: {reason(error)}", todo)]


async def _within(reactor: Any, work: Asking) -> list[Finding]:
    found: list[Finding] = await Deferred.fromCoroutine(work).addTimeout(SECONDS, reactor)
    return found


async def _off(ask: Callable[[], Awaitable[float]]) -> tuple[float, float]:
    """How far ahead a clock is that is read by ``ask``, and how exactly that is known."""
    begin = time.time()
    theirs = await ask()
    end = time.time()
    return theirs - (begin + end) / 2, (end - begin) / 2


# -- PostgreSQL


async def _postgres(settings: Settings, reactor: Any) -> list[Finding]:
    address = Address(settings.store, "doctor", reactor)
    connection = Connection(reactor, lambda *_: None)
    # To cancel what runs on it would ask the server, and wait for it.
    deadline = reactor.callLater(SECONDS, connection.close)
    try:
        await connection.connect(await address.dsn())
        return await _database(connection, settings.unsafe_durability)
    except Exception:
        if not deadline.active():
            raise TimeoutError from None
        raise
    finally:
        if deadline.active():
            deadline.cancel()
        connection.close()


async def _database(connection: Connection, unsafe: bool) -> list[Finding]:
    facts: dict[str, str] = dict(await connection.query(_FACTS))
    rows: list[Any] = []

    async def ask() -> float:
        rows.extend(await connection.query(_MOMENT))
        return float(rows[0][0])

    off = await _off(ask)
    _, version, used = rows[0]
    said = [judge.ok("store", f"PostgreSQL {version}"), judge.clock("store.clock", *off)]
    said.append(judge.durability(facts, unsafe))
    said.append(judge.connections(int(facts["max_connections"]), used, _CONNECTIONS))
    try:
        # Weak durability has its own line.
        await Terms(unsafe=True).prepare(connection)
    except ConfigError as error:
        text = str(error).removeprefix(f"{error.key}: ")
        return [*said, judge.fail("store.terms", text, "the process would not start before that")]
    return [*said, judge.ok("store.terms", "primary, UTF8, read committed, schema as needed")]


# -- Redis


async def _redis(settings: Settings, reactor: Any) -> list[Finding]:
    connection = await Dialer(parse(settings.status), reactor).dial()
    try:
        said = [judge.ok("status", "logged in to a master that runs scripts")]
        try:
            said.append(judge.clock("status.clock", *await _off(lambda: _now(connection))))
            told = _info(await connection.ask("INFO"))
        except ErrorReply:
            text = "its ACL lets imd ask neither clock nor memory"
            return [
                *said,
                judge.warn("status.info", text, "allow +time +info to have them checked"),
            ]
    finally:
        connection.abort()
    said.append(judge.redis_version(told.get("redis_version", "")))
    policy = told.get("maxmemory_policy", "noeviction")
    return [*said, judge.eviction(policy, int(told.get("maxmemory", 0)))]


async def _now(connection: Any) -> float:
    seconds, microseconds = await connection.ask("TIME")
    return int(seconds) + int(microseconds) / 1e6


def _info(reply: Any) -> Mapping[str, str]:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    return dict(line.partition(":")[::2] for line in text.splitlines() if ":" in line)


# -- transfers


class _Greeting(Root):
    """Waits until the other side speaks as a transfer does; it attaches nobody."""

    takes: ClassVar[dict[bytes, tuple[type, ...]]] = {}

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def ready(self, broker: Broker) -> None:
        """See ``Root``."""
        broker.abort("looked at")
        self.done.callback(None)

    def refused(self, reason: Failure) -> None:
        """See ``Root``."""
        # It may be us who has waited for long enough.
        if not self.done.called:
            self.done.errback(reason)


async def _transfer(place: str, endpoint: IStreamClientEndpoint, reactor: Any) -> list[Finding]:
    greeting = _Greeting()
    broker: Any = await endpoint.connect(BrokerFactory(lambda: greeting, reactor, dials=True))
    try:
        await greeting.done
    finally:
        broker.transport.abortConnection()
    return [judge.ok("transfer", f"{place} answers")]


# -- the store of files


async def _bucket(settings: Settings, reactor: Any) -> list[Finding]:
    """Writes, reads and deletes an object of its own."""
    from imd.files.s3_link import S3Link

    bucket, _, prefix = settings.files.removeprefix(S3).partition("/")
    key = f"{prefix.rstrip('/')}/" if prefix else ""
    key += f"imd-doctor-{secrets.token_hex(8)}"
    link = S3Link(settings.s3, bucket, reactor)
    try:
        try:
            return [await _probed(link, key)]
        except Unavailable:
            # A store may close a connection that is kept just when it is used again.
            return [await _probed(link, f"{key}-2")]
    finally:
        await link.close()


async def _probed(link: Any, key: str) -> Finding:
    content = b"imd doctor"
    digest = hashlib.sha256(content).hexdigest()
    once = {"If-None-Match": "*"}
    await link.ask("PUT", key, None, once, content, digest)
    try:
        again = await link.ask("PUT", key, None, once, content, digest, allow=(409, 412))
        if (await link.ask("GET", key)).content != content:
            raise Unavailable("it gives back other bytes than it was given")
    finally:
        await link.ask("DELETE", key)
    if again.status < 400:
        todo = "take a store that does: two uploads of the same bytes would overwrite each other"
        return judge.fail("files", "it does not honour If-None-Match", todo)
    return judge.ok("files", "an object was written, read and deleted")


# -- a node that runs


async def node(url: str) -> Finding:
    """What a running node says of itself."""
    where = f"{url.rstrip('/')}/readyz"
    try:
        check_http("url", url)
        status, text = await deferToThread(_get, where)
    except Exception as error:
        todo = "start it, or correct --url"
        return judge.fail("node", f"{where} does not answer: {reason(error)}", todo)
    return judge.readiness(where, status, text)


def _get(url: str) -> tuple[int, str]:
    """Status and text of a page.  Blocks."""
    try:
        with urlopen(url, timeout=SECONDS) as page:  # noqa: S310
            return page.status, page.read(1000).decode(errors="replace")
    except HTTPError as error:
        with error:
            return error.code, error.read(1000).decode(errors="replace")
