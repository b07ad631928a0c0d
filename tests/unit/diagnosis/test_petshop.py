"""A sanity run on recorded incidents (PetShop, CC-BY-4.0; see ../shared/data): printed, and far above guessing. Not fitted to."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from appstatus.api.objective import Objective
from appstatus.diagnosis import diagnose
from appstatus.model.series import F64
from appstatus.model.world import Traffic, World
from appstatus.slo.status import SLOStatus
from worlds import application, connection, key

DATA = Path(__file__).parents[4] / "shared" / "data" / "rca" / "petshop"
STEP, WIDE = 15.0, 300.0
REPEAT = int(WIDE / STEP)


def table(path: Path) -> dict[tuple[str, str], F64]:
    """(node, metric) -> values; the statistic is Average or Sum, everything 5 min apart."""
    rows = list(csv.reader(path.read_text().splitlines()))
    found = {}
    for column in range(1, len(rows[0])):
        node, metric, statistic = (rows[i][column] for i in range(3))
        if statistic in ("Average", "Sum"):
            found[node, metric] = np.array([float(row[column] or "nan") for row in rows[4:]])
    return found


def recorded(folder: Path) -> World:
    """Node-level data only: what a node does is what its callers see, in equal parts."""
    values = table(folder / "metrics.csv")
    rows = list(csv.reader((folder.parents[1] / "graph.csv").read_text().splitlines()))
    calls = [(row[0], callee) for row in rows[1:] for callee, used in zip(rows[0][1:], row[1:], strict=True) if float(used) > 0]
    names = {node for node, _ in values}
    made = {name: application(key(name), ref=None) for name in names}

    def traffic(name: str, part: float) -> Traffic:
        count = np.nan_to_num(values.get((name, "requests"), np.zeros(5))) / WIDE * part
        latency = np.nan_to_num(values.get((name, "latency"), np.zeros(5)))
        good = np.nan_to_num(values.get((name, "availability"), np.full(5, 100.0)), nan=100.0) / 100.0
        wide = [np.repeat(v, REPEAT) for v in (count * good, count * (1 - good), count, count * latency)]
        return Traffic({"2xx": wide[0], "5xx": wide[1]}, timed=wide[2], seconds=wide[3])

    length = 5 * REPEAT
    unknown = np.full(length, np.nan)
    edges = []
    for caller, callee in calls:
        if caller in made and callee in made:
            callers = sum(1 for _, other in calls if other == callee)
            edge = connection(key(caller), key(callee), traffic(callee, 1 / callers))
            for name in (
                "connects",
                "failed_connects",
                "connect_time",
                "active",
                "retransmits",
                "segments_sent",
                "rtt",
                "bytes_sent",
            ):
                setattr(edge, name, unknown)
            edges.append(edge)
            made[caller].upstreams.append(edge)
            made[callee].downstreams.append(edge)
    made["PetSite"].served = traffic("PetSite", 1.0)
    times = 1.7e9 + STEP * np.arange(length)
    return World(float(times[-1]), STEP, times, {a.key: a for a in made.values()}, {}, edges, float(times[-1]))


def violated(indicator: str) -> SLOStatus:
    objective = Objective("slo", key("PetSite"), indicator, 0.99, 86400.0, (), None)  # type: ignore[arg-type]
    return SLOStatus(objective, "FastBurn", 0.9, None, 0.0, None, (), 0.0, 0.0, None, 0.0)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_most_recorded_incidents_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    right, ranked, all_of = 0, 0, 0
    for target in sorted(DATA.glob("*/*/issue_*/target.json")):
        issue = json.loads(target.read_text())
        truth = key(issue["root_cause"]["node"])
        made = recorded(target.parent)
        causes = [c.app for c in diagnose(made, {}, key("PetSite"), [violated(issue["target"]["metric"])], made.now).causes]
        all_of += 1
        right += causes[:1] == [truth]
        ranked += truth in causes
    with capsys.disabled():
        print(f"\nPetShop: AC@1 {right}/{all_of}, AC@3 {ranked}/{all_of}")
    assert right > all_of / 2
