"""Both stores of the client keep the contract; the durable one also across restarts."""

from __future__ import annotations

import os
import sqlite3
import stat

from twisted.trial.unittest import SynchronousTestCase

from imd.client import effects
from imd.client.store import ClientStore, MemoryStore, SqliteStore, StoreError
from imd.client.values import Account
from tests.contracts.client_store import ClientStoreContract, message, pending
from tests.directories import directory


class MemoryStoreTests(ClientStoreContract, SynchronousTestCase):
    """The store for bots that may forget."""

    def make(self) -> ClientStore:
        return MemoryStore()

    def test_only_the_newest_messages_of_a_conversation_are_kept(self) -> None:
        store = MemoryStore(keep=2)
        store.write([effects.SaveMessage(message(seq)) for seq in range(1, 6)])
        store.write([effects.SaveMessage(message(1, conversation=8))])
        self.assertEqual([m.seq for m in store.messages(7)], [4, 5])
        self.assertEqual([m.seq for m in store.messages(8)], [1])


class SqliteStoreTests(ClientStoreContract, SynchronousTestCase):
    """The durable store."""

    def setUp(self) -> None:
        self.path = str(directory(self) / "client.db")

    def make(self) -> ClientStore:
        store = SqliteStore(self.path)
        self.addCleanup(store.close)
        return store

    def test_everything_is_there_after_a_restart(self) -> None:
        store = self.make()
        account = effects.SaveAccount(Account(11, "alice", 3, "tok", "e1", None))
        store.write(
            [account, effects.SaveMessage(message(1)), effects.SavePending(pending(1, "a"))]
        )
        store.close()
        again = SqliteStore(self.path)
        self.addCleanup(again.close)
        self.assertEqual(again.load().account, account.account)
        self.assertEqual(list(again.messages(7)), [message(1)])
        self.assertEqual(len(again.load().outbox), 1)

    def test_writes_are_all_or_none(self) -> None:
        store = self.make()
        broken = effects.SavePending(pending(2**80, "b"))
        self.assertRaises(StoreError, store.write, [effects.SaveMessage(message(1)), broken])
        self.assertEqual(list(store.messages(7)), [])
        store.write([effects.SaveMessage(message(2))])
        self.assertEqual(len(store.messages(7)), 1)

    def test_commits_wait_for_the_disk(self) -> None:
        store = self.make()
        assert isinstance(store, SqliteStore)
        pragmas = [store._db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("synchronous",)]
        self.assertEqual(pragmas, [2])

    def test_only_the_owner_may_read_the_file(self) -> None:
        self.make()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_second_client_on_the_same_file_is_refused(self) -> None:
        self.make()
        error = self.assertRaises(StoreError, SqliteStore, self.path)
        self.assertIn(self.path, str(error))

    def test_file_that_is_no_store_is_refused(self) -> None:
        path = self.path
        with open(path, "wb") as file:
            file.write(b"not a database, certainly not" * 100)
        self.assertRaises(StoreError, SqliteStore, path)
        self.assertRaises(StoreError, SqliteStore, os.path.join(path, "below"))

    def test_database_of_something_else_or_with_damaged_state_is_refused(self) -> None:
        for script in (
            "CREATE TABLE account(x); PRAGMA user_version=1",
            "DROP TABLE IF EXISTS account; CREATE TABLE account(state);"
            "CREATE TABLE conversation(id, state); INSERT INTO account VALUES('{damaged')",
        ):
            db = sqlite3.connect(self.path)
            db.executescript(script)
            db.close()
            store = SqliteStore(self.path)
            self.assertRaises(StoreError, store.load)
            store.close()

    def test_newer_file_is_refused(self) -> None:
        path = self.path
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=9")
        db.close()
        error = self.assertRaises(StoreError, SqliteStore, path)
        self.assertIn("newer", str(error))
