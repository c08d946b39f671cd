"""The statement that commits a batch decides as ``imd.storage.decide`` does, in every case."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from imd.model import NewMessage, Outcome
from imd.storage.decide import Key, Log, Stored, decide
from imd.storage.postgres import PostgresStorage
from tests.postgres_parts import befriend, nodes
from tests.servers import Postgres

#: 10 and 12 are open, 11 was closed again, 13 does not exist.
CONVERSATIONS = (10, 11, 12, 13)
USERS = (1, 2, 3)
FILES = (None, None, None, 50, 51, 52, 59)


class Model:
    """What is stored, as ``decide`` wants it."""

    def __init__(self) -> None:
        self.logs = {
            10: Log(0, True, (1, 2)),
            11: Log(0, False, (1, 3)),
            12: Log(0, True, (2, 3)),
        }
        self.stored: dict[Key, Stored] = {}
        self.files = {(50, 1), (51, 2)}
        self.sessions = {1: 0, 5: 2, 6: 0}

    def append(self, batch: Sequence[NewMessage], at: int) -> tuple[object, ...]:
        decisions = decide(batch, self.logs, self.stored, self.files, self.sessions, at)
        for m, decision in zip(batch, decisions, strict=True):
            if decision.outcome is Outcome.NEW:
                old = self.logs[m.conversation]
                self.logs[m.conversation] = Log(decision.seq, old.open, old.members)
                key = m.conversation, m.sender, m.id
                self.stored[key] = Stored(decision.seq, at, m.kind, m.body)
        return decisions


def _batch(source: random.Random, ids: int) -> list[NewMessage]:
    return [
        NewMessage(
            source.choice(CONVERSATIONS),
            source.choice(USERS),
            source.choice((5, 6, 2**52 - 1)),
            source.randint(1, ids).to_bytes(16, "big"),
            source.choice(("text", "text", "file", 'a"b\\{}, NULL')),
            source.choice((b"", b"{}", b'{"a":"\\\\ \\u0000"}', bytes(range(256)))),
            source.choice(FILES),
            source.randint(1, 3),
        )
        for _ in range(source.randint(1, 40))
    ]


async def _prepare(storage: PostgresStorage, postgres: Postgres, url: str) -> None:
    for low, high, conversation in ((1, 2, 10), (1, 3, 11), (2, 3, 12)):
        await befriend(storage, low, high, conversation)
    files = "(50, 1, 1, '', true, 1), (51, 2, 1, '', true, 1), (52, 1, 1, '', false, 1)"
    devices = "(5, 1, '', '\\x05', 2, 1, 1), (6, 1, '', '\\x06', 0, 1, 1)"
    for table, rows in (("file", files), ("device", devices)):
        postgres.run(f"INSERT INTO {table} VALUES {rows}", url.rpartition("/")[2])


@pytest.mark.parametrize("ids", [3, 30, 3000])
async def test_random_batches_are_decided_as_by_the_model(
    postgres: Postgres, store_url: str, ids: int
) -> None:
    source = random.Random(ids)
    model = Model()
    async with nodes(store_url) as (storage,):
        await _prepare(storage, postgres, store_url)
        # Something of user 1 is stored in 11 before its friendship ends.
        early = [NewMessage(11, 1, 1, n.to_bytes(16, "big"), "text", b"{}") for n in (1, 2)]
        model.logs[11] = Log(0, True, (1, 3))
        assert (await storage.append(early, 7)).decisions == model.append(early, 7)
        await storage.befriend(3, 1, "remove", note="", conversation=0, at=1)
        model.logs[11] = Log(2, False, (1, 3))
        outcomes = set()
        for at in range(100, 300):
            batch = _batch(source, ids)
            result = await storage.append(batch, at)
            assert result.decisions == model.append(batch, at)
            assert result.token is None
            outcomes |= {d.outcome for d in result.decisions}
        assert outcomes == set(Outcome)
        for conversation, log in model.logs.items():
            page = await storage.history(
                log.members[0], conversation, limit=10_000, max_bytes=10**9
            )
            assert {(m.conversation, m.sender, m.id) for m in page.items} == {
                key for key in model.stored if key[0] == conversation
            }
            for m in page.items:
                stored = Stored(m.seq, m.at, m.kind, m.body)
                assert model.stored[m.conversation, m.sender, m.id] == stored


async def test_an_empty_batch_is_nothing(store_url: str) -> None:
    async with nodes(store_url) as (storage,):
        assert (await storage.append([], 1)).decisions == ()
        assert (await storage.advance([], 1)).changes == ()


async def test_a_batch_of_the_largest_messages_fits_and_history_is_cut_by_bytes(
    store_url: str,
) -> None:
    async with nodes(store_url) as (storage,):
        await befriend(storage, 1, 2, 10)
        body = b'{"text":"' + b"x" * 65_000 + b'"}'
        batch = [NewMessage(10, 1, 1, n.to_bytes(16, "big"), "text", body) for n in range(1, 17)]
        decisions = (await storage.append(batch, 1)).decisions
        assert [d.seq for d in decisions] == list(range(1, 17))
        page = await storage.history(2, 10, after=0, limit=200, max_bytes=3 * len(body))
        assert ([m.seq for m in page.items], page.more) == ([1, 2, 3], True)
        page = await storage.history(2, 10, limit=200, max_bytes=10)
        assert ([m.seq for m in page.items], page.more) == ([16], True)
