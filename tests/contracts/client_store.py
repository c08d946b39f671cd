"""What every store of a client has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imd.client import effects
from imd.client.store import ClientStore
from imd.client.values import Account, Conversation, Message, Peer, Pending, Saved

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Case
else:
    Case = object


def message(seq: int, conversation: int = 7, text: str = "x") -> Message:
    body = b'{"text":"%s"}' % text.encode()
    return Message(conversation, seq, 11, 3, f"id-{seq}", 1000 + seq, "text", body)


def pending(order: int, id: str) -> Pending:
    return Pending(order, id, 7, "text", b"{}", 1_790_000_000_000)


class ClientStoreContract(Case):
    """Mix with a TestCase that has ``make``."""

    def make(self) -> ClientStore:
        """A new, empty store."""
        raise NotImplementedError

    def test_new_store_is_empty(self) -> None:
        store = self.make()
        self.assertEqual(store.load(), Saved())
        self.assertEqual(list(store.messages(7)), [])

    def test_what_was_written_is_loaded(self) -> None:
        store = self.make()
        account = Account(11, "alice", 3, "token", "e1", "e1:5")
        peers = (Peer(12, "bob", 4, 2),)
        conversation = Conversation(7, have=4, known=5, peers=peers)
        store.write(
            [
                effects.SaveAccount(account),
                effects.SaveConversation(conversation),
                effects.SavePending(pending(1, "a")),
            ]
        )
        self.assertEqual(store.load(), Saved(account, (conversation,), (pending(1, "a"),)))

    def test_last_write_of_the_same_thing_counts(self) -> None:
        store = self.make()
        for have in 1, 2:
            store.write(
                [
                    effects.SaveConversation(Conversation(7, have=have)),
                    effects.SaveAccount(Account(since=f"e1:{have}")),
                    effects.SaveMessage(message(1, text=f"text {have}")),
                ]
            )
        saved = store.load()
        self.assertEqual([c.have for c in saved.conversations], [2])
        self.assertEqual(saved.account.since, "e1:2")
        self.assertEqual([m.text for m in store.messages(7)], ["text 2"])

    def test_outbox_keeps_its_order_and_forgets_what_is_dropped(self) -> None:
        store = self.make()
        store.write([effects.SavePending(pending(order, id)) for order, id in ((2, "b"), (3, "c"))])
        store.write([effects.SavePending(pending(-1, "a")), effects.DropPending("c")])
        store.write([effects.DropPending("never")])
        self.assertEqual([entry.id for entry in store.load().outbox], ["a", "b"])

    def test_messages_are_read_ascending_above_a_seq(self) -> None:
        store = self.make()
        store.write([effects.SaveMessage(message(seq)) for seq in (1, 2, 3)])
        store.write([effects.SaveMessage(message(1, conversation=8))])
        self.assertEqual(list(store.messages(7, 1)), [message(2), message(3)])
        self.assertEqual(list(store.messages(7, 0, 2)), [message(1), message(2)])

    def test_tail_is_dropped_in_its_conversation_only(self) -> None:
        store = self.make()
        store.write([effects.SaveMessage(message(seq)) for seq in (1, 2, 3)])
        store.write([effects.SaveMessage(message(3, conversation=8))])
        store.write([effects.DropTail(7, 1), effects.DropTail(9, 0)])
        store.write([effects.SaveMessage(message(2, text="new"))])
        self.assertEqual([m.text for m in store.messages(7)], ["x", "new"])
        self.assertEqual(len(store.messages(8)), 1)

    def test_loaded_state_is_a_copy(self) -> None:
        store = self.make()
        store.write([effects.SaveConversation(Conversation(7, have=1))])
        store.load().conversations[0].have = 99
        self.assertEqual(store.load().conversations[0].have, 1)
        store.close()
