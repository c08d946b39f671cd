"""The application of one process in memory, and small stand-ins for what lies around it.

Everything is real from ``Hub`` down to SQLite, but nothing happens by itself: time is a
``task.Clock``, storage does as it is told, and a client is a list of what it heard.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.accounts import Accounts
from imd.auth.password import Passwords
from imd.connector.hub import Hub
from imd.delivery import Delivery
from imd.errors import Close, Unavailable
from imd.friends import Friends
from imd.interfaces.passwords import Checker
from imd.limits import Limits
from imd.logins import Logins
from imd.messaging import Messaging
from imd.model import Identity, User
from imd.online import Online
from imd.registry import Registry
from imd.routing import Routing
from imd.sources import Rates
from imd.status.memory import Board, MemoryUserStatus
from tests.directories import directory
from tests.inline import open_storage

Frame = dict[str, Any]
WALL = 1_790_000_000_000
DAY = 86_400_000


class Told:
    """A port that does as it is told: it counts its calls, holds them back, or fails."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self._waiting: list[Deferred[None]] = []
        self._faults: dict[str, list[Exception]] = {}
        #: Names of methods whose calls wait for ``answer``.
        self.held: set[str] = set()
        #: Name and positional arguments of every call.
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args))
            if name in self.held:
                waiter: Deferred[None] = Deferred()
                self._waiting.append(waiter)
                await waiter
            if self._faults.get(name):
                raise self._faults[name].pop(0)
            return await getattr(self._port, name)(*args, **kwargs)

        return call

    def fail(self, name: str, times: int = 1, error: Exception | None = None) -> None:
        """Let the next calls fail, as a rule because the engine is away."""
        self._faults[name] = [error or Unavailable("away")] * times

    def answer(self, count: int = 1) -> None:
        """Let the calls that have waited longest go on."""
        waiting, self._waiting = self._waiting[:count], self._waiting[count:]
        for waiter in waiting:
            waiter.callback(None)

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    def count(self, name: str) -> int:
        """How often a method was called."""
        return sum(called == name for called, _ in self.calls)


class Listener:
    """A live session that writes down what it is told."""

    def __init__(self, user: int, device: int = 1, session: int = 1) -> None:
        self.identity = Identity(User(user, f"user{user}"), device, session)
        self.pushed: list[Frame] = []
        self.notified: list[Frame] = []
        self.settled: list[Frame] = []
        self.closed: Close | None = None
        self.gone = False
        self.on_settle: Callable[[], None] = lambda: None

    def push(self, conversation: int, frame: bytes) -> None:
        self.pushed.append(json.loads(frame))

    def notify(self, frame: bytes) -> None:
        self.notified.append(json.loads(frame))

    def settle(self, frame: bytes) -> None:
        self.settled.append(json.loads(frame))
        self.on_settle()

    def close(self, code: Close, reason: str) -> None:
        self.closed = code


class InlinePool:
    """Hashes at once; counts what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.calls.append(call.__name__)
        return succeed(call(*args))


class Sources:
    """Ids and tokens that count upwards, and a wall clock that is set by hand."""

    def __init__(self) -> None:
        self.ids = itertools.count(1000)
        self.now = WALL

    def now_ms(self) -> int:
        return self.now

    def new_id(self) -> int:
        return next(self.ids)

    def new_token(self) -> str:
        return f"token-{next(self.ids)}"


class Wire:
    """The socket below a connection, and what went over it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.frames: list[Frame] = []
        self.closed: int | None = None
        self.reading = True
        self.large = False
        self.fault: Exception | None = None

    def transmit(self, payload: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.messages.append(payload)
        message = json.loads(payload)
        self.frames += message if isinstance(message, list) else [message]

    def disconnect(self, code: int, reason: str) -> None:
        self.closed = int(code)

    def set_reading(self, reading: bool) -> None:
        self.reading = reading

    def opened(self) -> None:
        self.large = True


class Client:
    """A client on a ``Wire``."""

    def __init__(self, app: Application, address: str) -> None:
        self._app = app
        self.wire = Wire()
        self.connection = app.hub.open(self.wire, address)
        self.welcome: Frame = {}

    def say(self, *frames: Frame | str) -> None:
        """Each frame in a message of its own; then the turn of the reactor ends."""
        for frame in frames:
            raw = frame if isinstance(frame, str) else json.dumps(frame, separators=(",", ":"))
            self.connection.received(raw.encode())
        self._app.turn()

    def text(self, conversation: int, text: str = "hi", id: str | None = None) -> str:
        """Send a text; its id."""
        id = id or str(uuid.uuid4())
        self.say(send(conversation, text, id))
        return id

    def call(self, method: str, **params: Any) -> Frame:
        """The ``result`` or ``error`` of a call."""
        self.take()
        self.say({"type": "call", "req": 9, "method": method, "params": params})
        (answer,) = (f for f in self.take() if f.get("req") == 9)
        return answer

    def take(self, *kinds: str) -> list[Frame]:
        """What came since the last time, of these types or of all; the rest is forgotten."""
        self._app.turn()
        frames, self.wire.frames = self.wire.frames, []
        return [frame for frame in frames if not kinds or frame["type"] in kinds]

    def gone(self) -> None:
        """The connection breaks."""
        self.connection.lost()
        self._app.turn()


def send(conversation: int, text: str = "hi", id: str | None = None) -> Frame:
    """A ``send`` frame with a text."""
    frame = {"type": "send", "id": id or str(uuid.uuid4()), "conv": conversation}
    return frame | {"kind": "text", "body": {"text": text}}


class Application:
    """One process without a network."""

    def __init__(
        self,
        test: SynchronousTestCase,
        limits: Limits | None = None,
        checkers: Sequence[Checker] = (),
        own: bool = True,
    ) -> None:
        self._test = test
        self.limits = limits = limits or Limits()
        self.clock = clock = Clock()
        self.sources = sources = Sources()
        self.pool = InlinePool()
        self.passwords = Passwords(self.pool, 8, 1)
        sqlite = open_storage(directory(test))
        test.addCleanup(sqlite.close)
        self.storage = storage = Told(sqlite)
        self.board = Board()
        self.status = Told(MemoryUserStatus("here", clock, self.board))
        self.registry = registry = Registry()
        routing = Routing(Delivery(registry))
        online = Online("here", registry, self.status, routing)
        self.messaging = Messaging(
            storage, routing, clock, sources.now_ms, limits, outranked=online.outranked
        )
        self.friends = Friends(storage, routing, self.messaging.covered, clock, sources, limits)
        #: Methods that are carried out elsewhere.
        self.others: dict[str, Any] = {}
        logins = Logins(storage, self.passwords, sources, checkers, own)
        self.accounts = Accounts(
            storage, logins, self.friends, routing, clock, sources, limits, self.others
        )
        self.hub = Hub(
            accounts=self.accounts,
            messaging=self.messaging,
            online=online,
            rates=Rates(limits),
            limits=limits,
            clock=clock,
            now_ms=sources.now_ms,
            fraction=lambda: 0.5,
        )

    def turn(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(20):
            self.clock.advance(0)

    def pass_seconds(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass for the connections too."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.hub._tick()

    def do(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine that waits for nothing."""
        return self._test.successResultOf(Deferred.fromCoroutine(coro))

    def refusal(self, coro: Coroutine[Any, Any, Any], *errors: type[Exception]) -> Any:
        """The error of a coroutine that waits for nothing."""
        return self._test.failureResultOf(Deferred.fromCoroutine(coro), *errors).value

    def connect(self, address: str = "127.0.0.1") -> Client:
        """A client that has said nothing."""
        return Client(self, address)

    def login(self, name: str, register: bool = True, **fields: Any) -> Client:
        """A client that is logged in by password, and has heard its heads."""
        client = self.connect(fields.pop("address", "127.0.0.1"))
        hello = {"type": "hello", "req": 1, "user": name, "password": "secret", "device": "d"}
        client.say(hello | ({"register": True} if register else {}) | fields)
        (client.welcome,) = client.take("welcome")
        return client

    def resume(self, token: str, **fields: Any) -> Client:
        """A client that says hello with a token."""
        client = self.connect()
        client.say({"type": "hello", "req": 1, "token": token} | fields)
        return client

    def befriend(self, one: Client, other: Client) -> int:
        """Make friends; their conversation."""
        one.call("friend.add", user=other.welcome["user"]["id"])
        accepted = other.call("friend.accept", user=one.welcome["user"]["id"])
        one.take()
        conversation: int = accepted["data"]["conv"]
        return conversation

    def pair(self) -> tuple[Client, Client, int]:
        """Alice and Bob, and their conversation."""
        alice, bob = self.login("alice"), self.login("bob")
        return alice, bob, self.befriend(alice, bob)
