"""What every ``MessageStorage`` has to do when messages and cursors are written."""

from __future__ import annotations

import json
from functools import partial

from msgspec import structs

from imd.interfaces.storage import Storage
from imd.model import Cursor, NewMessage, Outcome
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    CONFLICT,
    FORBIDDEN,
    HIGHEST,
    NO_FILE,
    NOW,
    PLENTY,
    REPLACED,
    REVOKED,
    STRANGER,
    accounts,
    advance,
    append,
    in_turns,
    join,
    known,
    log,
    new,
    pair,
    phone,
    put_file,
    say,
    text,
    texts,
    together,
    token,
)


class AppendContract:
    """``append``."""

    async def test_new_messages_get_the_next_seqs_of_their_conversation_in_batch_order(
        self, storage: Storage
    ) -> None:
        c, other = await pair(storage, 7), await join(storage, ALICE, CAROL, 5)
        both = (ALICE, CAROL)
        assert await append(
            storage, text(c, ALICE, 9), text(other, CAROL, 8), text(c, BOB, 7), text(c, ALICE, 6)
        ) == [new(1), new(1, members=both), new(2), new(3)]
        assert await append(storage, text(other, ALICE, 5), text(c, BOB, 4)) == [
            new(2, members=both),
            new(4),
        ]
        assert await log(storage, BOB, c) == [9, 7, 6, 4]
        assert await log(storage, ALICE, other) == [8, 5]

    async def test_all_new_messages_have_the_time_of_the_call(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, (1, 2)), at=NOW)
        assert await append(storage, text(c, ALICE, 3), at=NOW - 5) == [new(3, NOW - 5)]
        page = await storage.history(BOB, c, limit=9, max_bytes=PLENTY)
        assert [item.at for item in page.items] == [NOW, NOW, NOW - 5]

    async def test_message_that_is_stored_is_a_duplicate_with_its_first_seq_and_time(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        batch = texts(c, ALICE, (1, 2, 3))
        await append(storage, *batch)
        assert await append(storage, *batch, at=NOW + 1) == [known(1), known(2), known(3)]
        mixed = [text(c, ALICE, 4), batch[1], text(c, ALICE, 5)]
        assert await append(storage, *mixed, at=NOW + 2) == [
            new(4, NOW + 2),
            known(2),
            new(5, NOW + 2),
        ]
        assert await log(storage, BOB, c) == [1, 2, 3, 4, 5]

    async def test_message_that_stands_earlier_in_the_batch_is_a_duplicate(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        one, two = texts(c, ALICE, (1, 2))
        assert await append(storage, one, two, one, two, one) == [
            new(1),
            new(2),
            known(1),
            known(2),
            known(1),
        ]
        assert await log(storage, BOB, c) == [1, 2]

    async def test_only_kind_and_body_make_a_message_another_one(self, storage: Storage) -> None:
        c = await pair(storage)
        first = text(c, ALICE, 1)
        await append(storage, first)
        elsewhere = structs.replace(first, device=99)
        assert await append(storage, elsewhere, at=NOW + 1) == [known(1)]
        for other in structs.replace(first, body=b"{}"), structs.replace(first, kind="x"):
            assert await append(storage, other) == [CONFLICT]
        page = await storage.history(BOB, c, limit=9, max_bytes=PLENTY)
        assert [(m.kind, m.body, m.device) for m in page.items] == [
            (first.kind, first.body, first.device)
        ]

    async def test_conflict_within_a_batch_leaves_the_first_and_takes_no_seq(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        batch = [text(c, ALICE, 1), text(c, ALICE, 1, b"{}"), text(c, ALICE, 2), text(c, ALICE, 1)]
        assert await append(storage, *batch) == [new(1), CONFLICT, new(2), known(1)]

    async def test_ids_of_other_senders_and_conversations_are_others(
        self, storage: Storage
    ) -> None:
        c, other = await pair(storage, 7), await join(storage, ALICE, CAROL, 8)
        batch = [text(c, ALICE, 1), text(c, BOB, 1, b"{}"), text(other, ALICE, 1, b"[]")]
        assert await append(storage, *batch) == [new(1), new(2), new(1, members=(ALICE, CAROL))]
        assert await append(storage, *reversed(batch)) == [known(1), known(2), known(1)]

    async def test_who_is_no_member_is_forbidden_whatever_the_id(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, text(c, ALICE, 1))
        for sender in CAROL, STRANGER:
            for number in 1, 2:
                assert await append(storage, text(c, sender, number)) == [FORBIDDEN]
        assert await append(storage, text(STRANGER, ALICE, 1), text(STRANGER, ALICE, 3)) == [
            FORBIDDEN,
            FORBIDDEN,
        ]
        assert await log(storage, BOB, c) == [1]

    async def test_request_that_was_not_accepted_opens_nothing(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB, 7)
        assert await append(storage, text(7, ALICE, 1), text(7, BOB, 1)) == [FORBIDDEN] * 2

    async def test_former_friends_are_told_about_what_is_stored_and_send_nothing_new(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        await append(storage, text(c, ALICE, 1), text(c, BOB, 1))
        for user, verb, peer in ((ALICE, "remove", BOB), (BOB, "block", ALICE)):
            await say(storage, user, verb, peer)
            for sender, seq in ((ALICE, 1), (BOB, 2)):
                batch = [text(c, sender, 2), text(c, sender, 1), text(c, sender, 1, b"{}")]
                assert await append(storage, *batch) == [FORBIDDEN, known(seq), CONFLICT]
        await say(storage, BOB, "unblock", ALICE)
        await join(storage, BOB, ALICE, 8)
        assert await append(storage, text(c, BOB, 2)) == [new(3)]

    async def test_file_has_to_be_complete_and_of_the_sender(self, storage: Storage) -> None:
        c = await pair(storage)
        await put_file(storage, 50, ALICE)
        await put_file(storage, 51, ALICE, complete=False)
        await put_file(storage, HIGHEST, BOB)

        def carrying(file: int, number: int) -> NewMessage:
            return structs.replace(text(c, ALICE, number), kind="file", file=file)

        batch = [carrying(file, file) for file in (51, HIGHEST, 52, 50)]
        assert await append(storage, *batch) == [NO_FILE, NO_FILE, NO_FILE, new(1)]
        # Stored is stored, whatever has become of the file.
        assert await append(storage, carrying(52, 50), batch[3]) == [known(1), known(1)]
        assert await append(storage, structs.replace(batch[3], body=b"{}", file=52)) == [CONFLICT]
        stranger = structs.replace(carrying(50, 60), sender=CAROL)
        assert await append(storage, stranger) == [FORBIDDEN]

    async def test_what_a_newer_session_was_refused_is_not_stored_for_an_older_one(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)

        async def connect() -> list[NewMessage]:
            identity = await storage.open_session(token(10 + ALICE), NOW)
            assert identity is not None
            made = texts(c, ALICE, (1, 2, 3))
            return [structs.replace(message, session=identity.session) for message in made]

        first, second, third = await connect()
        assert await append(storage, first) == [new(1)]
        # The connector of the first session cannot reach storage; the client goes to another.
        _, second_again, third_again = await connect()
        await say(storage, BOB, "remove", ALICE)
        assert await append(storage, second_again) == [FORBIDDEN]
        await join(storage, ALICE, BOB, c)
        assert await append(storage, third_again) == [new(2)]
        assert await append(storage, first, second, third) == [known(1), REPLACED, known(2)]
        assert await log(storage, BOB, c) == [1, 3]

    async def test_a_device_that_was_logged_out_stores_nothing_more(self, storage: Storage) -> None:
        c = await pair(storage)
        first, second = texts(c, ALICE, (1, 2))
        assert await append(storage, first) == [new(1)]
        assert await storage.delete_device(ALICE, first.device)
        bobs = text(c, BOB, 3)
        assert await append(storage, first, second, bobs) == [known(1), REVOKED, new(2)]
        assert await log(storage, BOB, c) == [1, 3]

    async def test_what_is_refused_takes_no_seq(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, text(c, ALICE, 1))
        batch = [
            text(c, ALICE, 2),
            text(c, CAROL, 3),
            text(c, ALICE, 1, b"{}"),
            structs.replace(text(c, ALICE, 4), file=50),
            text(c, ALICE, 1),
            text(c, ALICE, 5),
        ]
        assert await append(storage, *batch) == [
            new(2),
            FORBIDDEN,
            CONFLICT,
            NO_FILE,
            known(1),
            new(3),
        ]
        assert await log(storage, BOB, c) == [1, 2, 5]

    async def test_refused_message_may_come_again_and_be_stored(self, storage: Storage) -> None:
        c = await pair(storage)
        message = structs.replace(text(c, ALICE, 1), file=50)
        assert await append(storage, message, message) == [NO_FILE, NO_FILE]
        await put_file(storage, 50, ALICE)
        assert await append(storage, message) == [new(1)]

    async def test_bodies_come_back_byte_for_byte(self, storage: Storage) -> None:
        c = await pair(storage)
        characters = "".join(map(chr, (*range(0x800), 0x2028, 0xFFFD, 0xFFFF, 0x1F600, 0x10FFFF)))
        bodies = [
            b"{}",
            b"null",
            json.dumps(characters).encode(),
            json.dumps(characters, ensure_ascii=False).encode(),
            b'{"a":"\\\\x00 %s %% {} NULL, \\" \' ; -- "}',
            b'{"text":"%s"}' % (b"x" * (65536 - 11)),
        ]
        assert len(bodies[-1]) == 65536
        batch = [text(c, ALICE, n, body) for n, body in enumerate(bodies, 1)]
        assert await append(storage, *batch) == [new(n) for n in range(1, len(bodies) + 1)]
        page = await storage.history(BOB, c, limit=9, max_bytes=PLENTY)
        assert [item.body for item in page.items] == bodies
        assert await append(storage, *batch) == [known(n) for n in range(1, len(bodies) + 1)]

    async def test_greatest_and_smallest_ids_and_times(self, storage: Storage) -> None:
        await accounts(storage, HIGHEST, ALICE)
        assert await join(storage, ALICE, HIGHEST, HIGHEST) == HIGHEST
        for user, device in ((HIGHEST, HIGHEST), (ALICE, 1)):
            await phone(storage, user, device)
        ends = [
            NewMessage(HIGHEST, HIGHEST, HIGHEST, bytes(16), "text", b"{}"),
            NewMessage(HIGHEST, ALICE, 1, b"\xff" * 16, "x-of.others_1", b"{}"),
        ]
        assert await append(storage, *ends, at=HIGHEST) == [
            new(seq, HIGHEST, (ALICE, HIGHEST)) for seq in (1, 2)
        ]
        page = await storage.history(HIGHEST, HIGHEST, limit=9, max_bytes=PLENTY)
        assert [(m.sender, m.device, m.id, m.at, m.kind) for m in page.items] == [
            (m.sender, m.device, m.id, HIGHEST, m.kind) for m in ends
        ]

    async def test_batches_of_hundreds(self, storage: Storage) -> None:
        c = await pair(storage)
        batch = texts(c, ALICE, range(300))
        assert await append(storage, *batch) == [new(n + 1) for n in range(300)]
        assert await append(storage, *batch[150:], *texts(c, BOB, range(150))) == [
            *(known(n + 1) for n in range(150, 300)),
            *(new(n + 301) for n in range(150)),
        ]

    async def test_batch_of_nothing(self, storage: Storage) -> None:
        c = await pair(storage)
        assert await append(storage) == []
        assert await append(storage, text(c, ALICE, 1)) == [new(1)]

    async def test_same_ids_in_two_batches_at_the_same_time_are_stored_once(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        batch = texts(c, ALICE, range(20))
        for result in await together(
            append(storage, *batch), append(storage, *batch, at=NOW + 1), append(storage, *batch)
        ):
            assert [d.seq for d in result] == list(range(1, 21))
            assert len({(d.outcome, d.at) for d in result}) == 1
        assert await log(storage, BOB, c) == list(range(20))

    async def test_batches_that_cross_neither_wait_for_ever_nor_leave_gaps(
        self, storage: Storage
    ) -> None:
        first, second = await pair(storage, 7), await join(storage, ALICE, CAROL, 8)
        calls = []
        for n in range(20):
            parts = [text(first, ALICE, n), text(second, ALICE, n)]
            calls += [append(storage, *parts), append(storage, *reversed(parts))]
        outcomes = [d.outcome for result in await together(*calls) for d in result]
        assert outcomes.count(Outcome.NEW) == outcomes.count(Outcome.DUPLICATE) == 40
        for conversation in first, second:
            assert sorted(await log(storage, ALICE, conversation)) == list(range(20))

    async def test_what_was_decided_can_be_read_at_once(self, storage: Storage) -> None:
        c = await pair(storage)
        for seq in range(1, 11):
            await append(storage, text(c, ALICE, seq))
            page = await storage.history(BOB, c, limit=1, max_bytes=PLENTY)
            assert page.items[0].seq == seq
            assert (await storage.heads(BOB)).items[0].last == seq


class AdvanceContract:
    """``advance``."""

    async def test_cursors_grow_and_everybody_has_to_hear_of_it(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(9)))
        assert await advance(storage, Cursor(c, BOB, 5, 2)) == {Cursor(c, BOB, 5, 2): {ALICE, BOB}}
        assert await advance(storage, Cursor(c, BOB, 9, 0), Cursor(c, ALICE, 1, 1)) == {
            Cursor(c, BOB, 9, 2): {ALICE, BOB},
            Cursor(c, ALICE, 1, 1): {ALICE, BOB},
        }

    async def test_cursors_never_shrink(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(9)))
        await advance(storage, Cursor(c, BOB, 7, 5))
        for delivered, read in ((7, 5), (6, 5), (7, 4), (0, 0), (1, 1)):
            assert await advance(storage, Cursor(c, BOB, delivered, read)) == {}
        (head,) = (await storage.heads(BOB)).items
        assert (head.delivered, head.read) == (7, 5)

    async def test_read_carries_delivered_with_it(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(9)))
        for read, grown in ((4, (4, 4)), (6, (6, 6))):
            assert set(await advance(storage, Cursor(c, BOB, 0, read))) == {Cursor(c, BOB, *grown)}
        assert set(await advance(storage, Cursor(c, BOB, 8, 7))) == {Cursor(c, BOB, 8, 7)}

    async def test_cursor_above_the_last_seq_is_ignored(self, storage: Storage) -> None:
        c = await pair(storage)
        assert await advance(storage, Cursor(c, BOB, 1, 1)) == {}
        await append(storage, *texts(c, ALICE, range(3)))
        for delivered, read in ((4, 0), (4, 4), (0, 4), (HIGHEST, HIGHEST)):
            assert await advance(storage, Cursor(c, BOB, delivered, read)) == {}
        assert set(await advance(storage, Cursor(c, BOB, 3, 3))) == {Cursor(c, BOB, 3, 3)}

    async def test_cursor_of_no_member_is_ignored_and_stops_no_other(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(3)))
        assert set(
            await advance(
                storage,
                Cursor(c, CAROL, 1, 1),
                Cursor(STRANGER, BOB, 1, 1),
                Cursor(c, STRANGER, 1, 1),
                Cursor(c, BOB, 2, 1),
            )
        ) == {Cursor(c, BOB, 2, 1)}
        assert not (await storage.heads(CAROL)).items

    async def test_several_cursors_of_one_member_are_merged(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(9)))
        several = [Cursor(c, BOB, d, r) for d, r in ((3, 0), (5, 1), (4, 2), (0, 0))]
        assert await advance(storage, *several) == {Cursor(c, BOB, 5, 2): {ALICE, BOB}}

    async def test_cursors_of_former_friends_still_grow(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(3)))
        await say(storage, ALICE, "block", BOB)
        assert set(await advance(storage, Cursor(c, BOB, 3, 3))) == {Cursor(c, BOB, 3, 3)}

    async def test_hundreds_of_cursors_at_once(self, storage: Storage) -> None:
        peers = range(100, 400)
        await accounts(storage, ALICE, *peers)
        await in_turns([partial(join, storage, ALICE, peer, peer) for peer in peers])
        await append(storage, *(text(peer, ALICE, 1) for peer in peers))
        cursors = [Cursor(peer, peer, 1, 0) for peer in peers]
        assert await advance(storage, *cursors) == {c: {ALICE, c.user} for c in cursors}
        assert await advance(storage, *cursors) == {}

    async def test_no_cursors_at_all(self, storage: Storage) -> None:
        await pair(storage)
        assert await advance(storage) == {}

    async def test_cursors_that_cross_end_at_the_greatest(self, storage: Storage) -> None:
        c, other = await pair(storage, 7), await join(storage, ALICE, CAROL, 8)
        for conversation in c, other:
            await append(storage, *texts(conversation, ALICE, range(20)))
        calls = []
        for n in range(1, 21):
            parts = [Cursor(c, ALICE, n, 0), Cursor(other, ALICE, 0, n)]
            calls += [advance(storage, *parts), advance(storage, *reversed(parts))]
            calls.append(advance(storage, Cursor(c, BOB, 21 - n, 0)))
        grown = [cursor for result in await together(*calls) for cursor in result]
        assert len(grown) == len(set(grown)), "one growth was reported twice"
        heads = (await storage.heads(ALICE)).items
        assert [(h.delivered, h.read, h.peers[0].delivered) for h in heads] == [
            (20, 0, 20),
            (20, 20, 0),
        ]
