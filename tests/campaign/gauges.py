"""What a server holds, looked at from within: whether everything stays below its limit.

``watch`` runs in the process of the server and writes a line for each look.  Objects are found
by the collector and not by way of the hub, so what was forgotten there is counted as well.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from imd.connector.connection import Connection
from imd.connector.hub import Hub
from imd.connector.websocket import ClientProtocol
from imd.limits import Limits
from imd.marks import MAX_WAITING, Marks
from imd.messaging import Messaging
from imd.session import MOST_EARLY, Session
from imd.sweep import MAX_STRAYS, Sweep
from imd.transfer import backlog
from imd.transfer.broker import Broker
from tests.campaign.evidence import Gauge

#: Seconds between two looks.
EVERY = 2.0
#: Bytes for a client that are not on their way: what one read of its socket may cause.
UNSENT = 4 * 1024 * 1024
#: Conversations that a session is behind in, at most those of its user.
DIRTY = 1000
#: Calls of a broker without an answer: blobs of a few peers, a ping, an attach.
UNANSWERED = 32
#: Deferreds that wait: of each connection (a request that waits is a chain of half a dozen), and
#: of everything else.  One for each message would be found.
DEFERREDS_EACH, DEFERREDS = 16, 400

Found = Mapping[type[Any], list[Any]]


def watch(path: str, reactor: Any) -> None:
    """Look now and then, from the start of the reactor on."""
    looking = LoopingCall(_note, Path(path))
    looking.clock = reactor
    reactor.callWhenRunning(looking.start, EVERY)


def _note(path: Path) -> None:
    line = msgspec.json.encode(look())
    with path.open("ab") as file:
        file.write(line + b"\n")


def read(path: Path) -> list[Gauge]:
    """All looks; the last line may be torn, if the process was killed in the midst of it."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    decode = msgspec.json.Decoder(list[Gauge]).decode
    return [gauge for line in whole.splitlines() for gauge in decode(line)]


def look() -> list[Gauge]:
    """The largest of each thing."""
    found: dict[type[Any], list[Any]] = {type_: [] for type_ in (*_LOOKS, Hub, Deferred)}
    for thing in gc.get_objects():
        if type(thing) in found:
            found[type(thing)].append(thing)
    limits = found[Hub][0].limits if found[Hub] else Limits()
    greatest: Counter[tuple[str, int]] = Counter()
    for type_, measure in _LOOKS.items():
        for thing in found[type_]:
            for name, value, limit in measure(thing, limits):
                greatest[name, limit] = max(greatest[name, limit], value)
    gauges = [Gauge(name, value, limit) for (name, limit), value in greatest.items()]
    return [*gauges, *_leaks(found)]


def _leaks(found: Found) -> Iterator[Gauge]:
    connections = len(found[Connection])
    waiting = sum(not each.called for each in found[Deferred])
    yield Gauge("deferreds", waiting, DEFERREDS + DEFERREDS_EACH * connections)
    # Those that are gone may wait for the collector, not for good.
    known = sum(map(len, found[Hub]))
    yield Gauge("connections that the hub has forgotten", connections - known, 200 + known)


Measures = Iterable[tuple[str, int, int]]


def _session(session: Any, limits: Limits) -> Measures:
    yield "messages in flight of a session", session._inflight, limits.inflight
    yield "requests of a session", session._requests, limits.fetches
    yield "conversations to refresh of a session", len(session._dirty or ()), DIRTY
    yield "early hints of a session", len(session._early), MOST_EARLY


def _connection(connection: Any, limits: Limits) -> Measures:
    # What one read brings: two messages at most, each of one frame for two bytes or more.
    yield "frames that wait", len(connection._inbox or ()), 2 * limits.frame_bytes
    yield "bytes to flush", sum(map(len, connection._out or ())), UNSENT


def _client(protocol: Any, limits: Limits) -> Measures:
    transport = protocol.transport
    size = getattr(transport, "_tempDataLen", 0) + len(getattr(transport, "dataBuffer", b""))
    yield "bytes unsent to a client", size, UNSENT


def _messaging(messaging: Any, limits: Limits) -> Measures:
    yield "messages in lanes", sum(map(len, messaging.lanes)), limits.pending
    yield "syncs that wait", len(messaging._syncs.waiting), limits.connections
    yield "connections that wait for room", len(messaging._waiting_for_room), limits.connections


def _marks(marks: Any, limits: Limits) -> Measures:
    # As many may be on their way into storage as wait.
    yield "marks", len(marks), 2 * MAX_WAITING


def _sweep(sweep: Any, limits: Limits) -> Measures:
    yield "strays", len(sweep._strays), MAX_STRAYS


def _backlog(queue: Any, limits: Limits) -> Measures:
    yield "bytes in a backlog", queue._bytes, backlog.MOST_BYTES
    yield "hints in a backlog", len(queue._items), queue._most_items
    yield "blobs on their way", queue.flying, backlog.MOST_FLYING


def _broker(broker: Any, limits: Limits) -> Measures:
    # Twisted leaves None there when the connection is lost.
    yield "calls without an answer", len(broker.waitingForAnswers or ()), UNANSWERED


_LOOKS: dict[type[Any], Callable[[Any, Limits], Measures]] = {
    Session: _session,
    Connection: _connection,
    ClientProtocol: _client,
    Messaging: _messaging,
    Marks: _marks,
    Sweep: _sweep,
    backlog.Backlog: _backlog,
    Broker: _broker,
}
