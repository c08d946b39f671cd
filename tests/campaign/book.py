"""The evidence, by what the oracles look it up with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import TypeVar

from tests.campaign.evidence import Evidence, Row
from tests.campaign.history import E, History, Looked, Marked, Wrote

Key = tuple[int, int]
K = TypeVar("K")


class Steps:
    """A number that only grows, at times that only grow."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._values: list[int] = []

    def grow(self, at: float, value: int) -> None:
        """At ``at`` the number is at least ``value``."""
        if not self._values or value > self._values[-1]:
            self._times.append(at)
            self._values.append(value)

    @property
    def newest(self) -> int:
        """The number in the end."""
        return self._values[-1] if self._values else 0

    def before(self, time: float) -> int:
        """The number just before a time."""
        place = bisect_left(self._times, time)
        return self._values[place - 1] if place else 0

    def at(self, time: float) -> int:
        """The number at a time."""
        place = bisect_right(self._times, time)
        return self._values[place - 1] if place else 0


class Book:
    """Indexes of the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.histories = evidence.histories
        self.rows: dict[Key, Row] = {(row.conversation, row.seq): row for row in evidence.rows}
        self.places = {(r.conversation, r.sender, r.id): r.seq for r in evidence.rows}
        self.members = {log.conversation: set(log.members) for log in evidence.logs}
        self.last = {log.conversation: log.last for log in evidence.logs}
        self.sent: dict[tuple[int, str], list[Wrote]] = {}
        for history in self.histories:
            for wrote in history.of(Wrote):
                self.sent.setdefault((history.user, wrote.id), []).append(wrote)
        #: For each conversation and user what its devices said they have, have read; and what
        #: the user had looked at.
        self.delivered: dict[Key, Steps] = {}
        self.read: dict[Key, Steps] = {}
        self.looked: dict[Key, Steps] = {}
        self._follow()

    def _follow(self) -> None:
        events = [
            (event.at, history.user, event)
            for history in self.histories
            for event in history.of(Marked, Looked)
        ]
        for at, user, event in sorted(events, key=lambda each: each[0]):
            key = (event.conversation, user)
            if isinstance(event, Looked):
                self.looked.setdefault(key, Steps()).grow(at, event.seq)
            else:
                both = max(event.delivered, event.read)
                self.delivered.setdefault(key, Steps()).grow(at, both)
                self.read.setdefault(key, Steps()).grow(at, event.read)

    def conversations_of(self, history: History) -> list[int]:
        """Those that the owner of a device is a member of."""
        return [id for id, members in self.members.items() if history.user in members]

    @property
    def staying(self) -> list[History]:
        """Of the devices that nobody revoked."""
        gone = {each.device for each in self.evidence.revoked}
        return [history for history in self.histories if history.device not in gone]

    def each(self, *kinds: type[E]) -> Iterator[tuple[History, E]]:
        """The events of these kinds, device by device."""
        for history in self.histories:
            for event in history.of(*kinds):
                yield history, event


def before(steps: Mapping[K, Steps], key: K, time: float) -> int:
    """The number of ``key`` just before a time; 0 if there is none."""
    found = steps.get(key)
    return found.before(time) if found is not None else 0


def at(steps: dict[Key, Steps], key: Key, time: float) -> int:
    """The number of ``key`` at a time; 0 if there is none."""
    found = steps.get(key)
    return found.at(time) if found is not None else 0
