"""The store of a server, for tools that work on it directly; the server may be running."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from imd.config import POSTGRESQL, Settings
from imd.errors import ConfigError, Unavailable
from imd.interfaces.storage import Storage
from imd.sources import Sources
from imd.storage.database import NAME
from imd.storage.postgres import PostgresStorage
from imd.storage.sqlite import SqliteStorage

T = TypeVar("T")
#: Seconds within which PostgreSQL has to let us in.
CONNECT_SECONDS = 10


class Here:
    """Does slow work at once: there is nothing beside it to be held up."""

    def run(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """See ``imd.auth.password.Pool``."""
        return succeed(call(*args))


def with_storage(
    settings: Settings, work: Callable[[Storage], Awaitable[T]], makes: bool = False
) -> T:
    """Do some work on the store.  Raises ``ConfigError``, ``Unavailable``, and what it raises.

    ``makes``: a store of SQLite that is not there yet is made, instead of refused.
    """
    if settings.store.startswith(POSTGRESQL):
        return _on_reactor(lambda reactor: _shared(settings.store, reactor, work))
    check_place(settings, makes)
    directory = Path(settings.data)
    if (directory / NAME).exists():
        return _embedded(SqliteStorage.join(directory), work)
    return _embedded(SqliteStorage.open(directory, new_epoch=Sources().new_epoch), work)


def check_place(settings: Settings, makes: bool) -> None:
    """Raise ``ConfigError`` if there is no store of SQLite where there has to be one."""
    path = Path(settings.data) / NAME
    if settings.store.startswith(POSTGRESQL) or makes or path.exists():
        return
    hint = "name the directory of the server with --data, or its file with --config"
    raise ConfigError("data", f"there is no {path}; {hint}")


def _embedded(storage: SqliteStorage, work: Callable[[Storage], Awaitable[T]]) -> T:
    try:
        return run_here(work(storage))
    finally:
        storage.close()


def run_here(work: Awaitable[T]) -> T:
    """The result of what is done by the time that each call returns, as on SQLite."""
    outcome: list[Any] = []
    _begin(work, outcome.append)
    found: T = _result(outcome)
    return found


def _begin(work: Awaitable[T], ended: Callable[[Any], object]) -> None:
    async def run() -> T:
        return await work

    Deferred.fromCoroutine(run()).addBoth(ended)


def _result(outcome: list[Any]) -> Any:
    if not outcome:
        raise Unavailable("interrupted")
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def _on_reactor(make: Callable[[Any], Awaitable[T]]) -> T:
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    outcome: list[Any] = []

    def ended(result: Any) -> None:
        outcome.append(result)
        reactor.stop()

    reactor.callWhenRunning(lambda: _begin(make(reactor), ended))
    reactor.run()
    found: T = _result(outcome)
    return found


async def _shared(url: str, reactor: Any, work: Callable[[Storage], Awaitable[T]]) -> T:
    storage = PostgresStorage(url, "imd-tool", reactor, lanes=1)
    starting = Deferred.fromCoroutine(storage.start())
    try:
        try:
            await starting.addTimeout(CONNECT_SECONDS, reactor)
        except ConfigError:
            raise
        except Exception:
            raise Unavailable(storage.unready or "PostgreSQL does not answer") from None
        return await work(storage)
    finally:
        await storage.stop()
