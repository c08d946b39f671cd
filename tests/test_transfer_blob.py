"""Hints as bytes, and their queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imd.hints import AnyHint, Notify, Push, Replace, Revoke
from imd.transfer import backlog, blob
from imd.transfer.backlog import Backlog

IDS = st.integers(0, 2**52)
USERS = st.lists(IDS, max_size=5).map(tuple)
HINTS = st.one_of(
    st.builds(Push, USERS, IDS, IDS, st.binary(max_size=100)),
    st.builds(Notify, USERS, st.binary(max_size=100)),
    st.builds(Revoke, IDS, USERS),
    st.builds(Replace, IDS, IDS, IDS),
)


@given(st.lists(HINTS, max_size=20), st.booleans())
def test_hints_come_out_as_they_went_in(hints: list[AnyHint], lost: bool) -> None:
    raw = blob.join([blob.encode(hint) for hint in hints], lost)
    assert blob.split(raw) == (lost, hints)


def test_frame_is_in_the_blob_as_it_is() -> None:
    frame = '{"t":"msg","text":"é"}'.encode()
    assert frame in blob.join([blob.encode(Push((1,), 2, 3, frame))], lost=False)


def test_blob_may_be_filled_to_the_last_byte() -> None:
    spare = len(blob.encode(Notify((), b"x" * 100_000))) - 100_000
    largest = blob.encode(Notify((), b"x" * (blob.ROOM - spare)))
    raw = blob.join([largest], lost=True)
    assert len(raw) == blob.MOST_BYTES
    assert blob.split(raw)[0]
    with pytest.raises(blob.Garbage):
        blob.split(raw + b"x")


@given(st.binary(max_size=200))
def test_random_bytes_raise_one_error(raw: bytes) -> None:
    try:
        blob.split(raw)
    except blob.Garbage:
        return


@given(st.lists(HINTS, max_size=3), st.data())
def test_changed_blobs_raise_one_error(hints: list[AnyHint], data: st.DataObject) -> None:
    raw = bytearray(blob.join([blob.encode(hint) for hint in hints], lost=False))
    for _ in range(3):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        blob.split(bytes(raw))
    except blob.Garbage:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x92\xc2",
        b"\x92\xc2\xdd\xff\xff\xff\xff",
        b"\x92\xc2\x91\x92\x09\x01",
        b"\x92\xc2\x91\x95\x01\x90\x01\x01\xa1x",
        b"\x92\xc2\x91\x96\x01\x90\x01\x01\xc4\x00" + b"\x91" * 200_000,
        b"\x91" * 200_000,
        blob.LOST + b"\x00",
    ],
)
def test_garbage_is_told_from_blobs(raw: bytes) -> None:
    with pytest.raises(blob.Garbage):
        blob.split(raw)


def test_what_runs_over_is_dropped_but_for_the_newest() -> None:
    queue: Backlog[int] = Backlog(most_items=3)
    assert [queue.put(n, 10) for n in range(3)] == [[], [], []]
    assert not queue.lost
    assert queue.put(3, 10) == [0, 1, 2]
    assert queue.lost
    assert queue.take(100) == [3]


def test_bytes_are_bounded_too_and_counted_back() -> None:
    queue: Backlog[int] = Backlog(most_items=100)
    half = backlog.MOST_BYTES // 2
    for n in range(10):
        assert queue.put(n, half) == []
        assert queue.take(0) == [n]
    queue.put(10, half)
    queue.put(11, half)
    assert queue.put(12, 1) == [10, 11]


def test_items_are_taken_in_order_while_there_is_room_and_never_none() -> None:
    queue: Backlog[str] = Backlog(most_items=10)
    for item, size in (("a", 60), ("b", 40), ("c", 1), ("d", 500)):
        queue.put(item, size)
    assert queue.take(100) == ["a", "b"]
    assert queue.take(100) == ["c"]
    assert queue.take(100) == ["d"]
    assert queue.take(100) == []
    assert queue.idle


def test_nothing_is_ready_while_two_are_on_their_way() -> None:
    queue: Backlog[int] = Backlog(most_items=10)
    assert not queue.ready
    queue.lost = True
    assert queue.ready
    queue.flying = 2
    assert not queue.ready
    queue.lost, queue.flying = False, 0
    queue.put(1, 1)
    assert queue.ready
