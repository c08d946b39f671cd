"""What becomes of the messages of a batch."""

from __future__ import annotations

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from imd.model import Appended, NewMessage, Outcome
from imd.storage.decide import Key, Log, Stored, decide

NOW = 1_790_000_000_000
FORBIDDEN, CONFLICT, NO_FILE, REPLACED, REVOKED = (
    Appended(outcome)
    for outcome in (
        Outcome.FORBIDDEN,
        Outcome.CONFLICT,
        Outcome.NO_FILE,
        Outcome.REPLACED,
        Outcome.REVOKED,
    )
)


def message(
    number: int,
    conversation: int = 7,
    sender: int = 1,
    body: bytes = b"{}",
    file: int | None = None,
) -> NewMessage:
    return NewMessage(conversation, sender, 3, b"%016d" % number, "text", body, file)


def stored(number: int, seq: int, sender: int = 1) -> dict[Key, Stored]:
    """A message as ``message`` makes it, on the disk."""
    return {(7, sender, b"%016d" % number): Stored(seq, NOW - 9, "text", b"{}")}


class DecideTests(SynchronousTestCase):
    """Conversation 7 of the users 1 and 2 has five messages; 8 was closed after two."""

    def decide(
        self,
        *batch: NewMessage,
        known: dict[Key, Stored] | None = None,
        files: frozenset[tuple[int, int]] = frozenset(),
        newest: int = 0,
    ) -> list[Appended]:
        logs = {7: Log(5, True, (1, 2)), 8: Log(2, False, (1, 3))}
        return list(decide(batch, logs, known or {}, files, {3: newest}, NOW))

    def test_new_messages_count_on_from_the_last_seq(self) -> None:
        self.assertEqual(
            self.decide(message(1), message(1, sender=2), message(2)),
            [Appended(Outcome.NEW, seq, NOW, (1, 2)) for seq in (6, 7, 8)],
        )

    def test_an_older_session_of_the_device_stores_nothing_more_and_hears_of_what_is_stored(
        self,
    ) -> None:
        newer = structs.replace(message(2), session=5)
        closed = message(4, conversation=8)
        batch = [message(1), message(2), newer, message(2), message(3), closed]
        self.assertEqual(
            self.decide(*batch, known=stored(1, 4), newest=5),
            [
                Appended(Outcome.DUPLICATE, 4, NOW - 9),
                REPLACED,
                Appended(Outcome.NEW, 6, NOW, (1, 2)),
                Appended(Outcome.DUPLICATE, 6, NOW),
                REPLACED,
                REPLACED,
            ],
        )

    def test_a_device_that_is_gone_stores_nothing_more_and_hears_of_what_is_stored(self) -> None:
        batch = [structs.replace(message(n), device=4) for n in (1, 2)]
        self.assertEqual(
            self.decide(*batch, message(3), batch[1], known=stored(1, 4)),
            [
                Appended(Outcome.DUPLICATE, 4, NOW - 9),
                REVOKED,
                Appended(Outcome.NEW, 6, NOW, (1, 2)),
                REVOKED,
            ],
        )

    def test_empty_batch_has_no_decisions(self) -> None:
        self.assertEqual(self.decide(), [])

    def test_stored_message_is_a_duplicate_with_its_own_seq_and_time(self) -> None:
        self.assertEqual(
            self.decide(message(1), message(2), known=stored(1, 4)),
            [Appended(Outcome.DUPLICATE, 4, NOW - 9), Appended(Outcome.NEW, 6, NOW, (1, 2))],
        )

    def test_repetition_within_the_batch_is_a_duplicate_of_the_first(self) -> None:
        self.assertEqual(
            self.decide(message(1), message(1)),
            [Appended(Outcome.NEW, 6, NOW, (1, 2)), Appended(Outcome.DUPLICATE, 6, NOW)],
        )

    def test_other_body_or_kind_under_the_same_id_is_a_conflict(self) -> None:
        other_kind = structs.replace(message(1), kind="file")
        self.assertEqual(
            self.decide(message(1, body=b"[]"), other_kind, known=stored(1, 4)),
            [CONFLICT, CONFLICT],
        )
        self.assertEqual(self.decide(message(1), message(1, body=b"[]"))[1], CONFLICT)

    def test_conflict_leaves_the_first_for_those_who_repeat_it(self) -> None:
        _, _, third = self.decide(message(1), message(1, body=b"[]"), message(1))
        self.assertEqual(third, Appended(Outcome.DUPLICATE, 6, NOW))

    def test_who_is_no_member_learns_nothing(self) -> None:
        known = stored(1, 4, sender=3)
        self.assertEqual(
            self.decide(message(1, sender=3), message(1, conversation=9), known=known),
            [FORBIDDEN, FORBIDDEN],
        )

    def test_closed_conversation_takes_nothing_new_and_knows_the_old(self) -> None:
        known = {(8, 1, message(1).id): Stored(2, NOW - 9, "text", b"{}")}
        batch = [message(1, 8), message(2, 8), message(1, 8, body=b"[]")]
        self.assertEqual(
            self.decide(*batch, known=known),
            [Appended(Outcome.DUPLICATE, 2, NOW - 9), FORBIDDEN, CONFLICT],
        )

    def test_file_has_to_be_complete_and_the_senders(self) -> None:
        files = frozenset(((50, 1), (51, 2)))
        batch = [message(1, file=50), message(2, file=51), message(3, file=52)]
        self.assertEqual(
            self.decide(*batch, files=files),
            [Appended(Outcome.NEW, 6, NOW, (1, 2)), NO_FILE, NO_FILE],
        )

    def test_stored_message_needs_its_file_no_more(self) -> None:
        self.assertEqual(
            self.decide(message(1, file=50), known=stored(1, 4)),
            [Appended(Outcome.DUPLICATE, 4, NOW - 9)],
        )

    def test_what_is_refused_takes_no_seq_and_may_come_again(self) -> None:
        batch = [message(1, file=50), message(1), message(9, sender=3), message(2)]
        decided = self.decide(*batch)
        self.assertEqual([d.outcome for d in decided], [5, 1, 4, 1])
        self.assertEqual([d.seq for d in decided], [0, 6, 0, 7])

    def test_what_was_given_is_not_changed(self) -> None:
        known = stored(1, 4)
        self.decide(message(2), known=known)
        self.assertEqual(known, stored(1, 4))
