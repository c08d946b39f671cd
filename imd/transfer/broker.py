"""Perspective Broker, held to what transfers and connectors have to say to each other.

Twisted's broker trusts its peer: an expression may grow without end, nest without end, name
any object and any class, and hears the text of our errors.  This one aborts the connection of
whoever says anything that is not in the conversation (see ``imd.transfer``).  Arguments are
checked before anything is done with them, and are never unjellied.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions
from zope.interface import implementer

from imd.errors import ImdError

#: Of this conversation; both sides have to have the same.
VERSION = 1
#: Bytes a connector may send before it has attached, and the seconds it has for that.
STRANGER_BYTES = 64 * 1024
STRANGER_SECONDS = 5.0
#: Bytes of one expression: a blob, two names, and change.
EXPRESSION_BYTES = 512 * 1024
#: Lists in lists, items of one list, and items of one expression.
DEPTH = 16
ITEMS = 32
#: Seconds for an answer.
ANSWER_SECONDS = 10.0
#: Answers that a peer may leave unread.
UNREAD_ANSWERS = 4096


class Answer(IntEnum):
    """What a call can be answered."""

    OK = 0
    #: There is no such connector, or it went away.
    UNKNOWN = 1
    #: Not done: another version, or a defect on the other side.
    REFUSED = 2


class Breach(ImdError):
    """The peer said something that is not in the conversation."""


class Gone(ImdError):
    """The peer does not answer (any more)."""


class Root(pb.Referenceable):
    """The one object of a connection that the peer can call; subclasses have ``remote_…``."""

    #: The methods, and the types of their arguments.
    takes: ClassVar[dict[bytes, tuple[type, ...]]]
    _log = Logger()

    def ready(self, broker: Broker) -> None:
        """The peer can be called."""

    def lost(self) -> None:
        """The peer cannot be called any more.  Follows every ``ready``, once."""

    def refused(self, reason: Failure) -> None:
        """The connection has ended before the peer could be called."""

    def remoteMessageReceived(self, broker: Broker, message: str, args: Any, kw: Any) -> Any:
        """Call a method with what ``Broker`` has checked; the peer never hears why it failed."""
        try:
            return getattr(self, f"remote_{message}")(*args[1:])
        except Breach as breach:
            broker.abort(str(breach))
        except Exception:
            self._log.failure("{message} failed", message=message)
        return Answer.REFUSED


class _Open(list[Any]):
    """Banana's stack of unfinished lists, with an end to it."""

    def append(self, opened: Any) -> None:
        if len(self) >= DEPTH or opened[0] > ITEMS:
            raise Breach("a list is too long, or too deep")
        super().append(opened)


#: Twisted declares no types here.
_Broker: Any = pb.Broker


@implementer(IHandshakeListener)
class Broker(_Broker):  # type: ignore[misc]
    """One connection.  Names in camelCase are called by Twisted."""

    _log = Logger()
    transport: Any
    factory: BrokerFactory

    def __init__(self, factory: BrokerFactory, root: Root) -> None:
        super().__init__(isClient=factory.dials, security=SecurityOptions())
        self.factory = factory
        self.listStack = _Open()
        self.setNameForLocal("root", root)
        #: When the peer last sent something, by the clock of the factory.
        self.heard = factory.clock.seconds()
        #: The nodes of which the peer has proved to be one; none: any.
        self._names: frozenset[str] = frozenset()
        self._root = root
        self._peer = self.remoteForName("root")
        self._known = factory.dials
        self._is_ready = False
        self._is_over = False
        self._dropped: str | None = None
        self._unfinished = 0
        self._items = 0
        self._unread: int | None = None

    # -- for our own side

    async def ask(self, method: bytes, *args: bytes | int) -> int:
        """Call the peer.  Raises ``Gone``, and gives the connection up, after 10 seconds."""
        calling = self._call(method, args).addTimeout(ANSWER_SECONDS, self.factory.clock)
        try:
            return await _answer_to(calling)
        except TimeoutError:
            self.abort(f"no answer to {method.decode()} in {ANSWER_SECONDS:.0f} s")
            raise Gone("no answer") from None

    async def entrust(self, method: bytes, *args: bytes | int) -> int:
        """Call the peer for something that others have to do: it lives, however long they take.

        Raises ``Gone`` when the connection breaks.
        """
        return await _answer_to(self._call(method, args))

    def _call(self, method: bytes, args: tuple[bytes | int, ...]) -> Deferred[int]:
        if self._is_over:
            raise Gone("the connection is closed")
        calling: Deferred[int] = self._peer.callRemote(method, *args)
        return calling

    def admit(self) -> None:
        """The peer has attached, or we to it."""
        self._known = True
        self._forget()

    def abort(self, reason: str) -> None:
        """Drop the connection, and whatever is on its way."""
        if not self._is_over:
            peer = self.transport.getPeer()
            self._log.warn("dropping {peer}: {reason}", peer=peer, reason=reason)
            self._dropped = reason
            self._leave()
            self.transport.abortConnection()

    def _leave(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._forget()
        if self._is_ready:
            self._root.lost()

    def _forget(self) -> None:
        """This is no stranger (any more)."""
        self.factory.strangers.discard(self)
        if self._give_up.active():
            self._give_up.cancel()

    # -- the connection comes and goes

    def connectionMade(self) -> None:
        """Bytes can flow.  Over TLS the peer has proved nothing yet."""
        self._give_up = self.factory.clock.callLater(
            STRANGER_SECONDS, self.abort, f"not attached in {STRANGER_SECONDS:.0f} s"
        )
        if isinstance(self.transport.getHost(), IPv4Address | IPv6Address):
            self.transport.setTcpNoDelay(True)
        if self.factory.proves is None:
            self._begin()

    def handshakeCompleted(self) -> None:
        """TLS is there, and with it the name of the peer."""
        if self.factory.proves is None:
            return
        names = self.factory.proves(self.transport)
        if names is None:
            self.abort("its certificate is for another role")
        else:
            self._names = names
            self._begin()

    def may_be(self, node: bytes) -> bool:
        """Whether the peer has not proved to be another node; what follows a # it may choose."""
        plain = node.partition(b"#")[0].decode(errors="replace").lower()
        return not self._names or plain in self._names

    def _begin(self) -> None:
        if not self.factory.dials:
            self.transport.registerProducer(self, True)
        super().connectionMade()

    def connectionReady(self) -> None:
        """Both sides have agreed to speak."""
        super().connectionReady()
        self._is_ready = True
        self._root.ready(self)

    def connectionLost(self, reason: Failure) -> None:
        """It is over; every call that waits fails."""
        if not (self._is_ready or self._is_over):
            # Most of the time TLS: one of the two did not like the other's certificate.
            peer, why = self.transport.getPeer(), reason.getErrorMessage()
            self._log.warn("{peer} left before it began: {reason}", peer=peer, reason=why)
        self._leave()
        super().connectionLost(reason)
        if not self._is_ready:
            self._root.refused(reason if self._dropped is None else Failure(Gone(self._dropped)))

    # -- what the peer says

    def dataReceived(self, chunk: bytes) -> None:
        """As Banana's, within bounds."""
        if self._is_over:
            return
        self.heard = self.factory.clock.seconds()
        self._unfinished += len(chunk)
        try:
            if self._unfinished > (EXPRESSION_BYTES if self._known else STRANGER_BYTES):
                raise Breach("too many bytes")
            super().dataReceived(chunk)
        except Breach as breach:
            self.abort(str(breach))
        except Exception as error:
            # Twisted raises a dozen things at bytes that it does not like.
            self.abort(f"not Perspective Broker: {type(error).__name__}")
        if self._is_over:
            # The collector may take its time with the rest.
            self.buffer = b""
            self.listStack.clear()

    def gotItem(self, item: Any) -> None:
        """An item of an expression."""
        self._items += 1
        if self._items > ITEMS:
            raise Breach("too many items")
        super().gotItem(item)

    def callExpressionReceived(self, obj: Any) -> None:
        """A whole expression."""
        if self._is_over:
            raise Breach("it was dropped")
        self._items = 0
        if self._known:
            self._unfinished = 0
        offered = obj if self.isClient else [obj]
        if self.currentDialect is None and not (isinstance(offered, list) and b"pb" in offered):
            raise Breach("another dialect")
        super().callExpressionReceived(obj)

    def expressionReceived(self, sexp: Any) -> None:
        """The whole grammar, in either direction."""
        match sexp:
            case [b"message", int(), b"root", bytes(name), 1, [b"tuple", *args], [b"dictionary"]]:
                self._check(name, args)
            case [b"answer", int(request), int()] if request in self.waitingForAnswers:
                pass
            case [b"version", self.version]:
                pass
            case _:
                raise Breach("an expression out of place")
        super().expressionReceived(sexp)

    def _check(self, name: bytes, args: list[Any]) -> None:
        if self._root.takes.get(name) != tuple(map(type, args)):
            raise Breach("no such call")
        if not self._known and name != b"attach":
            raise Breach("a call before attach")

    # -- what we answer

    def pauseProducing(self) -> None:
        """The peer does not read."""
        self._unread = 0

    def resumeProducing(self) -> None:
        """It reads again."""
        self._unread = None

    def _sendAnswer(self, netResult: Any, requestID: int) -> None:
        if self._is_over:
            return
        if self._unread is not None:
            self._unread += 1
            if self._unread > UNREAD_ANSWERS:
                self.abort("it does not read its answers")
                return
        super()._sendAnswer(int(netResult), requestID)

    def _sendError(self, fail: Any, requestID: int) -> None:
        # What failed is our own affair.
        self.abort("a call failed")


async def _answer_to(calling: Deferred[int]) -> int:
    try:
        return await calling
    except pb.PBConnectionLost:
        raise Gone("the connection was lost") from None


Proves = Callable[[Any], frozenset[str] | None]


class BrokerFactory(Factory):
    """Makes the brokers of one side: ``dials`` is true at a connector.

    ``proves`` looks at a transport whose TLS handshake is complete, and returns the nodes of which
    the peer may be one (none: any), or None for a peer of another role.  It is None where there
    is no TLS or where that was checked already.  At most ``most_strangers`` may be connected that
    have not attached.
    """

    noisy = False
    #: Asked for by ``pb.Broker``.
    unsafeTracebacks = False

    def __init__(
        self,
        root: Callable[[], Root],
        clock: IReactorTime,
        *,
        dials: bool,
        proves: Proves | None = None,
        most_strangers: int = 256,
    ) -> None:
        self.clock = clock
        self.dials = dials
        self.proves = proves
        self.strangers: set[Broker] = set()
        self._root = root
        self._most_strangers = most_strangers

    def buildProtocol(self, addr: Any) -> Any:
        """A broker with a root of its own; None, which closes the socket, if there are too many."""
        if len(self.strangers) >= self._most_strangers:
            return None
        broker = Broker(self, self._root())
        self.strangers.add(broker)
        return broker

    def clientConnectionMade(self, broker: Broker) -> None:
        """Asked for by ``pb.Broker``."""
