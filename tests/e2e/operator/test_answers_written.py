"""What the policy answers reaches the owners: the same table as tests/e2e/crds, through the operator's own writes."""

import contextlib
import time

import objects
import pytest
from appstatus.documents import Documents
from appstatus.kube import ApiError, own_path
from crd_answers import ANSWERS, NOW, WORKLOADS, Answer, override, project, slo
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


@contextlib.contextmanager
def created(kube, simulation, bodies):
    for body in bodies:
        collection, _ = where(body)
        kube.request("POST", collection, body={"apiVersion": "appstatus.dev/v1alpha1", **body})
    try:
        yield
    finally:
        for body in bodies:
            collection, name = where(body)
            try:
                kube.request("DELETE", f"{collection}/{name}")
            except ApiError as error:
                assert error.status == 404
        simulation.engine = None


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.title)
def test_the_conditions_are_written(kube, simulation, answer: Answer):
    with created(kube, simulation, answer.objects):
        simulation.run(30)
        collection, name = where(answer.objects[-1])
        stored = kube.request("GET", f"{collection}/{name}")
        found = {condition["type"]: condition for condition in stored["status"]["conditions"]}
        for kind, (status, reason, message) in answer.conditions.items():
            assert (found[kind]["status"], found[kind]["reason"]) == (status, reason), found[kind]
            assert message in found[kind]["message"]
        assert stored["status"]["observedGeneration"] == stored["metadata"]["generation"]


@pytest.mark.parametrize("broken", ["slo", "override", "project"])
def test_one_status_that_cannot_be_made_keeps_no_other_from_being_written(kube, simulation, monkeypatch, broken):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Documents, broken, fail)
    bodies = {"project": project(), "slo": slo("one"), "override": override("one")}
    with created(kube, simulation, bodies.values()):
        simulation.run(30)
        stored = {kind: kube.request("GET", "/".join(where(body))) for kind, body in bodies.items()}
        assert {kind for kind, raw in stored.items() if "status" not in raw} == {broken}


def test_an_owner_who_edits_gets_the_answer_in_the_same_cycle(kube, simulation):
    """The status is based on the version that the watch has told, not on the one of the operator's last write."""
    body = slo("edited")
    with created(kube, simulation, [project(), body]):
        simulation.run(30)
        at = "/".join(where(body))
        kube.request("PATCH", at, body={"spec": {"objective": "98"}}, content_type=objects.MERGE)
        simulation.run(30)
        stored = kube.request("GET", at)
        assert stored["status"]["observedGeneration"] == stored["metadata"]["generation"] == 2


def test_two_workloads_that_claim_a_name_stay_two_and_the_newer_is_told(kube, simulation):
    """Each keeps an AppStatus of its own; only the older is called so."""
    script = Script("names", {}, [])
    objects.namespace(kube, "names")
    for number, name in enumerate(("checkout", "checkout-canary")):
        objects.deployment(kube, name, f"10.0.9.{number + 1}", "names")
        annotation = {"metadata": {"annotations": {"appstatus.dev/name": "payments"}}}
        kube.request("PATCH", f"/apis/apps/v1/namespaces/names/deployments/{name}", body=annotation, content_type=objects.MERGE)
        time.sleep(1.1 * (number == 0))  # creation times are whole seconds
    with created(kube, simulation, [project()]):
        Simulation(kube, script, NOW).run(60)
        found = {raw["metadata"]["name"]: raw["status"] for raw in kube.list(own_path("appstatuses", "names"))}
        assert found.keys() == {"checkout.deployment", "checkout-canary.deployment"}
        older, newer = found["checkout.deployment"], found["checkout-canary.deployment"]
        assert older["application"]["displayName"] == "payments" and "displayName" not in newer["application"]
        told = {condition["type"]: condition for condition in newer["conditions"]}["AnnotationsValid"]
        assert told["status"] == "False" and "as the older Deployment/checkout is called already" in told["message"]
        assert "AnnotationsValid" not in {condition["type"] for condition in older["conditions"]}
