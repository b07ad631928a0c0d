"""What the policy answers reaches the owners: the same table as tests/e2e/crds, through the operator's own writes."""

import objects
import pytest
from appstatus.kube import ApiError, own_path
from crd_answers import ANSWERS, NOW, WORKLOADS, Answer
from simulated import Script, Simulation

PLURALS = {"Project": "projects", "SLO": "slos", "InspectionOverride": "inspectionoverrides"}


@pytest.fixture(scope="module")
def simulation(kube):
    for workload in WORKLOADS:
        objects.namespace(kube, workload.key.namespace)
        body = {"metadata": {"name": workload.key.name, "labels": workload.labels, "annotations": workload.annotations}}
        labels = workload.labels or {"app": workload.key.name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "x:1"}]}}
        body["spec"] = {"selector": {"matchLabels": labels}, "template": template, "serviceName": "x"}
        if workload.key.kind == "Deployment":
            del body["spec"]["serviceName"]
        plural = workload.key.kind.lower() + "s"
        objects.create(kube, f"/apis/apps/v1/namespaces/{workload.key.namespace}/{plural}", body)
    return Simulation(kube, Script("shop", {}, []), NOW)


def where(body):
    return own_path(PLURALS[body["kind"]], body["metadata"].get("namespace", "")), body["metadata"]["name"]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.title)
def test_the_conditions_are_written(kube, simulation, answer: Answer):
    for body in answer.objects:
        collection, _ = where(body)
        kube.request("POST", collection, body={"apiVersion": "appstatus.dev/v1alpha1", **body})
    try:
        simulation.run(30)
        collection, name = where(answer.objects[-1])
        stored = kube.request("GET", f"{collection}/{name}")
        found = {condition["type"]: condition for condition in stored["status"]["conditions"]}
        for kind, (status, reason, message) in answer.conditions.items():
            assert (found[kind]["status"], found[kind]["reason"]) == (status, reason), found[kind]
            assert message in found[kind]["message"]
        assert stored["status"]["observedGeneration"] == stored["metadata"]["generation"]
    finally:
        for body in answer.objects:
            collection, name = where(body)
            try:
                kube.request("DELETE", f"{collection}/{name}")
            except ApiError as error:
                assert error.status == 404
        simulation.engine = None
