"""All that is known after a run: histories of the devices, and what the servers hold."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from tests.campaign.history import History


class Row(Struct, frozen=True, gc=False):
    """A message in the database; ``committed`` is the time of its commit."""

    conversation: int
    seq: int
    sender: int
    device: int
    id: str
    body: bytes
    committed: float


class Log(Struct, frozen=True, gc=False):
    """A conversation in the database."""

    conversation: int
    last: int
    floor: int
    members: tuple[int, ...]


class Cursor(Struct, frozen=True, gc=False):
    """A member's cursors in the database."""

    conversation: int
    user: int
    delivered: int
    read: int


class Probe(Struct, frozen=True):
    """A look into the database during the run, in one snapshot.

    ``torn`` are conversations whose ``floor`` and ``last`` are not those of their messages, and
    ``lasts`` all conversations with their ``last``.
    """

    at: float
    cursors: tuple[Cursor, ...]
    torn: tuple[int, ...]
    lasts: tuple[tuple[int, int], ...] = ()


class Entry(Struct, frozen=True):
    """A session in user status; ``leased`` if its node lives."""

    user: int
    device: int
    session: int
    node: str
    leased: bool


class Gauge(Struct, frozen=True, gc=False):
    """How much there was of something that has a limit, in one look."""

    name: str
    value: int
    limit: int


class Apart(Struct, frozen=True):
    """The members of a conversation were no friends, from a time to another.

    For certain so, that is; perhaps they were not from ``begin`` to ``end``, either.
    """

    conversation: int
    since: float
    until: float
    begin: float = 0.0
    end: float = 0.0


class Revoked(Struct, frozen=True):
    """A user was told that a device is revoked."""

    device: int
    at: float


class Evidence(Struct):
    """Everything the checker looks at."""

    histories: list[History]
    rows: list[Row]
    logs: list[Log]
    cursors: list[Cursor]
    probes: list[Probe] = []
    entries: list[Entry] = []
    apart: list[Apart] = []
    revoked: list[Revoked] = []
    #: When the last fault was healed, and whether there was none that hit a server or a network.
    healed: float = 0.0
    calm: bool = False
    #: From then on nothing had to be repaired any more; 0 if nobody waited for that.
    quiet: float = 0.0
    #: What was found in each process, and in user status.
    gauges: dict[str, list[Gauge]] = {}
    #: What each process has printed, by its name.
    output: dict[str, str] = {}
    #: Processes that ended although nobody killed them, and failures of the clients.
    accidents: list[str] = []


def save(evidence: Evidence, directory: Path) -> None:
    """Write everything down: a file for each history, one for the tables, one for each log."""
    directory.mkdir(parents=True, exist_ok=True)
    encoder = msgspec.json.Encoder()
    for history in evidence.histories:
        lines = encoder.encode_lines(history.events)
        (directory / f"{history.name}.jsonl").write_bytes(lines)
    for name, text in evidence.output.items():
        (directory / f"{name}.log").write_text(text)
    rest = msgspec.structs.replace(evidence, histories=[], output={})
    (directory / "tables.json").write_bytes(encoder.encode(rest))
