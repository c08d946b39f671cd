"""Many writers at once: nothing is lost, doubled, out of order, or deadlocked."""

from __future__ import annotations

import random
from collections import defaultdict

from imd.model import Appended, Cursor, NewMessage, Outcome
from imd.storage.postgres import PostgresStorage
from tests.postgres_parts import append, befriend, nodes, text, together
from tests.servers import Postgres

USERS = (1, 2)
CONVERSATIONS = range(10, 22)
STORED = (Outcome.NEW, Outcome.DUPLICATE)


async def _open_all(storage: PostgresStorage) -> None:
    """Conversations of user 1 with a user each."""
    for conversation in CONVERSATIONS:
        await befriend(storage, 1, conversation + 100, conversation)


def _troubles(postgres: Postgres, since: int) -> list[str]:
    """What the server has complained of.  A lock that took long says only that it was busy."""
    lines = [line for line in postgres.log[since:].splitlines() if "ERROR" in line]
    return [line for line in lines if "due to lock timeout" not in line]


class Writer:
    """Sends its own stream in every conversation, in batches, and some of everything twice."""

    def __init__(self, number: int, storage: PostgresStorage) -> None:
        self._random = random.Random(number)
        self._storage = storage
        self._first = number * 10_000
        self.acked: dict[tuple[int, bytes], int] = {}

    async def run(self, batches: int) -> None:
        sent: list[NewMessage] = []
        for b in range(batches):
            batch = [
                text(self._random.choice(CONVERSATIONS), 1, self._first + b * 100 + i)
                for i in range(self._random.randint(1, 30))
            ]
            batch += self._random.sample(batch, len(batch) // 4)
            batch += self._random.sample(sent, min(5, len(sent)))
            sent += batch
            self._note(batch, await append(self._storage, batch))

    def _note(self, batch: list[NewMessage], decisions: tuple[Appended, ...]) -> None:
        for message, decision in zip(batch, decisions, strict=True):
            assert decision.outcome in STORED
            key = message.conversation, message.id
            assert self.acked.setdefault(key, decision.seq) == decision.seq


async def _log(storage: PostgresStorage, conversation: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while True:
        page = await storage.history(
            1, conversation, after=len(found), limit=500, max_bytes=10_000_000
        )
        found += [(item.seq, item.id) for item in page.items]
        if not page.more:
            return found


async def test_eight_writers_with_duplicates_leave_contiguous_logs_and_no_errors(
    postgres: Postgres, store_url: str
) -> None:
    since = len(postgres.log)
    async with nodes(store_url, 2, lanes=4) as storages:
        await _open_all(storages[0])
        writers = [Writer(n, storages[n % 2]) for n in range(1, 9)]
        await together(*(writer.run(40) for writer in writers))
        logs = {c: await _log(storages[0], c) for c in CONVERSATIONS}
    for conversation, log in logs.items():
        assert [seq for seq, _ in log] == list(range(1, len(log) + 1))
        assert len({id for _, id in log}) == len(log)
        order = {id: seq for seq, id in log}
        for writer in writers:
            acked = {id: seq for (c, id), seq in writer.acked.items() if c == conversation}
            assert {id: order[id] for id in acked} == acked
            # First transmissions of a writer have ascending ids, so their seqs ascend too.
            assert [order[id] for id in sorted(acked)] == sorted(acked.values())
    assert _troubles(postgres, since) == []


async def test_racing_replays_of_one_stream_keep_its_order(
    postgres: Postgres, store_url: str
) -> None:
    since = len(postgres.log)
    stream = [text(10, 1, n) for n in range(1500)]

    async def replay(storage: PostgresStorage, seed: int) -> list[int]:
        source, start, seqs = random.Random(seed), 0, []
        while start < len(stream):
            size = source.randint(1, 80)
            seqs += [d.seq for d in await append(storage, stream[start : start + size])]
            start += size
        return seqs

    async with nodes(store_url, 3) as storages:
        await befriend(storages[0], 1, 2, 10)
        results = await together(*(replay(s, seed) for seed, s in enumerate(storages)))
        log = await _log(storages[0], 10)
    assert [id for _, id in log] == [message.id for message in stream]
    assert results == [list(range(1, 1501))] * 3
    assert _troubles(postgres, since) == []


async def test_cursors_end_at_the_greatest_values_whoever_wrote_them(
    postgres: Postgres, store_url: str
) -> None:
    since = len(postgres.log)
    wanted: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)

    async def mark(storage: PostgresStorage, seed: int) -> None:
        source = random.Random(seed)
        for _ in range(40):
            batch = []
            for _ in range(10):
                c = source.choice(CONVERSATIONS)
                cursor = Cursor(c, source.choice((1, c + 100)), *source.choices(range(60), k=2))
                wanted[cursor.conversation, cursor.user].append((cursor.delivered, cursor.read))
                batch.append(cursor)
            await storage.advance(batch, 5)

    async with nodes(store_url, 2) as storages:
        await _open_all(storages[0])
        for c in CONVERSATIONS:
            await append(storages[0], [text(c, 1, n) for n in range(60)])
        await together(*(mark(storages[n % 2], n) for n in range(6)))
        heads = (await storages[0].heads(1)).items
    found = {(h.conversation, 1): (h.delivered, h.read) for h in heads}
    found |= {
        (h.conversation, h.peers[0].user): (h.peers[0].delivered, h.peers[0].read) for h in heads
    }
    for key, marks in wanted.items():
        read = max(r for _, r in marks)
        assert found[key] == (max(read, *(d for d, _ in marks)), read)
    assert _troubles(postgres, since) == []


async def test_whoever_polls_with_tokens_misses_no_commit_of_eight_writers(
    store_url: str,
) -> None:
    done = False

    async def poll_heads(storage: PostgresStorage) -> dict[int, int]:
        page = await storage.heads(1)
        known = {head.conversation: head.last for head in page.items}
        while True:
            last_round = done
            page = await storage.heads(1, since=page.token)
            known |= {head.conversation: head.last for head in page.items}
            if last_round:
                return known

    async def poll_feed(storage: PostgresStorage) -> dict[int, int]:
        page = await storage.feed(None)
        known: dict[int, int] = {}
        while True:
            last_round = done
            page = await storage.feed(page.token)
            assert page.complete
            known |= {head.conversation: head.last for head in page.heads}
            if last_round:
                return known

    async def write(storages: list[PostgresStorage]) -> None:
        nonlocal done
        writers = [Writer(n, storages[n % 2]) for n in range(1, 9)]
        await together(*(writer.run(30) for writer in writers))
        done = True

    async with nodes(store_url, 3, lanes=4) as storages:
        await _open_all(storages[0])
        heads, feed, _ = await together(
            poll_heads(storages[2]), poll_feed(storages[2]), write(storages)
        )
        truth = {head.conversation: head.last for head in (await storages[0].heads(1)).items}
    assert heads == truth
    assert feed == truth


async def test_crossing_friend_requests_end_as_friends_without_a_deadlock(
    postgres: Postgres, store_url: str
) -> None:
    since = len(postgres.log)
    async with nodes(store_url, 2) as (one, two):
        for user in range(1, 21):
            await one.create_user(user, f"user{user}", "hash", 1)

        async def ask(storage: PostgresStorage, user: int, peer: int) -> None:
            await storage.befriend(user, peer, "add", note="", conversation=user + 50, at=1)

        pairs = [(user, user + 10) for user in range(1, 11)]
        await together(*(ask(one, a, b) for a, b in pairs), *(ask(two, b, a) for a, b in pairs))
        for a, b in pairs:
            ((mine,), (theirs,)) = (await one.friends(a))[1], (await two.friends(b))[1]
            assert (mine.state, theirs.state) == ("accepted", "accepted")
            assert mine.conversation == theirs.conversation is not None
    assert _troubles(postgres, since) == []
