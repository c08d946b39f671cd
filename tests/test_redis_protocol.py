"""Replies of Redis: cut anywhere they are the same, and nothing that is sent raises anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from imd.errors import Unavailable
from imd.status.redis_protocol import MOST_BYTES, MOST_LINES, RedisConnection
from imd.status.redis_reply import ErrorReply, entries


def connected() -> tuple[RedisConnection, StringTransport]:
    """A connection without a network."""
    connection, transport = RedisConnection(), StringTransport()
    connection.makeConnection(transport)
    return connection, transport


def asked(connection: RedisConnection, count: int) -> list[Any]:
    """What so many questions are answered; errors as what is raised, None for no answer yet."""
    answers: list[Any] = [None] * count

    def keep(number: int, answer: Any) -> None:
        answers[number] = answer.value if isinstance(answer, Failure) else (answer,)

    for number in range(count):
        asking = Deferred.fromCoroutine(connection.ask("GET", number))
        asking.addBoth(lambda answer, number=number: keep(number, answer))
    return answers


def fed(connection: RedisConnection, data: bytes, cuts: list[int]) -> None:
    """Let bytes arrive, cut at these places, until the connection is given up."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    begin = 0
    for end in ends:
        if not connection.transport.disconnecting:
            connection.dataReceived(data[begin:end])
        begin = end


REPLIES = (
    b"$5\r\na\r\nbc\r\n*2\r\n$6\r\nmaster\r\n:7\r\n+OK\r\n$-1\r\n"
    b"-OOM no\r\n$0\r\n\r\n:12\r\n$2\r\n07\r\n"
)


@given(st.lists(st.integers(0, len(REPLIES)), max_size=len(REPLIES)))
def test_replies_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    connection, transport = connected()
    answers = asked(connection, 8)
    assert transport.value().startswith(b"*2\r\n$3\r\nGET\r\n$1\r\n0\r\n")
    fed(connection, REPLIES, cuts)
    refused = answers.pop(4)
    assert isinstance(refused, ErrorReply)
    assert str(refused) == "OOM no"
    assert answers == [
        (b"a\r\nbc",),
        ([b"master", 7],),
        ("OK",),
        (None,),
        (b"",),
        (12,),
        (b"07",),
    ]


SCRAPS = [b"\r\n", b"$", b"*", b"-", b"+", b":", b"-1", b"0", b"2", b"-5", b"x", b"\xff", b"\r"]
TALK = st.lists(st.sampled_from(SCRAPS) | st.binary(max_size=4), max_size=60).map(b"".join)


@given(TALK, st.lists(st.integers(0, 200), max_size=5))
def test_whatever_arrives_every_question_is_answered_in_the_end(
    data: bytes, cuts: list[int]
) -> None:
    connection, _ = connected()
    answers = asked(connection, 3)
    fed(connection, data, cuts)
    connection.connectionLost(Failure(ConnectionLost()))
    assert None not in answers
    assert connection.lost.called


@pytest.mark.parametrize(
    ("endless", "most"),
    [
        (b"$9999999\r\n", MOST_BYTES),
        (b"*1\r\n" * 100, 5 * MOST_LINES),
        (b"*9999\r\n:1\r\n", 5 * MOST_LINES),
    ],
)
def test_a_reply_without_end_is_given_up(endless: bytes, most: int) -> None:
    connection, transport = connected()
    asked(connection, 1)
    sent = 0
    chunk = endless
    while not transport.disconnecting:
        connection.dataReceived(chunk)
        sent += len(chunk)
        chunk = b"*1\r\n" * 100
        assert sent < most + 2 * len(chunk)


def test_lengths_below_zero_end_the_connection() -> None:
    connection, transport = connected()
    asked(connection, 3)
    connection.dataReceived(b"*-5\r\n*2\r\n:1\r\n:2\r\n")
    assert transport.disconnecting


def test_what_nobody_asked_for_ends_the_connection() -> None:
    connection, transport = connected()
    answers = asked(connection, 1)
    connection.dataReceived(b"+OK\r\n+OK\r\n")
    assert answers == [("OK",)]
    assert transport.disconnecting


@given(st.binary(max_size=80) | TALK)
def test_lookups_believe_nothing_that_cannot_be(reply: bytes) -> None:
    for found in entries([7, 8], reply):
        assert found.user in (7, 8)
        assert 0 < found.device < 2**52
        assert 0 < found.session < 2**52
        assert found.node


@pytest.mark.parametrize("reply", [None, 1, "OK", [b"1 2 3@n"]])
def test_a_lookup_without_a_string_is_no_answer(reply: object) -> None:
    with pytest.raises(Unavailable):
        entries([7], reply)
