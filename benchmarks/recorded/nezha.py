"""Nezha (IntelligentDDS/Nezha, MIT): metrics of pods and nodes every minute; of one system also latency per edge at both ends.

The alert says when it began: only part of the faults move what users see, so that the diagnosis is judged apart from the alert.
Latency of an edge is a median, taken for the mean; requests of an edge are equal parts of the callee's.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from appstatus.api.names import AppKey
from appstatus.model.series import F64
from appstatus.model.world import Application, Connection, Container, Node, World

from recorded.case import Case, application, buckets, connection, instance, key, traffic, violated, world

STEP = 60.0
BEFORE, AFTER = 3600.0, 210.0  # of the injection; a fault lasts about three minutes
THRESHOLD = 0.5
QUANTILES = {0.5: "LatencyP50(s)", 0.9: "LatencyP90(s)", 0.95: "LatencyP95(s)", 0.99: "LatencyP99(s)"}
CLASSES = {
    "cpu_contention": frozenset({"cpu-demand", "cpu-throttled", "cpu-contention", "noisy-neighbour"}),
    "cpu_consumed": frozenset({"cpu-demand", "cpu-throttled", "cpu-contention", "noisy-neighbour"}),
    "network_delay": frozenset({"network-latency"}),
}
Columns = Mapping[str, F64]


def cases(data: Path) -> Iterator[Case]:
    for faults in sorted(data.glob("*/*-fault_list.json")):
        day = _Day(faults.parent / "metric")
        for found in (fault for hour in json.loads(faults.read_text()).values() for fault in hour):
            since = _seconds(found["inject_time"])
            kind = found["inject_type"]
            yield Case(
                f"{faults.parent.name} {found['inject_time'][11:]} {kind} {_service(found['inject_pod'])}",
                day.world(since - BEFORE, since + AFTER),
                key(day.front),
                (violated(key(day.front), "availability"), violated(key(day.front), "latency", THRESHOLD)),
                _service(found["inject_pod"]),
                f"{'OB' if day.edges else 'TT'} {kind}",
                CLASSES.get(kind, frozenset()),
                since,
            )


def healthy(data: Path) -> Iterator[tuple[str, World, AppKey]]:
    """Each day from the last fault's end on, and whose SLO it is."""
    for faults in sorted(data.glob("*/*-fault_list.json")):
        day = _Day(faults.parent / "metric")
        last = max(_seconds(fault["inject_time"]) for hour in json.loads(faults.read_text()).values() for fault in hour)
        yield faults.parent.name, day.world(last + 1800.0, day.end), key(day.front)


class _Day:
    """All metrics of a day, on one grid of minutes."""

    def __init__(self, folder: Path) -> None:
        users = _rows(folder / "front_service.csv")
        self.began = _seconds(users[0]["Time"])
        self.end = _seconds(users[-1]["Time"])
        self._length = round((self.end - self.began) / STEP) + 1
        self.users = self._grid(users)
        files = sorted(folder.glob("*_metric.csv"))
        self.pods = {file.stem.removesuffix("_metric"): self._grid(_rows(file)) for file in files}
        self.front = next(_service(pod) for pod in self.pods if _service(pod) in ("frontend", "ts-ui-dashboard"))
        self.edges: dict[tuple[str, str], tuple[F64, F64]] = {}
        self._nodes: dict[str, str] = {}
        if (folder / "source_50.csv").exists():
            for line in (folder / "dependency.csv").read_text().splitlines()[1:]:
                name, target, _ = line.split(",")
                self._nodes[name] = target  # the later lines tell of nodes
            client, server = self._grid(_rows(folder / "source_50.csv")), self._grid(_rows(folder / "destination_50.csv"))
            for edge in client:
                caller, _, callee = edge.partition("_")
                self.edges[caller, callee] = client[edge], server[edge]

    def world(self, begin: float, end: float) -> World:
        times = self.began + STEP * np.arange(self._length)
        within = (times >= begin) & (times <= end)
        nodes: dict[str, Node] = {}
        made = [self._application(pod, columns, within, nodes) for pod, columns in self.pods.items()]
        names = {app.key.name for app in made}
        edges = [
            self._edge(caller, callee, client[within], within)
            for (caller, callee), (client, _) in self.edges.items()
            if {caller, callee} <= names
        ]
        return world(times[within], STEP, made, edges, nodes.values())

    def _application(self, pod: str, columns: Columns, within: np.ndarray, nodes: dict[str, Node]) -> Application:
        name = _service(pod)

        def of(column: str) -> F64:
            return columns[column][within]

        node = self._nodes.get(name, f"node of {of('NodeCpuUsageRate(%)')[:5]}")
        nodes.setdefault(node, Node(node, ready=True, cpu_usage=of("NodeCpuUsageRate(%)") / 100))
        with np.errstate(invalid="ignore", divide="ignore"):
            cores, bytes_used = of("CpuUsage(m)") / 1000, of("MemoryUsage(Mi)") * 2**20
            container = Container(
                name,
                cpu_usage=cores,
                cpu_limit=cores / (of("CpuUsageRate(%)") / 100),
                memory_rss=bytes_used,
                memory_limit=bytes_used / (of("MemoryUsageRate(%)") / 100),
            )
        made = application(name, [instance(pod, node, container)])
        rate = of("PodWorkload(Ops)")
        if name == self.front:
            failing = 1.0 - self.users["SuccessRate(%)"][within] / 100.0
            if np.nanmax(failing) == np.nanmin(failing):  # never filled
                failing = np.zeros_like(rate)
            made.served = traffic(rate, self.users["LatencyP50(s)"][within], failing)
            made.served.buckets = buckets(rate, {q: self.users[column][within] for q, column in QUANTILES.items()})
            return made
        servers = [server[within] for (_, callee), (_, server) in self.edges.items() if callee == name]
        made.served = traffic(rate, np.mean(servers, axis=0) if servers else of("PodServerLatencyP90(s)"))
        return made

    def _edge(self, caller: str, callee: str, client: F64, within: np.ndarray) -> Connection:
        callers = sum(1 for _, other in self.edges if other == callee)
        columns = next(columns for pod, columns in self.pods.items() if _service(pod) == callee)
        rate = columns["PodWorkload(Ops)"][within] / callers
        return connection(caller, callee, traffic(rate, client), int(within.sum()))

    def _grid(self, rows: list[dict[str, str]]) -> dict[str, F64]:
        when = "Time" if "Time" in rows[0] else "time"
        names = [name for name in rows[0] if name.lower() not in ("time", "timestamp", "podname", "servicename")]
        found = {name: np.full(self._length, np.nan) for name in names}
        for row in rows:
            at = round((_seconds(row[when]) - self.began) / STEP)
            if 0 <= at < self._length:
                for name in names:
                    found[name][at] = float(row[name] or "nan")
        return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def _seconds(text: str) -> float:
    """``2022-08-22 03:51:19.607158889 +0000 UTC ...``; what stands in TimeStamp is hours off in places."""
    return datetime.strptime(text[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def _service(pod: str) -> str:
    """Without the hashes of ReplicaSet and pod."""
    return pod.rsplit("-", 2)[0]
