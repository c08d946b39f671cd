"""While a part of a cluster is away nothing is lost, and what can go on goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest_twisted

from imd.sweep import INTERVAL
from tests.outages import SECONDS, Live, Report

#: Seconds for which a commit is tried: less than an outage lasts here.
COMMIT_SECONDS = 2
#: Seconds in which the sweep brings what no hint can, on a machine that is busy.
SWEPT = 3.0
#: What a process may say that had no processor; and one that was frozen, if a query was under way:
#: the time for an answer is over when it awakes.
LATE = "the reactor was "
AWAKENED = ("PostgreSQL cannot be used: no answer within ", "PostgreSQL is back")
#: Seconds in which PostgreSQL is found again, the pause of clients that were closed included.
FOUND = 20.0


@pytest_twisted.async_yield_fixture()
async def live() -> AsyncIterator[Live]:
    """A cluster whose engines may be killed."""
    made = Live(f"commit_seconds = {COMMIT_SECONDS}\n")
    await made.start()
    yield made
    await made.close()


async def through(live: Live, name: str) -> Report:
    """Have an outage, after which both connectors are ready without having been started again."""
    report = await live.through(name)
    assert all(len(talk.messages) > SECONDS for talk in report.talks)
    assert report.ready_again == ["200 ready"] * 2
    return report


def said(lines: Sequence[str]) -> list[str]:
    """What lines of a log say, without time and place."""
    return [line.partition("] ")[2] for line in lines]


async def test_without_postgresql_sends_wait_or_are_closed_and_are_delivered_afterwards(
    live: Live,
) -> None:
    report = await through(live, "PostgreSQL")
    assert set(report.closes) == {4001}
    assert [answer[:16] for answer in report.ready] == ["503 PostgreSQL: "] * 2
    assert report.delays("during", "sent").greatest > SECONDS - COMMIT_SECONDS
    assert report.recovery < FOUND
    for log in report.logs:
        lost, back = said(log)
        assert lost.startswith("PostgreSQL cannot be used: ")
        assert back == "PostgreSQL is back"


async def test_without_redis_messages_go_on(live: Live) -> None:
    report = await through(live, "Redis")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    assert report.delays("during", "received").greatest < SWEPT
    for log in report.logs:
        lost, back = said(log)
        assert " is out: " in lost
        assert " is back after " in back


async def test_without_transfers_the_sweep_brings_messages(live: Live) -> None:
    report = await through(live, "transfers")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    assert report.delays("during", "received").greatest < SWEPT
    for log in report.logs:
        # Each of the two is an outage of its own.
        assert said(log)[:2] == ["a transfer is lost"] * 2
        assert [line[:24] for line in said(log)[2:]] == ["attached to a transfer; "] * 2


async def test_what_a_frozen_transfer_keeps_is_brought_by_the_next_sweep(live: Live) -> None:
    report = await through(live, "one transfer")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    assert report.delays("during", "received").greatest < INTERVAL + 1 < SECONDS
    assert report.logs == [[], []], "its silence is not long enough for a word"


async def test_a_frozen_connector_holds_up_its_own_clients_and_nobody_elses_sends(
    live: Live,
) -> None:
    report = await through(live, "one connector")
    assert report.ready == ["200 ready", "no answer"]
    awake, frozen = report.talks[0::2], report.talks[1::2]
    assert max(t.sent - t.said for talk in awake for t in talk.messages) < SWEPT
    assert max(t.sent - t.said for talk in frozen for t in talk.messages) > SECONDS - 1
    other, itself = (said(log) for log in report.logs)
    told = [line for line in other if not line.startswith(LATE)]
    assert not told, "as long as its lease lives, nobody has to know"
    assert [line for line in itself if not line.startswith((LATE, *AWAKENED))] == []
