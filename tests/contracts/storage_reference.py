"""Random programs of appends and cursors do to every storage what they do to the reference."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from imd.interfaces.storage import Storage
from imd.model import Cursor
from tests.contracts.reference import Reference
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PLENTY,
    accounts,
    advance,
    append,
    join,
    text,
)
from tests.process import PATIENCE

_CONVERSATIONS = st.integers(0, 2)
_USERS = st.integers(0, 3)
_MESSAGES = st.tuples(
    _CONVERSATIONS, _USERS, st.integers(0, 5), st.sampled_from((b"{}", b"{}", b"[]"))
)
_CURSORS = st.tuples(_CONVERSATIONS, _USERS, st.integers(0, 9), st.integers(0, 9))
_STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(_MESSAGES, max_size=9)),
    st.tuples(st.just("advance"), st.lists(_CURSORS, max_size=9)),
)
_PROGRAMS = st.lists(_STEPS, min_size=1, max_size=8)
#: Every program has people and conversations of its own, in the same storage.
_PLACES = count(1000, 10)


class ReferenceContract:
    """``append`` and ``advance`` compared with a model of them."""

    @given(_PROGRAMS)
    @settings(
        max_examples=50,
        suppress_health_check=[
            HealthCheck.differing_executors,
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
        ],
    )
    async def test_storage_does_what_the_reference_does(
        self, storage: Storage, program: Any
    ) -> None:
        running = Deferred.fromCoroutine(_compare(storage, program, next(_PLACES)))
        await running.addTimeout(PATIENCE, reactor)


async def _compare(storage: Storage, program: Any, place: int) -> None:
    alice, bob, carol = (place + user for user in (ALICE, BOB, CAROL))
    await accounts(storage, alice, bob, carol)
    members = {place: (alice, bob), place + 1: (alice, carol)}
    for conversation, (user, peer) in members.items():
        await join(storage, user, peer, conversation)
    reference = Reference(members)
    for at, (verb, rows) in enumerate(program, NOW):
        if verb == "append":
            batch = [text(place + c, alice + u, number, body) for c, u, number, body in rows]
            assert await append(storage, *batch, at=at) == reference.append(batch, at)
        else:
            cursors = [Cursor(place + c, alice + u, d, r) for c, u, d, r in rows]
            assert await advance(storage, *cursors) == reference.advance(cursors)
    await _same(storage, reference, alice)


async def _same(storage: Storage, reference: Reference, alice: int) -> None:
    """Alice, who is in every conversation, finds there what the reference holds."""
    for head in (await storage.heads(alice)).items:
        log = reference.logs[head.conversation]
        page = await storage.history(alice, head.conversation, limit=99, max_bytes=PLENTY)
        assert [(m.seq, m.sender, m.id, m.body, m.at) for m in page.items] == [
            (seq, m.sender, m.id, m.body, at) for seq, (m, at) in enumerate(log, 1)
        ]
        assert head.last == len(log)
        (peer,) = head.peers
        cursors = reference.cursors
        assert (head.delivered, head.read) == cursors[head.conversation, alice]
        assert (peer.delivered, peer.read) == cursors[head.conversation, peer.user]
