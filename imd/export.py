"""``imd export``: everything that the server keeps of one user, as JSON lines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from imd.ordering import Failed, Orders, add_places, carry_out

#: Messages between two lines of progress.
PROGRESS = 10_000
_BROKEN = "the answer broke off; this is not all of it"


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    parser = argparse.ArgumentParser(prog="imd export", description="Write out one user's data.")
    parser.add_argument("name", metavar="USER", help="the login name")
    where = 'a new directory, which gets the bytes of files too; "-" is standard output'
    parser.add_argument("--output", metavar="DIR", default="-", help=where)
    add_places(parser)
    return carry_out(parser.parse_args(argv), _export)


async def _export(orders: Orders, options: argparse.Namespace) -> None:
    params = {"user": options.name, "files": options.output != "-"}
    async with aclosing(orders.stream("user.export", params)) as parts:
        # Nothing is made for somebody who does not exist.
        first = await anext(parts)
        with _output(options.output) as out:
            copy = Copy(out, Path(options.output) / "files")
            copy.take(first)
            async for part in parts:
                copy.take(part)
    if not copy.is_whole:
        raise Failed(_BROKEN)
    sys.stderr.write(f"imd: {copy.messages} messages\n")


@contextmanager
def _output(place: str) -> Iterator[BinaryIO]:
    if place == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    folder = Path(place)
    folder.mkdir(mode=0o700)
    with (folder / "export.jsonl").open("xb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


class Record(Struct, frozen=True):
    """What we need to know of a line."""

    record: str
    file: int = 0
    data: bytes = b""


_DECODER = msgspec.json.Decoder(Record)


def _record_of(line: bytes) -> Record:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:
        raise Failed(_BROKEN) from None


class Copy:
    """Writes lines to ``out``, and the bytes of files into a folder instead."""

    def __init__(self, out: BinaryIO, folder: Path) -> None:
        self._out = out
        self._folder = folder
        self.messages = 0
        self.is_whole = False

    def take(self, part: bytes) -> None:
        """Write some lines."""
        for line in part.splitlines(keepends=True):
            found = _record_of(line)
            if found.record == "bytes":
                self._keep(found)
            elif found.record == "gone":
                (self._folder / str(found.file)).unlink(missing_ok=True)
            else:
                self._out.write(line)
            self.is_whole = found.record == "end"
            if found.record == "message":
                self._count()

    def _keep(self, found: Record) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with (self._folder / str(found.file)).open("ab") as file:
            file.write(found.data)

    def _count(self) -> None:
        self.messages += 1
        if self.messages % PROGRESS == 0:
            sys.stderr.write(f"imd: {self.messages} messages …\n")
