"""Devices that are lost: they are revoked, some while they go on writing."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, gatherResults

from imd.tasks import sleep
from tests.campaign.device import Device, now
from tests.campaign.evidence import Revoked
from tests.campaign.plan import Loss
from tests.campaign.quarrels import insist
from tests.process import reactor

#: Seconds between two messages of a lost device, and how long it goes on after it is revoked.
EVERY, AFTER = 0.2, 10.0


class Losses:
    """The losses of one run; one that writes does so in one conversation of its user."""

    def __init__(self, found: Sequence[tuple[Loss, Device, Sequence[Device], int]]) -> None:
        """``found``: each with the device, those that the user still has, and a conversation."""
        self._found = found
        self.revoked: list[Revoked] = []

    async def run(self) -> None:
        """Lose them all."""
        began = reactor.seconds()
        each = [self._lose(began, *found) for found in self._found]
        await gatherResults([Deferred.fromCoroutine(one) for one in each])

    async def _lose(
        self, began: float, loss: Loss, lost: Device, left: Sequence[Device], where: int
    ) -> None:
        end = began + loss.at + AFTER
        writing = Deferred.fromCoroutine(self._write(lost, loss.writes, where, end))
        await sleep(reactor, began + loss.at - reactor.seconds())
        await insist(left, "device.revoke", device=lost.history.device)
        self.revoked.append(Revoked(lost.history.device, now()))
        await writing

    async def _write(self, lost: Device, writes: bool, where: int, end: float) -> None:
        number = 0
        while writes and lost.client.state != "stopped" and reactor.seconds() < end:
            number += 1
            lost.send(where, f"finder {number}")
            await sleep(reactor, EVERY)
