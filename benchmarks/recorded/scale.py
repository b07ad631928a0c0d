"""Made, not recorded: one large cluster, to see what a diagnosis costs there.

500 services in four levels, each called by up to three of the level above, three instances of each on 60 nodes, an hour of 15 s
steps with noise; of every service its traffic with buckets, of every container CPU and memory. In each incident one
service fails, becomes slow, or is throttled, and a dozen others were just rolled out.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, Application, Container, Instance, Node, Traffic, World

from recorded.case import Case, application, connection, key, violated, world

SERVICES, INSTANCES, NODES = 500, 3, 60
LEVELS = (1, 19, 120, 360)
STEP, TIMES, BAD = 15.0, 240, 20  # steps
BEGAN = 1.7e9
FRONT = "s0"
KINDS = {
    "slow": frozenset({"inside"}),
    "failing": frozenset({"error-burst"}),
    "throttled": frozenset({"cpu-throttled"}),
}
SEEDS = 3


def cases(_: Path) -> Iterator[Case]:
    for seed in range(SEEDS):
        for kind, classes in KINDS.items():
            random = np.random.default_rng(seed)
            culprit = int(random.integers(sum(LEVELS[:2]), SERVICES))
            made = _world(random, culprit, kind)
            indicator = "availability" if kind == "failing" else "latency"
            yield Case(f"{kind} {seed}", made, key(FRONT), (violated(key(FRONT), indicator),), f"s{culprit}", kind, classes)


def _world(random: np.random.Generator, culprit: int, kind: str) -> World:
    level = np.repeat(np.arange(len(LEVELS)), LEVELS)
    calls = [
        (int(caller), callee)
        for callee in range(1, SERVICES)
        for caller in random.choice(np.flatnonzero(level == level[callee] - 1), min(3, LEVELS[level[callee] - 1]), replace=False)
    ]
    noise = 1.0 + 0.03 * random.standard_normal((SERVICES, TIMES))
    during = np.arange(TIMES) >= TIMES - BAD
    rate, mean, failing = np.zeros((3, SERVICES, TIMES))
    rate[0] = 2000.0 * noise[0]
    for caller, callee in calls:  # each request leads to one in five to each callee
        rate[callee] += 0.2 * rate[caller]
    mean[:] = 0.005 * noise
    if kind == "failing":
        failing[culprit] = 0.5 * during
    else:
        mean[culprit] += 0.5 * during
    for caller, callee in reversed(calls):  # callees come later, so theirs is complete
        mean[caller] += 0.2 * mean[callee]
        failing[caller] += 0.2 * failing[callee]
    throttled = 0.6 * during if kind == "throttled" else np.zeros(TIMES)
    limits = [throttled if i == culprit else np.zeros(TIMES) for i in range(SERVICES)]
    apps = [_application(random, i, rate[i], mean[i], failing[i], limits[i]) for i in range(SERVICES)]
    for i in random.choice(np.delete(np.arange(SERVICES), culprit), 12, replace=False):
        apps[i].changes = (Change(BEGAN + STEP * (TIMES - BAD) - 40.0, "rollout", f"s{i}:v2"),)
    edges = [
        connection(f"s{a}", f"s{b}", _traffic(0.2 * rate[a], mean[b] + 0.0005, failing[b], held=False), TIMES) for a, b in calls
    ]
    nodes = [Node(f"n{n}", ready=True, cpu_usage=0.4 * (1.0 + 0.05 * random.standard_normal(TIMES))) for n in range(NODES)]
    return world(BEGAN + STEP * np.arange(TIMES), STEP, apps, edges, nodes)


def _application(random: np.random.Generator, i: int, rate: F64, mean: F64, failing: F64, throttled: F64) -> Application:
    instances = []
    for n in range(INSTANCES):
        usage = 0.3 * (1.0 + 0.05 * random.standard_normal(TIMES))
        full = np.full(TIMES, 2.0**28)
        made = Container("main", usage, np.ones(TIMES), 0.01 + throttled, throttled, full / 2, full)
        instances.append(Instance(f"s{i}-{n}", f"n{random.integers(NODES)}", "v1", True, False, BEGAN, {"main": made}))
    made = application(f"s{i}", instances)
    made.served = _traffic(rate, mean, failing)
    return made


def _traffic(rate: F64, mean: F64, failing: F64, held: bool = True) -> Traffic:
    """Latency is exponential: what of it a bound holds is known."""
    good = rate * (1.0 - failing)
    buckets = np.vstack([*(good * (1.0 - np.exp(-bound / mean)) for bound in BUCKETS), good]) if held else None
    return Traffic({"2xx": good, "5xx": rate - good}, buckets, good * mean, good)
