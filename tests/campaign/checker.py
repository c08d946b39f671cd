"""Compares what devices did and saw with what the servers hold, by the oracles of the design.

``check`` is a pure function of the evidence and takes time linear in it (times a logarithm).
The numbers are those of the oracles; the safety of a run is in ``safety`` and ``syncs``, what has
to be true once everything is healed is in ``liveness``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from msgspec import Struct

from tests.campaign import liveness, safety, syncs
from tests.campaign.book import Book
from tests.campaign.evidence import Evidence

#: As many violations of one oracle are told.
MOST = 20

Oracle = Callable[[Book], Iterator[str]]

ORACLES: dict[int, tuple[Oracle, ...]] = {
    1: (safety.acked_is_stored,),
    2: (safety.stored_was_sent,),
    3: (safety.logs_are_contiguous,),
    4: (safety.all_agree,),
    5: (safety.shown_once, safety.stored_in_order),
    6: (safety.first_in_first_out,),
    7: (safety.answers_come_after,),
    8: (safety.nothing_before_its_commit,),
    9: (safety.cursors_are_sane, safety.cursors_only_grow),
    10: (safety.marks_are_honest,),
    11: (safety.receipts_are_true, safety.refused_is_not_stored),
    12: (
        safety.nobody_else_knows,
        safety.who_are_no_friends_write_nothing,
        safety.who_is_revoked_is_out,
    ),
    13: (syncs.heads_are_complete,),
    14: (liveness.no_tracebacks, liveness.no_misunderstandings, liveness.all_is_bounded),
    15: (liveness.no_deadlocks,),
    16: (liveness.everything_arrived, liveness.everything_was_answered),
    17: (liveness.receipts_converged,),
    18: (liveness.status_is_true,),
    19: (
        liveness.peace_is_quiet,
        liveness.pushes_need_no_repair,
    ),
}


class Violation(Struct, frozen=True):
    """Something that must not be."""

    oracle: int
    what: str

    def __str__(self) -> str:
        return f"{self.oracle}: {self.what}"


def check(evidence: Evidence) -> list[Violation]:
    """All violations, at most ``MOST`` for each rule; none for a correct run."""
    book = Book(evidence)
    return [
        Violation(number, what)
        for number, rules in ORACLES.items()
        for rule in rules
        for what in islice(rule(book), MOST)
    ]
