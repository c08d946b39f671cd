"""The transfer between nodes of one process."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.interfaces.nodes import Arrivals
from imd.transfer.local import Hall, LocalTransfer
from tests.contracts.transfer import Startable, TransferContract


class LocalTransferTests(TransferContract, SynchronousTestCase):
    """The contract, in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hall = Hall()

    def make(self, node: str, arrivals: Arrivals) -> Startable:
        """See ``TransferContract``."""
        return LocalTransfer(node, self.hall, arrivals, self.clock)

    def settle(self) -> None:
        """See ``TransferContract``."""
        self.clock.advance(0)
