"""While a part of a cluster is away nothing is lost, and what can go on goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest_twisted

from imd.transfer.broker import ANSWER_SECONDS
from tests.outages import SECONDS, Live, Report

#: Seconds for which a commit is tried: less than an outage lasts here.
COMMIT_SECONDS = 2
#: What a process may say besides on a machine that is busy: that it had no processor, or that
#: somebody has not answered in time.  One that was frozen may say so too, when it awakes.
BUSY = ("the reactor was ", "PostgreSQL ", "Redis ")


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


def said(lines: Sequence[str], *about: str) -> list[str]:
    """What a log says of something; there is nothing else in it but for what may be."""
    others = [line for line in lines if not line.startswith((*about, *BUSY))]
    assert not others
    return [line for line in lines if line.startswith(about)] if about else []


async def test_without_postgresql_sends_wait_or_are_closed_and_are_delivered_afterwards(
    live: Live,
) -> None:
    report = await through(live, "PostgreSQL")
    assert set(report.closes) == {4001}
    assert [answer[:16] for answer in report.ready] == ["503 PostgreSQL: "] * 2
    assert report.delays("during", "sent").greatest > SECONDS - COMMIT_SECONDS
    for log in report.logs:
        lost, *_, back = said(log, "PostgreSQL ")
        assert lost.startswith("PostgreSQL cannot be used: ")
        assert back == "PostgreSQL is back"


async def test_without_redis_messages_go_on(live: Live) -> None:
    report = await through(live, "Redis")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    for log in report.logs:
        lost, back, *_ = said(log, "Redis ")
        assert " is out: " in lost
        assert " is back after " in back


async def test_without_transfers_the_sweep_brings_messages(live: Live) -> None:
    report = await through(live, "transfers")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    for log in report.logs:
        lines = said(log, "a transfer ", "attached to a transfer; ")
        # Each of the two is an outage of its own.
        assert lines[:2] == ["a transfer is lost"] * 2
        assert [line[:24] for line in lines[2:]] == ["attached to a transfer; "] * 2


async def test_what_a_frozen_transfer_keeps_is_brought_by_the_next_sweep(live: Live) -> None:
    report = await through(live, "one transfer")
    assert not report.closes
    assert report.ready == ["200 ready"] * 2
    if report.ended - report.began < ANSWER_SECONDS:
        assert [said(log) for log in report.logs] == [[], []], "it was not silent for long"


async def test_a_frozen_connector_holds_up_its_own_clients_and_nobody_elses_sends(
    live: Live,
) -> None:
    report = await through(live, "one connector")
    assert report.ready == ["200 ready", "no answer"]
    frozen = report.talks[1::2]
    assert max(t.sent - t.said for talk in frozen for t in talk.messages) > SECONDS - 1
    # As long as its lease lives, nobody has to know.
    assert [said(log) for log in report.logs] == [[], []]
