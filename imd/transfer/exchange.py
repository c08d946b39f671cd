"""The transfer's side: who is attached, and what waits for whom.  It opens no blob."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from imd.tasks import spawn
from imd.transfer import blob
from imd.transfer.backlog import Backlog
from imd.transfer.broker import VERSION, Answer, Breach, Broker, BrokerFactory, Gone, Proves, Root

#: Bytes of the name of a node.
NAME_BYTES = 255
#: Blobs that may wait for one connector, beside the bound on their bytes.
MOST_PARCELS = 1024
#: Connectors that may be attached.
MOST_CONNECTORS = 1024
#: Seconds after which a connector that says nothing is dropped, and between two looks.
SILENCE_SECONDS = 15.0
LOOK_SECONDS = 5.0


class Parcel(Struct, frozen=True):
    """A blob on its way.  ``answered`` fires once, with an ``Answer``."""

    source: bytes
    blob: bytes
    answered: Deferred[int]


class Connector(Root):
    """A connector, as the transfer sees it; methods ``remote_…`` are called by it."""

    takes: ClassVar[dict[bytes, tuple[type, ...]]] = {
        b"attach": (bytes, bytes, int),
        b"forward": (bytes, bytes),
        b"ping": (int,),
    }
    _log = Logger()

    def __init__(self, exchange: Exchange) -> None:
        self.name = b""
        self.boot = b""
        self._exchange = exchange
        self._backlog: Backlog[Parcel] = Backlog(MOST_PARCELS)
        self.broker: Broker

    def ready(self, broker: Broker) -> None:
        """See ``Root``."""
        self.broker = broker

    def lost(self) -> None:
        """See ``Root``."""
        self._exchange.detach(self)
        for parcel in self._backlog.drop():
            parcel.answered.callback(Answer.UNKNOWN)

    def remote_attach(self, name: bytes, boot: bytes, version: int) -> int:
        """Take part under a name, in the place of whoever has it."""
        if self.name:
            raise Breach("it attached before")
        if not (is_name(name) and is_name(boot)):
            raise Breach("not a name")
        if version != VERSION or not self._exchange.has_room:
            return Answer.REFUSED
        if not self.broker.may_be(name):
            self._log.warn("the certificate of {name} is for another node", name=_readable(name))
            return Answer.REFUSED
        self.name, self.boot = name, boot
        self.broker.admit()
        self._exchange.attach(self)
        return Answer.OK

    def remote_forward(self, destination: bytes, raw: bytes) -> int | Deferred[int]:
        """Hand on a blob."""
        if len(raw) > blob.MOST_BYTES:
            raise Breach("the blob is too large")
        return self._exchange.forward(self.name, destination, raw)

    def remote_ping(self, number: int) -> int:
        """Answer."""
        return number

    def tell(self, event: bytes, name: bytes) -> Deferred[None]:
        """Tell this connector about another one."""
        return spawn(self._tell(event, name), self._log, "telling of a connector")

    async def _tell(self, event: bytes, name: bytes) -> None:
        try:
            await self.broker.ask(b"peer", event, name)
        except Gone:
            # Dropped, as everybody is told now.
            return

    def deliver(self, source: bytes, raw: bytes) -> Deferred[int]:
        """Queue a blob for this connector; fires when it is dealt with."""
        parcel = Parcel(source, raw, Deferred())
        for dropped in self._backlog.put(parcel, len(raw)):
            # Settled as far as its source is concerned: telling of the loss is up to us.
            dropped.answered.callback(Answer.OK)
        self._pump()
        return parcel.answered

    def _pump(self) -> None:
        backlog = self._backlog
        while backlog.ready:
            if backlog.lost:
                backlog.lost = False
                parcel = Parcel(b"", blob.LOST, Deferred())
            else:
                (parcel,) = backlog.take(0)
            backlog.flying += 1
            spawn(self._push(parcel), self._log, "pushing a blob")

    async def _push(self, parcel: Parcel) -> None:
        try:
            await self.broker.ask(b"push", parcel.source, parcel.blob)
        except Gone:
            answer = Answer.UNKNOWN
        else:
            answer = Answer.OK
        self._backlog.flying -= 1
        parcel.answered.callback(answer)
        if answer is Answer.OK:
            self._pump()


class Exchange:
    """The connectors that are attached, by name."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._connectors: dict[bytes, Connector] = {}
        self._look = LoopingCall(self._drop_silent)
        self._look.clock = clock

    def factory(self, proves: Proves | None = None) -> BrokerFactory:
        """What listens; ``proves`` as in ``BrokerFactory``."""
        return BrokerFactory(lambda: Connector(self), self._clock, dials=False, proves=proves)

    def start(self) -> None:
        """Begin to look for connectors that have fallen silent."""
        self._look.start(LOOK_SECONDS, now=False)

    def stop(self) -> None:
        """Drop everybody."""
        if self._look.running:
            self._look.stop()
        for connector in tuple(self._connectors.values()):
            connector.broker.abort("the transfer stops")

    @property
    def has_room(self) -> bool:
        """Whether another connector may attach."""
        return len(self._connectors) < MOST_CONNECTORS

    def attach(self, newcomer: Connector) -> None:
        """Let a connector take part, and those that do know of each other."""
        before = self._connectors.get(newcomer.name)
        if before is not None:
            self._replace(before, newcomer)
        for other in self._connectors.values():
            newcomer.tell(b"up", other.name)
            other.tell(b"up", newcomer.name)
        self._connectors[newcomer.name] = newcomer
        self._log.info("{name} attached", name=_readable(newcomer.name))

    def _replace(self, before: Connector, newcomer: Connector) -> None:
        if before.boot != newcomer.boot:
            self._log.warn(
                "another process attached as {name}; of two with one name only one is reached",
                name=_readable(before.name),
            )
        self.detach(before)
        told = before.tell(b"replaced", before.name)
        told.addCallback(lambda _: before.broker.abort("replaced"))

    def detach(self, connector: Connector) -> None:
        """A connector is gone."""
        if self._connectors.get(connector.name) is not connector:
            return
        del self._connectors[connector.name]
        self._log.info("{name} is gone", name=_readable(connector.name))
        for other in tuple(self._connectors.values()):
            other.tell(b"down", connector.name)

    def forward(self, source: bytes, destination: bytes, raw: bytes) -> int | Deferred[int]:
        """Hand a blob on, or answer at once that there is nobody of that name."""
        connector = self._connectors.get(destination)
        return Answer.UNKNOWN if connector is None else connector.deliver(source, raw)

    def _drop_silent(self) -> None:
        oldest = self._clock.seconds() - SILENCE_SECONDS
        for connector in tuple(self._connectors.values()):
            if connector.broker.heard < oldest:
                connector.broker.abort(f"silent for {SILENCE_SECONDS:.0f} s")


def is_name(name: bytes) -> bool:
    """Whether a node can be called so: 1 to 255 bytes of UTF-8."""
    try:
        return 0 < len(name) <= NAME_BYTES and bool(name.decode())
    except UnicodeDecodeError:
        return False


def _readable(name: bytes) -> str:
    return name.decode(errors="replace")
