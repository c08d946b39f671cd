"""What the servers hold: tables of PostgreSQL, entries of Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from tests.campaign.evidence import Cursor, Entry, Log, Probe, Row
from tests.servers import Redis

_ROWS = """
SELECT conversation, seq, sender, device, id::text, body,
    extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8
FROM message ORDER BY conversation, seq"""
_LOGS = "SELECT id, last, floor, low, high FROM conversation ORDER BY id"
_CURSORS = "SELECT conversation, account, delivered, read FROM member ORDER BY 1, 2"
_TORN = """
SELECT c.id FROM conversation AS c LEFT JOIN message AS m ON m.conversation = c.id
GROUP BY c.id HAVING c.last <> coalesce(max(m.seq), 0) OR c.last - c.floor + 1 <> count(m.seq)
OR c.last > 0 AND c.floor <> min(m.seq)"""


def tables(url: str) -> tuple[list[Row], list[Log], list[Cursor]]:
    """All messages, conversations and cursors; blocks."""
    db = _open(url)
    try:
        rows = [Row(*row[:5], bytes(row[5]), row[6]) for row in _ask(db, _ROWS)]
        logs = [Log(*row[:3], tuple(row[3:])) for row in _ask(db, _LOGS)]
        return rows, logs, [Cursor(*row) for row in _ask(db, _CURSORS)]
    finally:
        db.close()


def probe(url: str) -> Probe | None:
    """A look in the middle of the run; None if the database is away.  Blocks."""
    try:
        db = _open(url)
    except psycopg2.Error:
        return None
    try:
        torn = tuple(id for (id,) in _ask(db, _TORN))
        cursors = tuple(Cursor(*row) for row in _ask(db, _CURSORS))
        lasts = tuple((row[0], row[1]) for row in _ask(db, _LOGS))
        return Probe(time.time(), cursors, torn, lasts)
    except psycopg2.ProgrammingError:
        raise
    except psycopg2.Error:
        return None
    finally:
        db.close()


def _open(url: str) -> Any:
    db = psycopg2.connect(url, connect_timeout=60)
    db.set_session(isolation_level="SERIALIZABLE", readonly=True)
    return db


def _ask(db: Any, sql: str) -> list[tuple[Any, ...]]:
    with db.cursor() as cursor:
        cursor.execute(sql)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def leases(redis: Redis) -> int:
    """How many connectors live, as far as user status knows; blocks."""
    with _talking(redis) as lines:
        return len(_command(lines, "KEYS", "imd:c:*"))


def entries(redis: Redis) -> list[Entry]:
    """All sessions in user status; blocks."""
    with _talking(redis) as lines:
        found: list[Entry] = []
        for key in _command(lines, "KEYS", "imd:u:*"):
            fields = _command(lines, "HGETALL", key)
            for device, value in zip(fields[::2], fields[1::2], strict=True):
                session, _, node = value.partition("@")
                leased = _command(lines, "EXISTS", f"imd:c:{node}") == 1
                user = int(key.rpartition(":")[2])
                found.append(Entry(user, int(device), int(session), node, leased))
        return found


def keys(redis: Redis) -> int:
    """How many keys user status has; 0 if it does not answer.  Blocks."""
    try:
        return int(redis.ask("DBSIZE").removeprefix(":"))
    except (OSError, ValueError):
        return 0


@contextmanager
def _talking(redis: Redis) -> Iterator[Any]:
    with socket.create_connection(("127.0.0.1", redis.port), 60) as link:
        yield link.makefile("rwb")


def _command(lines: Any, *words: str) -> Any:
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    lines.write("".join(parts).encode())
    lines.flush()
    return _reply(lines)


def _reply(lines: Any) -> Any:
    line = lines.readline().decode().rstrip()
    kind, rest = line[0], line[1:]
    if kind == "*":
        return [_reply(lines) for _ in range(int(rest))]
    if kind == "$":
        text = lines.read(int(rest) + 2)[:-2]
        return text.decode()
    return int(rest) if kind == ":" else rest
