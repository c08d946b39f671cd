"""``imd export``: everything that the server keeps of one user, as JSON lines.

The first line is the account; then come devices, friends, and each conversation followed by its
messages.  Pages of the store are written as they are read, so memory does not grow with history.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from imd.config import S3, Settings, merge
from imd.errors import ConfigError, Refusal, Unavailable
from imd.files.directory import DirectoryBlobs
from imd.interfaces.files import Blobs
from imd.interfaces.storage import Storage
from imd.model import Head, Message, User
from imd.offline import Here, with_storage
from imd.ops.logs import clean
from imd.storage.decide import file_of

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
#: Messages, and bytes of their bodies, in one read; messages between two lines of progress.
PAGE, PAGE_BYTES = 200, 1 << 20
PROGRESS = 10_000
CHUNK = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it failed, 78 for a bad configuration."""
    options = _parser().parse_args(argv)
    try:
        settings = _settings(options)
        with_storage(settings, lambda storage: _export(storage, settings, options))
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except (Refusal, Unavailable, OSError) as error:
        sys.stderr.write(f"imd: {clean(getattr(error, 'message', str(error)))}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imd export", description="Write out one user's data.")
    parser.add_argument("user", metavar="USER", help="the login name")
    where = 'a new directory, which gets the bytes of files too; "-" is standard output'
    parser.add_argument("--output", metavar="DIR", default="-", help=where)
    parser.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    parser.add_argument("--store", metavar="URL", help='"sqlite", or postgresql://…')
    parser.add_argument("--data", metavar="DIRECTORY", help="of the embedded store")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    given = {key: getattr(options, key) for key in ("store", "data") if getattr(options, key)}
    settings = merge(given, options.config)
    if options.output != "-" and settings.files.startswith(S3):
        raise ConfigError("files", "the bytes in S3 are not exported; give --output -")
    return settings


async def _export(storage: Storage, settings: Settings, options: argparse.Namespace) -> None:
    user = await storage.find_user(options.user.casefold())
    if user is None:
        raise Unavailable("there is no such account")
    if options.output == "-":
        await Export(storage, user, sys.stdout.buffer, None).run()
        return
    folder = Path(options.output)
    folder.mkdir(mode=0o700)
    place = Path(settings.files) if settings.files else Path(settings.data) / "files"
    blobs = DirectoryBlobs(place, Here(), 0) if place.exists() else None
    try:
        with (folder / "export.jsonl").open("xb") as out:
            export = Export(storage, user, out, blobs, folder / "files")
            await export.run()
            os.fsync(out.fileno())
    finally:
        if blobs is not None:
            blobs.close()


class Export:
    """One run; ``blobs`` is where the bytes of files are, None to leave them out."""

    def __init__(
        self,
        storage: Storage,
        user: User,
        out: BinaryIO,
        blobs: Blobs | None,
        folder: Path = Path(),
    ) -> None:
        self._storage = storage
        self._user = user
        self._out = out
        self._blobs = blobs
        self._folder = folder
        self._count = 0

    async def run(self) -> None:
        """Write all of it."""
        me, storage = self._user, self._storage
        self._line("account", id=me.id, name=me.name, display=me.display, disabled=me.disabled)
        for d in await storage.devices(me.id):
            self._line("device", id=d.id, label=d.label, created=d.created, seen=d.seen)
        _, friends = await storage.friends(me.id)
        for f in friends:
            self._line("friend", user=f.user.id, name=f.user.name, state=f.state, note=f.note)
        after, more = 0, True
        while more:
            page = await storage.heads(me.id, after=after)
            more = page.more
            for head in page.items:
                after = head.conversation
                await self._conversation(head)
        self._out.flush()
        sys.stderr.write(f"imd: {self._count} messages\n")

    def _line(self, record: str, **fields: Any) -> None:
        self._out.write(msgspec.json.encode({"record": record} | fields) + b"\n")

    async def _conversation(self, head: Head) -> None:
        peers = [{"user": p.user, "name": p.name} for p in head.peers]
        cursors = {"delivered": head.delivered, "read": head.read}
        bounds = {"floor": head.floor, "last": head.last}
        self._line("conversation", id=head.conversation, peers=peers, **bounds, **cursors)
        after, more = 0, True
        while more:
            page = await self._storage.history(
                self._user.id, head.conversation, after=after, limit=PAGE, max_bytes=PAGE_BYTES
            )
            more = page.more
            for message in page.items:
                after = message.seq
                await self._message(message)

    async def _message(self, m: Message) -> None:
        place = {"conversation": m.conversation, "seq": m.seq, "from": m.sender, "at": m.at}
        id = str(uuid.UUID(bytes=m.id))
        self._line("message", **place, id=id, kind=m.kind, body=msgspec.Raw(m.body))
        if m.kind == "file" and m.sender == self._user.id and self._blobs is not None:
            await self._file(self._blobs, file_of(m.body))
        self._count += 1
        if self._count % PROGRESS == 0:
            sys.stderr.write(f"imd: {self._count} messages …\n")

    async def _file(self, blobs: Blobs, id: int) -> None:
        """Copy the bytes of one of the user's own files, once; its name is its id."""
        file, path = await self._storage.own_file(self._user.id, id), self._folder / str(id)
        if file is None or file.blob is None or path.exists():
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with path.open("xb") as out:
            offset = 0
            while data := await blobs.read(file.blob, offset, CHUNK):
                out.write(data)
                offset += len(data)
