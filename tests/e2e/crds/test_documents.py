"""What the operator writes fits the schema: the API server stores it as sent, nothing pruned, nothing refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from appstatus.api.conditions import Condition, accepted
from appstatus.api.fields import Problem
from appstatus.api.names import EXTERNAL, AppKey, ObjectRef
from appstatus.api.objective import Objective, Outage
from appstatus.api.slo import parse_slo
from appstatus.api.tiers import default_tiers
from appstatus.diagnosis.classes import CLASSES
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence
from appstatus.incidents.incident import Participation
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import CHECKS
from appstatus.model.world import BUCKETS, Application, Connection, Traffic
from appstatus.report.appstatus import Findings, appstatus
from appstatus.report.objectives import slo_status
from appstatus.slo.status import OUTAGE, SLOStatus, TierStatus
from crd_rules import CRDS

NOW = 1_800_000_000.0
NAMESPACE = "documents"
APP = AppKey("shop", "Deployment", "checkout")
REF = ObjectRef("apps/v1", "Deployment", "shop", "checkout", "7d1c0b3e-0000-0000-0000-000000000000")
POSTGRES = AppKey("shop", "StatefulSet", "postgres")
OUTSIDE = AppKey("", EXTERNAL, "payments.example.com:443")

CLASS = next(iter(CLASSES))
DIAGNOSIS = Diagnosis(
    violator=APP,
    onset=NOW - 300,
    at=NOW,
    causes=(
        Cause(
            app=POSTGRES,
            klass=CLASS,
            share=0.81,
            path=(APP, POSTGRES),
            evidence=(Evidence("latency", "checkout to postgres", 0.002, 0.34, "s"), Evidence("onset", "x", None, None, "time")),
            instance="postgres-0",
            node="node-3",
            neighbour="shop/report.cronjob",
        ),
        Cause(app=OUTSIDE, klass=CLASS, share=0.1, path=(APP, OUTSIDE), evidence=()),
    ),
    dominant=True,
    dismissed=("network of node-3",),
)


def status(indicator: str, **changes: Any) -> SLOStatus:
    objective = Objective(
        id=f"checkout-{indicator}",
        app=APP,
        indicator=indicator,  # type: ignore[arg-type]
        ratio=0.995,
        window=30 * 86400.0,
        tiers=default_tiers(30 * 86400.0),
        outage=Outage(),
        threshold=0.25 if indicator == "latency" else None,
        source=ObjectRef("appstatus.dev/v1alpha1", "SLO", "shop", f"checkout-{indicator}", "uid"),
    )
    tiers = tuple(TierStatus(t.name, 28.0, 27.5, 14.4, 870.0, True, "", t.short, t.long) for t in objective.tiers)
    outage = TierStatus(OUTAGE, None, None, 100.0, 0.0, False, "its window is too short", 60.0, 60.0)
    whole = SLOStatus(
        objective=objective,
        state="FastBurn",
        sli=0.99712,
        budget=-0.12,
        covered=4 * 86400.0,
        burn=28.0,
        tiers=(*tiers, outage),
        good=123456.0,
        total=125000.0,
        bad_ratio_5m=0.14,
        total_5m=3000.0,
        threshold=0.25 if indicator == "latency" else None,
        reason="",
    )
    return replace(whole, **changes)


def application() -> Application:
    times = np.ones(40)
    traffic = Traffic({"2xx": times, "5xx": times * 0.1, "reset": times * 0.01}, np.ones((len(BUCKETS) + 1, 40)), times * 0.02)
    app = Application(
        key=APP, ref=REF, labels={}, annotations={}, category="application", created=NOW - 1e6, desired=3, available=2,
        rollout_in_progress=False, changes=(),
    )  # fmt: skip
    figures = [field.name for field in fields(Connection)][3:]
    for upstream in (POSTGRES, OUTSIDE):
        app.upstreams.append(Connection(APP, upstream, traffic, **dict.fromkeys(figures, times)))
    return app


def checks() -> list[CheckResult]:
    failing = CHECKS[4:7]
    found = [
        CheckResult(c.id, c.area, "fail", 93.456, 80.0, NOW - 60, ("checkout-1", "checkout-2"), "ü" * 400, "shop/hot")
        for c in failing
    ]
    outcomes = ("pass", "unknown", "skip")
    rest = [c for c in CHECKS if c not in failing]
    return found + [CheckResult(c.id, c.area, outcomes[i % 3], overridden_by="shop/off") for i, c in enumerate(rest)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def api(api_server: Any) -> Any:
    api_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=appstatus", "--timeout=60s")
    api_server.kubectl("create", "namespace", NAMESPACE)
    return api_server


def stored(api: Any, kind: str, name: str, spec: dict[str, Any] | None, document: dict[str, Any]) -> dict[str, Any]:
    """The status as the API server has it after the operator's way of writing it."""
    head = {"apiVersion": "appstatus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    api.kubectl("create", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(head | ({"spec": spec} if spec else {})))
    flags = ("--server-side", "--subresource=status", "--field-manager=appstatus", "-n", NAMESPACE)
    api.kubectl("apply", *flags, "-f", "-", stdin=json.dumps(head | {"status": document}))
    return json.loads(api.kubectl("get", f"{kind.lower()}.appstatus.dev", name, "-n", NAMESPACE, "-o", "json").stdout)["status"]


@pytest.mark.parametrize("closed", [None, NOW])
def test_a_full_appstatus_is_stored_as_sent(api: Any, closed: float | None) -> None:
    part = Participation(
        incident_id="9f2c41",
        app=APP,
        ref=REF,
        opener=True,
        opener_app=APP,
        opened=NOW - 240,
        slos=("checkout-latency", "checkout-availability"),
        due=("SLORecovered",) if closed else ("SLOFastBurn",),
        posted=("SLOFastBurn",) if closed else (),
        closed=closed,
        closing_reason="Recovered" if closed else "",
        diagnosis=DIAGNOSIS,
    )
    past = replace(part, incident_id="000001", closed=NOW - 100, due=())
    found = Findings(
        application=application(),
        project="default",
        category="application",
        checks=checks(),
        statuses=[status("latency"), status("availability"), status("promql", state="NoData", sli=None, budget=None, burn=None)],
        participation=past,
        affected=[POSTGRES],
        problems=[Problem("appstatus.dev/slo-latency-threshold", "is wrong")],
        called="payments",
    )
    before = appstatus(found, {POSTGRES: "Warning"}, 15.0, {}, 1, NOW)
    assert before["history"], "an incident that is over is history"
    document = appstatus(replace(found, participation=part), {POSTGRES: "Warning"}, 15.0, before, 1, NOW)
    assert document["incident"]["diagnosis"]["causes"] and document["inspections"]["failing"]
    assert stored(api, "AppStatus", f"full-{int(closed or 0)}.deployment", None, document) == document


def test_a_full_slo_status_is_stored_as_sent(api: Any) -> None:
    conditions = [*accepted(), Condition("TargetResolved", True, "Found", "x"), Condition("TiersReachable", True, "AllTiers", "x")]
    spec = {
        "targetRef": {"kind": "Deployment", "name": "checkout"},
        "objective": "99.5",
        "indicator": {"latency": {"threshold": "250ms"}},
    }
    document = slo_status(parse_slo({"spec": spec}), status("latency"), APP, conditions, {}, NOW, "9f2c41")
    assert stored(api, "SLO", "full", spec, document) == document


def test_an_slo_without_a_target_yet_fills_its_columns(api: Any) -> None:
    spec = {"targetRef": {"kind": "Deployment", "name": "x"}, "objective": "99.5", "indicator": {"availability": {}}}
    document = slo_status(parse_slo({"spec": spec}), None, None, accepted(), {}, NOW)
    assert stored(api, "SLO", "unresolved", spec, document) == document
    shown = api.kubectl("get", "slo", "unresolved", "-n", NAMESPACE, "--no-headers").stdout.split()
    assert shown[:4] == ["unresolved", "Deployment/x", "availability", "99.5%"]
