"""The operator's own metrics. docs/operations.md lists them; charts/appstatus builds its alerts from them.

What describes applications is rebuilt whole in each cycle and swapped in, so that what is gone leaves no series behind.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from appstatus.api.names import AppKey


@dataclass(slots=True)
class Findings:
    """What one cycle found, for /metrics. Applications by key; SLOs by (application, SLO name).

    totals  cumulative (good, all) events of each SLO since this replica began to count
    """

    health: dict[AppKey, str] = field(default_factory=dict)
    violated: dict[tuple[AppKey, str], bool] = field(default_factory=dict)
    totals: dict[tuple[AppKey, str], tuple[float, float]] = field(default_factory=dict)
    budget: dict[tuple[AppKey, str], float] = field(default_factory=dict)
    incidents: list[dict[str, str]] = field(default_factory=list)  # labels of each application in an open incident


class OperatorMetrics(Collector):
    """Thread-safe: the audit sets, the HTTP server reads."""

    def __init__(self, version: str, cluster: str) -> None:
        self.registry = CollectorRegistry()
        self._findings = Findings()
        r = self.registry
        Gauge("appstatus_build_info", "Version of the operator and name of the cluster", ["version", "cluster"], registry=r).labels(
            version, cluster
        ).set(1)
        self.cycle_seconds = Histogram(
            "appstatus_cycle_seconds",
            "Duration of one audit cycle",
            registry=r,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
        )
        self.last_success = Gauge(
            "appstatus_last_successful_cycle_timestamp_seconds", "End of the last audit cycle that judged every Project", registry=r
        )
        self.leader = Gauge("appstatus_leader", "1 on the replica that writes", registry=r)
        self.objects = Gauge("appstatus_objects", "Objects of the API server that are kept in memory", registry=r)
        self.unreadable = Gauge("appstatus_unreadable_objects", "Objects that could not be understood", registry=r)
        self.pending = Gauge("appstatus_pending_writes", "Status documents that wait to be written", registry=r)
        self.query_failures = Counter(
            "appstatus_prometheus_query_failures_total", "Queries without a full answer", ["project", "query"], registry=r
        )
        self.writes = Counter("appstatus_api_writes_total", "Writes to the API server by result", ["result"], registry=r)
        self.events = Counter("appstatus_events_total", "Events by reason and result", ["reason", "result"], registry=r)
        self.failures = Counter("appstatus_cycle_failures_total", "Audit cycles that ended with an error", registry=r)
        r.register(self)

    def show(self, findings: Findings) -> None:
        self._findings = findings

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        found = self._findings
        yield _gauge("appstatus_application_health", "The health of an application now", ["namespace", "application", "health"],
                     (([*_app(key), health], 1.0) for key, health in found.health.items()))  # fmt: skip
        slo = ["namespace", "application", "slo"]
        yield _gauge("appstatus_slo_violation_active", "1 while a burn-rate or outage tier of the SLO fires", slo,
                     (([*_app(key), name], float(value)) for (key, name), value in found.violated.items()))  # fmt: skip
        yield _gauge("appstatus_slo_error_budget_remaining", "Share of the error budget that is left, negative when overspent", slo,
                     (([*_app(key), name], value) for (key, name), value in found.budget.items()))  # fmt: skip
        for metric, what, index in (
            ("appstatus_slo_good", "Good events of the SLO since this replica began to count", 0),
            ("appstatus_slo_events", "All events of the SLO since this replica began to count", 1),
        ):
            counter = CounterMetricFamily(metric, what, labels=slo)
            for (key, name), values in found.totals.items():
                counter.add_metric([*_app(key), name], values[index])
            yield counter
        labels = ["namespace", "application", "incident", "role", "cause", "class"]
        yield _gauge("appstatus_incident_active", "An application in an open incident", labels,
                     (([labels_[name] for name in labels], 1.0) for labels_ in found.incidents))  # fmt: skip


def _app(key: AppKey) -> tuple[str, str]:
    return key.namespace, key.status_name


def _gauge(name: str, what: str, labels: list[str], samples: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for values, sample in samples:
        family.add_metric(values, sample)
    return family
