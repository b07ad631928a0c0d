"""TVDiag (WHU-AISE/TVDiag, MIT): of each fault only what an alert on every metric and every call would have said.

An event says that a value left its usual three standard deviations, and to which side; not by how much, nor when. Here it is a step by
one factor for all, of a series that is flat otherwise. The set lists events in the order of their first sample outside: the k-th of n
begins at that part of the incident. What has no event stays flat. The alert says when it began: users' pain is an event like others.

    cpu_usage, mem_usage, mem_rss, mem_work      of the container
    net_receive, net_trainsmit                   bytes of the container
    dest_qps, dest_p50/p90/p95, dest_success_rate  what the instance answers; src_*: what it asks of others
    traces: caller, callee, operation, PD|500|400  the edge between them became slower, or failed (-1: users)

Left out: fs_usage, threads, mem_cache and nodes' metrics (the model has no place for them), logs, calls of an instance to itself.
Network loss and corruption are one kind for the product: what is corrupt is dropped by the checksum and sent again, as if lost.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from appstatus.model.series import F64
from appstatus.model.world import Application, Container, Traffic, World, add

from recorded.case import Case, application, connection, instance, key, traffic, violated, world

STEP = 15.0
BEFORE, AFTER = 1800.0, 600.0  # of the onset
BEGAN = 1.7e9
FACTOR = 3.0  # of every event
FAILING = 0.3
RATE, CORES, RSS, BYTES = 10.0, 0.2, 2e8, 1e5
ANSWER, ASKED, LINK = 0.05, 0.03, 0.002  # seconds: of an answer, of a call to others, on the way
USERS = "-1"
MEMORY = ("mem_usage", "mem_rss", "mem_work")
QUANTILES = ("p50", "p90", "p95")

CLASSES = {
    "cpu": frozenset({"cpu-demand", "cpu-throttled", "cpu-contention", "noisy-neighbour"}),
    "memory": frozenset({"memory-growth", "memory-pressure", "memory-oom"}),
    "network-delay": frozenset({"network-latency"}),
    "network-loss": frozenset({"network-loss", "network-unreachable"}),
    "network-corrupt": frozenset({"network-loss", "network-unreachable"}),
    "pod-failure": frozenset({"instance-down"}),
    "pod-kill": frozenset({"restarted"}),
    "container-kill": frozenset({"restarted"}),
}
Events = dict[tuple[str, ...], float]


def cases(data: Path) -> Iterator[Case]:
    """Of every folder with labels below ``data``."""
    for labels in sorted(data.rglob("label.csv")):
        folder = labels.parent
        metrics, traces, nodes = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "traces", "nodes"))
        system = _System((caller, callee) for events in traces.values() for caller, callee, *_ in events)
        for row in csv.DictReader(labels.read_text().splitlines()):
            index = row["index"]
            made = system.world(nodes[index], _placed(metrics[index]), _placed(traces[index]))
            yield Case(
                f"{folder.name} {index} {row['anomaly_type']} {row['instance']}",
                made,
                key(system.front),
                (violated(key(system.front), "availability"), violated(key(system.front), "latency")),
                row["instance"],
                f"{folder.name} {row['anomaly_type']}",
                CLASSES[row["anomaly_type"]],
                float(made.times[0]) + BEFORE,
                by_instance=True,
            )


def _placed(events: list[list[str]]) -> Events:
    """Event -> part of the incident after which it begins, 0..1."""
    found: Events = {}
    for place, event in enumerate(events):
        found.setdefault(tuple(event), place / len(events))
    return found


@dataclass(frozen=True)
class _Seen:
    """Events of one fault."""

    times: F64
    metrics: Events
    traces: Events

    def level(self, base: float, name: str, *metrics: str) -> F64:
        """(T,) ``base``, times or over FACTOR from the first event of these metrics on."""
        found = [(self.metrics[e], way) for m in metrics for way in ("up", "down") if (e := (name, m, way)) in self.metrics]
        if not found:
            return np.full(len(self.times), base)
        part, way = min(found)
        return np.where(self.since(part), base * FACTOR if way == "up" else base / FACTOR, base)

    def calls(self, caller: str, callee: str, what: str) -> np.ndarray:
        """(T,) whether an operation between the two was ``what``."""
        parts = [part for event, part in self.traces.items() if (event[0], event[1], event[3]) == (caller, callee, what)]
        return self.since(min(parts)) if parts else np.zeros(len(self.times), bool)

    def since(self, part: float) -> np.ndarray:
        return self.times > self.times[0] + BEFORE + part * AFTER

    def traffic(self, name: str, side: str, seconds: float) -> tuple[F64, F64, F64]:
        """(requests/s, seconds of each, share that fails), each (T,), of one instance."""
        rate = self.level(RATE, name, f"{side}_qps")
        mean = self.level(seconds, name, *(f"{side}_{quantile}" for quantile in QUANTILES))
        began = self.metrics.get((name, f"{side}_success_rate", "down"))
        return rate, mean, np.zeros(len(rate)) if began is None else FAILING * self.since(began)


class _System:
    """``calls``: (caller, callee) instances, of all faults together: who calls whom does not change with a fault.

    The front end is the one whose calls by users have most events.
    """

    def __init__(self, calls: Iterable[tuple[str, str]]) -> None:
        counted = Counter((_service(caller) if caller != USERS else USERS, _service(callee)) for caller, callee in calls)
        self.front = max((n, callee) for (caller, callee), n in counted.items() if caller == USERS)[1]
        self._calls = [(caller, callee) for caller, callee in sorted(counted) if caller not in (USERS, callee)]

    def world(self, instances: list[str], metrics: Events, traces: Events) -> World:
        times = BEGAN + STEP * np.arange(round((BEFORE + AFTER) / STEP) + 1)
        seen = _Seen(times, metrics, traces)
        members: dict[str, list[str]] = defaultdict(list)
        for name in instances:
            members[_service(name)].append(name)
        made = [self._application(seen, service, names) for service, names in members.items()]
        edges = [
            connection(caller, callee, self._edge(seen, members[caller], members[callee]), len(times))
            for caller, callee in self._calls
            if caller in members and callee in members
        ]
        return world(times, STEP, made, edges)

    def _application(self, seen: _Seen, service: str, names: list[str]) -> Application:
        made = application(service)
        for name in names:
            container = Container(
                service,
                cpu_usage=seen.level(CORES, name, "cpu_usage"),
                memory_rss=seen.level(RSS, name, *MEMORY),
                bytes_sent=seen.level(BYTES, name, "net_trainsmit"),
                bytes_received=seen.level(BYTES, name, "net_receive"),
            )
            rate, mean, failing = seen.traffic(name, "dest", ANSWER)
            if service == self.front:
                mean = np.where(seen.calls(USERS, name, "PD"), np.maximum(mean, FACTOR * ANSWER), mean)
                failing = np.where(seen.calls(USERS, name, "500"), FAILING, failing)
            made.instances[name] = instance(name, "", container)
            made.instances[name].served = traffic(rate, mean, failing)
            made.instances[name].calls = traffic(*seen.traffic(name, "src", ASKED))
        made.served = _together([i.served for i in made.instances.values() if i.served is not None])
        return made

    def _edge(self, seen: _Seen, callers: list[str], callees: list[str]) -> Traffic:
        """What the callers see: at least what the callee does."""
        found = []
        for callee in callees:
            rate, mean, failing = seen.traffic(callee, "dest", ANSWER)
            for caller in callers:
                slow = np.where(seen.calls(caller, callee, "PD"), FACTOR * ANSWER, 0.0)
                bad = np.where(seen.calls(caller, callee, "500"), FAILING, 0.0)
                found.append(traffic(rate / len(callers), np.maximum(mean, slow) + LINK, np.maximum(failing, bad)))
        return _together(found)


def _together(parts: list[Traffic]) -> Traffic:
    times = len(parts[0].requests["2xx"])
    made = Traffic({status: add([p.requests[status] for p in parts], times) for status in ("2xx", "5xx")})
    made.seconds = add([p.seconds for p in parts if p.seconds is not None], times)
    made.timed = add([p.timed for p in parts if p.timed is not None], times)
    return made


def _service(name: str) -> str:
    return name.rsplit("-", 1)[0]
