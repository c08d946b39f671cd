"""The client that programs use: callbacks for what comes, methods for what goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from imd import __version__, decoding, wire
from imd.client import effects, system
from imd.client.connection import endpoint_of
from imd.client.conversations import Repair, received
from imd.client.errors import Disconnected, Refused
from imd.client.exchange import Exchange
from imd.client.files import Files
from imd.client.friends import Friends
from imd.client.inbox import Inbox, call_back
from imd.client.installation import Options
from imd.client.link import Link, Surroundings
from imd.client.login import Login
from imd.client.results import Results
from imd.client.store import ClientStore, MemoryStore, SqliteStore
from imd.client.values import Conversation, Kind, Message, Sent
from imd.errors import Code

F = TypeVar("F", bound=Callable[..., Any])

#: Calls at work at once; the server takes 8 requests, some of which repair the log.
CALLS = 4


class Client:
    """A user's client: stays connected, loses nothing, shows nothing twice.

    Register callbacks with ``on_message``, ``on_receipt``, ``on_event`` and ``on_state``; each
    may be a plain function, or ``async``.  ``start`` connects; ``ready`` tells when it is.

    A message counts as delivered when its callback has finished and that is stored.  If the
    program dies before, the callback is called again at the next start: with a durable store
    every message is handled *at least once*.  Messages of one conversation are handled one
    after the other.  A callback that raises is logged, and not called again.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        *,
        token: str | None = None,
        store: str | ClientStore | None = None,
        register: bool = False,
        device: str = "python",
        own: bool = False,
        mark_delay: float = 0.2,
        mark_stored: bool = False,
        tail: int = 20,
        ca: str | None = None,
        endpoint: IStreamClientEndpoint | None = None,
        reactor: Any = None,
        wall_ms: Callable[[], int] = system.wall_ms,
        chance: Callable[[], float] = system.chance,
        new_id: Callable[[], str] = system.new_id,
    ) -> None:
        """Prepare a client; nothing is connected before ``start``.

        - ``url``: ``ws://HOST:PORT/ws`` or ``wss://…``, where ``ca`` may name a PEM file with
          the authorities to trust; ``endpoint`` connects elsewhere (a socket, a proxy);
        - ``user`` and ``password`` are needed until the store has a token; ``register``
          makes the account where there is none;
        - ``store``: the path of a file, a store, or None to remember nothing after the end;
        - ``own``: call ``on_message`` for my own messages, too;
        - ``mark_delay``: seconds that a delivery mark may wait for others; ``mark_stored``:
          mark what is stored without waiting for the callback (for programs with a display);
        - ``reactor``: its ``seconds`` should be monotonic, which ``run`` sees to.

        Raises ``ValueError`` for a bad URL and ``StoreError`` for a file that is no store.
        """
        reactor = reactor or system.default_reactor()
        around = Surroundings(reactor, endpoint or endpoint_of(url, reactor, ca), wall_ms, chance)
        login = Login(user, password, token, device, register, f"imd-python/{__version__}")
        repair = Repair(mark_delay=mark_delay, mark_stored=mark_stored)
        self.reactor = reactor
        self.store = _opened(store)
        self._link = Link(url, around, self.store, login, Options(tail, repair), self)
        self._new_id = new_id
        self._wall_ms = wall_ms
        self._own = own
        #: Why the client stopped by itself: LoginFailed, StoreError; None while it has not.
        self.failure: Exception | None = None
        #: ``new``, ``connecting``, ``ready``, ``waiting`` (to connect again) or ``stopped``.
        self.state = "new"
        self.friends = Friends(self)
        exchange = Exchange(url, around.endpoint, reactor, lambda: self._link.rules.token, chance)
        self.files = Files(self, exchange, lambda: self._link.file_bytes)
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._inbox = Inbox(self._wanted, self._handled)
        self._results = Results()
        self._free = DeferredSemaphore(CALLS)
        self._finished: list[Deferred[None]] = []

    # -- callbacks

    def on_message(self, callback: F) -> F:
        """``callback(message)`` for every message, in the order of its conversation."""
        self._inbox.callback = callback
        return callback

    def on_receipt(self, callback: F) -> F:
        """``callback(receipt)``: a member's ``delivered`` or ``read`` grew (``ReceiptChanged``)."""
        return self._on("receipt", callback)

    def on_event(self, callback: F) -> F:
        """``callback(name, data)`` for ``friend.requested`` and the like (protocol §3)."""
        return self._on("event", callback)

    def on_state(self, callback: F) -> F:
        """``callback(state)`` whenever ``state`` changes."""
        return self._on("state", callback)

    def on_withdrawn(self, callback: F) -> F:
        """``callback(withdrawn)``: the server was restored, messages are gone (``Withdrawn``)."""
        return self._on("withdrawn", callback)

    def _on(self, name: str, callback: F) -> F:
        self._callbacks[name] = callback
        return callback

    # -- life

    def start(self) -> None:
        """Connect, and stay connected; once.  Messages that were not handled yet come first."""
        self._set_state("connecting")
        self._link.start()
        for conversation in self.conversations.values():
            for message in self.store.messages(conversation.id, conversation.handled):
                self._inbox.put(message)

    async def stop(self) -> None:
        """Close the connection and the store.  What is pending goes out at the next start."""
        if self.state == "stopped":
            return
        self._inbox.stop()
        self._results.fail(Disconnected("the client was stopped"))
        self._set_state("stopped")
        await self._link.stop()
        self._finish()

    def _finish(self) -> None:
        self.store.close()
        finished, self._finished = self._finished, []
        for done in finished:
            done.callback(None)

    def finished(self) -> Deferred[None]:
        """Fires when the client has stopped, by ``stop`` or by itself (see ``failure``)."""
        done: Deferred[None] = Deferred()
        self._finished.append(done)
        return done

    def ready(self) -> Deferred[None]:
        """Fires when the client is connected and knows all conversations.

        Fails with ``LoginFailed`` if the server does not let us in, with ``Disconnected`` if
        the client is stopped before.
        """
        done: Deferred[None] = Deferred()
        if self.state == "ready":
            done.callback(None)
        elif self.state == "stopped":
            done.errback(self.failure or Disconnected("the client was stopped"))
        else:
            self._results.ready(done)
        return done

    # -- sending

    def send(self, conversation: int, text: str, *, id: str | None = None) -> Deferred[Sent]:
        """Send a text.  It is on its way even if nobody waits for the result.

        The result comes when the server has committed it, however many reconnects that takes;
        ``Refused`` if it never will, ``Disconnected`` if the client is stopped before.
        """
        return self._send(conversation, "text", wire.encode(wire.TextBody(text)), id)

    def send_file(
        self, conversation: int, file: wire.FileBody | str | PathLike[str], *, id: str | None = None
    ) -> Deferred[Sent]:
        """Send a file that ``files.upload`` brought, or upload it first; otherwise as ``send``.

        Only a file that was brought is in the outbox: an upload ends with the program.
        """
        if isinstance(file, wire.FileBody):
            return self._send(conversation, "file", wire.encode(file), id)
        uploading = Deferred.fromCoroutine(self.files.upload(file))
        return uploading.addCallback(lambda body: self.send_file(conversation, body, id=id))

    async def fetch_file(self, message: Message, path: str | PathLike[str]) -> None:
        """Download the file of a message; see ``files.fetch``."""
        await self.files.fetch(decoding.decode_file(message.body), path)

    def reply(self, message: Message, text: str, n: int = 0) -> Deferred[Sent]:
        """Send the ``n``-th answer to ``message``; repeated, it is still one message.

        So a callback that is called again after a crash does not answer twice.
        """
        return self.send(message.conversation, text, id=system.reply_id(message.id, n))

    def _send(self, conversation: int, kind: Kind, body: bytes, id: str | None) -> Deferred[Sent]:
        result: Deferred[Sent] = Deferred()
        if b"\\u0000" in body:
            result.errback(Refused(Code.BAD_REQUEST, "NUL in the text"))
            return result
        if self.state == "stopped":
            result.errback(self.failure or Disconnected("the client was stopped"))
            return result
        # The log has ids in lower case, and an ``ack`` the spelling of the ``send``.
        id = id.lower() if id else self._new_id()
        self._results.sent(id, result)
        rules = self._link.touched()
        rules.send(id, conversation, kind, body, self._link.now, self._wall_ms())
        return result

    # -- reading

    @property
    def me(self) -> int:
        """My user id; 0 before the first login."""
        return self._link.rules.account.user

    @property
    def name(self) -> str:
        """My name; empty before the first login."""
        return self._link.rules.account.name

    @property
    def conversations(self) -> Mapping[int, Conversation]:
        """All my conversations by id, with their members and cursors; to be read only."""
        return self._link.rules.conversations

    @property
    def file_bytes(self) -> int:
        """The most bytes of a file that the server takes; 0 before it was reached."""
        return self._link.file_bytes

    @property
    def pending(self) -> int:
        """How many of my messages are not acknowledged yet."""
        return self._link.rules.pending

    def conversation_with(self, user: int | str) -> int | None:
        """The direct conversation with a user, by id or name; None if there is none."""
        for conversation in self.conversations.values():
            if conversation.kind == "direct":
                for peer in conversation.peers:
                    if user in (peer.user, peer.name):
                        return conversation.id
        return None

    def status(self, sent: Sent | Message) -> str:
        """How far a message of mine got: ``sent``, ``delivered`` or ``read`` by all others."""
        conversation = self.conversations.get(sent.conversation)
        peers = () if conversation is None else conversation.peers
        if peers and all(peer.read >= sent.seq for peer in peers):
            return "read"
        if peers and all(peer.delivered >= sent.seq for peer in peers):
            return "delivered"
        return "sent"

    def read(self, message: Message) -> None:
        """Tell the others that I have seen ``message`` and all before it."""
        self._link.touched().displayed(message.conversation, message.seq, self._link.now)

    async def history(
        self, conversation: int, before: int | None = None, limit: int = 50
    ) -> Sequence[Message]:
        """Up to ``limit`` (at most 200) messages with a seq below ``before``, ascending.

        They are read from the server, and not stored.  Raises as ``call`` does.
        """

        def ask(now: float) -> int:
            return self._link.touched().history(conversation, before, limit, now)

        frame = await self._ask(ask)
        return [received(frame.conversation, item) for item in frame.items]

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the server (protocol §7), once connected.

        Raises ``Refused``; ``Disconnected`` if the answer did not come, so that nobody knows
        whether the call was carried out; ``LoginFailed`` as ``ready`` does.
        """
        body = msgspec.json.encode(params) if params else None
        frame = await self._ask(lambda now: self._link.touched().call(method, body, now))
        return frame.data

    async def _ask(self, ask: Callable[[float], int]) -> Any:
        await self._free.acquire()
        try:
            await self.ready()
            return await self._results.called(ask(self._link.now))
        finally:
            # In a turn of its own: once the client has failed all that wait fail at once, and
            # would be a stack as deep as they are many.
            self.reactor.callLater(0, self._free.release)

    # -- Application

    def told(self, notice: effects.Notice) -> None:
        """See ``imd.client.link.Application``."""
        tell = _TELL.get(type(notice))
        if tell is not None:
            tell(self, notice)

    def disconnected(self, after: float) -> None:
        """See ``imd.client.link.Application``."""
        self._set_state("waiting")
        self._results.fail_calls(Disconnected("the connection ended before the answer came"))

    def failed(self, error: Exception) -> None:
        """See ``imd.client.link.Application``."""
        self.failure = error
        self._log.error("the client has stopped: {error}", error=error)
        self._inbox.stop()
        self._results.fail(error)
        self._set_state("stopped")
        self._finish()

    def _synced(self, notice: effects.Synced) -> None:
        self._set_state("ready")
        self._results.synced()

    def _receipt(self, notice: effects.ReceiptChanged) -> None:
        self._tell("receipt", notice)

    def _hinted(self, notice: effects.Hinted) -> None:
        self._tell("event", notice.name, notice.data)

    def _withdrawn(self, notice: effects.Withdrawn) -> None:
        self._tell("withdrawn", notice)

    def _set_state(self, state: str) -> None:
        if state != self.state and self.state != "stopped":
            self.state = state
            self._tell("state", state)

    def _tell(self, name: str, *args: Any) -> None:
        callback = self._callbacks.get(name)
        if callback is not None:
            Deferred.fromCoroutine(call_back(callback, *args))

    def _deliver(self, notice: effects.Deliver) -> None:
        self._inbox.put(notice.message)

    def _wanted(self, message: Message) -> bool:
        return self._own or message.sender != self.me

    def _handled(self, message: Message) -> None:
        self._link.touched().handled(message, self._link.now)


def _opened(store: str | ClientStore | None) -> ClientStore:
    if store is None:
        return MemoryStore()
    return SqliteStore(store) if isinstance(store, str) else store


_TELL: dict[type[Any], Callable[[Client, Any], None]] = {
    effects.Synced: Client._synced,
    effects.Deliver: Client._deliver,
    effects.Acked: lambda client, notice: client._results.acked(notice),
    effects.SendRefused: lambda client, notice: client._results.refused(notice),
    effects.Answered: lambda client, notice: client._results.answered(notice),
    effects.ReceiptChanged: Client._receipt,
    effects.Hinted: Client._hinted,
    effects.Withdrawn: Client._withdrawn,
}
