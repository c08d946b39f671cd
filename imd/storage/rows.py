"""Many rows in one statement.

The interpreter's lock is given up at every step of a statement, and the thread of the
reactor wants it too: a row a statement would be a change of threads a row.  So rows go in
as one VALUES list, and come out as one JSON array.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

Row = Sequence[Any]

#: The longest VALUES list.  Lists have lengths of powers of two, so that there are few
#: different statements and all stay prepared.
LONGEST = 256

_DECODE = msgspec.json.Decoder(list[list[Any]]).decode


def chunks(rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
    """Cut rows into lists ``(?,?),(?,?)…`` and their flat parameters."""
    start = 0
    while start < len(rows):
        size = min(LONGEST, 1 << (len(rows) - start).bit_length() - 1)
        part = rows[start : start + size]
        one = "(" + ",".join("?" * len(part[0])) + ")"
        yield ",".join([one] * size), [value for row in part for value in row]
        start += size


def change(db: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> None:
    """Execute ``sql`` for all rows; ``{values}`` in it stands for the VALUES list."""
    for values, parameters in chunks(rows):
        db.execute(sql.format(values=values), parameters)


def lookup(db: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> list[list[Any]]:
    """All rows of a query whose one column is a ``json_group_array`` of arrays."""
    found: list[list[Any]] = []
    for values, parameters in chunks(rows):
        found += _DECODE(db.execute(sql.format(values=values), parameters).fetchone()[0])
    return found
