"""Everything that is kept of one user, as JSON lines; ``docs/administration.rst`` lists them.

The first line is the account; then come devices, friends, and each conversation followed by its
messages.  Pages of the store become parts as they are read, so memory does not grow with history.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from imd.decoding import file_of
from imd.errors import Unavailable
from imd.interfaces.files import Blobs
from imd.interfaces.storage import Storage
from imd.model import File, Head, History, Message, User

#: Messages, and bytes of their bodies, in one read.
PAGE, PAGE_BYTES = 200, 1 << 20
#: Bytes of a file in one line.
CHUNK = 196_608


class Records:
    """One run; ``blobs`` is where the bytes of files are, None to leave them out."""

    def __init__(self, storage: Storage, user: User, blobs: Blobs | None) -> None:
        self._storage = storage
        self._user = user
        self._blobs = blobs
        self._messages = 0
        #: Files whose bytes are written: several messages may carry the same one.
        self._files: set[int] = set()

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """All of it, in parts of some lines each; what is not read is not made."""
        yield await self._account()
        after, more = 0, True
        while more:
            page = await self._storage.heads(self._user.id, after=after)
            more = page.more
            for head in page.items:
                after = head.conversation
                async for part in self._conversation(head):
                    yield part
        yield _line("end", messages=self._messages)

    async def _account(self) -> bytes:
        me = self._user
        lines = [_line("account", id=me.id, name=me.name, display=me.display, disabled=me.disabled)]
        for d in await self._storage.devices(me.id):
            lines.append(_line("device", id=d.id, label=d.label, created=d.created, seen=d.seen))
        _, friends = await self._storage.friends(me.id)
        for f in friends:
            user = {"user": f.user.id, "name": f.user.name}
            lines.append(_line("friend", **user, state=f.state, note=f.note))
        return b"".join(lines)

    async def _conversation(self, head: Head) -> AsyncGenerator[bytes, None]:
        peers = [{"user": p.user, "name": p.name} for p in head.peers]
        bounds = {"floor": head.floor, "last": head.last}
        cursors = {"delivered": head.delivered, "read": head.read}
        yield _line("conversation", id=head.conversation, peers=peers, **bounds, **cursors)
        after, more = 0, True
        while more:
            page = await self._storage.history(
                self._user.id, head.conversation, after=after, limit=PAGE, max_bytes=PAGE_BYTES
            )
            more = page.more
            yield b"".join(map(_message, page.items))
            async for part in self._files_of(page):
                yield part
            self._messages += len(page.items)
            after = page.items[-1].seq if page.items else after

    async def _files_of(self, page: History) -> AsyncGenerator[bytes, None]:
        """The bytes of the user's own files that some messages carry, each once."""
        if self._blobs is None:
            return
        for message in page.items:
            file = await self._own_file(message)
            if file is None or file.id in self._files:
                continue
            self._files.add(file.id)
            try:
                async for part in _bytes(self._blobs, file):
                    yield part
            except Unavailable:
                # Who deletes a file deletes its row first.
                if await self._own_file(message) is not None:
                    raise
                yield _line("gone", file=file.id)

    async def _own_file(self, message: Message) -> File | None:
        if message.kind != "file" or message.sender != self._user.id:
            return None
        return await self._storage.own_file(self._user.id, file_of(message.body))


async def _bytes(blobs: Blobs, file: File) -> AsyncGenerator[bytes, None]:
    """Lines up to one without data: that is the end of the file."""
    offset, data = 0, b"?"
    while data:
        data = await blobs.read(file.blob or file.id, offset, CHUNK)
        yield _line("bytes", file=file.id, offset=offset, data=data)
        offset += len(data)


def _line(record: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"record": record} | fields) + b"\n"


def _message(m: Message) -> bytes:
    place = {"conversation": m.conversation, "seq": m.seq, "from": m.sender, "at": m.at}
    id = str(uuid.UUID(bytes=m.id))
    return _line("message", **place, id=id, kind=m.kind, body=msgspec.Raw(m.body))
