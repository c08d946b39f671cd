"""Every figure that a process of imd gives out, and where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imd.config import Settings
from imd.counts import Histogram
from imd.lane import Lane
from imd.ops.lag import Lag
from imd.ops.lifecycle import Listener
from imd.ops.metrics import Alone, Figure, MetricsPage
from imd.status.redis import RedisUserStatus
from imd.status.redis_link import Counts
from imd.version import __version__

if TYPE_CHECKING:
    from imd.daemon import Connector


class Process:
    """What every process is watched by."""

    def __init__(self, lag: Lag, reactor: Any) -> None:
        self.lag = lag
        self.reactor = reactor


class Node(Process):
    """What there is to watch of a connector, as long as it has it."""

    def __init__(self, parts: Connector, lag: Lag, reactor: Any) -> None:
        super().__init__(lag, reactor)
        self.parts = parts

    @property
    def lanes(self) -> list[Lane]:
        """The commit lanes; none before clients were let in."""
        return [] if self.parts.messaging is None else self.parts.messaging.lanes

    def merged(self, name: str) -> Histogram | None:
        """A histogram of all lanes together."""
        return Histogram.merged(getattr(lane, name) for lane in self.lanes) if self.lanes else None

    @property
    def waiting(self) -> Mapping[str, float]:
        """Lengths of the queues."""
        messaging, cluster = self.parts.messaging, self.parts.cluster
        if messaging is None:
            return {}
        return {
            "commit": sum(map(len, self.lanes)),
            "cursors": len(messaging.marks),
            "forward": 0 if cluster is None else len(cluster.forwarding),
        }

    @property
    def refused(self) -> Mapping[str, float]:
        """Refusals by code, of sessions and of storage."""
        hub, messaging = self.parts.hub, self.parts.messaging
        if hub is None or messaging is None:
            return {}
        return {code.value: n for code, n in (hub.refused + messaging.refused).items()}

    @property
    def closed(self) -> Mapping[str, float]:
        """Ended connections by close code."""
        ended = {} if self.parts.hub is None else self.parts.hub.ended.closed
        return {str(code) if code else "other": n for code, n in ended.items()}

    @property
    def leases(self) -> Mapping[str, float]:
        """How renewals of the lease of this node ended."""
        online = self.parts.online
        if online is None:
            return {}
        return {"renewed": online.renewals, "failed": online.missed, "lost": online.lost}

    @property
    def redis(self) -> Counts | None:
        """Counts of the link to Redis; None where there is none."""
        status = self.parts.status
        return status.counts if isinstance(status, RedisUserStatus) else None

    @property
    def outages(self) -> Mapping[str, float]:
        """How often each dependency went away."""
        counts = {"store": float(self.parts.engine.outages)}
        return counts | ({} if self.redis is None else {"status": float(self.redis.outages)})

    @property
    def up(self) -> Mapping[str, float]:
        """Whether each dependency can be used now."""
        status, engine = self.parts.status, self.parts.engine
        state = {"store": float(engine.unready is None)}
        return state | ({"status": float(status.up)} if isinstance(status, RedisUserStatus) else {})


#: Figures of every process.
COMMON = (
    Figure("imd_info", "gauge", "Always 1; the version.", lambda _: {__version__: 1.0}, "version"),
    Figure(
        "imd_reactor_lag_seconds", "histogram", "How late the reactor was.", lambda s: s.lag.all
    ),
    Figure(
        "imd_reactor_lag_last_seconds",
        "gauge",
        "How late the reactor was at the last look.",
        lambda s: s.lag.last,
    ),
    Figure(
        "imd_reactor_lag_max_seconds",
        "gauge",
        "The most that it was late in the last 30 to 60 s.",
        lambda s: s.lag.greatest,
    ),
    Figure(
        "imd_timers", "gauge", "Timers that are set.", lambda s: len(s.reactor.getDelayedCalls())
    ),
)


def _times(name: str, text: str) -> Figure:
    def read(node: Node) -> Histogram | None:
        times = node.parts.times
        found: Histogram = getattr(times, name)
        return found

    return Figure(f"imd_time_to_{name}_seconds", "histogram", text, read)


def _hub(name: str, text: str) -> Figure:
    def read(node: Node) -> float | None:
        return None if node.parts.hub is None else getattr(node.parts.hub.ended, name)

    return Figure(f"imd_closed_{name}", "counter", text, read)


#: Figures of a connector, beside ``COMMON``.
CONNECTOR = (
    Figure(
        "imd_ready", "gauge", "1 if /readyz says ready.", lambda n: float(not n.parts.unready())
    ),
    Figure(
        "imd_connections",
        "gauge",
        "Open WebSocket connections.",
        lambda n: None if n.parts.hub is None else len(n.parts.hub),
    ),
    Figure("imd_sessions", "gauge", "Sessions that are logged in.", lambda n: n.parts.sessions),
    Figure(
        "imd_logins",
        "counter",
        "Sessions that were opened.",
        lambda n: None if n.parts.hub is None else n.parts.hub.welcomed,
    ),
    Figure("imd_connections_closed", "counter", "Ended connections.", lambda n: n.closed, "code"),
    _hub("frames_in", "Frames from connections that have ended."),
    _hub("frames_out", "Frames to connections that have ended."),
    _hub("bytes_in", "Bytes of messages from connections that have ended."),
    _hub("bytes_out", "Bytes of messages to connections that have ended."),
    _times("sent", "From the frame of a message to its ack."),
    _times("received", "From the time stamp of a message to its push, on the node that pushes."),
    _times("delivered", "From the frame of a message to its receipt, if the receiver is there."),
    Figure(
        "imd_commit_messages", "histogram", "Messages in a commit.", lambda n: n.merged("batches")
    ),
    Figure(
        "imd_commit_seconds",
        "histogram",
        "How long commits took, repetitions included.",
        lambda n: n.merged("commits"),
    ),
    Figure(
        "imd_retention_deleted",
        "counter",
        "What was deleted because of its age.",
        lambda n: (
            n.parts.retention
            and {"messages": n.parts.retention.messages, "files": n.parts.retention.files}
        ),
        "kind",
    ),
    Figure(
        "imd_retention_runs",
        "counter",
        "Runs of the job that deletes what is old enough.",
        lambda n: n.parts.retention and n.parts.retention.runs,
    ),
    Figure("imd_queue_length", "gauge", "What waits, by queue.", lambda n: n.waiting, "queue"),
    Figure("imd_errors", "counter", "Refusals, by code.", lambda n: n.refused, "code"),
    Figure(
        "imd_messages_repeated",
        "counter",
        "Messages that were stored already, and acknowledged again.",
        lambda n: n.parts.messaging and n.parts.messaging.repeated,
    ),
    Figure(
        "imd_messages_given_up",
        "counter",
        "Messages whose commit failed for commit_seconds; their senders send again.",
        lambda n: n.parts.messaging and n.parts.messaging.given_up,
    ),
    Figure(
        "imd_pushes",
        "counter",
        "Frames about conversations that were handed to sessions.",
        lambda n: n.parts.delivery and n.parts.delivery.pushes,
    ),
    Figure(
        "imd_sweep_repairs",
        "counter",
        "What sessions had to be told by a sweep, because no hint came.",
        lambda n: n.parts.cluster and n.parts.cluster.sweep.repaired,
    ),
    Figure(
        "imd_sweeps",
        "counter",
        "Sweeps of the feed, by how they ended.",
        lambda n: (
            n.parts.cluster
            and {"done": n.parts.cluster.sweep.done, "failed": n.parts.cluster.sweep.failed}
        ),
        "result",
    ),
    Figure(
        "imd_lease", "counter", "Renewals of the lease of this node.", lambda n: n.leases, "result"
    ),
    Figure("imd_dependency_up", "gauge", "1 if it can be used now.", lambda n: n.up, "dependency"),
    Figure(
        "imd_dependency_outages",
        "counter",
        "How often it went away.",
        lambda n: n.outages,
        "dependency",
    ),
    Figure(
        "imd_status_timeouts",
        "counter",
        "Calls of user status without an answer in time.",
        lambda n: n.redis and n.redis.timeouts,
    ),
)


def own_port(settings: Settings, page: MetricsPage, reactor: Any) -> tuple[Listener, ...]:
    """A port for the figures alone, if there is to be one."""
    listen = settings.metrics.listen
    return (Listener(listen, Alone(page, reactor), reactor, "metrics.listen"),) if listen else ()
