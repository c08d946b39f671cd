"""Evidence of a small run without any fault, to be spoiled by tests of the checker.

Alice (user 1) and Bob (2) have two devices each and conversation 7; Mallory (3) has nothing to
do with it.  Alice's first device sends two messages, Bob's first one an answer.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from tests.campaign import history as h
from tests.campaign.evidence import Cursor, Entry, Evidence, Log, Probe, Row

CONVERSATION = 7
ALICE, BOB, MALLORY = 1, 2, 3
#: Name, user and device of each device.
DEVICES = (
    ("alice-1", ALICE, 11),
    ("alice-2", ALICE, 12),
    ("bob-1", BOB, 21),
    ("bob-2", BOB, 22),
    ("mallory", MALLORY, 31),
)
ROWS = (
    Row(7, 1, ALICE, 11, "a", b"one", 10.0),
    Row(7, 2, ALICE, 11, "b", b"two", 20.0),
    Row(7, 3, BOB, 21, "c", b"yes", 30.0),
)
#: When everybody has synchronized once more.
SYNC = 50.0
#: What is delivered to and read by each user in the end.
CURSORS = {ALICE: (3, 0), BOB: (2, 2)}


def evidence() -> Evidence:
    """A run without a violation."""
    cursors = [Cursor(7, user, *both) for user, both in CURSORS.items()]
    sessions = [Entry(user, device, 5, "n", True) for _, user, device in DEVICES]
    return Evidence(
        histories=[_history(*device) for device in DEVICES],
        rows=list(ROWS),
        logs=[Log(7, 3, 1, (ALICE, BOB)), Log(8, 0, 1, (MALLORY, 4))],
        cursors=[*cursors, Cursor(8, MALLORY, 0, 0), Cursor(8, 4, 0, 0)],
        probes=[Probe(12.0, (Cursor(7, BOB, 1, 0),), ()), Probe(41.0, tuple(cursors), ())],
        entries=sessions,
        output={"connector-0": "all is well", "postgres": "LOG: ready"},
    )


def device(found: Evidence, name: str) -> list[h.AnyEvent]:
    """The events of a device, to be spoiled."""
    return next(history.events for history in found.histories if history.name == name)


def change(events: list[h.AnyEvent], kind: type[h.Event], nth: int, **fields: Any) -> None:
    """Change the ``nth`` event of a kind."""
    place = [n for n, event in enumerate(events) if type(event) is kind][nth]
    events[place] = structs.replace(events[place], **fields)


def drop(events: list[h.AnyEvent], kind: type[h.Event], nth: int) -> h.AnyEvent:
    """Take the ``nth`` event of a kind out."""
    place = [n for n, event in enumerate(events) if type(event) is kind][nth]
    return events.pop(place)


def put(events: list[h.AnyEvent], *more: h.AnyEvent) -> None:
    """Add events before the end, which is the last one."""
    events[-1:-1] = more


def _history(name: str, user: int, device: int) -> h.History:
    events: list[h.AnyEvent] = [h.Began(0.0), h.Asked(1.0), h.Welcomed(1.1, user, device, 5, "e")]
    member = user != MALLORY
    mine = CONVERSATION if member else 8
    events += [h.Told(1.2, mine, 0, False), h.Synced(1.2)]
    if member:
        for row in ROWS:
            events += _message(row, user, device)
        events += _receipts(user, device)
    last = len(ROWS) if member else 0
    events += [h.Asked(SYNC), h.Told(SYNC + 0.1, mine, last, False), h.Synced(SYNC + 0.1)]
    peer = 4 if not member else BOB if user == ALICE else ALICE
    delivered, read = CURSORS.get(peer, (0, 0))
    places = (h.Place(mine, 0, last, last, last),)
    events.append(h.Ended(60.0, places, ((mine, peer, delivered, read),), ()))
    return h.History(name, events)


def _message(row: Row, user: int, device: int) -> list[h.AnyEvent]:
    """How a message comes to a device, or goes out from it."""
    at, what = row.committed, (row.conversation, row.seq, row.sender, row.id, row.body)
    shown: list[h.AnyEvent] = [h.Stored(at + 0.3, *what), h.Displayed(at + 0.3, *what)]
    if device == row.device:
        begin: list[h.AnyEvent] = [
            h.Wrote(at - 0.2, row.conversation, row.id, row.body, row.seq - 1),
            h.Kept(at - 0.1, row.conversation, row.id),
            h.Acked(at + 0.2, row.conversation, row.id, row.seq),
            h.Settled(at + 0.2, row.id, row.seq),
        ]
        return begin + shown
    arrived: list[h.AnyEvent] = [h.Seen(at + 0.2, *what)]
    if user == row.sender:
        return arrived + shown
    return arrived + shown + [h.Marked(at + 0.4, row.conversation, row.seq, 0)]


def _receipts(user: int, device: int) -> list[h.AnyEvent]:
    """Bob looks at what he got; everybody hears of it."""
    bob, alice = (7, BOB, 2, 2), (7, ALICE, 3, 0)
    looked: list[h.AnyEvent] = [h.Looked(39.0, 7, 2), h.Marked(39.5, 7, 0, 2)]
    heard: list[h.AnyEvent] = [h.Cursors(40.0, *bob), h.Shown(40.0, *bob)]
    heard += [h.Cursors(40.5, *alice), h.Shown(40.5, *alice)]
    return (looked if device == 21 else []) + heard
