"""The process that carries hints between connectors: it listens, and that is all it does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from imd.checks import cannot_listen
from imd.errors import ConfigError
from imd.tls import TransferTls
from imd.transfer.endpoints import door
from imd.transfer.exchange import Exchange


class TransferService:
    """A transfer that listens at ``listen`` (see ``endpoints``).

    Raises ``ConfigError`` if that is no endpoint, or one that needs another ``tls``.
    """

    def __init__(self, listen: str, tls: TransferTls | None, reactor: Any) -> None:
        self._listen = listen
        self._door = door(listen, tls, reactor)
        self._exchange = Exchange(reactor)
        self._port: IListeningPort | None = None

    def renew(self) -> None:
        """Read the certificates again.  Raises ``ConfigError``."""
        self._door.renew()

    @property
    def host(self) -> Any:
        """The address it listens at, once it was started."""
        return self._port.getHost() if self._port is not None else None

    def start(self) -> None:
        """Listen.  Raises ``ConfigError`` if the endpoint cannot be had."""
        outcome: list[Any] = []
        factory = self._door.wrap(self._exchange.factory(self._door.proves))
        self._door.endpoint.listen(factory).addBoth(outcome.append)
        if outcome and isinstance(outcome[0], Failure):
            raise ConfigError("transfer-listen", cannot_listen(self._listen, outcome[0].value))
        self._port = outcome[0] if outcome else None
        self._exchange.start()

    async def stop(self) -> None:
        """Take no more connections and drop those that there are."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        self._exchange.stop()
