"""A short campaign of faults, and the proof that it would find what it looks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaign.place import Engines
from tests.campaign.plan import FAULTS, Sizes, plan
from tests.campaign.run import Campaign, Outcome

#: Small enough for every day; ``python -m tests.campaign`` is for the rest.
SMALL = Sizes(users=10, devices=2, messages=500, seconds=10.0, every=0.6)
#: It has thirteen kinds of faults in these ten seconds.
SEED = "100"
#: What a variant is shown with: faults that do not matter would only take time.
TINY = Sizes(users=4, devices=2, messages=150, seconds=3.0, every=0.0)

#: Few messages and many short absences: what is missed is not covered by what comes next.
ABSENT = Sizes(4, 2, 100, 10.0, every=0.15, peace=0.0, only=("crash-device", "drop-device"))


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    """PostgreSQL and Redis, to be hurt by nobody else."""
    made = Engines()
    made.start()
    yield made
    made.close()


async def oracles(sizes: Sizes, engines: Engines, variant: str, limits: str = "") -> set[int]:
    """The oracles that a variant violates."""
    outcome = await Campaign(plan("7", sizes), engines, variant, limits).run()
    return {violation.oracle for violation in outcome.violations}


def told(outcome: Outcome) -> str:
    """What went wrong."""
    return "\n".join(map(str, outcome.violations))


def test_a_seed_decides_everything() -> None:
    assert plan("1", SMALL) == plan("1", SMALL)
    assert plan("1", SMALL) != plan("2", SMALL)
    many = plan("1", Sizes(seconds=2000.0))
    assert {fault.kind for fault in many.faults} == set(FAULTS)


@pytest.mark.limit(170)
async def test_faults_at_random_moments_lose_nothing(engines: Engines) -> None:
    outcome = await Campaign(plan(SEED, SMALL), engines).run()
    assert not outcome.violations, told(outcome)
    assert outcome.messages >= outcome.acked >= 0.8 * SMALL.messages
    assert outcome.faults.total() == len(plan(SEED, SMALL).faults)


@pytest.mark.limit(90)
async def test_delivered_on_a_write_to_the_socket_is_caught(engines: Engines) -> None:
    assert await oracles(TINY, engines, "mark-on-write") >= {11}


@pytest.mark.limit(90)
async def test_an_ack_before_the_commit_is_caught(engines: Engines) -> None:
    assert await oracles(TINY, engines, "ack-before-commit") >= {8}


@pytest.mark.limit(120)
async def test_the_newest_transaction_as_a_token_is_caught(engines: Engines) -> None:
    assert await oracles(ABSENT, engines, "newest-as-token") >= {13}
