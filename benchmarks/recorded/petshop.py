"""PetShop (amazon-science/petshop-root-cause-analysis, CC-BY-4.0): requests, latency and availability of each node, every 5 min."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from appstatus.api.names import AppKey
from appstatus.model.series import F64
from appstatus.model.world import World

from recorded.case import Case, application, buckets, connection, key, traffic, violated, world

STEP, WIDE = 15.0, 300.0  # the operator's step; a sample of the set is so many of those
BEGAN = 1.7e9
FRONT = "PetSite"
QUANTILES = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}


def cases(data: Path) -> Iterator[Case]:
    for target in sorted(data.glob("*/*/issue_*/target.json")):
        issue = json.loads(target.read_text())
        indicator = issue["target"]["metric"]
        made = _world(_table(target.parent / "metrics.csv"), target.parents[2] / "graph.csv")
        yield Case(
            str(target.parent.relative_to(data)),
            made,
            key(FRONT),
            (violated(key(FRONT), indicator),),
            issue["root_cause"]["node"],
            indicator,
        )


def healthy(data: Path) -> Iterator[tuple[str, World, AppKey]]:
    """The hours without an issue, and whose SLO it is; of that one quantiles of latency are known."""
    for metrics in sorted(data.glob("*/noissue/metrics.csv")):
        made = _world(_table(metrics), metrics.parents[1] / "graph.csv")
        served = made.applications[key(FRONT)].served
        levels = {q: _table(metrics, statistic)[FRONT, "latency"] for q, statistic in QUANTILES.items()}
        good = served.requests["2xx"]  # only good answers are timed
        served.timed = good
        served.buckets = buckets(good, {q: np.repeat(np.nan_to_num(v), round(WIDE / STEP)) for q, v in levels.items()})
        yield str(metrics.parent.relative_to(data)), made, key(FRONT)


def _table(path: Path, *statistics: str) -> dict[tuple[str, str], F64]:
    """(node, metric) -> values, of the statistic Average or Sum if no other is given."""
    rows = list(csv.reader(path.read_text().splitlines()))
    found = {}
    for column in range(1, len(rows[0])):
        node, metric, statistic = (rows[i][column] for i in range(3))
        if statistic in (statistics or ("Average", "Sum")):
            found[node, metric] = np.array([float(row[column] or "nan") for row in rows[4:]])
    return found


def _world(values: dict[tuple[str, str], F64], graph: Path, repeat: int = int(WIDE / STEP)) -> World:
    """Of edges nothing is known: what a node does is what its callers see, each in proportion to the requests that it gets."""
    rows = list(csv.reader(graph.read_text().splitlines()))
    calls = [(row[0], callee) for row in rows[1:] for callee, used in zip(rows[0][1:], row[1:], strict=True) if float(used) > 0]
    names = {node for node, _ in values}
    length = len(next(iter(values.values())))

    asked = {name: float(np.nansum(values.get((name, "requests"), np.zeros(1)))) for name in names}

    def of(name: str, metric: str, absent: float) -> F64:
        return np.repeat(np.nan_to_num(values.get((name, metric), np.full(length, absent)), nan=absent), repeat)

    def seen(name: str, part: float) -> object:
        rate = of(name, "requests", 0.0) / WIDE * part
        return traffic(rate, of(name, "latency", 0.0), 1.0 - of(name, "availability", 100.0) / 100.0)

    edges = []
    for caller, callee in calls:
        if caller in names and callee in names:
            whole = sum(asked[other] for other, called in calls if called == callee and other in names)
            part = asked[caller] / whole if whole else 0.0
            edges.append(connection(caller, callee, seen(callee, part), length * repeat))  # type: ignore[arg-type]
    made = [application(name) for name in sorted(names)]
    for app in made:
        if app.key.name == FRONT:
            app.served = seen(FRONT, 1.0)  # type: ignore[assignment]
    step = WIDE / repeat
    return world(BEGAN + step * np.arange(length * repeat), step, made, edges)
