"""Servers with a defect on purpose: the campaign has to find out.

Each changes imd before it starts, in the process of the server alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.logger import Logger

from imd.ops import monotonic


def mark_on_write() -> None:
    """Take what was pushed to a client for delivered."""
    from imd.connector.connection import Connection
    from imd.connector.hub import Hub
    from imd.model import Cursor

    push = Connection.push
    seq_of = msgspec.json.Decoder()

    def pushed(self: Any, conversation: int, frame: bytes) -> None:
        push(self, conversation, frame)
        value = seq_of.decode(frame)
        if value["type"] == "msg":
            cursor = Cursor(conversation, self.identity.user.id, value["seq"], 0)
            hub: Hub = self._hub
            hub.messaging.mark(cursor)

    Connection.push = pushed  # type: ignore[method-assign]


def ack_before_commit() -> None:
    """Tell what a batch will become, then commit it."""
    from imd.storage import postgres_messages
    from imd.storage.postgres import PostgresStorage
    from imd.tasks import sleep, spawn

    async def append(self: Any, batch: Any, at: int) -> Any:
        from twisted.internet import reactor

        lane = self._lanes[batch[0].conversation % len(self._lanes)]

        async def tried(db: Any) -> Any:
            await db.query("BEGIN")
            result = await postgres_messages.append(db, batch, at)
            await db.query("ROLLBACK")
            return result

        async def commit() -> None:
            # Long enough for a client that is late to hear of it before.
            await sleep(reactor, 0.03)
            await lane.run(lambda db: postgres_messages.append(db, batch, at))

        result = await lane.run(tried)
        spawn(commit(), Logger(), "late commit")
        return result

    PostgresStorage.append = append  # type: ignore[method-assign]


def purge_a_middle() -> None:
    """When storage fails, drop the batch, but not what its senders sent after it."""
    from imd.lane import Lane

    Lane.purge = lambda self, origin: None  # type: ignore[method-assign]


def heads_first() -> None:
    """Read the heads of a new session before anybody can find it."""
    from imd.online import Online
    from imd.tasks import spawn

    enter = Online.enter

    async def late(self: Any, session: Any) -> bool:
        from twisted.internet import reactor

        reactor.callLater(0.3, lambda: spawn(enter(self, session), Logger(), "entering"))  # type: ignore[attr-defined]
        return True

    Online.enter = late  # type: ignore[assignment]


def newest_as_token() -> None:
    """Take the newest transaction for a token, as ``id >`` does: those under way are skipped.

    Commits take their time, as on a busy machine; those of cursors more, because a cursor that
    follows a message would bring its conversation back into the heads.
    """
    from imd.storage import postgres_messages, postgres_reads

    for name in ("_ALL", "_ONLY", "_FEED"):
        sql = getattr(postgres_reads, name)
        assert "pg_snapshot_xmin" in sql
        setattr(postgres_reads, name, sql.replace("pg_snapshot_xmin", "pg_snapshot_xmax"))
    postgres_messages._APPEND = f"""
WITH a AS MATERIALIZED ({postgres_messages._APPEND}),
s AS MATERIALIZED (SELECT pg_sleep(0.5) FROM a LIMIT 1) SELECT a.* FROM a, s"""
    advance = postgres_messages._ADVANCE
    assert advance.endswith("FROM moved")
    postgres_messages._ADVANCE = f"{advance}, (SELECT pg_sleep(0.4)) AS s"


def any_lock_order() -> None:
    """Lock conversations in whatever order they come."""
    from imd.storage import postgres_messages

    append = postgres_messages.append
    lock = "SELECT FROM conversation WHERE id = %s FOR NO KEY UPDATE"

    async def unordered(db: Any, batch: Any, at: int) -> Any:
        await db.query("BEGIN")
        try:
            for id in dict.fromkeys(message.conversation for message in batch):
                await db.query(lock, (id,))
            result = await append(db, batch, at)
        except Exception:
            await db.query("ROLLBACK")
            raise
        await db.query("COMMIT")
        return result

    postgres_messages.append = unordered


def keep_revoked() -> None:
    """Revoke a device, and let its sessions live on."""
    from imd.delivery import Delivery

    Delivery._revoke = lambda self, user, devices: False  # type: ignore[method-assign]


def cache_routes() -> None:
    """Remember for a while where users are, instead of looking it up after each commit."""
    from imd.routing import Forwarding

    nodes = Forwarding._nodes
    known: dict[int, list[str]] = {}

    async def remembered(self: Any, users: Any) -> dict[int, list[str]]:
        new = [user for user in users if user not in known]
        found = await nodes(self, new)
        known.update((user, found.get(user, [])) for user in new)
        return {user: known[user] for user in users}

    Forwarding._nodes = remembered  # type: ignore[method-assign]


VARIANTS: dict[str, Callable[[], None]] = {
    "mark-on-write": mark_on_write,
    "ack-before-commit": ack_before_commit,
    "purge-a-middle": purge_a_middle,
    "heads-first": heads_first,
    "any-lock-order": any_lock_order,
    "newest-as-token": newest_as_token,
    "keep-revoked": keep_revoked,
    "cache-routes": cache_routes,
}


def run(variant: str, gauges: str) -> None:
    """Be ``twistd``, with the variant if one is named, and write down what is found in it."""
    monotonic.install()
    _watched(gauges)
    if variant:
        VARIANTS[variant]()
    sys.argv[0] = "twistd"
    from twisted.scripts.twistd import run as twistd

    twistd()


def _watched(path: str) -> None:
    from imd import daemon
    from tests.campaign import gauges

    process = daemon.process

    def watched(settings: Any, reactor: Any, *more: Any) -> Any:
        gauges.watch(path, reactor)
        return process(settings, reactor, *more)

    daemon.process = watched
