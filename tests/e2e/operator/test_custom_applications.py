"""A custom application comes and goes with its name in the Project, on a real API server in simulated time."""

import time
from typing import Any

import numpy as np
import objects
import pytest
from appstatus.kube import Kube, own_path, path
from simulated import Edge, Script, Simulation

pytestmark = pytest.mark.timeout(300)

NAME = "grouped"
FRONTEND, CHECKOUT, _ = objects.PODS
MINUTE = 60.0
GROUP = [{"name": "basket", "namespace": NAME, "instances": ["checkout-*"]}]


def judged(kube: Kube) -> set[str]:
    return {raw["metadata"]["name"] for raw in kube.list(own_path("appstatuses", NAME))}


def events(kube: Kube) -> list[tuple[str, str, str]]:
    found: list[dict[str, Any]] = kube.list(path("v1", "events", NAME))
    return [(each["reason"], each["message"], each["metadata"]["labels"]["appstatus.dev/application"]) for each in found]


def test_one_that_is_taken_out_of_the_project_is_no_longer_judged_and_its_incident_ends(kube):
    objects.namespace(kube, "appstatus")
    objects.node(kube)
    objects.apps(kube, NAME)
    spec = {"prometheus": {"url": "http://unused", "step": "30s"}, "namespaces": {"include": [NAME]}}
    spec |= {"customApplications": GROUP, "nodeAgent": {"enabled": False}}
    objects.create(kube, own_path("projects"), objects.custom("Project", NAME, spec))
    start = time.time() // MINUTE * MINUTE

    def bad(times: np.ndarray) -> np.ndarray:
        return np.where((times > start + 2 * MINUTE) & (times <= start + 12 * MINUTE), 1.0, 0.0)

    edges = [Edge(None, FRONTEND), Edge(FRONTEND, CHECKOUT, bad=bad)]
    simulation = Simulation(kube, Script(NAME, objects.PODS, edges), start)
    simulation.run(12 * MINUTE)
    assert "basket.customapplication" in judged(kube) and "checkout.deployment" not in judged(kube)
    assert [reason for reason, _, app in events(kube) if app == "basket.customapplication"] == ["SLOFastBurn"]

    kube.request("PATCH", own_path("projects", name=NAME), body={"spec": {"customApplications": None}}, content_type=objects.MERGE)
    simulation.run(5 * MINUTE)
    assert "checkout.deployment" in judged(kube) and "basket.customapplication" not in judged(kube)
    [ended] = [message for reason, message, app in events(kube) if app == "basket.customapplication" and reason == "SLORecovered"]
    assert "SLO" in ended and "deleted" not in ended, ended
    assert not [reason for reason, _, app in events(kube) if app == "checkout.deployment"], "it starts with an empty hour"
