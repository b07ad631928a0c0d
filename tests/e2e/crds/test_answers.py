"""What admission lets through is answered in the object's own conditions, and never stops the others.

The objects go through the real API server, so that they are seen to be admitted and are judged as it stores them,
defaults filled in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from appstatus.api.conditions import merge, with_refusal
from appstatus.api.override import parse_override
from appstatus.api.policy import Policy, resolve
from appstatus.api.project import parse_project
from appstatus.api.scope import Scope
from appstatus.api.slo import parse_slo
from crd_answers import ANSWERS, NAMESPACES, NOW, WORKLOADS, Answer, Object
from crd_rules import CRDS

KINDS = ("projects.appstatus.dev", "slos.appstatus.dev", "inspectionoverrides.appstatus.dev")


@pytest.fixture(scope="module")
def api(api_server: Any) -> Any:
    api_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=appstatus", "--timeout=60s")
    api_server.kubectl("create", "namespace", "shop", check=False)
    return api_server


@pytest.fixture(autouse=True)
def _clean(api: Any) -> Iterator[None]:
    yield
    for kind in KINDS:
        scope = [] if kind.startswith("projects") else ["-A"]
        found = json.loads(api.kubectl("get", kind, *scope, "-o", "json").stdout)["items"]
        for item in found:
            where = ["-n", item["metadata"]["namespace"]] if scope else []
            api.kubectl("delete", kind, item["metadata"]["name"], *where)


def policy(stored: list[Object]) -> Policy:
    projects = [parse_project(o) for o in stored if o["kind"] == "Project"]
    slos = [parse_slo(o) for o in stored if o["kind"] == "SLO"]
    overrides = [parse_override(o) for o in stored if o["kind"] == "InspectionOverride"]
    return resolve(Scope(projects, NAMESPACES), slos, overrides, WORKLOADS, NOW)


def conditions(result: Policy, stored: Object) -> list[Any]:
    name, namespace = stored["metadata"]["name"], stored["metadata"].get("namespace", "")
    verdicts: dict[str, Any] = {
        "Project": lambda: result.projects[name],
        "SLO": lambda: result.slos[namespace, name],
        "InspectionOverride": lambda: result.overrides[namespace, name],
    }
    return list(verdicts[stored["kind"]]().conditions)


def store(api: Any, objects: tuple[Object, ...]) -> list[Object]:
    stored = []
    for each in objects:
        body = json.dumps({"apiVersion": "appstatus.dev/v1alpha1", **each})
        stored.append(json.loads(api.kubectl("create", "-f", "-", "-o", "json", stdin=body).stdout))
    return stored


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.title)
def test_the_owner_is_answered_in_conditions(api: Any, answer: Answer) -> None:
    stored = store(api, answer.objects)
    result = policy(stored)
    documents = merge([], conditions(result, stored[-1]), stored[-1]["metadata"]["generation"], NOW)
    by_type = {d["type"]: d for d in documents}
    for kind, (status, reason, part) in answer.conditions.items():
        found = by_type[kind]
        assert (found["status"], found["reason"]) == (status, reason)
        assert part in found["message"]
    for other in stored[:-1]:
        ready = {c.type: c.status for c in conditions(result, other)}
        assert ready["Ready"], "a wrong object must not stop the others"
    api.kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=appstatus", "-f", "-",
        stdin=json.dumps(_with_status(stored[-1], documents)),
    )  # fmt: skip


def test_a_rejected_query_turns_the_slo_refused(api: Any) -> None:
    """What Prometheus says of PromQL comes later than the rest; the other conditions stay."""
    allowed = next(a for a in ANSWERS if a.title == "PromQL in a namespace that may use it")
    stored = store(api, allowed.objects)
    before = conditions(policy(stored), stored[-1])
    message = "Prometheus rejects spec.indicator.promql.bad: 1:5: parse error"
    after = {c.type: c for c in with_refusal(before, "InvalidQuery", message)}
    assert after["Accepted"].status is False and after["Accepted"].reason == "InvalidQuery"
    assert after["TargetResolved"].status is True


def _with_status(stored: Object, documents: list[Object]) -> Object:
    metadata = {k: v for k, v in stored["metadata"].items() if k in ("name", "namespace")}
    return {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "status": {"conditions": documents}}
