"""Parts of several nodes in memory: a feed, devices, and what a transfer was given."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.cluster import Cluster
from imd.hints import AnyHint, Push
from imd.interfaces.feed import FeedHead, FeedPage
from imd.interfaces.nodes import Arrivals
from imd.model import Cursor, CursorChange, Device, User
from imd.registry import Registry
from imd.status.memory import Board, MemoryUserStatus
from imd.transfer.local import Hall, LocalTransfer
from tests.application import Listener, Told


class MemoryFeed:
    """``imd.interfaces.feed.Feed``: a list of entries; a token is the number of those before it."""

    def __init__(self) -> None:
        self.entries: list[FeedHead | CursorChange | int] = []
        #: Entries before this are forgotten.
        self.floor = 0
        #: Entries in one page.
        self.most = 1000
        self.purges = 0

    def head(self, conversation: int, last: int, *members: int) -> None:
        """A conversation has messages up to ``last``."""
        self.entries.append(FeedHead(conversation, last, members))

    def cursor(self, conversation: int, user: int, to: tuple[int, int], *members: int) -> None:
        """A user got so far."""
        self.entries.append(CursorChange(Cursor(conversation, user, *to), members))

    async def feed(self, since: str | None) -> FeedPage:
        begin, _, end = (since or "").partition("-")
        last = int(end or len(self.entries))
        first = last if since is None else int(begin)
        cut = min(first + self.most, last)
        new = self.entries[first:cut]
        return FeedPage(
            tuple(entry for entry in new if isinstance(entry, FeedHead)),
            tuple(entry for entry in new if isinstance(entry, CursorChange)),
            tuple(entry for entry in new if isinstance(entry, int)),
            str(len(self.entries)),
            since is None or first >= self.floor,
            None if cut == last else f"{cut}-{last}",
        )

    async def purge(self) -> None:
        self.purges += 1


class MemoryDevices:
    """What a sweep asks of ``AccountStorage``."""

    def __init__(self) -> None:
        self.of: dict[int, list[int]] = {}
        self.disabled: set[int] = set()

    async def find_user(self, user: int) -> User:
        return User(user, f"user{user}", disabled=user in self.disabled)

    async def devices(self, user: int) -> tuple[Device, ...]:
        return tuple(Device(id, user, "", 1, 1) for id in self.of.get(user, ()))


class Post:
    """``imd.interfaces.nodes.Transfer`` that keeps what it is given."""

    def __init__(self) -> None:
        self.attached = True
        self.reached: set[str] = set()
        self.sent: list[tuple[str | None, AnyHint]] = []

    def reaches(self, node: str) -> bool:
        return node in self.reached

    def forward(self, node: str | None, hint: AnyHint) -> None:
        self.sent.append((node, hint))


class Node:
    """One node among others: a whole ``Cluster``, with ports that do as they are told."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.registry = Registry()
        self.status = Told(MemoryUserStatus(name, world.clock, world.board))
        self.storage = Told(world.devices)
        self.feed = Told(world.feed)
        self.transfer: LocalTransfer
        self.tokens: list[str] = []

        def meet(arrivals: Arrivals) -> LocalTransfer:
            self.transfer = LocalTransfer(name, world.hall, arrivals, world.clock)
            return self.transfer

        self.cluster = Cluster(
            name,
            self.registry,
            self.storage,  # type: ignore[arg-type]
            self.feed,  # type: ignore[arg-type]
            self.status,  # type: ignore[arg-type]
            meet,
            world.clock,
        )
        self._world = world

    def start(self) -> None:
        """Beat once, meet the others, and sweep."""
        self._world.do(self.cluster.online.beat())
        self.transfer.start()
        self.cluster.sweep.start(self.tokens.append)
        self._world.turn()

    def enter(self, user: int, device: int = 1, session: int = 1) -> Listener:
        """A session that is entered."""
        live = Listener(user, device, session)
        self._world.do(self.cluster.online.enter(live))
        return live


class World:
    """What nodes have in common."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self._test = test
        self.clock = Clock()
        self.board, self.hall = Board(), Hall()
        self.feed, self.devices = MemoryFeed(), MemoryDevices()

    def do(self, coro: object) -> object:
        """The result of a coroutine that waits for nothing."""
        return self._test.successResultOf(Deferred.fromCoroutine(coro))  # type: ignore[arg-type]

    def turn(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(20):
            self.clock.advance(0)

    def node(self, name: str) -> Node:
        """A node that has started."""
        made = Node(name, self)
        made.start()
        return made


def push(conversation: int, seq: int, *users: int) -> Push:
    """A hint that a message was committed."""
    return Push(users, conversation, seq, b'{"seq":%d}' % seq)
