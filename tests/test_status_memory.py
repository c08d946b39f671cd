"""User status in memory keeps the contract."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.interfaces.nodes import UserStatus
from imd.status import memory
from imd.status.memory import LEASE_SECONDS, MemoryUserStatus
from tests.contracts.user_status import UserStatusContract


class MemoryBoard:
    """Nodes over one board, all of which but the expired one beat in time."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._board = memory.Board()

    async def node(self, name: str) -> UserStatus:
        """See ``Board``."""
        return MemoryUserStatus(name, self._clock, self._board)

    async def expire(self, name: str) -> None:
        """See ``Board``."""
        self._clock.advance(LEASE_SECONDS / 2)
        for other in self._board.leases.keys() - {name}:
            await MemoryUserStatus(other, self._clock, self._board).beat()
        self._clock.advance(LEASE_SECONDS / 2)


@pytest.fixture
def board() -> MemoryBoard:
    """A new one."""
    return MemoryBoard()


class TestMemoryUserStatus(UserStatusContract):
    """Memory."""


class MemoryUserStatusTests(SynchronousTestCase):
    """What is peculiar to memory."""

    def test_lease_lives_for_its_seconds_after_the_last_beat(self) -> None:
        clock = Clock()
        status = MemoryUserStatus("n1", clock)
        self.successResultOf(status.beat())
        for _ in range(3):
            clock.advance(LEASE_SECONDS - 0.001)
            self.assertIs(self.successResultOf(status.beat()), True)
        clock.advance(LEASE_SECONDS)
        self.assertIs(self.successResultOf(status.beat()), False)

    def test_nothing_is_left_of_who_left(self) -> None:
        board = memory.Board()
        status = MemoryUserStatus("n1", Clock(), board)
        for device in 11, 12:
            self.successResultOf(status.register(1, device, 5))
        for device in 11, 12:
            self.assertIn(1, board.entries)
            self.successResultOf(status.unregister(1, device, 5))
        self.assertEqual(board.entries, {})
