"""Applications, their instances and the connections between them, with the recent past as arrays.

Every array has the world's ``times`` as its last axis: rates are per second, averaged over the step; gauges are the step's last
value; NaN means that nothing is known for the step (never 0).
"""

from dataclasses import dataclass, field

import numpy as np

from appstatus.api.names import AppKey, ObjectRef
from appstatus.model.facts import Change
from appstatus.model.series import F64

# The agent's upper bounds, seconds, without +Inf: a superset of coroot-node-agent's, so that either side reads the other's data.
BUCKETS: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25,
    0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 7.5, 10.0, 30.0,
)  # fmt: skip

UNANSWERED: frozenset[str] = frozenset({"reset", "closed", "overdue"})


@dataclass(slots=True)
class Traffic:
    """Requests of one direction.

    requests  by status, (T,) requests/s; statuses as the agent names them, UNANSWERED included
    buckets   (len(BUCKETS)+1, T) requests/s whose latency is <= bound, cumulative as in Prometheus, last row = +Inf = all timed
    seconds   (T,) seconds of latency per second (the histogram's sum)
    timed     (T,) answers/s in the histogram: seconds / timed is the mean latency
    """

    requests: dict[str, F64] = field(default_factory=dict)
    buckets: F64 | None = None
    seconds: F64 | None = None
    timed: F64 | None = None

    def total(self, times: int) -> F64:
        """(T,) requests/s of all statuses; NaN where no status is known."""
        return add(list(self.requests.values()), times)

    def mean(self) -> F64 | None:
        """(T,) seconds of mean latency; NaN without answers, None where latency is not known."""
        if self.seconds is None or self.timed is None:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.timed > 0, self.seconds / self.timed, np.nan)


def add(parts: list[F64], times: int) -> F64:
    """Sum of (T,) arrays that ignores NaN, but is NaN where every part is."""
    if not parts:
        return np.full(times, np.nan)
    found = parts[0].copy()
    for part in parts[1:]:
        found = np.where(np.isnan(part), found, np.where(np.isnan(found), part, found + part))
    return found


@dataclass(slots=True)
class Container:
    """Gauges and rates of one container; arrays are (T,) or None when the metric does not exist for it."""

    name: str
    cpu_usage: F64 | None = None  # cores
    cpu_limit: F64 | None = None  # cores
    cpu_delay: F64 | None = None  # s/s
    cpu_throttled: F64 | None = None  # s/s
    memory_rss: F64 | None = None  # bytes
    memory_limit: F64 | None = None  # bytes
    oom_kills: F64 | None = None  # counter increments per step
    restarts: F64 | None = None  # counter increments per step
    # bytes/s over the network; no query fills them yet: the agent counts those of connections that it opened, not of accepted ones.
    bytes_sent: F64 | None = None
    bytes_received: F64 | None = None


@dataclass(slots=True)
class Instance:
    """A pod (or, without cluster rights, what the metrics' labels tell of one).

    served         the requests that it answered (without their latency as yet); None where nothing is known of them
    calls          what it asks of all others; no query fills it yet: it is ``requests_out`` by container
    unready_since  unix seconds, None while it is ready or where the API server cannot be asked
    trouble        why it is not ready, as the API server says it (``CrashLoopBackOff``, ``Unschedulable: ...``), else empty
    """

    name: str
    node: str
    version: str
    ready: bool
    obsolete: bool  # being deleted; or not ready and of an older version; or known only by what is left of its metrics
    ready_since: float | None
    containers: dict[str, Container] = field(default_factory=dict)
    unready_since: float | None = None
    trouble: str = ""
    served: Traffic | None = None
    calls: Traffic | None = None


@dataclass(slots=True)
class Node:
    name: str
    ready: bool
    cpu_cores: float | None = None
    cpu_usage: F64 | None = None  # share of all cores, 0..1, iowait and idle left out
    memory_total: float | None = None
    memory_available: F64 | None = None
    changes: tuple[Change, ...] = ()


@dataclass(slots=True)
class Connection:
    """Everything one application sends to another (or to an external service), seen from the client.

    connects, failed_connects, retransmits, segments, bytes: 1/s; connect_time: s/s; active: number; rtt: s.
    retransmits: of what the receiver did not have (from coroot-node-agent: of anything); segments_sent: with payload, those sent
    again included; unknown from coroot-node-agent.
    """

    client: AppKey
    upstream: AppKey
    traffic: Traffic
    connects: F64
    failed_connects: F64
    connect_time: F64
    active: F64
    retransmits: F64
    segments_sent: F64
    rtt: F64
    bytes_sent: F64


@dataclass(slots=True)
class LogPattern:
    """Log lines of one application that differ only in numbers and ids.

    text    a line of it
    severe  warnings and worse
    lines   (T,) lines/s; 0 where there is none
    """

    text: str
    severe: bool
    lines: F64


@dataclass(slots=True)
class Application:
    """``served`` is what its containers answered (inbound); probes of the kubelet and scrapes are already left out.

    outside  the part of ``served`` that came from peers of class ``outside`` (no client side exists for it)
    logs     of all its containers; empty where nobody reads logs
    gauges   what its own exporter tells and no other field takes (queue lengths, disks, pools), by the metric's name; (T,),
             counters as rates
    """

    key: AppKey
    ref: ObjectRef | None
    labels: dict[str, str]
    annotations: dict[str, str]
    category: str
    created: float | None
    desired: int | None
    available: int | None
    rollout_in_progress: bool
    changes: tuple[Change, ...]
    instances: dict[str, Instance] = field(default_factory=dict)
    served: Traffic = field(default_factory=Traffic)
    outside: Traffic = field(default_factory=Traffic)
    upstreams: list[Connection] = field(default_factory=list)
    downstreams: list[Connection] = field(default_factory=list)
    logs: list[LogPattern] = field(default_factory=list)
    gauges: dict[str, F64] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """``missing`` names what could not be read this cycle (query id -> reason); whoever judges on it says Unknown."""

    now: float
    step: float
    times: F64
    applications: dict[AppKey, Application]
    nodes: dict[str, Node]
    connections: list[Connection]
    newest: float | None
    missing: dict[str, str] = field(default_factory=dict)

    def steps(self, seconds: float) -> int:
        return max(1, round(seconds / self.step))

    def heard(self, node: str, seconds: float | None = None) -> bool:
        """Whether the agent of a node was heard within the last ``seconds``, or at all. Told by a rate: that ends with the agent's
        last scrape, while Prometheus repeats a gauge for 5 min."""
        usage = self.nodes[node].cpu_usage if node in self.nodes else None
        return usage is not None and not np.isnan(usage if seconds is None else usage[-self.steps(seconds) :]).all()
