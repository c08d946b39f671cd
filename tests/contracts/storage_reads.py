"""What every ``MessageStorage`` has to do when messages and heads are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from imd.errors import Code
from imd.interfaces.storage import Storage
from imd.model import Cursor, Head, HeadPage, Message, Peer
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PLENTY,
    STRANGER,
    accounts,
    advance,
    append,
    in_turns,
    join,
    name_of,
    pair,
    refused,
    say,
    text,
    texts,
    together,
)


async def ten(storage: Storage) -> int:
    """A conversation of ten messages with bodies of 10 bytes."""
    c = await pair(storage)
    await append(storage, *(text(c, ALICE, n, b'{"a":%04d}' % n) for n in range(1, 11)))
    return c


async def run(
    storage: Storage, conversation: int, limit: int = 100, max_bytes: int = PLENTY, **where: int
) -> tuple[list[int], bool]:
    """The seqs that Bob gets, and whether there are more."""
    page = await storage.history(BOB, conversation, limit=limit, max_bytes=max_bytes, **where)
    assert page.floor == 1
    return [item.seq for item in page.items], page.more


class HistoryContract:
    """``history``."""

    async def test_messages_are_read_as_they_were_written(self, storage: Storage) -> None:
        c = await pair(storage)
        sent = [text(c, ALICE, 1), text(c, BOB, 2)]
        await append(storage, *sent)
        for user in ALICE, BOB:
            page = await storage.history(user, c, limit=9, max_bytes=PLENTY)
            assert list(page.items) == [
                Message(c, seq, m.sender, m.device, m.id, NOW, m.kind, m.body)
                for seq, m in enumerate(sent, 1)
            ]
            assert (page.floor, page.more) == (1, False)

    async def test_first_messages_above_a_seq(self, storage: Storage) -> None:
        c = await ten(storage)
        assert await run(storage, c, after=0) == (list(range(1, 11)), False)
        assert await run(storage, c, after=4, limit=3) == ([5, 6, 7], True)
        assert await run(storage, c, after=7, limit=3) == ([8, 9, 10], False)
        assert await run(storage, c, after=9, limit=3) == ([10], False)
        for end in 10, 11, 2**52:
            assert await run(storage, c, after=end) == ([], False)

    async def test_last_messages_below_a_seq(self, storage: Storage) -> None:
        c = await ten(storage)
        assert await run(storage, c, before=8, limit=3) == ([5, 6, 7], True)
        assert await run(storage, c, before=4, limit=3) == ([1, 2, 3], False)
        assert await run(storage, c, before=3, limit=3) == ([1, 2], False)
        assert await run(storage, c, before=1) == ([], False)
        assert await run(storage, c, before=2**52, limit=2) == ([9, 10], True)

    async def test_newest_messages(self, storage: Storage) -> None:
        c = await ten(storage)
        assert await run(storage, c, limit=3) == ([8, 9, 10], True)
        assert await run(storage, c, limit=10) == (list(range(1, 11)), False)

    async def test_what_is_too_much_is_cut_off_at_the_far_end(self, storage: Storage) -> None:
        c = await ten(storage)
        for size, fits in ((30, 3), (39, 3), (40, 4), (100, 10)):
            more = fits < 10
            assert await run(storage, c, max_bytes=size, after=0) == (
                list(range(1, fits + 1)),
                more,
            )
            newest = list(range(11 - fits, 11))
            assert await run(storage, c, max_bytes=size) == (newest, more)
            assert await run(storage, c, max_bytes=size, before=11) == (newest, more)

    async def test_one_message_always_fits(self, storage: Storage) -> None:
        c = await ten(storage)
        for size in 0, 1, 9, 10, 19:
            assert await run(storage, c, max_bytes=size, after=3) == ([4], True)
            assert await run(storage, c, max_bytes=size, before=8) == ([7], True)
            assert await run(storage, c, max_bytes=size, after=9) == ([10], False)
            assert await run(storage, c, max_bytes=size, before=2) == ([1], False)

    async def test_small_message_behind_a_large_one_is_no_hole(self, storage: Storage) -> None:
        c = await pair(storage)
        sizes = (10, 100, 2, 2)
        await append(storage, *(text(c, ALICE, n, b"x" * n) for n in sizes[:3]))
        assert await run(storage, c, max_bytes=50, after=0) == ([1], True)
        assert await run(storage, c, max_bytes=50) == ([3], True)

    async def test_empty_conversation(self, storage: Storage) -> None:
        c = await pair(storage)
        for where in {}, {"after": 0}, {"before": 5}:
            assert await run(storage, c, **where) == ([], False)

    async def test_only_members_find_a_conversation(self, storage: Storage) -> None:
        c = await ten(storage)
        for user, conversation in ((CAROL, c), (STRANGER, c), (ALICE, STRANGER)):
            for after, before in ((None, None), (0, None), (None, 5)):
                read = storage.history(
                    user, conversation, after=after, before=before, limit=9, max_bytes=PLENTY
                )
                await refused(Code.NOT_FOUND, read)

    async def test_former_friends_still_read(self, storage: Storage) -> None:
        c = await ten(storage)
        for verb in "remove", "block":
            await say(storage, ALICE, verb, BOB)
            assert await run(storage, c, limit=2) == ([9, 10], True)


async def heads(storage: Storage, user: int, **where: Any) -> list[int]:
    """The conversations of one page."""
    return [head.conversation for head in (await storage.heads(user, **where)).items]


async def quiet(storage: Storage, user: int) -> str:
    """A token after which nothing has changed, and nothing still can."""
    for _ in range(200):
        token = (await storage.heads(user)).token
        if not await heads(storage, user, since=token):
            return token
    raise AssertionError("no token ever covers what is stored")


class HeadsContract:
    """``heads``."""

    async def test_head_says_what_is_there_and_how_far_everybody_got(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        await append(storage, *texts(c, ALICE, range(5)))
        await advance(storage, Cursor(c, BOB, 4, 3), Cursor(c, ALICE, 2, 1))
        page = await storage.heads(BOB)
        peer = Peer(ALICE, name_of(ALICE), 2, 1)
        assert page.items == (Head(c, "direct", 5, 1, 4, 3, (peer,)),)
        assert not page.more

    async def test_who_has_no_conversation_gets_a_token(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB)
        for user in ALICE, BOB, STRANGER:
            page = await storage.heads(user)
            assert (page.items, page.more) == ((), False)
            assert await heads(storage, user, since=page.token) == []

    async def test_pages_are_ascending_and_end(self, storage: Storage) -> None:
        await accounts(storage, ALICE, *range(20, 25))
        for peer in (23, 20, 24, 22, 21):
            await join(storage, ALICE, peer, 1000 - peer)
            await append(storage, *texts(1000 - peer, ALICE, range(peer * 7 % 5)))
        found = [976, 977, 978, 979, 980]
        assert await heads(storage, ALICE) == found
        assert await heads(storage, ALICE, after=978) == [979, 980]
        assert await heads(storage, ALICE, after=980) == []
        for limit, more in ((1, True), (4, True), (5, False), (6, False)):
            page = await storage.heads(ALICE, limit=limit)
            assert [head.conversation for head in page.items] == found[:limit]
            assert page.more is more

    async def test_hundreds_of_conversations_in_pages(self, storage: Storage) -> None:
        peers = range(1000, 1450)
        await accounts(storage, ALICE)
        await in_turns([partial(accounts, storage, peer) for peer in peers])
        await in_turns([partial(join, storage, ALICE, peer, 9000 - peer) for peer in peers])
        found: list[int] = []
        page = await storage.heads(ALICE)
        assert len(page.items) == 200
        while page.more:
            found += [head.conversation for head in page.items]
            page = await storage.heads(ALICE, after=found[-1])
        found += [head.conversation for head in page.items]
        assert found == sorted(9000 - peer for peer in peers)

    async def test_only_named_conversations(self, storage: Storage) -> None:
        c, other = await pair(storage, 7), await join(storage, ALICE, CAROL, 9)
        third = await join(storage, BOB, CAROL, 8)
        assert await heads(storage, ALICE, only=[other, third, STRANGER, other]) == [other]
        assert await heads(storage, ALICE, only=[other, c]) == [c, other]
        assert await heads(storage, ALICE, only=[other, c], after=c) == [other]
        assert await heads(storage, ALICE, only=[]) == []
        many = [*range(10_000, 11_000), c]
        assert await heads(storage, ALICE, only=many) == [c]

    async def test_whatever_changed_since_a_token(self, storage: Storage) -> None:
        c, other = await pair(storage, 7), await join(storage, ALICE, CAROL, 8)
        await append(storage, text(c, ALICE, 1))
        steps: dict[str, Callable[[], Awaitable[object]]] = {
            "message": partial(append, storage, text(c, ALICE, 2)),
            "message of the other": partial(append, storage, text(c, BOB, 3)),
            "cursor": partial(advance, storage, Cursor(c, ALICE, 1, 0)),
            "cursor of the other": partial(advance, storage, Cursor(c, BOB, 0, 1)),
            "closed": partial(say, storage, BOB, "remove", ALICE),
            "opened": partial(join, storage, ALICE, BOB, 55),
            "blocked": partial(say, storage, ALICE, "block", BOB),
        }
        for what, step in steps.items():
            token = await quiet(storage, ALICE)
            await step()
            assert await heads(storage, ALICE, since=token) == [c], what
            assert await heads(storage, ALICE, since=token, only=[other]) == []
            assert await heads(storage, ALICE, since=token, after=c) == []
            assert await heads(storage, CAROL, since=token) == []

    async def test_new_conversation_has_changed_since_a_token_before(
        self, storage: Storage
    ) -> None:
        await pair(storage)
        token = await quiet(storage, ALICE)
        await join(storage, CAROL, ALICE, 5)
        assert await heads(storage, ALICE, since=token) == [5]
        assert await heads(storage, CAROL, since=token) == [5]

    async def test_what_changes_nothing_is_no_change(self, storage: Storage) -> None:
        c = await pair(storage)
        await append(storage, text(c, ALICE, 1))
        await advance(storage, Cursor(c, BOB, 1, 1))
        token = await quiet(storage, ALICE)
        await append(storage, text(c, ALICE, 1), text(c, CAROL, 1), text(c, ALICE, 1, b"{}"))
        await advance(storage, Cursor(c, BOB, 1, 0), Cursor(c, ALICE, 5, 5))
        await say(storage, ALICE, "add", BOB)
        assert await heads(storage, ALICE, since=token) == []

    async def test_changes_in_pages(self, storage: Storage) -> None:
        await accounts(storage, ALICE, *range(20, 26))
        for peer in range(20, 26):
            await join(storage, ALICE, peer, peer)
        token = await quiet(storage, ALICE)
        await append(storage, *(text(c, ALICE, 1) for c in (21, 23, 24, 25)))
        page = await storage.heads(ALICE, since=token, limit=3)
        assert ([head.conversation for head in page.items], page.more) == ([21, 23, 24], True)
        page = await storage.heads(ALICE, since=token, after=24, limit=3)
        assert ([head.conversation for head in page.items], page.more) == ([25], False)

    async def test_token_that_cannot_be_read_or_is_of_another_epoch_counts_as_none(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        token = await quiet(storage, ALICE)
        epoch = await storage.epoch()
        garbage = ["", ":", "0", "e", epoch, f"{epoch}:", f"{epoch}:x", f"{epoch}:-1", f":{epoch}"]
        garbage += [
            f"{epoch}:{'9' * 100}",
            f"{epoch}:٣",
            f"{epoch}: 1",
            "\x00",
            "%s",
            "'",
            "x" * 9999,
        ]
        garbage += [f"other{token}", f"{token}x", f" {token}", f"{token}\n", "\U0001f600"]
        for since in garbage:
            assert await heads(storage, ALICE, since=since) == [c], since

    async def test_conversations_of_former_friends_are_there(self, storage: Storage) -> None:
        c = await pair(storage)
        for verb in "remove", "block":
            await say(storage, BOB, verb, ALICE)
            for user, peer in ((ALICE, BOB), (BOB, ALICE)):
                (head,) = (await storage.heads(user)).items
                assert (head.conversation, head.peers[0].name) == (c, name_of(peer))

    async def test_token_misses_nothing_that_is_committed_at_the_same_time(
        self, storage: Storage
    ) -> None:
        peers = range(20, 28)
        await accounts(storage, ALICE, *peers)
        for peer in peers:
            await join(storage, ALICE, peer, peer)
        calls: list[Any] = []
        for n in range(30):
            for peer in peers:
                calls.append(append(storage, text(peer, (ALICE, peer)[n % 2], n)))
            calls.append(advance(storage, *(Cursor(peer, peer, n, n // 2) for peer in peers)))
            calls.append(storage.heads(ALICE))
        pages = [page for page in await together(*calls) if isinstance(page, HeadPage)]
        last = {head.conversation: head for head in (await storage.heads(ALICE)).items}
        assert [head.last for head in last.values()] == [30] * len(peers)
        for page in pages:
            state = {head.conversation: head for head in page.items}
            changes = await storage.heads(ALICE, since=page.token)
            state |= {head.conversation: head for head in changes.items}
            assert state == last
