"""What every ``ExpiryStorage`` has to do."""

from __future__ import annotations

import pytest
from msgspec import structs
from twisted.internet.defer import Deferred, gatherResults

from imd.errors import Code
from imd.interfaces.storage import Storage
from imd.model import Cursor, Erased, Expired, NewMessage, Outcome, Place
from imd.storage import postgres_expiry, sqlite_expiry
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    NOW,
    PLENTY,
    accounts,
    advance,
    append,
    join,
    name_of,
    pair,
    put_file,
    refused,
    say,
    text,
    texts,
)

HOUR = 3_600_000


def carrying(conversation: int, number: int, file: int, sender: int = ALICE) -> NewMessage:
    """A message with a file."""
    body = b'{"file":%d,"name":"a","size":3,"mime":"text/plain"}' % file
    plain = text(conversation, sender, number, body)
    return structs.replace(plain, kind="file", file=file)


async def seqs(storage: Storage, user: int, conversation: int) -> tuple[int, list[int]]:
    """The floor, and the seqs that are there."""
    page = await storage.history(user, conversation, after=0, limit=200, max_bytes=PLENTY)
    return page.floor, [message.seq for message in page.items]


async def expire(
    storage: Storage, cut: int, hard: int = 0, after: int = 0, limit: int = 99
) -> Expired | None:
    """What the first call that deletes something has done; None if there was none."""
    bounds = {"cut": cut, "hard": hard, "limit": limit}
    while (done := await storage.expire_messages(after=after, **bounds)) is not None:
        if done.messages:
            return done
        assert done.conversation > after
        after = done.conversation
    return None


class ExpiryOfMessagesContract:
    """Old messages."""

    async def test_only_a_prefix_that_is_old_and_delivered_goes(self, storage: Storage) -> None:
        c = await pair(storage)
        for n in range(1, 6):
            await append(storage, text(c, ALICE, n), at=NOW + n)
        await advance(storage, Cursor(c, BOB, 3, 0), Cursor(c, ALICE, 5, 0))
        assert await expire(storage, NOW + 1) is None
        assert await expire(storage, NOW + 3) == Expired(c, 2)
        assert await seqs(storage, BOB, c) == (3, [3, 4, 5])
        assert await expire(storage, NOW + 9) == Expired(c, 1)
        assert await seqs(storage, BOB, c) == (4, [4, 5])
        # What nobody has fetched stays for longer, but not for ever.
        assert await expire(storage, NOW + 9) is None
        assert await expire(storage, NOW + 9, hard=NOW + 5) == Expired(c, 1)
        assert await expire(storage, NOW + 9, hard=NOW + 9) == Expired(c, 1)
        assert await seqs(storage, BOB, c) == (6, [])
        assert await expire(storage, NOW + 9, hard=NOW + 9) is None
        (new,) = await append(storage, text(c, ALICE, 6), at=NOW + 9)
        assert new.seq == 6

    async def test_conversations_are_looked_at_few_at_a_time(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in sqlite_expiry, postgres_expiry:
            monkeypatch.setattr(module, "LOOKED_AT", 2)
        c = await pair(storage)
        for n, peer in enumerate((CAROL, DAVE), 1):
            if peer == DAVE:
                await accounts(storage, DAVE)
            await join(storage, ALICE, peer, c + n)
        await append(storage, text(c + 2, ALICE, 1))
        bounds = {"cut": NOW + 1, "hard": NOW + 1, "limit": 9}
        assert await storage.expire_messages(after=0, **bounds) == Expired(c + 1, 0)
        assert await storage.expire_messages(after=c + 1, **bounds) == Expired(c + 2, 1)
        assert await storage.expire_messages(after=c + 2, **bounds) is None

    async def test_a_changed_floor_is_a_changed_head(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(3)))
        token = (await storage.heads(BOB)).token
        await expire(storage, NOW + 1, hard=NOW + 1)
        (head,) = (await storage.heads(BOB, since=token)).items
        assert (head.floor, head.last) == (4, 3)

    async def test_it_goes_from_conversation_to_conversation_in_small_steps(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        d = await join(storage, ALICE, CAROL, c + 1)
        await append(storage, *texts(c, ALICE, range(5)), *texts(d, ALICE, range(2)))
        hard = NOW + 1
        assert await expire(storage, hard, hard, limit=4) == Expired(c, 4)
        assert await expire(storage, hard, hard, limit=4) == Expired(c, 1)
        assert await expire(storage, hard, hard, after=c) == Expired(d, 2)
        assert await expire(storage, hard, hard, after=d) is None

    async def test_a_file_goes_with_the_last_message_that_carries_it(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        d = await join(storage, ALICE, CAROL, c + 1)
        await put_file(storage, 77, ALICE)
        await append(storage, carrying(c, 1, 77), text(c, ALICE, 2), at=NOW)
        await append(storage, carrying(c, 3, 77), carrying(d, 4, 77), at=NOW + 5)
        assert await expire(storage, NOW + 1, NOW + 1) == Expired(c, 2)
        assert await storage.readable_file(BOB, 10 + BOB, 77) is not None
        assert await expire(storage, NOW + 9, NOW + 9) == Expired(c, 1)
        assert await storage.readable_file(BOB, 10 + BOB, 77) is None
        assert await storage.readable_file(CAROL, 10 + CAROL, 77) is not None
        assert await storage.unused_blobs(0, 9) == ()
        assert await expire(storage, NOW + 9, NOW + 9, after=c) == Expired(d, 1)
        assert await storage.own_file(ALICE, 77) is None
        assert await storage.unused_blobs(0, 9) == (77,)

    async def test_files_go_by_their_own_age_and_messages_stay(self, storage: Storage) -> None:
        c = await pair(storage)
        await put_file(storage, 77, ALICE)
        await put_file(storage, 78, ALICE)
        await append(storage, carrying(c, 1, 77))
        assert await storage.expire_sent_files(before=NOW, limit=9) == 0
        assert await storage.expire_sent_files(before=NOW + 1, limit=9) == 1
        assert await storage.readable_file(BOB, 10 + BOB, 77) is None
        assert await storage.own_file(ALICE, 78) is not None
        assert await storage.unused_blobs(0, 9) == (77,)
        assert await seqs(storage, BOB, c) == (1, [1])
        assert await storage.expire_sent_files(before=NOW + 1, limit=9) == 0

    async def test_a_job_is_claimed_once_in_its_time(self, storage: Storage) -> None:
        assert await storage.claim("a", NOW, HOUR)
        assert not await storage.claim("a", NOW + HOUR - 1, HOUR)
        assert await storage.claim("b", NOW, HOUR)
        assert await storage.claim("a", NOW + HOUR, HOUR)
        assert not await storage.claim("a", NOW + HOUR, HOUR)


class ErasureContract:
    """What one user wrote."""

    async def erase(self, storage: Storage, user: int = ALICE, limit: int = 2) -> None:
        await storage.close_account(user)
        after = Place(0, 0)
        while done := await storage.erase_messages(user, after, limit):
            assert (after.conversation, after.seq) < (done.last.conversation, done.last.seq)
            assert 0 <= done.messages <= done.looked <= limit
            after = done.last
        while await storage.erase_files(user, limit):
            pass

    async def test_what_was_written_is_gone_and_its_place_stays(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(1, 4)), *texts(c, BOB, [4]))
        await append(storage, *texts(c, ALICE, [5]))
        await advance(storage, Cursor(c, BOB, 5, 5))
        before = await storage.history(BOB, c, after=0, limit=9, max_bytes=PLENTY)
        for _ in range(2):
            await self.erase(storage)
        after = await storage.history(BOB, c, after=0, limit=9, max_bytes=PLENTY)
        for old, new in zip(before.items, after.items, strict=True):
            mine = old.sender == ALICE
            body = {"kind": "erased", "body": b"{}"} if mine else {}
            assert new == structs.replace(old, **body)
        (head,) = (await storage.heads(BOB)).items
        assert (head.last, head.delivered, head.read) == (5, 5, 5)

    async def test_only_what_is_behind_a_place_is_erased(self, storage: Storage) -> None:
        first, second = await pair(storage), await join(storage, ALICE, CAROL, 8)
        for c in first, second:
            await append(storage, *texts(c, ALICE, range(1, 4)))
        done = await storage.erase_messages(ALICE, Place(first, 2), 1)
        assert done == Erased(Place(first, 3), 1, 1)
        rest = await storage.erase_messages(ALICE, done.last, 9)
        assert rest == Erased(Place(second, 3), 3, 3)
        assert await storage.erase_messages(ALICE, rest.last, 9) is None
        left = await storage.erase_messages(ALICE, Place(0, 0), 9)
        assert left == Erased(Place(first, 3), 3, 2)

    async def test_two_orders_at_once_share_the_work(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(1, 31)))

        async def erased() -> int:
            after, total = Place(0, 0), 0
            while done := await storage.erase_messages(ALICE, after, 1):
                after, total = done.last, total + done.messages
            return total

        both = await gatherResults([Deferred.fromCoroutine(erased()) for _ in range(2)])
        assert sum(both) == 30

    async def test_the_account_is_shut_for_ever(self, storage: Storage) -> None:
        c = await pair(storage)
        await storage.set_display(ALICE, "Alice")
        version, _ = await storage.friends(BOB)
        assert await storage.close_account(ALICE) == (BOB,)
        assert await storage.close_account(ALICE) == ()
        found = await storage.find_user(ALICE)
        assert found is not None
        assert (found.disabled, found.display) == (True, "")
        assert await storage.devices(ALICE) == ()
        raised, friends = await storage.friends(BOB)
        assert friends == ()
        assert raised > version
        await refused(Code.EXISTS, storage.create_user(99, name_of(ALICE), "hash", NOW))
        for sender in ALICE, BOB:
            (decision,) = await append(storage, text(c, sender, 50))
            assert decision.outcome in (Outcome.FORBIDDEN, Outcome.REVOKED)

    async def test_files_of_the_user_go_and_those_of_others_stay(self, storage: Storage) -> None:
        c = await pair(storage)
        await put_file(storage, 77, ALICE)
        await put_file(storage, 78, ALICE, complete=False)
        await put_file(storage, 79, BOB)
        await append(storage, carrying(c, 1, 77), carrying(c, 2, 79, BOB))
        await self.erase(storage)
        assert await storage.own_file(ALICE, 77) is None
        assert await storage.own_file(ALICE, 78) is None
        assert await storage.own_file(BOB, 79) is not None
        assert await storage.unused_blobs(0, 9) == (77, 78)

    async def test_who_wrote_nothing_is_erased_as_well(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB)
        await self.erase(storage)
        assert (await storage.friends(BOB))[1] == ()
