"""A former leader that wakes up with a write in its hand, on a real API server: its successor's record of an incident stays."""

import time

import objects
import pytest
from appstatus.cluster.status import Document, Key, StatusWriter
from appstatus.cluster.writing import Writer
from appstatus.kube import own_path

NAME = "checkout.deployment"
WHERE = own_path("appstatuses", objects.NAMESPACE, NAME)


def document(health, **incident):
    status = {"health": health, "application": {"kind": "Deployment", "name": "checkout"}}
    if incident:
        opener = {"namespace": objects.NAMESPACE, "kind": "Deployment", "name": "checkout"}
        status["incident"] = {"id": "i-1", "opened": "2026-11-21T09:00:00Z", "role": "Opener", "opener": opener, **incident}
    return Document(Key("appstatuses", objects.NAMESPACE, NAME), status, {"labels": {"appstatus.dev/project": "default"}})


def soon():
    return time.monotonic() + 20


@pytest.fixture
def replicas(kube):
    """Two that both believe they may write, and what the second one learned when it took over."""
    objects.namespace(kube, objects.NAMESPACE)
    former, successor = (StatusWriter(Writer(kube, allowed=lambda: True)) for _ in range(2))
    former.submit([document("Healthy")])
    assert former.flush(soon()) == 1
    stored = kube.request("GET", WHERE)
    successor.learn(Key("appstatuses", objects.NAMESPACE, NAME), stored["metadata"]["resourceVersion"])
    yield former, successor
    kube.request("DELETE", WHERE)


def test_an_ordinary_write_of_a_former_leader_does_not_take_back_what_is_due(kube, replicas):
    former, successor = replicas
    former.submit([document("Warning")])
    successor.write_now(document("Violated", due=["SLOFastBurn"]), soon())
    assert former.flush(soon()) == 0 and len(former) == 1
    assert kube.request("GET", WHERE)["status"]["incident"]["due"] == ["SLOFastBurn"]
    # The successor goes on undisturbed: nobody wrote in between.
    successor.write_now(document("Violated", posted=["SLOFastBurn"]), soon())
    assert kube.request("GET", WHERE)["status"]["incident"]["posted"] == ["SLOFastBurn"]


def test_whoever_still_leads_writes_in_the_next_cycle_over_what_somebody_else_changed(kube, replicas):
    leader, _ = replicas
    kube.request("PATCH", f"{WHERE}/status", body={"status": {"health": "Unknown"}}, content_type=objects.MERGE)
    leader.submit([document("Warning")])
    assert leader.flush(soon()) == 0
    leader.submit([document("Warning")])
    assert leader.flush(soon()) == 1 and len(leader) == 0
    assert kube.request("GET", WHERE)["status"]["health"] == "Warning"
