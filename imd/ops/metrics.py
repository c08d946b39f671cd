"""``/metrics``: the figures of this process, for Prometheus, and who may read them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from imd.counts import Histogram
from imd.readers import Readers
from imd.tasks import Clock
from imd.throttle import trusts

#: Seconds for which a page is given out again: a flood of readers costs one page a second.
FRESH = 1.0
#: Seconds that a reader may idle.
IDLE_SECONDS = 60
#: What proxies add.  Whoever comes through one is not at this machine, whatever the address says.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

Value = float | Histogram | Mapping[str, float]


class Figure(Struct, frozen=True):
    """One metric: ``kind`` is ``counter``, ``gauge`` or ``histogram``; with a ``label`` its value
    is a mapping from the few values of that label.

    ``read`` takes what is watched; None says that there is no such figure now.
    """

    name: str
    kind: str
    text: str
    read: Callable[[Any], Value | None]
    label: str = ""


class Figures(Collector):
    """Reads ``table`` from ``subject`` whenever somebody asks."""

    def __init__(self, table: Sequence[Figure], subject: Any) -> None:
        self._table = table
        self._subject = subject

    def describe(self) -> Iterable[Metric]:
        """Nothing is read before somebody asks."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        for figure in self._table:
            value = figure.read(self._subject)
            if value is not None:
                yield _family(figure, value)


def _family(figure: Figure, value: Value) -> Metric:
    if isinstance(value, Histogram):
        histogram = HistogramMetricFamily(figure.name, figure.text)
        buckets = [(_bound(bound), float(count)) for bound, count in value.cumulated()]
        histogram.add_metric([], buckets, value.total)
        return histogram
    labels = [figure.label] if figure.label else []
    make = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    family = make(figure.name, figure.text, labels=labels)
    values = value.items() if isinstance(value, Mapping) else [("", value)]
    for name, number in values:
        family.add_metric([str(name)] if labels else [], float(number))
    return family


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


class MetricsPage(Resource):
    """The page; others than ``readers`` learn nothing, not even that there is one."""

    isLeaf = True

    def __init__(
        self, table: Sequence[Figure], subject: Any, readers: Readers, clock: Clock
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(Figures(table, subject))
        ProcessCollector(registry=self._registry)
        self._trusts = trusts(readers.readers)
        self._token = readers.token.encode()
        self._clock = clock
        self._page = b""
        self._until = float("-inf")

    def render(self, request: Request) -> bytes:
        """The figures as text."""
        if request.path != b"/metrics" or not self._may(request):
            request.setResponseCode(404)
            return b"there is nothing here\n"
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(405)
            request.setHeader(b"Allow", b"GET, HEAD")
            return b"use GET\n"
        request.setHeader(b"Content-Type", CONTENT_TYPE_PLAIN_0_0_4.encode())
        if self._clock.seconds() >= self._until:
            self._page = generate_latest(self._registry)
            self._until = self._clock.seconds() + FRESH
        return self._page

    def _may(self, request: Request) -> bool:
        if self._token:
            given = (request.getHeader(b"authorization") or b"").removeprefix(b"Bearer ")
            if hmac.compare_digest(given, self._token):
                return True
        if any(request.requestHeaders.hasHeader(name) for name in _FORWARDED):
            return False
        peer: Any = request.getClientAddress()
        host = getattr(peer, "host", "")
        return bool(host) and self._trusts(host)


class Alone(Site):
    """A port on which there is nothing but the page.  Peers that say nothing are dropped."""

    def __init__(self, page: MetricsPage, reactor: Any) -> None:
        super().__init__(page, timeout=IDLE_SECONDS, reactor=reactor)  # type: ignore[no-untyped-call]
        self.displayTracebacks = False

    def log(self, request: Any) -> None:
        """Who reads figures is not worth a line every few seconds."""
