"""TVDiag (WHU-AISE/TVDiag, MIT): of each fault only what an alert on every metric and every call would have said.

An event says that a value left its usual three standard deviations, and to which side; not by how much, nor when. Here it is a
step by one factor for all, of a series that is flat otherwise. The set lists events in the order of their first sample outside:
the k-th of n begins at that part of the incident. The alert says when it began: what users feel is an event like others.

    cpu_usage, mem_usage, mem_rss, mem_work      of the container
    net_receive, net_trainsmit                   bytes of the container
    dest_qps, dest_p50/p90/p95, dest_success_rate  what the instance answers; src_*: what it asks of others
    traces: caller, callee, operation, PD|500    the callee's answers to it became slower, or errors (-1: users)

Left out: answers 400, fs_usage, threads, mem_cache and nodes' metrics (the model has no place for them), logs, an instance's calls
of itself. Network loss and corruption are one kind for the product: what is corrupt fails the checksum, is dropped and sent again,
as if lost. Killing a container or its pod is one too: either way another process goes on under the same name.
"""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
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
ANSWER, ASKED = 0.05, 0.03  # seconds: of an answer, of a call to others
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
        system = _System((caller, callee, operation) for events in traces.values() for caller, callee, operation, _ in events)
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

    def calls(self, caller: str, callee: str, what: str, operations: int) -> F64:
        """(T,) share of the operations between two instances that are ``what``."""
        parts = [part for event, part in self.traces.items() if (event[0], event[1], event[3]) == (caller, callee, what)]
        return np.sum([self.since(part) for part in parts], axis=0) / operations if parts else np.zeros(len(self.times))

    def since(self, part: float) -> np.ndarray:
        return self.times > self.times[0] + BEFORE + part * AFTER

    def calling(self, name: str) -> Traffic:
        """What an instance asks of others."""
        rate = self.level(RATE, name, "src_qps")
        return traffic(rate, self.level(ASKED, name, *(f"src_{q}" for q in QUANTILES)), self._failing(name, "src_success_rate"))

    def answering(self, name: str, callers: Mapping[str, int]) -> dict[str, Traffic]:
        """What an instance answers to each of its callers, to equal parts. ``callers``: how many operations each asks for."""
        rate = self.level(RATE, name, "dest_qps") / len(callers)
        mean = self.level(ANSWER, name, *(f"dest_{q}" for q in QUANTILES))
        failing = self._failing(name, "dest_success_rate")
        found = {}
        for caller, operations in callers.items():
            slow = ANSWER * (1.0 + (FACTOR - 1.0) * self.calls(caller, name, "PD", operations))
            bad = FAILING * self.calls(caller, name, "500", operations)
            found[caller] = traffic(rate, np.maximum(mean, slow), np.maximum(failing, bad))
        return found

    def _failing(self, name: str, metric: str) -> F64:
        began = self.metrics.get((name, metric, "down"))
        return np.zeros(len(self.times)) if began is None else FAILING * self.since(began)


class _System:
    """``calls``: (caller, callee, operation), of all faults together: who asks whom for what does not change with a fault.

    The front end is what users ask for most operations.
    """

    def __init__(self, calls: Iterable[tuple[str, str, str]]) -> None:
        counted = Counter((_service(caller), _service(callee), operation) for caller, callee, operation in calls)
        self.front = Counter({callee: n for (caller, callee, _), n in counted.items() if caller == USERS}).most_common(1)[0][0]
        self._operations = Counter((caller, callee) for caller, callee, _ in sorted(counted) if caller != callee)

    def world(self, instances: list[str], metrics: Events, traces: Events) -> World:
        times = BEGAN + STEP * np.arange(round((BEFORE + AFTER) / STEP) + 1)
        seen = _Seen(times, metrics, traces)
        members: dict[str, list[str]] = defaultdict(list)
        for name in instances:
            members[_service(name)].append(name)
        made, edges = [], []
        for service, names in members.items():
            callers = {c: n for (c, callee), n in self._operations.items() if callee == service and (c in members or c == USERS)}
            each = {name: n for c, n in callers.items() for name in members.get(c, [c])} or {USERS: 1}
            answers = {name: seen.answering(name, each) for name in names}
            made.append(self._application(seen, service, answers))
            edges += [
                connection(caller, service, _together([answers[name][c] for name in names for c in members[caller]]), len(times))
                for caller in callers
                if caller != USERS
            ]
        seen = world(times, STEP, made, edges)
        seen.missing = {"requests_out": "only alerts are known"}  # what a call did that raised no alert nobody knows
        return seen

    def _application(self, seen: _Seen, service: str, answers: Mapping[str, Mapping[str, Traffic]]) -> Application:
        made = application(service)
        for name, by_caller in answers.items():
            container = Container(
                service,
                cpu_usage=seen.level(CORES, name, "cpu_usage"),
                memory_rss=seen.level(RSS, name, *MEMORY),
                bytes_sent=seen.level(BYTES, name, "net_trainsmit"),
                bytes_received=seen.level(BYTES, name, "net_receive"),
            )
            made.instances[name] = instance(name, "", container)
            made.instances[name].served = _together(list(by_caller.values()))
            made.instances[name].calls = seen.calling(name)
        made.served = _together([i.served for i in made.instances.values() if i.served is not None])
        return made


def _together(parts: list[Traffic]) -> Traffic:
    times = len(parts[0].requests["2xx"])
    made = Traffic({status: add([p.requests[status] for p in parts], times) for status in ("2xx", "5xx")})
    made.seconds = add([p.seconds for p in parts if p.seconds is not None], times)
    made.timed = add([p.timed for p in parts if p.timed is not None], times)
    return made


def _service(name: str) -> str:
    return name if name == USERS else name.rsplit("-", 1)[0]
