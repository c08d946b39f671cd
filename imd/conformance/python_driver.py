"""The driver of the Python client, and an example of what a driver looks like.

``python -m imd.conformance.python_driver``: orders come on standard input, reports go to
standard output, one JSON object a line.  Protocol seconds are ``scale`` real ones: the client
is given a clock that runs faster.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from imd.client import Client, Message, Refused, system
from imd.client.connection import endpoint_of


class Scaled:
    """A clock on which a second takes ``scale`` seconds of ``reactor``."""

    def __init__(self, reactor: Any, scale: float) -> None:
        self._reactor = reactor
        self._scale = scale

    def seconds(self) -> float:
        """Seconds of this clock."""
        return float(self._reactor.seconds() / self._scale)

    def callLater(self, delay: float, function: Any, *args: Any, **kw: Any) -> Any:
        """Call after ``delay`` seconds of this clock."""
        return Later(
            self._reactor.callLater(delay * self._scale, function, *args, **kw), self._scale
        )


class Later:
    """A call that is due on a ``Scaled`` clock."""

    def __init__(self, call: Any, scale: float) -> None:
        self._call = call
        self._scale = scale
        self.cancel = call.cancel
        self.active = call.active

    def getTime(self) -> float:
        """When it is due."""
        return float(self._call.getTime() / self._scale)


class Driver(Protocol):
    """Carries out orders.  Names in camelCase are called by Twisted."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._buffer = b""
        self._client: Client | None = None

    def dataReceived(self, data: bytes) -> None:
        """Orders have come."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            _ORDERS[order["do"]](self, order)

    def connectionLost(self, reason: Any = None) -> None:
        """The kit is gone."""
        if self._reactor.running:
            self._reactor.stop()

    @staticmethod
    def report(**fields: Any) -> None:
        """Tell the kit something."""
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()

    @property
    def client(self) -> Client:
        """The client; there is one between ``open`` and ``close``."""
        assert self._client is not None  # noqa: S101
        return self._client

    # -- orders

    def open(self, order: dict[str, Any]) -> None:
        """Start a client on the storage that is named."""
        client = self._client = Client(
            order["url"],
            order["user"],
            order["password"],
            store=os.path.join(order["store"], "client.db"),
            own=True,
            endpoint=endpoint_of(order["url"], self._reactor),
            reactor=Scaled(self._reactor, order["scale"]),
        )
        client.on_message(self._shown)
        client.on_state(lambda state: self.report(state=state))
        client.on_receipt(self._receipt)
        client.start()

    def _shown(self, message: Message) -> None:
        shown = {"conv": message.conversation, "seq": message.seq, "id": message.id}
        self.report(shown={**shown, "from": message.sender, "text": message.text})

    def _receipt(self, notice: Any) -> None:
        cursors = {"delivered": notice.delivered, "read": notice.read}
        self.report(receipt={"conv": notice.conversation, "user": notice.user, **cursors})

    def send(self, order: dict[str, Any]) -> None:
        """Send a text; what became of it is reported later."""
        id = system.new_id()
        self.client.send(order["conv"], order["text"], id=id).addCallbacks(
            lambda sent: self.report(sent={"conv": sent.conversation, "seq": sent.seq, "id": id}),
            lambda failure: self._failed(id, failure),
        )
        # The client stores it at the end of this turn of the reactor, and that was asked first.
        self._reactor.callLater(0, lambda: self.report(accepted={"id": id, "text": order["text"]}))

    def _failed(self, id: str, failure: Any) -> None:
        if failure.check(Refused):
            self.report(failed={"id": id, "code": failure.value.code})

    def read(self, order: dict[str, Any]) -> None:
        """The user has seen everything up to a message."""
        (message,) = self.client.store.messages(order["conv"], order["seq"] - 1, 1)
        self.client.read(message)

    def history(self, order: dict[str, Any]) -> None:
        """Read older messages."""
        page = self.client.history(order["conv"], order["before"], order["limit"])
        Deferred.fromCoroutine(page).addCallback(
            lambda items: self.report(history={"seqs": [item.seq for item in items]})
        )

    def stored(self, order: dict[str, Any]) -> None:
        """Say what is stored."""
        rows = self.client.store.messages(order["conv"])
        self.report(stored={"seqs": [row.seq for row in rows], "pending": self.client.pending})

    def close(self, order: dict[str, Any]) -> None:
        """Stop the client."""
        client, self._client = self.client, None
        Deferred.fromCoroutine(client.stop()).addCallback(lambda _: self.report(closed=True))


_ORDERS: dict[str, Callable[[Driver, dict[str, Any]], None]] = {
    "open": Driver.open,
    "send": Driver.send,
    "read": Driver.read,
    "history": Driver.history,
    "stored": Driver.stored,
    "close": Driver.close,
}


def main() -> None:
    """Drive one client after the other, until standard input ends."""
    from twisted.internet import reactor

    system.make_monotonic(reactor)
    StandardIO(Driver(reactor))
    Driver.report(driver="imd.client")
    reactor.run()


if __name__ == "__main__":
    main()
