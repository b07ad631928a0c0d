"""Data go missing and come back, on a real API server in simulated time: each Event comes once, whenever the operator dies.

First the metrics of one SLO that asks for it vanish, then Prometheus does not answer at all.
"""

import itertools
import time
from collections import Counter
from typing import Any

import objects
import pytest
from appstatus.kube import Kube, own_path, path
from simulated import Edge, Script, Simulation

pytestmark = pytest.mark.timeout(1500)

FRONTEND, CHECKOUT, CATALOG = objects.PODS
MINUTE = 60.0
PROMQL = {"promql": {"bad": "sum(rate(x[1m]))", "total": "sum(rate(y[1m]))"}}
_number = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def place(kube):
    objects.namespace(kube, "appstatus")
    objects.node(kube)


class Life:
    """One shop with a Project of its own. ``orders`` asks for SLODataMissing, ``quiet`` has the same data and does not."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.name = f"gap-{next(_number)}"
        objects.apps(kube, self.name)
        spec = {"prometheus": {"url": "http://unused", "step": "30s"}, "namespaces": {"include": [self.name]}}
        spec |= {"promql": {"namespaces": [self.name]}, "nodeAgent": {"enabled": False}}
        objects.create(kube, own_path("projects"), objects.custom("Project", self.name, spec))
        for name, alerting in (("orders", {"dataMissing": "Event"}), ("quiet", {})):
            target = {"targetRef": {"kind": "Deployment", "name": "checkout"}, "objective": "99", "window": "1h"}
            slo = objects.custom("SLO", name, {**target, "indicator": PROMQL, "alerting": alerting})
            objects.create(kube, own_path("slos", self.name), slo)
        edges = [Edge(None, FRONTEND), Edge(FRONTEND, CHECKOUT), Edge(FRONTEND, CATALOG)]
        self.script = Script(self.name, objects.PODS, edges)
        self.simulation = Simulation(kube, self.script, time.time() // MINUTE * MINUTE)

    def live(self, crash_at: int | None = None, after: bool = False) -> None:
        self.simulation.crashing.at, self.simulation.crashing.after = crash_at, after
        self.simulation.run(4 * MINUTE)
        self.script.silent = True
        self.simulation.run(9 * MINUTE)
        self.script.silent = False
        self.simulation.run(4 * MINUTE)
        self.script.down = True
        self.simulation.run(10 * MINUTE)
        self.script.down = False
        self.simulation.run(4 * MINUTE)

    def events(self) -> list[dict[str, Any]]:
        ours = {"appstatus.dev/project": self.name}
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in ours.items())}
        return [event for where in ("default", self.name) for event in self.kube.list(path("v1", "events", where), query=query)]

    def told(self) -> Counter[tuple[str, str, str]]:
        return Counter((event["involvedObject"]["kind"], event["type"], event["reason"]) for event in self.events())

    def status(self, plural: str, name: str) -> dict[str, Any]:
        namespace = "" if plural == "projects" else self.name
        return self.kube.request("GET", own_path(plural, namespace, name))["status"]

    def end(self) -> None:
        objects.collect(self.kube, self.name)


EXPECTED = Counter(
    {
        ("Deployment", "Warning", "SLODataMissing"): 1,
        ("Deployment", "Normal", "SLODataRestored"): 1,
        ("Project", "Warning", "DataLost"): 1,
        ("Project", "Normal", "DataRestored"): 1,
    }
)


# For each Event: the state with what is due, the Event, the mark.
WRITES = 3 * EXPECTED.total()


def test_each_gap_is_told_once_and_its_end_once(kube, own_api):
    life = Life(kube)
    life.live()
    assert life.told() == EXPECTED, [event["message"] for event in life.events()]
    assert {event["metadata"]["labels"].get("appstatus.dev/slo") for event in life.events()} == {None, "orders"}
    assert "dataLoss" not in life.status("projects", life.name)
    assert "dataLoss" not in life.status("slos", "orders")
    assert len(life.simulation.crashing.writes) == WRITES
    project = own_api.kubectl("describe", "projects.appstatus.dev", life.name).stdout
    assert "DataLost" in project and "DataRestored" in project and "connection refused" in project
    workload = own_api.kubectl("describe", "deployment", "checkout", "-n", life.name).stdout
    assert "SLODataMissing" in workload and "SLO orders of checkout: no fresh data" in workload
    life.end()


def test_a_crash_at_any_write_changes_no_event(kube):
    wrong = []
    for at, after in itertools.product(range(1, WRITES + 1), (False, True)):
        life = Life(kube)
        life.live(at, after)
        assert life.simulation.crashes == 1, f"no write number {at}"
        if life.told() != EXPECTED:
            found = life.told()
            wrong.append(f"{'after' if after else 'before'} write {at}: too many {found - EXPECTED}, missing {EXPECTED - found}")
        life.end()
    print(f"\n{2 * WRITES} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def test_it_is_not_repeated_by_new_leaders_nor_when_its_event_has_expired(kube):
    life = Life(kube)
    life.simulation.run(3 * MINUTE)
    life.script.down = True
    life.simulation.run(10 * MINUTE)
    assert life.told() == {("Project", "Warning", "DataLost"): 1}
    assert life.status("projects", life.name)["dataLoss"]["posted"] == ["DataLost"]
    for event in life.events():  # as after --event-ttl
        kube.request("DELETE", path("v1", "events", "default", event["metadata"]["name"]))
    for _ in range(3):
        life.simulation.engine = None
        life.simulation.run(4 * MINUTE)
    assert life.told() == {}
    life.script.down = False
    life.simulation.engine = None
    life.simulation.run(4 * MINUTE)
    assert life.told() == {("Project", "Normal", "DataRestored"): 1}
    life.end()


def test_agents_that_are_heard_are_not_enough_when_no_slo_can_be_judged(kube, own_api):
    life = Life(kube)
    life.simulation.run(4 * MINUTE)

    def judged() -> float:
        return life.simulation.engine._metrics.last_success._value.get()

    assert judged() == life.simulation.now
    before = life.simulation.now
    life.script.failing = {"requests_in": "HTTP 503: query timed out"}
    life.simulation.run(7 * MINUTE)
    assert judged() == before, "nobody is judged"
    assert life.told() == {("Project", "Warning", "DataLost"): 1}
    described = own_api.kubectl("describe", "projects.appstatus.dev", life.name).stdout
    assert described.count("query requests_in failed: HTTP 503: query timed out") == 2, "in the Event and in the condition"
    life.script.failing = {}
    life.simulation.run(4 * MINUTE)
    assert life.told() == {("Project", "Warning", "DataLost"): 1, ("Project", "Normal", "DataRestored"): 1}
    assert judged() == life.simulation.now
    life.end()


def test_a_first_installation_without_data_tells_nothing_until_data_have_been_there(kube):
    life = Life(kube)
    life.script.down = True
    life.simulation.run(15 * MINUTE)
    assert life.told() == {} and "dataLoss" not in life.status("projects", life.name)
    life.script.down = False
    life.simulation.run(2 * MINUTE)
    life.script.down = True
    life.simulation.run(10 * MINUTE)
    assert life.told() == {("Project", "Warning", "DataLost"): 1}
    life.end()
