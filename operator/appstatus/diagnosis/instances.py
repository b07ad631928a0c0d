"""Which instance is the odd one: what has changed at it and not at its peers.

Replicas of one application do the same work, so what befalls all of them (more load, a slow dependency) shows at all of them; what
is broken at one shows at that one. A metric speaks by the part of the incident during which it is off (beyond three of the scales of
``shift.py``): a cause is there from the onset on, what follows from it comes later, and what is off by chance goes back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.onset import Windows
from appstatus.diagnosis.result import Evidence
from appstatus.diagnosis.shift import LEAST_INCIDENT, LEAST_REFERENCE, RELATIVE_FLOOR, THRESHOLD
from appstatus.model.series import F64
from appstatus.model.world import Application, Instance, add

SHARED = 0.7  # so much less does it say about one instance what its peers show as well
INSIDE, OUTSIDE = 2.0, 1.0  # weights: of what an instance itself uses, and of what others may do to it


class Metric(NamedTuple):
    """``of``: (T,) values of an instance, None where unknown; ``way``: 1 up, -1 down; ``floor``: least scale, in ``unit``."""

    of: Callable[[Instance, int], F64 | None]
    way: int
    weight: float
    floor: float
    unit: str


def _containers(name: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        known = [v for c in instance.containers.values() if (v := getattr(c, name)) is not None]
        return add(known, times) if known else None

    return of


def _rate(side: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        traffic = getattr(instance, side)
        return traffic.total(times) if traffic is not None else None

    return of


def _mean(side: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        traffic = getattr(instance, side)
        return traffic.mean() if traffic is not None else None

    return of


METRICS: dict[str, Metric] = {
    "instance-cpu": Metric(_containers("cpu_usage"), 1, INSIDE, 0.05, "cores"),
    "instance-memory": Metric(_containers("memory_rss"), 1, INSIDE, 2e7, "bytes"),
    "instance-sends-less": Metric(_containers("bytes_sent"), -1, INSIDE, 1.0, "bytes/s"),
    "instance-receives-less": Metric(_containers("bytes_received"), -1, OUTSIDE, 1.0, "bytes/s"),
    "instance-serves-less": Metric(_rate("served"), -1, OUTSIDE, 0.05, "req/s"),
    "instance-calls-less": Metric(_rate("calls"), -1, OUTSIDE, 0.05, "req/s"),
    "instance-waits": Metric(_mean("calls"), 1, INSIDE, 0.002, "s"),
    "instance-slow": Metric(_mean("served"), 1, OUTSIDE, 0.002, "s"),
}


@dataclass(slots=True)
class Odd:
    """``off``: metric -> part of the incident it is off at this instance; ``weight``: of all of it together."""

    app: Application
    instance: Instance
    off: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0


def odd(accounts: Accounts, apps: Iterable[Application]) -> list[Odd]:
    """Instances at which something is off, the oddest first."""
    found: list[Odd] = []
    times = len(accounts.world.times)
    for app in apps:
        members = [Odd(app, instance) for instance in app.instances.values() if not instance.obsolete]
        for name, metric in METRICS.items():
            parts = [off(metric.of(m.instance, times), accounts.windows, metric) for m in members]
            for i, member in enumerate(members):
                if parts[i]:
                    member.off[name] = parts[i]
                    peers = parts[:i] + parts[i + 1 :]
                    shared = sum(peers) / len(peers) if peers else 0.0
                    member.weight += metric.weight * parts[i] * (1.0 - SHARED * shared)
        found += [m for m in members if m.off]
    return sorted(found, key=lambda m: m.weight, reverse=True)


def off(values: F64 | None, windows: Windows, metric: Metric) -> float:
    """Part of the incident, 0..1, in which a metric is off its reference to its side by more than `THRESHOLD` scales."""
    if values is None:
        return 0.0
    before, during = values[windows.reference], values[windows.incident]
    before, during = before[~np.isnan(before)], during[~np.isnan(during)]
    if len(before) < LEAST_REFERENCE or len(during) < LEAST_INCIDENT:
        return 0.0
    low, median, high = np.percentile(before, [25, 50, 75])
    scale = max(high - low, RELATIVE_FLOOR * abs(median), metric.floor)
    return float(np.mean(metric.way * (during - median) > THRESHOLD * scale))
