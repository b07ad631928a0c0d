"""The operator dies at every single write of an incident's life, on a real API server, in simulated time: each Event comes once.

The shop fails a little (slow burn), then totally (escalation), then recovers. The first run counts the writes; every other run
crashes before or after one of them and goes on with a new process.
"""

import itertools
import time
from collections import Counter

import numpy as np
import objects
import pytest
from appstatus.kube import Kube, own_path, path
from simulated import Edge, Script, Simulation

pytestmark = pytest.mark.timeout(1500)

FRONTEND, CHECKOUT, CATALOG = objects.PODS
MINUTE = 60.0
_number = itertools.count(1)

# Short windows, so that one life of an incident is a few dozen cycles.
SLO = {
    "objective": "99",
    "window": "1h",
    "indicator": {"availability": {}},
    "alerting": {
        "tiers": [
            {"name": "quick", "short": "2m", "long": "5m", "budget": "50", "severity": "Page"},
            {"name": "slow", "short": "2m", "long": "10m", "budget": "20", "severity": "Ticket"},
        ]
    },
}


@pytest.fixture(scope="module", autouse=True)
def place(kube):
    objects.namespace(kube, "appstatus")
    objects.node(kube)


class Life:
    """One shop in a namespace of its own, from healthy to recovered."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.namespace = f"life-{next(_number)}"
        objects.apps(kube, self.namespace)
        project = {"prometheus": {"url": "http://unused", "step": "30s"}, "namespaces": {"include": [self.namespace]}}
        project["defaults"] = {"slos": {"availability": {"enabled": False}, "latency": {"enabled": False}}}
        project["nodeAgent"] = {"enabled": False}
        objects.create(kube, own_path("projects"), objects.custom("Project", self.namespace, project))
        for name in ("frontend", "checkout"):
            spec = {**SLO, "targetRef": {"kind": "Deployment", "name": name}}
            objects.create(kube, own_path("slos", self.namespace), objects.custom("SLO", name, spec))
        # Whole minutes: the incident's id follows from when it opened.
        self.start = time.time() // MINUTE * MINUTE
        edges = [Edge(None, FRONTEND, bad=self.bad), Edge(FRONTEND, CHECKOUT, bad=self.bad), Edge(FRONTEND, CATALOG)]
        self.simulation = Simulation(kube, Script(self.namespace, objects.PODS, edges), self.start)

    def bad(self, times: np.ndarray) -> np.ndarray:
        at = times - self.start
        return np.select([at <= 2 * MINUTE, at <= 8 * MINUTE, at <= 11 * MINUTE], [0.0, 0.05, 1.0], 0.0)

    def live(self, crash_at: int | None = None, after: bool = False) -> None:
        self.simulation.crashing.at, self.simulation.crashing.after = crash_at, after
        self.simulation.run(19 * MINUTE)

    @property
    def writes(self) -> list[str]:
        return self.simulation.crashing.writes

    def events(self) -> Counter[tuple[str, str, str]]:
        found = self.kube.list(path("v1", "events", self.namespace))
        return Counter((event["involvedObject"]["name"], event["type"], event["reason"]) for event in found)

    def end(self) -> None:
        objects.collect(self.kube, self.namespace)


@pytest.fixture(scope="module")
def undisturbed(kube):
    life = Life(kube)
    life.live()
    yield life
    life.end()


def test_without_a_crash_one_incident_tells_its_life_once(undisturbed):
    events = undisturbed.events()
    warnings = {key: count for key, count in events.items() if key[1] == "Warning"}
    assert set(events.values()) == {1}, events
    assert {reason for _, _, reason in warnings} == {"SLOSlowBurn", "SLOFastBurn"}, events
    assert len({app for app, _, _ in warnings}) == 1, "one outage, one application that carries the alert"
    assert sum(reason == "SLORecovered" for _, _, reason in events) == 1
    assert sum(reason == "SLOAffected" for _, _, reason in events) == 1


def told(events: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    """Events by type and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for (_, kind, reason), count in events.items():
        counts[kind, reason] += count
    return counts


def test_a_crash_at_any_write_changes_no_event(kube, undisturbed):
    # Which of the two hurt applications opens may differ with the phase of the clock; how often what is told may not.
    expected = told(undisturbed.events())
    wrong = []
    points = [(at, after) for at in range(1, len(undisturbed.writes) + 1) for after in (False, True)]
    for at, after in points:
        life = Life(kube)
        life.live(at, after)
        assert life.simulation.crashes == 1, f"no write number {at}"
        events = told(life.events())
        openers = {app for app, kind, _ in life.events() if kind == "Warning"}
        if events != expected or len(openers) != 1:
            wrong.append(
                f"{'after' if after else 'before'} write {at} ({undisturbed.writes[at - 1]}): "
                f"too many {events - expected}, missing {expected - events}"
            )
        life.end()
    print(f"\n{len(points)} crash points, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def test_a_workload_deleted_during_its_incident_ends_it_with_the_reason(kube):
    life = Life(kube)
    life.simulation.run(7 * MINUTE)
    assert sum(reason == "SLOSlowBurn" for _, _, reason in life.events()) == 1
    cache = life.simulation.cache
    for plural, version, name in (
        ("pods", "v1", CHECKOUT),
        ("replicasets", "apps/v1", "checkout-6c8d9f7b5"),
        ("deployments", "apps/v1", "checkout"),
    ):
        kube.request(
            "DELETE",
            path(version, plural, life.namespace, name),
            query={"gracePeriodSeconds": 0, "propagationPolicy": "Background"},
        )
        assert cache.sweep(kube, plural) == 1
    life.simulation.script.edges = [edge for edge in life.simulation.script.edges if CHECKOUT not in (edge.server, edge.client)]
    life.simulation.run(4 * MINUTE)
    events = [event for event in kube.list(path("v1", "events", life.namespace)) if event["reason"] == "SLORecovered"]
    assert len(events) == 1 and "checkout was deleted" in events[0]["message"]
    left = {raw["metadata"]["name"] for raw in kube.list(own_path("appstatuses", life.namespace))}
    assert "checkout.deployment" not in left and "catalog.deployment" in left
    life.end()


def test_an_open_incident_survives_the_deletion_of_its_appstatus_and_a_restart(kube):
    life = Life(kube)
    life.simulation.run(7 * MINUTE)
    before = life.events()
    kube.request("DELETE", own_path("appstatuses", life.namespace))
    life.simulation.engine = None
    life.simulation.run(12 * MINUTE)
    after = life.events()
    assert all(after[key] == count for key, count in before.items()), after
    assert set(after.values()) == {1} and sum(reason == "SLORecovered" for _, _, reason in after) == 1
    life.end()


def test_without_prometheus_an_incident_stays_open_and_goes_on_afterwards(kube):
    life = Life(kube)
    life.simulation.run(7 * MINUTE)
    before = life.events()
    life.simulation.script.down = True
    life.simulation.run(6 * MINUTE)
    assert life.events() == before
    health = {raw["metadata"]["name"]: raw["status"]["health"] for raw in kube.list(own_path("appstatuses", life.namespace))}
    assert health["catalog.deployment"] == "Unknown"
    life.simulation.script.down = False
    life.simulation.run(7 * MINUTE)
    assert sum(reason == "SLORecovered" for _, _, reason in life.events()) == 1 and set(life.events().values()) == {1}
    life.end()
