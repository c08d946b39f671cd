"""``imd message trace``: what became of one message, as storage knows it; never its body."""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg2
from msgspec import Struct

from imd.config import POSTGRESQL, merge
from imd.errors import ConfigError
from imd.ops.logs import clean
from imd.steps import NOWHERE, steps
from imd.storage.database import NAME

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
CONNECT_SECONDS = 10
_PLACE = re.compile(r"([0-9]{1,16}):([0-9]{1,16})")

# {user} is the table of accounts, {owner} the column that names one, {size} the length of a body.
_MESSAGE = """
SELECT m.conversation, m.seq, m.sender, u.name, m.device, d.label, m.id, m.at, m.kind,
    {size}(m.body), c.floor, c.open
FROM message AS m JOIN conversation AS c ON c.id = m.conversation
JOIN {user} AS u ON u.id = m.sender LEFT JOIN device AS d ON d.id = m.device
WHERE {where} ORDER BY m.at"""
_MEMBERS = """
SELECT u.id, u.name, m.delivered, m.read, u.disabled, d.id, d.label, d.seen
FROM member AS m JOIN {user} AS u ON u.id = m.{owner}
LEFT JOIN device AS d ON d.{owner} = u.id
WHERE m.conversation = {mark} AND u.id <> {mark} ORDER BY u.id, d.id"""


Row = tuple[Any, ...]


class Reads(Protocol):
    """What both databases let us do."""

    def cursor(self) -> Any:
        """A cursor of the DB-API."""

    def close(self) -> None:
        """Let go."""


class Source(Struct, frozen=True):
    """A database, and its words for the same things."""

    db: Any
    words: dict[str, str]

    def rows(self, query: str, *values: Any, **words: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        cursor = self.db.cursor()
        cursor.execute(query.format(**self.words, **words), values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


_SQLITE = {"user": "user", "owner": "user", "mark": "?", "size": "length"}
_POSTGRESQL = {"user": "account", "owner": "account", "mark": "%s", "size": "octet_length"}


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if there is no such message, 2 for a wrong id, 78 for a bad
    configuration.
    """
    options = _parse(argv)
    try:
        with closing(_open(options)) as db:
            words = _SQLITE if isinstance(db, sqlite3.Connection) else _POSTGRESQL
            source = Source(db, words)
            found = _found(source, options.id)
            lines = [*_story(source, found)]
        logged = _logged(options.log, options.id, found) if options.log else []
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except (psycopg2.Error, sqlite3.Error) as error:
        sys.stderr.write(f"imd: store: {clean(error)}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in (*lines, *logged))
    if not lines:
        sys.stderr.write(_UNKNOWN)
        return 1
    return 0


def _logged(path: str, id: uuid.UUID | tuple[int, int], found: Sequence[Row]) -> list[str]:
    """What the log has of a message, from a file, or "-" for standard input."""
    asked = id if isinstance(id, tuple) else NOWHERE
    place = (found[0][0], found[0][1]) if found else asked
    name = _text(found[0][6]) if found else str(id)
    try:
        with open(path if path != "-" else 0, encoding="utf-8", errors="replace") as log:
            return steps(log, name, place)
    except OSError as error:
        raise ConfigError("log", f"cannot read {path}: {error.strerror}") from None


_UNKNOWN = """\
imd: no such message is stored, so nobody was told that it was sent.  Its sender's client
still has it, or was refused: see imd_errors_total, and the log of the client.
"""


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="imd message", description="Ask about one message.")
    trace = parser.add_subparsers(required=True).add_parser(
        "trace", help="when it was committed, and which members have it"
    )
    trace.add_argument("id", metavar="ID", type=_id, help="its UUID, or CONVERSATION:SEQ")
    trace.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    trace.add_argument("--store", metavar="URL", help='"sqlite", or postgresql://…')
    trace.add_argument(
        "--log",
        metavar="FILE",
        help='logs of all nodes with log-messages, as JSON or by journalctl -o json; "-" is '
        "standard input",
    )
    trace.add_argument("--data", metavar="DIRECTORY", help="of the embedded store")
    return parser.parse_args(argv)


def _id(text: str) -> uuid.UUID | tuple[int, int]:
    place = _PLACE.fullmatch(text)
    return (int(place[1]), int(place[2])) if place else uuid.UUID(text)


def _open(options: argparse.Namespace) -> Reads:
    """Open the store, for reading only; the server may be running."""
    given = {key: getattr(options, key) for key in ("store", "data") if getattr(options, key)}
    settings = merge(given, options.config)
    if settings.store.startswith(POSTGRESQL):
        db = psycopg2.connect(settings.store, connect_timeout=CONNECT_SECONDS)
        db.set_session(readonly=True, isolation_level="REPEATABLE READ")
        found: Reads = db
        return found
    path = Path(settings.data, NAME).absolute()
    if not path.exists():
        raise ConfigError("data", f"there is no {path}")
    embedded = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    embedded.execute("BEGIN")
    return embedded


def _found(source: Source, id: uuid.UUID | tuple[int, int]) -> list[Row]:
    mark = source.words["mark"]
    values: tuple[Any, ...]
    if isinstance(id, tuple):
        where, values = f"m.conversation = {mark} AND m.seq = {mark}", id
    else:
        where, values = f"m.id = {mark}", (id.bytes if source.words is _SQLITE else str(id),)
    return source.rows(_MESSAGE, *values, where=where)


def _story(source: Source, found: Sequence[Row]) -> Iterator[str]:
    for row in found:
        yield from _told(row)
        yield from _receivers(source.rows(_MEMBERS, row[0], row[2]), seq=row[1], at=row[7])


def _told(row: tuple[Any, ...]) -> Iterator[str]:
    conversation, seq, sender, name, device, label, id, at, kind, size, floor, is_open = row
    yield f"message {_text(id)}: conversation {conversation}, seq {seq}"
    yield f"  {_time(at)}  committed, and from then on acknowledged"
    yield f"    from {clean(name)} (user {sender}), device {device} {_label(label)}"
    yield f"    {clean(kind)}, {size} bytes"
    if seq < floor:
        yield f"    history starts at seq {floor}: clients no longer fetch this one"
    if not is_open:
        yield "    the two are no longer friends; history stays readable"


def _text(id: Any) -> str:
    return str(uuid.UUID(bytes=id)) if isinstance(id, bytes) else str(id)


def _label(label: str | None) -> str:
    return "(deleted since)" if label is None else f'"{clean(label)}"'


def _receivers(rows: Sequence[tuple[Any, ...]], seq: int, at: int) -> Iterator[str]:
    for user in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == user]
        _, name, delivered, read, disabled, *_ = mine[0]
        yield f"  to {clean(name)} (user {user}){', disabled' if disabled else ''}"
        yield f"    delivered: {_reached(delivered, seq)}"
        yield f"    read: {_reached(read, seq)}"
        devices = [(row[5], row[6], row[7]) for row in mine if row[5] is not None]
        for device, label, seen in devices:
            since = "after it" if seen >= at else "before it"
            yield f"    device {device} {_label(label)}: last session opened {_time(seen)}, {since}"
        if delivered < seq:
            yield f"    {_why([seen for *_, seen in devices], at)}"


def _reached(cursor: int, seq: int) -> str:
    return f"yes (up to seq {cursor})" if cursor >= seq else f"not yet (up to seq {cursor})"


def _why(seen: Sequence[int], at: int) -> str:
    if not seen:
        return "why: there is no device; the message waits for a login"
    if max(seen) < at:
        return "why: no session was opened since; the message comes with the next one"
    return "why: a client was there since and has not confirmed it; look at its version and its log"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat("T", "milliseconds")
