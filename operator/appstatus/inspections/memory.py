"""Memory: kills, usage against the limit, and steady growth."""

from itertools import pairwise

import numpy as np

from appstatus.inspections.cpu import container_name
from appstatus.inspections.instances import PERIODIC
from appstatus.inspections.judge import Finding, Item, Judge, ratio
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID
from appstatus.model.series import F64
from appstatus.model.world import Container, Instance

LEAK_LEAST_POINTS = 10
LEAK_LEAST_WINDOW = 1200.0  # seconds, a third of the window: less says nothing about an hour
LEAK_LEAST_GROWTH_OF_LIMIT = 0.05
LEAK_LEAST_GROWTH = 50 * 2**20  # bytes, without a limit


def inspect(judge: Judge) -> list[CheckResult]:
    usage, kills, leaks = [], [], []
    for instance in judge.app.instances.values():
        for container in instance.containers.values():
            name = container_name(instance, container)
            if container.oom_kills is not None:
                found = _kills(judge, name, container.oom_kills)
                kills += [found] if found is not None else []
            if instance.obsolete or container.memory_rss is None:
                continue
            if container.memory_limit is not None:
                share = 100 * ratio(container.memory_rss, container.memory_limit)
                usage.append(Item(name, share, lost=judge.lost(instance, container.memory_rss)))
            leaks.append(_leak(judge, name, instance, container))
    return [
        judge.findings("MemoryOOM", kills),
        judge.gauge("MemoryContainer", usage),
        judge.findings("MemoryLeakPercent", [] if judge.app.key.kind in PERIODIC else leaks),
    ]


def _kills(judge: Judge, name: str, kills: F64) -> Finding | None:
    window = judge.recent(kills, BY_ID["MemoryOOM"].sustained_for)
    if np.isnan(window).all():
        return None
    times = judge.world.times[-len(window) :][window > 0]
    return judge.value("MemoryOOM", name, float(np.nansum(window)), float(times[0]) if len(times) else None)


def _leak(judge: Judge, name: str, instance: Instance, container: Container) -> Finding:
    """Growth of resident memory, percent/h of its mean. The method is Coroot's (auditor/memory.go): see the check's page."""
    assert container.memory_rss is not None
    rss = judge.recent(container.memory_rss, BY_ID["MemoryLeakPercent"].sustained_for)
    times = judge.world.times[-len(rss) :]
    known = ~np.isnan(rss)
    young = Finding(name, False, None, fact=f"less than {LEAK_LEAST_WINDOW / 60:.0f} min of its life are known")
    if known.sum() < LEAK_LEAST_POINTS:
        return young
    first = int(np.argmax(known))
    if known[first:].mean() < 0.8:
        lost = judge.lost(instance, container.memory_rss)
        return Finding(name, False, None, fact=lost or "its last hour has gaps", lost=bool(lost))
    times, rss = _longest_run(times[known], rss[known])
    if len(rss) < LEAK_LEAST_POINTS or times[-1] - times[0] < LEAK_LEAST_WINDOW:
        return young
    slope = _slope(times, rss)
    late = times >= times[-1] - max(0.25 * (times[-1] - times[0]), 900.0)
    limit = None if container.memory_limit is None else container.memory_limit[-1]
    least = LEAK_LEAST_GROWTH if limit is None or np.isnan(limit) else LEAK_LEAST_GROWTH_OF_LIMIT * limit
    grown = slope * (times[-1] - times[0])
    if grown < least or late.sum() < 5 or _slope(times[late], rss[late]) < 0.3 * slope:
        return judge.value("MemoryLeakPercent", name, 0.0)
    return judge.value("MemoryLeakPercent", name, 100 * slope * 3600 / float(rss.mean()), float(times[0]))


def _longest_run(times: F64, rss: F64) -> tuple[F64, F64]:
    """A fall to half is a restart: the longest part without one."""
    falls = np.flatnonzero(rss[1:] < 0.5 * rss[:-1]) + 1
    bounds = [0, *falls.tolist(), len(rss)]
    start, end = max(pairwise(bounds), key=lambda b: b[1] - b[0])
    return times[start:end], rss[start:end]


def _slope(times: F64, values: F64) -> float:
    """Least squares, units per second."""
    centred = times - times.mean()
    spread = float((centred**2).sum())
    return float((centred * (values - values.mean())).sum()) / spread if spread else 0.0
