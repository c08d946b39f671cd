"""What a run does, made of one seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

from msgspec import Struct, structs

#: Kinds of faults, how often they come, and how long they last (seconds).
FAULTS: dict[str, tuple[float, float, float]] = {
    "kill-connector": (2.0, 0.1, 2.0),
    "kill-transfer": (2.0, 0.1, 4.0),
    "flush-redis": (2.0, 0.0, 0.0),
    "stop-redis": (1.0, 0.2, 4.0),
    "pause-redis": (1.0, 0.2, 3.0),
    "restart-postgres": (1.5, 0.0, 1.5),
    "end-backends": (1.5, 0.0, 0.0),
    "pause-connector": (1.0, 0.5, 5.0),
    "outlive-lease": (0.4, 15.5, 18.0),
    "pause-transfer": (1.0, 0.5, 12.0),
    "cut-link": (2.0, 0.0, 3.0),
    "stall-link": (1.5, 0.5, 12.0),
    "cut-database": (2.0, 0.0, 1.0),
    "stall-database": (1.0, 0.5, 8.0),
    "cut-clients": (1.0, 0.0, 0.0),
    "crash-device": (5.0, 0.0, 2.0),
    "drop-device": (4.0, 0.0, 0.0),
}

#: Those of them that no server can notice but as a client that goes and comes.
HARMLESS = {"crash-device", "drop-device"}


class Sizes(Struct, frozen=True):
    """How large a run is; ``seconds`` is how long messages are sent and faults done."""

    users: int = 20
    devices: int = 2
    messages: int = 1000
    seconds: float = 20.0
    #: Seconds between two faults, on average; 0 for none.
    every: float = 1.0
    #: Seconds between two quarrels of friends, on average.
    peace: float = 4.0
    #: One in so many users loses a device, which is then revoked; 0 for none.
    careful: int = 20
    #: Kinds of faults that are done; all if empty.
    only: tuple[str, ...] = ()
    #: Whether each of these kinds is done at least once, and healed while messages are sent.
    each: bool = False
    #: Whether to wait in the end until sweeps have found nothing for a while.
    quiet: bool = False


class Fault(Struct, frozen=True):
    """A fault; ``target`` is a number that is taken modulo the number of what can be hit."""

    at: float
    kind: str
    target: int
    seconds: float


class Send(Struct, frozen=True):
    """A message of a device; ``where`` chooses among the conversations of its user.

    ``foreign``: into a conversation of others instead, which has to be refused.
    """

    at: float
    device: int
    where: int
    foreign: bool


class Quarrel(Struct, frozen=True):
    """Two friends part, and make up again after some seconds."""

    at: float
    pair: int
    seconds: float


class Loss(Struct, frozen=True):
    """A device more of a user, which is revoked; ``writes``: it goes on writing meanwhile."""

    at: float
    user: int
    writes: bool


class Plan(Struct, frozen=True):
    """A whole run."""

    seed: str
    sizes: Sizes
    #: Pairs of numbers of users.
    friends: tuple[tuple[int, int], ...]
    sends: tuple[Send, ...]
    quarrels: tuple[Quarrel, ...]
    losses: tuple[Loss, ...]
    faults: tuple[Fault, ...]


def plan(seed: str, sizes: Sizes) -> Plan:
    """The plan of a seed; always the same."""
    return Plan(
        seed,
        sizes,
        _friends(seed, sizes),
        _sends(seed, sizes),
        _quarrels(seed, sizes),
        _losses(seed, sizes),
        _faults(seed, sizes),
    )


def stream(seed: str, name: str) -> random.Random:
    """A source of chance that depends on nothing but these."""
    return random.Random(f"{seed}/{name}")


def _friends(seed: str, sizes: Sizes) -> tuple[tuple[int, int], ...]:
    chance = stream(seed, "friends")
    ring = {(n, n + 1) for n in range(sizes.users - 1)}
    pairs = list(combinations(range(sizes.users), 2))
    more = chance.sample(pairs, min(sizes.users, len(pairs)))
    return tuple(sorted(ring | set(more)))


def _sends(seed: str, sizes: Sizes) -> tuple[Send, ...]:
    chance = stream(seed, "sends")
    devices = sizes.users * sizes.devices
    times = sorted(chance.uniform(0, sizes.seconds) for _ in range(sizes.messages))
    return tuple(
        Send(at, chance.randrange(devices), chance.randrange(1 << 20), chance.random() < 0.01)
        for at in times
    )


def _quarrels(seed: str, sizes: Sizes) -> tuple[Quarrel, ...]:
    chance = stream(seed, "quarrels")
    return tuple(
        Quarrel(at, chance.randrange(1 << 20), chance.uniform(0.1, 3.0))
        for at in _times(chance, sizes.peace, sizes.seconds)
    )


def _losses(seed: str, sizes: Sizes) -> tuple[Loss, ...]:
    chance = stream(seed, "losses")
    number = -(-sizes.users // sizes.careful) if sizes.careful else 0
    losers = chance.sample(range(sizes.users), number)
    return tuple(
        Loss(chance.uniform(0.2, 0.8) * sizes.seconds, user, bool(n % 2))
        for n, user in enumerate(losers)
    )


def _faults(seed: str, sizes: Sizes) -> tuple[Fault, ...]:
    chance = stream(seed, "faults")
    kinds = [kind for kind in FAULTS if not sizes.only or kind in sizes.only]
    weights = [FAULTS[kind][0] for kind in kinds]
    found: list[Fault] = []
    for at in _times(chance, sizes.every, sizes.seconds):
        (kind,) = chance.choices(kinds, weights)
        found.append(_fault(chance, at, kind))
    for kind in kinds if sizes.each else ():
        fault = _fault(chance, 0.0, kind)
        latest = max(0.0, sizes.seconds - fault.seconds)
        found.append(structs.replace(fault, at=chance.uniform(0.0, latest)))
    return tuple(sorted(found, key=lambda fault: fault.at))


def _fault(chance: random.Random, at: float, kind: str) -> Fault:
    _, least, most = FAULTS[kind]
    return Fault(at, kind, chance.randrange(1 << 20), chance.uniform(least, most))


def _times(chance: random.Random, every: float, seconds: float) -> Iterator[float]:
    """Moments at random, ``every`` so often; none if that is 0."""
    at = 0.0
    while every and (at := at + chance.expovariate(1 / every)) < seconds:
        yield at
