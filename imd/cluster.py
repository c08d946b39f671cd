"""One node among others that commit to the same storage."""

from __future__ import annotations

from collections.abc import Callable

from imd.arrivals import Incoming
from imd.delivery import Delivery
from imd.interfaces.feed import Feed
from imd.interfaces.nodes import Arrivals, Transfer, UserStatus
from imd.interfaces.storage import Storage
from imd.journey import Journey
from imd.online import Online
from imd.reach import Reach
from imd.recent import Recent
from imd.registry import Registry
from imd.routing import Forwarding, Routing
from imd.sweep import Sweep
from imd.tasks import Clock
from imd.times import Times


class Cluster:
    """How this node tells others, hears from them, and finds what it has not heard.

    ``meet`` makes the way to other nodes, which tells its argument what comes; it has to be
    started after this.
    """

    def __init__(
        self,
        node: str,
        registry: Registry,
        storage: Storage,
        feed: Feed,
        status: UserStatus,
        meet: Callable[[Arrivals], Transfer],
        clock: Clock,
        times: Times | None = None,
        journey: Journey | None = None,
    ) -> None:
        recent = Recent()
        self.delivery = delivery = Delivery(registry, times, journey)
        incoming = Incoming(delivery, recent)
        transfer = meet(incoming)
        self.forwarding = Forwarding(node, status, transfer, recent, clock, journey)
        self.routing = Routing(delivery, self.forwarding)
        self.online = Online(node, registry, status, self.routing, lambda: self.sweep.soon())
        self.sweep = incoming.sweep = Sweep(
            storage, feed, registry, self.online, recent, Reach(transfer, status, clock), clock
        )
