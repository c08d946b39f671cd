"""What a device has to know after a sync: oracle 13.

The time that a commit bears says nothing of when it can be read: that is later, after a crash
of PostgreSQL much later.  What any device has heard of, or a probe has read, could be read by
then; whoever asks afterwards has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.campaign.book import Book, Steps, before
from tests.campaign.history import (
    Acked,
    Asked,
    Began,
    Cursors,
    Event,
    History,
    Marked,
    Place,
    Seen,
    Synced,
    Told,
)

#: A conversation, and whose cursor it is; 0 and a name where it is the log.
Fact = tuple[int, int, str]


class Known:
    """What is known of logs and cursors, by one device or by everybody."""

    def __init__(self) -> None:
        self.steps: dict[Fact, Steps] = {}

    def learn(self, at: float, facts: Iterable[tuple[Fact, int]]) -> None:
        """These are at least so far."""
        for fact, value in facts:
            self.steps.setdefault(fact, Steps()).grow(at, value)


def heads_are_complete(book: Book) -> Iterator[str]:
    """13: after a sync a device has heard of all that could be read before it began."""
    public = _public(book)
    facts: dict[int, list[Fact]] = {}
    for fact in public.steps:
        facts.setdefault(fact[0], []).append(fact)
    for history in book.histories:
        mine = [f for id in book.conversations_of(history) for f in facts.get(id, ())]
        yield from _incomplete(history, mine, public)


def _public(book: Book) -> Known:
    found: list[tuple[float, list[tuple[Fact, int]]]] = [
        (event.at, list(_facts(event))) for _, event in book.each(Acked, Seen, Told, Cursors)
    ]
    for probe in book.evidence.probes:
        facts = [fact for c in probe.cursors for fact in _cursor(c.conversation, c.user, c)]
        facts += [((id, 0, "last"), last) for id, last in probe.lasts]
        found.append((probe.at, facts))
    public = Known()
    for at, facts in sorted(found, key=lambda each: each[0]):
        public.learn(at, facts)
    return public


def _incomplete(history: History, mine: list[Fact], public: Known) -> Iterator[str]:
    own = Known()
    asked = 0.0
    for event in history.of(Began, Asked, Seen, Acked, Told, Cursors, Marked, Synced):
        if isinstance(event, Began):
            own = Known()
            for place in event.places:
                own.learn(event.at, _stored(place))
        elif isinstance(event, Asked):
            asked = event.at
        elif isinstance(event, Synced):
            for fact in mine:
                due, known = before(public.steps, fact, asked), _newest(own, fact)
                if known < due:
                    yield f"{history.name}: {fact} is {known} after a sync, not {due}"
        else:
            own.learn(event.at, _facts(event, history.user))


def _newest(known: Known, fact: Fact) -> int:
    steps = known.steps.get(fact)
    return steps.newest if steps is not None else 0


def _facts(event: Event, me: int = 0) -> Iterator[tuple[Fact, int]]:
    match event:
        case Acked(conversation=id, seq=last) | Seen(conversation=id, seq=last):
            yield (id, 0, "last"), last
        case Told(conversation=id, last=last):
            yield (id, 0, "last"), last
        case Cursors(conversation=id, user=user):
            yield from _cursor(id, user, event)
        case Marked(conversation=id):
            yield from _cursor(id, me, event)


def _cursor(conversation: int, user: int, both: Any) -> Iterator[tuple[Fact, int]]:
    yield (conversation, user, "delivered"), max(both.delivered, both.read)
    yield (conversation, user, "read"), both.read


def _stored(place: Place) -> Iterator[tuple[Fact, int]]:
    yield (place.conversation, 0, "last"), place.known
    for user, delivered, read in place.cursors:
        yield (place.conversation, user, "delivered"), delivered
        yield (place.conversation, user, "read"), read
