"""What every ``UserStatus`` has to do.

A module of tests subclasses ``UserStatusContract`` (``class TestX(UserStatusContract)``) and
has a fixture ``board``: a new and empty ``Board`` for each test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults

from imd.interfaces.nodes import Entry, UserStatus

#: The greatest id.
HIGHEST = 2**52 - 1


class Board(Protocol):
    """What all nodes see, and how a test gets at it."""

    async def node(self, name: str) -> UserStatus:
        """User status of a node that has not beaten yet."""

    async def expire(self, name: str) -> None:
        """Make the lease of a node run out, and of no other."""


async def living(board: Board, *names: str) -> Sequence[UserStatus]:
    """Nodes with a lease."""
    nodes = [await board.node(name) for name in names]
    for node in nodes:
        await node.beat()
    return nodes


async def found(node: UserStatus, *users: int) -> set[Entry]:
    """The entries of users, none of them twice."""
    entries = await node.lookup(users)
    assert len(entries) == len(set(entries))
    return set(entries)


class UserStatusContract:
    """All of it."""

    # -- entries

    async def test_entry_is_found_by_every_node(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        assert await one.register(1, 11, 5) is None
        for node in one, two:
            assert await found(node, 1) == {Entry(1, 11, 5, "n1")}

    async def test_all_entries_of_many_users(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        entries = {Entry(user, device, 1, "n1") for user in range(1, 301) for device in (user, 999)}
        for entry in entries:
            await one.register(entry.user, entry.device, entry.session)
        await two.register(5, 77, HIGHEST)
        entries.add(Entry(5, 77, HIGHEST, "n2"))
        assert await found(two, *range(1, 400)) == entries
        assert await found(one, 500, 5, 501) == {e for e in entries if e.user == 5}

    async def test_nobody_is_found_where_nobody_is(self, board: Board) -> None:
        (one,) = await living(board, "n1")
        assert await found(one) == set()
        assert await found(one, 1, 2, HIGHEST) == set()

    async def test_names_of_nodes_and_greatest_ids_come_back(self, board: Board) -> None:
        name = "host ü.example:8080@1#%s'\""
        (one,) = await living(board, name)
        await one.register(HIGHEST, HIGHEST, HIGHEST)
        assert await found(one, HIGHEST) == {Entry(HIGHEST, HIGHEST, HIGHEST, name)}

    # -- one device, several sessions

    async def test_higher_session_of_a_device_outranks_the_lower(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        assert await two.register(1, 11, 6) == Entry(1, 11, 5, "n1")
        assert await found(one, 1) == {Entry(1, 11, 6, "n2")}
        assert await two.register(1, 11, 10) == Entry(1, 11, 6, "n2")
        assert await found(one, 1) == {Entry(1, 11, 10, "n2")}

    async def test_lower_session_of_a_device_is_told_the_winner(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 10)
        assert await two.register(1, 11, 9) == Entry(1, 11, 10, "n1")
        assert await one.register(1, 11, 9) == Entry(1, 11, 10, "n1")
        assert await found(two, 1) == {Entry(1, 11, 10, "n1")}

    async def test_devices_and_users_do_not_outrank_each_other(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        for user, device in ((1, 11), (1, 12), (2, 11)):
            assert await one.register(user, device, 5) is None
        assert await two.register(1, 13, 6) is None
        assert len(await found(two, 1, 2)) == 4

    async def test_session_that_is_registered_again_is_entered_once(self, board: Board) -> None:
        (one,) = await living(board, "n1")
        for _ in range(3):
            assert await one.register(1, 11, 5) is None
        assert await found(one, 1) == {Entry(1, 11, 5, "n1")}

    async def test_highest_of_many_sessions_at_the_same_time_wins(self, board: Board) -> None:
        nodes = await living(board, "n1", "n2", "n3")
        order = [n * 37 % 101 for n in range(1, 101)]
        told = await gatherResults(
            [Deferred.fromCoroutine(nodes[n % 3].register(1, 11, n)) for n in order]
        )
        assert await found(nodes[0], 1) == {Entry(1, 11, 100, "n2")}
        losers = {n for n, other in zip(order, told, strict=True) if other and other.session > n}
        outranked = {other.session for n, other in zip(order, told, strict=True) if other} - {100}
        assert losers | outranked == set(range(1, 100)), "somebody was told nothing, nor replaced"

    # -- leaving

    async def test_exactly_the_session_that_leaves_is_taken_out(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await one.register(1, 12, 5)
        for user, device, session in ((1, 11, 4), (1, 11, 6), (1, 13, 5), (2, 11, 5)):
            await one.unregister(user, device, session)
        await two.unregister(1, 11, 5)
        assert len(await found(one, 1)) == 2
        for _ in range(2):
            await one.unregister(1, 11, 5)
            assert await found(two, 1) == {Entry(1, 12, 5, "n1")}
        await one.unregister(1, 12, 5)
        assert await found(two, 1) == set()

    async def test_session_that_was_outranked_leaves_without_taking_the_winner_along(
        self, board: Board
    ) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await two.register(1, 11, 6)
        await one.unregister(1, 11, 5)
        assert await found(one, 1) == {Entry(1, 11, 6, "n2")}

    async def test_session_that_left_outranks_nobody(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await one.unregister(1, 11, 5)
        assert await two.register(1, 11, 4) is None
        assert await found(one, 1) == {Entry(1, 11, 4, "n2")}

    # -- leases

    async def test_first_beat_says_that_everything_must_be_registered(self, board: Board) -> None:
        node = await board.node("n1")
        assert await node.beat() is False
        assert await node.beat() is True
        assert await node.beat() is True

    async def test_entries_count_while_the_lease_lives(self, board: Board) -> None:
        one = await board.node("n1")
        (two,) = await living(board, "n2")
        await one.register(1, 11, 5)
        await two.register(1, 12, 5)
        assert await found(two, 1) == {Entry(1, 12, 5, "n2")}
        await one.beat()
        await one.register(1, 11, 5)
        assert len(await found(two, 1)) == 2
        await board.expire("n1")
        for node in one, two:
            assert await found(node, 1) == {Entry(1, 12, 5, "n2")}

    async def test_dead_node_is_neither_outranked_nor_a_winner(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await one.register(1, 12, 5)
        await board.expire("n1")
        assert await two.register(1, 11, 6) is None
        assert await two.register(1, 12, 4) is None
        assert await found(two, 1) == {Entry(1, 11, 6, "n2"), Entry(1, 12, 4, "n2")}

    async def test_node_that_lost_its_lease_is_told_and_comes_back(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await board.expire("n1")
        assert await one.beat() is False
        await one.register(1, 11, 5)
        assert await found(two, 1) == {Entry(1, 11, 5, "n1")}
        assert await one.beat() is True
        assert await two.beat() is True

    async def test_node_that_comes_back_finds_out_who_outranked_it_meanwhile(
        self, board: Board
    ) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await one.register(1, 12, 5)
        await board.expire("n1")
        await two.register(1, 11, 6)
        await two.register(1, 12, 4)
        await one.beat()
        assert await one.register(1, 11, 5) == Entry(1, 11, 6, "n2")
        assert await one.register(1, 12, 5) == Entry(1, 12, 4, "n2")
        assert await found(two, 1) == {Entry(1, 11, 6, "n2"), Entry(1, 12, 5, "n1")}

    async def test_nodes_live_as_long_as_their_lease(self, board: Board) -> None:
        one, two, _ = await living(board, "n1", "n2", "n3")
        await board.node("n4")
        assert await one.living(["n1", "n2", "n3", "n4", "nobody"]) == {"n1", "n2", "n3"}
        assert await one.living(["n2"]) == {"n2"}
        assert await one.living([]) == frozenset()
        await board.expire("n2")
        assert await one.living(["n3", "n2", "n1"]) == {"n1", "n3"}
        await two.beat()
        assert await one.living(["n2", "n2"]) == {"n2"}

    async def test_lease_of_one_node_is_not_that_of_another(self, board: Board) -> None:
        one, two = await living(board, "n1", "n2")
        await one.register(1, 11, 5)
        await board.expire("n2")
        assert await one.beat() is True
        assert await found(two, 1) == {Entry(1, 11, 5, "n1")}
        assert await two.beat() is False
