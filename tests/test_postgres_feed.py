"""The feed: what others committed, for ten minutes, and an epoch that names the log."""

from __future__ import annotations

import psycopg2
import pytest
from msgspec import structs

from imd.interfaces.feed import FeedHead, FeedPage
from imd.model import Cursor, CursorChange, Device
from imd.storage import postgres_reads
from imd.storage.postgres import PostgresStorage
from tests.postgres_parts import append, befriend, nodes, text
from tests.servers import Postgres


def _sql(postgres: Postgres, url: str, sql: str) -> list[tuple[object, ...]]:
    return postgres.run(sql, url.rpartition("/")[2])


async def _now(storage: PostgresStorage) -> str:
    return (await storage.feed(None)).token


async def test_without_a_token_there_is_only_one_to_begin_with(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        page = await storage.feed(None)
        assert page == FeedPage((), (), (), page.token)


async def test_a_node_hears_of_what_another_committed(store_url: str) -> None:
    async with nodes(store_url, 2) as (one, two):
        await befriend(one, 1, 2, 10)
        begin = await _now(two)
        await append(one, [text(10, 1, 1), text(10, 1, 2)])
        await append(one, [text(10, 2, 3)])
        await one.advance([Cursor(10, 2, 2, 1)], 1)
        await one.advance([Cursor(10, 2, 3, 0)], 1)
        page = await two.feed(begin)
        assert page.complete
        assert page.heads == (FeedHead(10, 3, (1, 2)),)
        assert page.cursors == (CursorChange(Cursor(10, 2, 3, 1), (1, 2)),)
        assert page.accounts == ()
        page = await two.feed(page.token)
        assert page == FeedPage((), (), (), page.token)


async def test_a_batch_that_changes_nothing_is_not_in_the_feed(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        await append(storage, [text(10, 1, 1)])
        await storage.advance([Cursor(10, 2, 1, 0)], 1)
        begin = await _now(storage)
        await append(storage, [text(10, 1, 1), text(11, 1, 1)])
        await storage.advance([Cursor(10, 2, 1, 0), Cursor(10, 2, 9, 9)], 1)
        await storage.delete_device(1, 999)
        page = await storage.feed(begin)
        assert page == FeedPage((), (), (), page.token)


async def test_friends_devices_and_accounts_are_in_the_feed(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        for user in (1, 2):
            await storage.create_user(user, f"user{user}", "hash", 1)
        await storage.add_device(
            Device(5, 1, "", 1, 1), b"5", verified="hash", limit=1, retire_before=0
        )

        async def told(call: object) -> tuple[int, ...]:
            begin = await _now(storage)
            await call  # type: ignore[misc]
            return tuple(sorted((await storage.feed(begin)).accounts))

        async def verb(user: int, peer: int, verb: str) -> None:
            await storage.befriend(user, peer, verb, note="", conversation=10, at=1)

        assert await told(verb(1, 2, "add")) == (1, 2)
        assert await told(verb(1, 2, "add")) == ()
        assert await told(verb(2, 1, "accept")) == (1, 2)
        assert await told(verb(2, 1, "remove")) == (1, 2)
        # Of a block the other side notices nothing.
        assert await told(verb(2, 1, "block")) == (2,)
        assert await told(storage.set_password(2, "new", None, verified="hash")) == (2,)
        assert await told(storage.set_disabled(1, True)) == (1,)
        # Whoever has somebody in the list, though blocked, sees another display name there.
        assert await told(storage.set_display(1, "One")) == (1, 2)
        again = Device(6, 1, "", 1, 1)
        assert await told(
            storage.add_device(again, b"6", verified="hash", limit=1, retire_before=9)
        ) == (1,)
        assert await told(storage.delete_device(1, 6)) == (1,)


async def test_a_conversation_that_opens_or_closes_is_a_head(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        begin = await _now(storage)
        await befriend(storage, 1, 2, 10)
        assert (await storage.feed(begin)).heads == (FeedHead(10, 0, (1, 2)),)
        await append(storage, [text(10, 1, 1)])
        begin = await _now(storage)
        await storage.befriend(1, 2, "remove", note="", conversation=0, at=1)
        assert (await storage.feed(begin)).heads == (FeedHead(10, 1, (1, 2)),)


async def test_after_a_purge_a_token_from_before_is_not_complete(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        old = await _now(storage)
        await append(storage, [text(10, 1, 1)])
        middle = await _now(storage)
        await append(storage, [text(10, 1, 2)])
        await storage.purge()
        assert (await storage.feed(old)).complete
        _sql(postgres, store_url, "UPDATE feed SET at = at - interval '11 min' WHERE last[1] < 2")
        await storage.purge()
        page = await storage.feed(old)
        assert not page.complete
        # What there still is comes all the same, and its token is good again.
        assert page.heads == (FeedHead(10, 2, (1, 2)),)
        assert (await storage.feed(page.token)).complete
        page = await storage.feed(middle)
        assert page.complete
        assert page.heads == (FeedHead(10, 2, (1, 2)),)
        await storage.purge()
        assert (await storage.feed(middle)).complete


async def _pages(storage: PostgresStorage, since: str) -> list[FeedPage]:
    """All pages after a token."""
    pages = [await storage.feed(since)]
    while pages[-1].rest is not None:
        pages.append(await storage.feed(pages[-1].rest))
    return pages


@pytest.mark.parametrize(("rows", "entries"), [(4, 1000), (1000, 4), (1, 1)])
async def test_much_comes_in_pages_and_all_of_it_comes(
    store_url: str, monkeypatch: pytest.MonkeyPatch, rows: int, entries: int
) -> None:
    async with nodes(store_url) as (storage,):
        for n in range(10):
            await befriend(storage, 2 * n + 1, 2 * n + 2, n + 10)
        begin = await _now(storage)
        for n in range(10):
            await append(storage, [text(n + 10, 2 * n + 1, 1)])
            await storage.advance([Cursor(n + 10, 2 * n + 2, 1, 1)], 1)
        await storage.set_display(1, "One")
        whole = await storage.feed(begin)
        assert (whole.rest, len(whole.heads), len(whole.cursors)) == (None, 10, 10)
        monkeypatch.setattr(postgres_reads, "FEED_ROWS", rows)
        monkeypatch.setattr(postgres_reads, "FEED_ENTRIES", entries)
        pages = await _pages(storage, begin)
        assert len(pages) > 5
        assert all(len(page.heads) + len(page.cursors) <= 4 for page in pages)
        assert tuple(head for page in pages for head in page.heads) == whole.heads
        assert tuple(change for page in pages for change in page.cursors) == whole.cursors
        assert [user for page in pages for user in page.accounts] == [1, 2]


async def test_a_transaction_is_never_cut_in_two(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(store_url) as (storage,):
        for n in range(5):
            await befriend(storage, 2 * n + 1, 2 * n + 2, n + 10)
        begin = await _now(storage)
        await append(storage, [text(10, 1, 1)])
        await append(storage, [text(n + 10, 2 * n + 1, 2) for n in range(5)])
        await storage.befriend(1, 2, "remove", note="", conversation=0, at=1)
        monkeypatch.setattr(postgres_reads, "FEED_ROWS", 1)
        monkeypatch.setattr(postgres_reads, "FEED_ENTRIES", 2)
        pages = await _pages(storage, begin)
        assert [len(page.heads) for page in pages] == [1, 5, 1, 0][: len(pages)]
        # A removal writes two rows: a head, and the accounts.
        assert [len(page.accounts) for page in pages[:3]] == [0, 0, 2]


async def test_pages_end_however_fast_others_commit(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_reads, "FEED_ROWS", 2)
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        begin = await _now(storage)
        for n in range(5):
            await append(storage, [text(10, 1, n)])
        page, seen, count = await storage.feed(begin), 0, 5
        token = page.token
        while True:
            seen = max([seen, *(head.last for head in page.heads)])
            if page.rest is None:
                break
            for _ in range(3):
                await append(storage, [text(10, 1, count)])
                count += 1
            page = await storage.feed(page.rest)
        assert (seen, count) == (5, 5 + 3 * 2)
        # What came meanwhile comes after the token of the first page.
        assert [h.last for p in await _pages(storage, token) for h in p.heads][-1] == count


async def test_a_page_that_was_purged_before_it_was_read_is_not_complete(
    postgres: Postgres, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_reads, "FEED_ROWS", 1)
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        begin = await _now(storage)
        for n in range(3):
            await append(storage, [text(10, 1, n)])
        first = await storage.feed(begin)
        _sql(postgres, store_url, "UPDATE feed SET at = at - interval '11 min' WHERE last[1] < 3")
        await storage.purge()
        assert first.rest is not None
        assert not (await storage.feed(first.rest)).complete


@pytest.mark.parametrize("since", ["", ":", "x:1", "1", "e:-1", "e:" + "9" * 30])
async def test_a_token_that_is_not_of_this_log_is_not_complete(store_url: str, since: str) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        page = await storage.feed(since)
        assert (page.complete, page.heads) == (False, ())
        assert [head.conversation for head in (await storage.heads(1, since=since)).items] == [10]
        assert (await storage.feed(page.token)).complete


async def test_a_new_salt_is_a_new_epoch_and_ends_all_tokens(
    postgres: Postgres, store_url: str
) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        epoch, page, begin = await storage.epoch(), await storage.heads(1), await _now(storage)
        assert page.token.startswith(f"{epoch}:")
        assert (await storage.heads(1, since=page.token)).items == ()
        _sql(postgres, store_url, "UPDATE meta SET value = 'restored' WHERE key = 'salt'")
        assert await storage.epoch() == epoch.rpartition("-")[0] + "-restored"
        again = await storage.heads(1, since=page.token)
        assert again.items == page.items
        assert not (await storage.feed(begin)).complete


async def test_heads_of_a_transaction_that_was_open_come_with_its_token(store_url: str) -> None:
    """A commit that was under way when the token was made is among the changes after it."""
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        await befriend(storage, 1, 3, 11)
        slow = psycopg2.connect(store_url)
        with slow.cursor() as cursor:
            cursor.execute("UPDATE conversation SET change = pg_current_xact_id() WHERE id = 10")
            cursor.execute(
                "INSERT INTO feed (kind, conversation, last, low, high) "
                "VALUES (1, '{10}', '{0}', '{1}', '{2}')"
            )
        # Later, but committed earlier.
        await append(storage, [text(11, 1, 1)])
        heads, feed = await storage.heads(1), await storage.feed(None)
        slow.commit()
        slow.close()
        found = (await storage.heads(1, since=heads.token)).items
        assert 10 in {head.conversation for head in found}
        fed = await storage.feed(feed.token)
        assert 10 in {head.conversation for head in fed.heads}
        # Once it is over, nothing is said twice any more.
        assert (await storage.heads(1, since=(await storage.heads(1)).token)).items == ()


async def test_heads_come_in_pages_that_the_first_token_covers(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        for peer in range(2, 9):
            await befriend(storage, 1, peer, peer + 100)
        first = await storage.heads(1, limit=3)
        assert ([h.conversation for h in first.items], first.more) == ([102, 103, 104], True)
        await append(storage, [text(102, 1, 1)])
        rest = await storage.heads(1, after=104, limit=200)
        assert ([h.conversation for h in rest.items], rest.more) == ([105, 106, 107, 108], False)
        changed = await storage.heads(1, since=first.token)
        assert [(h.conversation, h.last) for h in changed.items] == [(102, 1)]
        named = await storage.heads(1, only=[103, 108, 999])
        assert [h.conversation for h in named.items] == [103, 108]
        assert structs.astuple(named.items[0].peers[0]) == (3, "user3", 0, 0)
