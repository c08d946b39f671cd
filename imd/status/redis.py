"""User status in Redis, for several nodes.

Keys and scripts are described in ``redis_scripts``, URLs in ``redis_url``.  Redis 6.2 or newer,
or anything that speaks like it; not its cluster mode.  A user for this, and for nothing else::

    user imd on >PASSWORD resetchannels ~imd:* -@all +evalsha +eval +role +select
        +hget +hset +hdel +hgetall +exists +get +set +pexpire

(``+select`` only for a database other than 0.)  Nothing in Redis has to be durable, and
persistence is better switched off.

What can go wrong:

- No answer within 0.25 s, no connection, an error reply (``OOM``, ``NOPERM``, …), an answer of
  the wrong kind: ``Unavailable``.  After ``READONLY``, ``LOADING``, ``MASTERDOWN``, ``NOAUTH`` or
  an answer that cannot be read the connection is made anew; scripts that Redis has forgotten
  (``NOSCRIPT``) are sent again.
- Thousands of calls begun in one turn of the reactor: the last are late by our own doing (40 µs
  each).  Whoever has that many sessions to register does so some dozens at a time.
- Three calls in a row without an answer, or a failed attempt to connect: an outage.  While it
  lasts calls fail at once.
- A user's key that is no hash: ``register`` and ``unregister`` of that user raise
  ``Unavailable``, ``lookup`` finds nobody there.  Fields that we cannot have written are no
  entries, and are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

from imd.errors import ConfigError
from imd.interfaces.nodes import Entry
from imd.status.redis_dial import Dialer
from imd.status.redis_link import Counts, RedisLink
from imd.status.redis_reply import entries, entry, flags
from imd.status.redis_scripts import BEAT, LIVING, LOOKUP, REGISTER, UNREGISTER
from imd.status.redis_url import parse

#: Milliseconds for which a node counts as alive after its last beat.
LEASE_MS = 15_000
#: Milliseconds for which the entries of a user are kept, and seconds after which all are
#: entered again: what a dead node leaves behind of users nobody asks about has to go some day.
KEEP_MS = 24 * 3600 * 1000
RENEW_SECONDS = 8 * 3600.0
#: Characters in the name of a node.
NODE_LENGTH = 200


class RedisUserStatus:
    """``imd.interfaces.nodes.UserStatus`` of one node.

    ``node`` is what other nodes find in an ``Entry``, so it has to be the very string that
    ``Transfer.forward`` takes.  It must name this run of the process and no other: a node that
    starts again under the same name would keep the entries of its former life alive.
    """

    def __init__(self, url: str, node: str, reactor: Any) -> None:
        """Raises ``ConfigError``; does not connect yet."""
        if not node.isprintable() or not 0 < len(node) <= NODE_LENGTH:
            raise ConfigError("node", f"1 to {NODE_LENGTH} printable characters")
        self._node = node
        self._clock = reactor
        self._link = RedisLink(Dialer(parse(url), reactor), reactor)
        #: Beats so far, the one whose mark the lease has, and with which connection and when.
        self._beats = 0
        self._mark = 0
        self._entered = (0, 0.0)

    def start(self) -> None:
        """Begin to connect."""
        self._link.start()

    async def stop(self) -> None:
        """Disconnect.  The entries that are left count until the lease runs out."""
        await self._link.stop()

    @property
    def up(self) -> bool:
        """Whether Redis can be asked now."""
        return self._link.up

    @property
    def counts(self) -> Counts:
        """What has happened so far."""
        return self._link.counts

    async def register(self, user: int, device: int, session: int) -> Entry | None:
        """See ``UserStatus``."""
        arguments = (device, session, self._node, KEEP_MS)
        other = await self._link.run(REGISTER, (_user(user),), arguments)
        return entry(user, device, other)

    async def unregister(self, user: int, device: int, session: int) -> None:
        """See ``UserStatus``."""
        await self._link.run(UNREGISTER, (_user(user),), (device, f"{session}@{self._node}"))

    async def lookup(self, users: Sequence[int]) -> tuple[Entry, ...]:
        """See ``UserStatus``.  One round trip; removes the dead entries that it finds."""
        if not users:
            return ()
        reply = await self._link.run(LOOKUP, [_user(user) for user in users])
        return tuple(entries(users, reply))

    async def beat(self) -> bool:
        """See ``UserStatus``.  Also false on a connection that is new, which may lead to a Redis
        that knows less, and every eight hours, because entries are kept for a day.
        """
        self._beats = beat = self._beats + 1
        arguments = (self._mark, beat, LEASE_MS)
        if await self._link.run(BEAT, (_lease(self._node),), arguments) != 1:
            self._mark = beat
            self._entered = (0, 0.0)
        connects, since = self._entered
        now = self._clock.seconds()
        if connects == self.counts.connects and now - since < RENEW_SECONDS:
            return True
        self._entered = (self.counts.connects, now)
        return False

    async def living(self, nodes: Sequence[str]) -> frozenset[str]:
        """See ``UserStatus``.  One round trip."""
        if not nodes:
            return frozenset()
        reply = await self._link.run(LIVING, [_lease(node) for node in nodes])
        return frozenset(compress(nodes, flags(nodes, reply)))


def _lease(node: str) -> str:
    return f"imd:c:{node}"


def _user(user: int) -> str:
    return f"imd:u:{user}"
