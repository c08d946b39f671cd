"""A connector's connection to one transfer, made again whenever it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from msgspec import Struct
from twisted.application.internet import ClientService
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from imd.tasks import spawn
from imd.transfer import blob
from imd.transfer.broker import VERSION, Answer, Breach, Broker, BrokerFactory, Gone, Root

#: Seconds between two pings.
PING_SECONDS = 5.0
#: The pause before an attempt to connect: the first, what it grows by, the longest, in seconds;
#: chance takes up to half of it away.
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 0.5, 1.6, 8.0
#: The pause of one whose name another process has taken.
REPLACED_PAUSE = 30.0
#: Seconds for a goodbye.
GOODBYE_SECONDS = 2.0


class Owner(Protocol):
    """Whoever has lines."""

    def line_attached(self, line: Line) -> None:
        """Blobs can be forwarded, to ``line.peers``."""

    def line_lost(self, peers: frozenset[str]) -> None:
        """A line that was attached broke; it had reached ``peers``."""

    def peer_is_down(self, name: str) -> None:
        """A node cannot be reached by one of the lines any more."""

    def pushed(self, source: str, raw: bytes) -> None:
        """A blob of another node, or of the transfer (empty ``source``)."""


class Me(Struct, frozen=True):
    """What a connector attaches as."""

    name: bytes
    boot: bytes


@implementer(ILogObserver)
class _Nobody:
    """Whom Twisted tells of every single attempt to connect."""

    def __call__(self, event: LogEvent) -> None:
        pass


class _Quiet(ClientService):
    """As Twisted's; what matters to an operator is told by ``Line``."""

    _log = Logger(observer=_Nobody())


class Line(Root):
    """Keeps a connector attached to one transfer; ``remote_…`` are called by the transfer."""

    takes: ClassVar[dict[bytes, tuple[type, ...]]] = {
        b"push": (bytes, bytes),
        b"peer": (bytes, bytes),
    }
    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        me: Me,
        owner: Owner,
        clock: IReactorTime,
        chance: Callable[[], float],
    ) -> None:
        #: The nodes that the transfer has told us of.
        self.peers: set[str] = set()
        self.is_attached = False
        self._me = me
        self._owner = owner
        self._clock = clock
        self._chance = chance
        self._attempts = 0
        self._was_replaced = False
        self._broker: Broker | None = None
        self._number = 0
        self._pings = LoopingCall(self._ping)
        self._pings.clock = clock
        factory = BrokerFactory(lambda: self, clock, dials=True)
        self._service: Any = _Quiet(endpoint, factory, self._pause, clock)

    # -- for the link

    def start(self) -> None:
        """Begin to connect."""
        self._service.startService()

    async def stop(self) -> None:
        """Send what was written, close, and connect no more."""
        stopping = self._service.stopService()
        timer = self._clock.callLater(GOODBYE_SECONDS, self._abort, "the link stops")
        try:
            await stopping
        finally:
            if timer.active():
                timer.cancel()

    async def forward(self, destination: str, raw: bytes) -> int:
        """Forward a blob.  Raises ``Gone`` if the line broke before it was answered."""
        if self._broker is None:
            raise Gone("not attached")
        return await self._broker.entrust(b"forward", destination.encode(), raw)

    # -- connecting

    def _pause(self, failed: int) -> float:
        # Twisted counts attempts that led to no connection; we, those that did not attach.
        if self._was_replaced:
            self._was_replaced = False
            longest = REPLACED_PAUSE
        else:
            longest = min(FIRST_PAUSE * GROWTH ** min(self._attempts, 100), LONGEST_PAUSE)
        self._attempts += 1
        return longest * (1 - self._chance() / 2)

    def ready(self, broker: Broker) -> None:
        """See ``Root``."""
        self._broker = broker
        spawn(self._attach(broker), self._log, "attaching")

    async def _attach(self, broker: Broker) -> None:
        try:
            answer = await broker.ask(b"attach", self._me.name, self._me.boot, VERSION)
        except Gone:
            return
        if answer != Answer.OK:
            self._log.error(
                "the transfer refuses us; is it of the same version, and is our certificate "
                "for this node?"
            )
            broker.abort("refused")
            return
        broker.admit()
        self._attempts = 0
        self.is_attached = True
        self._pings.start(PING_SECONDS, now=False)
        self._log.info("attached to a transfer; {peers} peers", peers=len(self.peers))
        self._owner.line_attached(self)

    def lost(self) -> None:
        """See ``Root``."""
        self._broker = None
        peers, self.peers = frozenset(self.peers), set()
        if self._pings.running:
            self._pings.stop()
        if self.is_attached:
            self.is_attached = False
            self._log.warn("a transfer is lost")
            self._owner.line_lost(peers)

    def _abort(self, reason: str) -> None:
        if self._broker is not None:
            self._broker.abort(reason)

    def _ping(self) -> None:
        if self._broker is not None:
            self._number += 1
            spawn(self._pinged(self._broker), self._log, "pinging")

    async def _pinged(self, broker: Broker) -> None:
        try:
            await broker.ask(b"ping", self._number)
        except Gone:
            # ``lost`` was called.
            return

    # -- called by the transfer

    def remote_push(self, source: bytes, raw: bytes) -> int:
        """A blob for us."""
        if len(raw) > blob.MOST_BYTES:
            raise Breach("the blob is too large")
        self._owner.pushed(_text(source), raw)
        return Answer.OK

    def remote_peer(self, event: bytes, name: bytes) -> int:
        """Another connector came or went, or took our place."""
        node = _text(name)
        match event:
            case b"up":
                self.peers.add(node)
            case b"down":
                self.down(node)
            case b"replaced":
                self._was_replaced = True
                self._log.error("another process attached as {node}", node=node)
            case _:
                raise Breach("no such event")
        return Answer.OK

    def down(self, node: str) -> None:
        """A node turned out to be gone; the owner hears of it once."""
        if node in self.peers:
            self.peers.remove(node)
            self._owner.peer_is_down(node)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Breach("not a name") from None
