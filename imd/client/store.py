"""Where a client keeps its messages, cursors, outbox and token: in memory, or in one file.

Both behave alike as long as the process lives.  After a restart ``MemoryStore`` is a new
installation, while ``SqliteStore`` goes on where it was: pending sends go out, nothing is
shown twice, and no password is needed.
"""

from __future__ import annotations

import copy
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from imd.client.effects import (
    DropPending,
    DropTail,
    SaveAccount,
    SaveConversation,
    SaveMessage,
    SavePending,
    Write,
)
from imd.client.errors import StoreError
from imd.client.values import Account, Conversation, Message, Pending, Saved


class ClientStore(Protocol):
    """What the client asks of a store.  All methods are synchronous, and short."""

    def load(self) -> Saved:
        """Everything that was written, apart from the messages."""

    def write(self, writes: Iterable[Write]) -> None:
        """Perform these writes in order, all or none, durably if the store is durable at all."""

    def messages(
        self, conversation: int, after: int = 0, limit: int | None = None
    ) -> Sequence[Message]:
        """Stored messages with a seq above ``after``, ascending, at most ``limit``."""

    def close(self) -> None:
        """Write nothing any more."""


class MemoryStore:
    """Keeps everything in memory, of the messages only the newest of each conversation."""

    def __init__(self, keep: int = 1000) -> None:
        """``keep``: messages of each conversation that stay readable."""
        self._keep = keep
        self._account = Account()
        self._conversations: dict[int, Conversation] = {}
        self._outbox: dict[str, Pending] = {}
        self._messages: dict[int, dict[int, Message]] = {}

    def load(self) -> Saved:
        """See ``ClientStore``."""
        conversations = (copy.copy(each) for each in self._conversations.values())
        outbox = sorted(self._outbox.values(), key=lambda pending: pending.order)
        return Saved(self._account, tuple(conversations), tuple(outbox))

    def write(self, writes: Iterable[Write]) -> None:
        """See ``ClientStore``."""
        for write in writes:
            _IN_MEMORY[type(write)](self, write)

    def _save_message(self, write: SaveMessage) -> None:
        message = write.message
        rows = self._messages.setdefault(message.conversation, {})
        rows[message.seq] = message
        if len(rows) > self._keep:
            del rows[next(iter(rows))]

    def _drop_tail(self, write: DropTail) -> None:
        rows = self._messages.get(write.conversation, {})
        for seq in [seq for seq in rows if seq > write.above]:
            del rows[seq]

    def _save_conversation(self, write: SaveConversation) -> None:
        self._conversations[write.conversation.id] = write.conversation

    def _save_pending(self, write: SavePending) -> None:
        self._outbox[write.pending.id] = write.pending

    def _drop_pending(self, write: DropPending) -> None:
        self._outbox.pop(write.id, None)

    def _save_account(self, write: SaveAccount) -> None:
        self._account = write.account

    def messages(
        self, conversation: int, after: int = 0, limit: int | None = None
    ) -> Sequence[Message]:
        """See ``ClientStore``."""
        rows = self._messages.get(conversation, {})
        return [rows[seq] for seq in sorted(seq for seq in rows if seq > after)[:limit]]

    def close(self) -> None:
        """See ``ClientStore``."""


_IN_MEMORY: dict[type[Any], Callable[[MemoryStore, Any], None]] = {
    SaveMessage: MemoryStore._save_message,
    DropTail: MemoryStore._drop_tail,
    SaveConversation: MemoryStore._save_conversation,
    SavePending: MemoryStore._save_pending,
    DropPending: MemoryStore._drop_pending,
    SaveAccount: MemoryStore._save_account,
}

#: Version of the tables below.
SCHEMA = 1
_TABLES = """
CREATE TABLE account(one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL);
CREATE TABLE conversation(id INTEGER PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE pending(
    id TEXT PRIMARY KEY, entry INTEGER NOT NULL, conversation INTEGER NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, since INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE message(
    conversation INTEGER NOT NULL, seq INTEGER NOT NULL, sender INTEGER NOT NULL,
    device INTEGER NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(conversation, seq)
) WITHOUT ROWID;
"""
_ACCOUNT = msgspec.json.Decoder(Account)
_CONVERSATION = msgspec.json.Decoder(Conversation)


class SqliteStore:
    """Keeps everything in one SQLite file, which only one process may have open.

    A write waits for the disk (WAL, ``synchronous=FULL``): about a millisecond, during which
    the reactor stands still.  All writes of one turn of the reactor share that wait.
    """

    def __init__(self, path: str) -> None:
        """Open or create the file at ``path``; raises ``StoreError``.

        The file holds the token and the messages, so it is created readable by its owner only.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error

    def _prepare(self) -> None:
        db = self._db
        # Held until we close: a second client on the same file would break the order of both.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA):
            raise sqlite3.DatabaseError(f"version {version} is newer than this client")
        if version == 0:
            for statement in _TABLES.split(";")[:-1]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA}")
        db.execute("COMMIT")

    def load(self) -> Saved:
        """See ``ClientStore``; raises ``StoreError`` for what is not, or no longer, a store."""
        try:
            return self._load()
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StoreError(f"this is no store of a client, or it is damaged: {error}") from error

    def _load(self) -> Saved:
        account = self._db.execute("SELECT state FROM account").fetchone()
        conversations = self._db.execute("SELECT state FROM conversation ORDER BY id")
        pending = self._db.execute(
            "SELECT entry, id, conversation, kind, body, since FROM pending ORDER BY entry"
        )
        return Saved(
            _ACCOUNT.decode(account[0]) if account else Account(),
            tuple(_CONVERSATION.decode(state) for (state,) in conversations),
            tuple(Pending(*row) for row in pending),
        )

    def write(self, writes: Iterable[Write]) -> None:
        """See ``ClientStore``; raises ``StoreError``, and then nothing was written."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in writes:
                _IN_SQL[type(write)](self._db, write)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(str(error)) from error

    def messages(
        self, conversation: int, after: int = 0, limit: int | None = None
    ) -> Sequence[Message]:
        """See ``ClientStore``."""
        rows = self._db.execute(
            "SELECT conversation, seq, sender, device, id, at, kind, body FROM message"
            " WHERE conversation = ? AND seq > ? ORDER BY seq LIMIT ?",
            (conversation, after, -1 if limit is None else limit),
        )
        return [Message(*row) for row in rows]

    def close(self) -> None:
        """See ``ClientStore``."""
        self._db.close()


def _save_message(db: sqlite3.Connection, write: SaveMessage) -> None:
    row = msgspec.structs.astuple(write.message)
    db.execute("INSERT OR REPLACE INTO message VALUES(?, ?, ?, ?, ?, ?, ?, ?)", row)


def _drop_tail(db: sqlite3.Connection, write: DropTail) -> None:
    row = (write.conversation, write.above)
    db.execute("DELETE FROM message WHERE conversation = ? AND seq > ?", row)


def _save_conversation(db: sqlite3.Connection, write: SaveConversation) -> None:
    row = (write.conversation.id, msgspec.json.encode(write.conversation).decode())
    db.execute("INSERT OR REPLACE INTO conversation VALUES(?, ?)", row)


def _save_pending(db: sqlite3.Connection, write: SavePending) -> None:
    p = write.pending
    row = (p.id, p.order, p.conversation, p.kind, p.body, p.since)
    db.execute("INSERT OR REPLACE INTO pending VALUES(?, ?, ?, ?, ?, ?)", row)


def _drop_pending(db: sqlite3.Connection, write: DropPending) -> None:
    db.execute("DELETE FROM pending WHERE id = ?", (write.id,))


def _save_account(db: sqlite3.Connection, write: SaveAccount) -> None:
    row = (msgspec.json.encode(write.account).decode(),)
    db.execute("INSERT OR REPLACE INTO account VALUES(1, ?)", row)


_IN_SQL: dict[type[Any], Callable[[sqlite3.Connection, Any], None]] = {
    SaveMessage: _save_message,
    DropTail: _drop_tail,
    SaveConversation: _save_conversation,
    SavePending: _save_pending,
    DropPending: _drop_pending,
    SaveAccount: _save_account,
}
