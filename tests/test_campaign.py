"""A short campaign of faults, and the proof that it would find what it looks for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.campaign import dump
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


async def oracles(
    sizes: Sizes, engines: Engines, variant: str, limits: str = "", seed: str = "7"
) -> set[int]:
    """The oracles that a variant violates."""
    outcome = await Campaign(plan(seed, sizes), engines, variant, limits).run()
    return {violation.oracle for violation in outcome.violations}


def told(outcome: Outcome) -> str:
    """What went wrong."""
    return "\n".join(map(str, outcome.violations))


#: Two users with a conversation of three messages.
_SOME = """
INSERT INTO account (id, name, password, created) VALUES (1, 'a', '', 0), (2, 'b', '', 0);
INSERT INTO conversation (id, low, high, open, last) VALUES (7, 1, 2, true, 3);
INSERT INTO message SELECT 7, n, 1, 1, gen_random_uuid(), 0, 'text', '' FROM generate_series(1, 3) n
"""


@pytest.mark.parametrize(
    ("damage", "torn"),
    [
        ("SELECT 1", ()),
        ("DELETE FROM message WHERE seq = 1", (7,)),
        ("DELETE FROM message WHERE seq = 2", (7,)),
        ("DELETE FROM message WHERE seq = 3", (7,)),
        ("DELETE FROM message", (7,)),
        ("UPDATE conversation SET last = 2", (7,)),
        ("UPDATE conversation SET floor = 2", (7,)),
    ],
)
def test_a_probe_sees_a_log_with_holes(
    engines: Engines, damage: str, torn: tuple[int, ...]
) -> None:
    postgres = engines.postgres
    database = postgres.create_database(engines.template)
    postgres.run(_SOME, database)
    postgres.run(damage, database)
    found = dump.probe(postgres.url(database))
    postgres.drop_database(database)
    assert found is not None
    assert found.torn == torn
    assert found.lasts == ((7, 2 if "last = 2" in damage else 3),)


def test_every_kind_of_fault_is_healed_while_messages_are_sent() -> None:
    sizes = Sizes(seconds=30.0, every=3.0, each=True)
    faults = plan("1", sizes).faults
    assert {fault.kind for fault in faults} == set(FAULTS)
    healed = {fault.kind for fault in faults if fault.at + fault.seconds <= sizes.seconds}
    assert healed == set(FAULTS)


def test_a_seed_decides_everything() -> None:
    assert plan("1", SMALL) == plan("1", SMALL)
    assert plan("1", SMALL) != plan("2", SMALL)
    many = plan("1", Sizes(seconds=2000.0))
    assert {fault.kind for fault in many.faults} == set(FAULTS)


@pytest.mark.limit(900)
async def test_faults_at_random_moments_lose_nothing(engines: Engines) -> None:
    outcome = await Campaign(plan(SEED, SMALL), engines).run()
    assert not outcome.violations, told(outcome)
    assert outcome.messages >= outcome.acked >= 0.8 * SMALL.messages
    assert outcome.faults.total() == len(plan(SEED, SMALL).faults)


async def test_delivered_on_a_write_to_the_socket_is_caught(engines: Engines) -> None:
    assert await oracles(TINY, engines, "mark-on-write") >= {11}


async def test_an_ack_before_the_commit_is_caught(engines: Engines) -> None:
    assert await oracles(TINY, engines, "ack-before-commit") >= {8}


@pytest.mark.limit(900)
async def test_the_newest_transaction_as_a_token_is_caught(engines: Engines) -> None:
    for seed in ("7", "8", "9", "10", "11"):
        # Whether a device syncs between two commits is up to the machine too.
        if 13 in await oracles(ABSENT, engines, "newest-as-token", seed=seed):
            return
    raise AssertionError("13 was violated by no seed")


@pytest.mark.limit(900)
async def test_locks_in_any_order_are_caught(engines: Engines) -> None:
    sizes = Sizes(users=10, devices=2, messages=1500, seconds=3.0, every=0.0)
    for seed in ("7", "8", "9", "10", "11"):
        # Whether two batches cross is up to the machine too.
        if 15 in await oracles(sizes, engines, "any-lock-order", seed=seed):
            return
    raise AssertionError("15 was violated by no seed")


@pytest.mark.limit(600)
async def test_routes_that_are_cached_are_caught(engines: Engines) -> None:
    # One device of a user, which comes back on the other connector half of the time.
    only = ("drop-device",)
    sizes = Sizes(10, 1, 500, 12.0, every=0.2, peace=0.0, careful=0, only=only, quiet=True)
    for seed in ("7", "8", "9", "10", "11", "12"):
        # Whether somebody is away when a message comes is up to the machine too.
        if 19 in await oracles(sizes, engines, "cache-routes", seed=seed):
            return
    raise AssertionError("19 was violated by no seed")


async def test_a_device_that_is_not_thrown_out_is_caught(engines: Engines) -> None:
    assert 12 not in await oracles(TINY, engines, "")
    assert 12 in await oracles(TINY, engines, "keep-revoked")
