"""The CRDs on a real API server: each rule broken once, and what users see of the kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from appstatus.api.names import GROUP, VERSION
from crd_cases import CASES, SCHEMA_CASES, VALID, Case, broken, changed
from crd_rules import CRDS, Rule, crds, nodes, rules, schema

NAMESPACE = "crds"


@pytest.fixture(scope="module")
def api(api_server: Any) -> Iterator[Any]:
    """The API server with the CRDs and a namespace."""
    api_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    for name in crds().values():
        api_server.kubectl("wait", "--for=condition=Established", f"crd/{name['metadata']['name']}", "--timeout=60s")
    api_server.kubectl("create", "namespace", NAMESPACE)
    yield api_server
    api_server.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def create(api: Any, body: dict[str, Any], *flags: str) -> str:
    """What `kubectl create` says, error or not."""
    done = api.kubectl("create", "-n", NAMESPACE, "-f", "-", *flags, stdin=json.dumps(body), check=False)
    return done.stdout + done.stderr


def dry(api: Any, body: dict[str, Any]) -> str:
    return create(api, body, "--dry-run=server")


def test_the_cases_cover_every_rule() -> None:
    assert {case.place for case in CASES} == set(rules())


@pytest.mark.parametrize("kind", VALID)
def test_a_valid_object_is_admitted(api: Any, kind: str) -> None:
    assert "created" in dry(api, changed(kind, "metadata.name", "example"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.place)
def test_a_broken_rule_names_field_value_and_what_is_allowed(api: Any, case: Case) -> None:
    rule: Rule = rules()[case.place]
    answer = dry(api, broken(case.place.split("#")[0].split(".")[0], case))
    assert "is invalid" in answer
    assert rule.explains(answer), answer
    for part in case.says:
        assert part in answer


@pytest.mark.parametrize("case", SCHEMA_CASES, ids=lambda case: f"{case.place}-{case.path}")
def test_a_wrong_type_or_choice_is_answered_by_the_schema(api: Any, case: Case) -> None:
    answer = dry(api, broken(case.place, case))
    for part in case.says:
        assert part in answer


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("SLO", "spec.objective", "99.999999"),
        ("SLO", "spec.objective", "0.5"),
        ("SLO", "spec.window", "1h"),
        ("SLO", "spec.window", "90d"),
        ("SLO", "spec.window", "12w"),
        ("SLO", "spec.indicator", {"availability": {}}),
        ("SLO", "spec.indicator.latency.threshold", "1ms"),
        ("SLO", "spec.indicator.latency.threshold", "30s"),
        ("SLO", "spec.indicator.latency.threshold", "1.5s"),
        ("SLO", "spec.targetRef.kind", "Rollout"),
        ("SLO", "metadata.name", "x" * 63),
        ("SLO", "metadata.name", "latency"),
        ("Project", "spec.prometheus.step", "2m"),
        ("Project", "spec.prometheus.url", "https://mimir.example/prometheus"),
        ("Project", "spec.nodeAgent", {"maxUnavailable": 1}),
        ("Project", "spec.nodeAgent", {"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}}),
        ("InspectionOverride", "spec.expiresAt", "2027-01-01T00:00:00+01:00"),
    ],
    ids=str,
)
def test_the_bounds_of_a_rule_are_admitted(api: Any, kind: str, path: str, value: Any) -> None:
    assert "created" in dry(api, changed(kind, path, value))


def test_defaults_are_filled_in_where_users_can_read_them(api: Any) -> None:
    body = changed("Project", "metadata.name", "defaults")
    spec = json.loads(create(api, body, "--dry-run=server", "-o", "json"))["spec"]
    assert spec["prometheus"]["step"] == "15s"
    assert spec["defaults"]["slos"]["availability"] == {"enabled": True, "objective": "99", "window": "30d", "events": "Page"}
    assert spec["defaults"]["slos"]["latency"]["events"] == "None"
    assert spec["nodeAgent"] == {"enabled": True, "maxUnavailable": "10%"}


def test_every_field_is_described() -> None:
    """`kubectl explain` shows nothing without it."""
    for kind, crd in crds().items():
        for place, node in nodes(schema(crd), kind):
            described = node.get("description", "")
            listed = place.endswith(("[]", "{}")) or place.startswith(f"{kind}.metadata")
            assert described or listed, place


def test_every_text_and_list_has_a_bound() -> None:
    """Without bounds the API server cannot estimate what a rule costs, and a status may grow without end."""
    bounds = {"string": ("maxLength", "enum", "format"), "array": ("maxItems",)}
    standard = ("apiVersion", "kind", "metadata")
    for kind, crd in crds().items():
        for place, node in nodes(schema(crd), kind):
            if place.split(".")[1:2] and place.split(".")[1] in standard:
                continue
            needed = bounds.get(node.get("type", ""), ())
            if "additionalProperties" in node:
                needed = ("maxProperties",)
            assert not needed or any(bound in node for bound in needed), place


@pytest.mark.parametrize("kind", list(VALID))
def test_explain_reads_well(api: Any, kind: str) -> None:
    plural = crds()[kind]["spec"]["names"]["plural"]
    text = api.kubectl("explain", f"{plural}.{GROUP}").stdout
    assert f"KIND:       {kind}" in text and "<empty>" not in text
    shown = api.kubectl("explain", f"slos.{GROUP}.spec.indicator.latency.threshold").stdout
    assert "1ms to 30s" in shown


def test_short_names_and_category(api: Any) -> None:
    listed = api.kubectl("api-resources", f"--api-group={GROUP}", "-o", "wide", "--no-headers").stdout.splitlines()
    columns = {line.split()[0]: line.split() for line in listed}
    assert {name: cells[1] for name, cells in columns.items()} == {
        "appstatuses": "apst",
        "inspectionoverrides": "aov",
        "projects": "aproj",
        "slos": "aslo",
    }
    # Not `appstatus`: `kubectl get appstatus` would list all kinds (docs/decisions/0004).
    assert all("appstatus-all" in cells[-1].split(",") for cells in columns.values())
    assert [name for name, cells in columns.items() if "appstatus" in cells[-1].split(",")] == ["appstatuses"]


def put_status(api: Any, plural: str, name: str, status: dict[str, Any], namespace: str = NAMESPACE) -> None:
    """As the operator writes it: server-side apply of the status subresource."""
    kind = next(k for k, crd in crds().items() if crd["spec"]["names"]["plural"] == plural)
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "status": status}
    flags = ("--server-side", "--subresource=status", "--field-manager=appstatus")
    api.kubectl("apply", "-n", namespace, *flags, "-f", "-", stdin=json.dumps(body))


def table(api: Any, *arguments: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of `kubectl get`, cut where the header's words begin, as a reader does."""
    lines = api.kubectl("get", "-n", NAMESPACE, *arguments).stdout.splitlines()
    starts = [i for i, c in enumerate(lines[0]) if c != " " and (i == 0 or lines[0][i - 1] == " ")]
    cut = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    return cut[0], cut[1:]


def test_columns_of_appstatus(api: Any) -> None:
    for name in ("cart.deployment", "checkout.deployment", "postgres.statefulset"):
        create(api, changed("AppStatus", "metadata.name", name))
    cause = "postgres.statefulset: storage latency"
    for name, health, slos, budget, why in (
        ("cart.deployment", "Healthy", "2/2", "98%", ""),
        ("checkout.deployment", "Violated", "1/2", "42%", cause),
        ("postgres.statefulset", "Warning", "-", "-", "StorageIO"),
    ):
        status = {"health": health, "sloSummary": slos, "budget": budget, "cause": why, "since": "2020-01-01T00:00:00Z"}
        put_status(api, "appstatuses", name, status)
    header, rows = table(api, "appstatus")
    assert header == ["NAME", "HEALTH", "SLOS", "BUDGET", "CAUSE", "SINCE", "AGE"]
    assert [row[:5] for row in rows] == [
        ["cart.deployment", "Healthy", "2/2", "98%", ""],
        ["checkout.deployment", "Violated", "1/2", "42%", cause],
        ["postgres.statefulset", "Warning", "-", "-", "StorageIO"],
    ]
    assert all(row[5].endswith("d") for row in rows), "SINCE is an age in days"
    assert table(api, "appstatus", "-o", "wide")[0] == [*header, "CALLED", "CATEGORY", "PROJECT", "INCIDENT"]
    _, found = table(api, "appstatus", "--field-selector", "status.health=Violated")
    assert [row[0] for row in found] == ["checkout.deployment"]


def test_columns_of_slo(api: Any) -> None:
    create(api, changed("SLO", "metadata.name", "checkout-latency"))
    put_status(
        api,
        "slos",
        "checkout-latency",
        {
            "target": "Deployment/checkout",
            "indicator": "latency<250ms",
            "objective": "99.5%",
            "sli": "99.71%",
            "budget": "42%",
            "burn": "28",
            "state": "FastBurn",
        },
    )
    header, rows = table(api, "slo")
    assert header == ["NAME", "TARGET", "INDICATOR", "OBJECTIVE", "SLI", "BUDGET", "BURN", "STATE", "AGE"]
    assert rows[0][:-1] == ["checkout-latency", "Deployment/checkout", "latency<250ms", "99.5%", "99.71%", "42%", "28", "FastBurn"]
    for selector in ("status.state=FastBurn", "spec.targetRef.name=checkout", "spec.targetRef.kind=Deployment"):
        assert len(table(api, "slo", "--field-selector", selector)[1]) == 1
    assert not api.kubectl("get", "slo", "-n", NAMESPACE, "--field-selector", "status.state=Met").stdout


def test_columns_of_project_and_override(api: Any) -> None:
    assert "created" in create(api, changed("Project", "metadata.name", "columns"))
    now = "2026-01-01T00:00:00Z"
    condition = {"reason": "X", "message": "", "lastTransitionTime": now}
    put_status(
        api,
        "projects",
        "columns",
        {
            "agents": "3/3",
            "applications": 42,
            "violated": 1,
            "conditions": [
                {"type": "Ready", "status": "True", **condition},
                {"type": "PrometheusReachable", "status": "False", **condition},
            ],
        },
    )
    header, rows = table(api, f"projects.{GROUP}")
    assert header == ["NAME", "READY", "PROMETHEUS", "AGENTS", "APPLICATIONS", "VIOLATED", "AGE"]
    assert rows[0][:-1] == ["columns", "True", "False", "3/3", "42", "1"]
    assert "created" in create(api, changed("InspectionOverride", "spec.expiresAt", "2027-01-01T00:00:00Z"))
    put_status(
        api,
        "inspectionoverrides",
        "example",
        {
            "applications": 2,
            "changes": "CPUContainer=95",
            "conditions": [{"type": "Active", "status": "True", **condition}],
        },
    )
    header, rows = table(api, "inspectionoverrides")
    assert header == ["NAME", "APPLICATIONS", "CHANGES", "ACTIVE", "EXPIRES", "REASON", "AGE"]
    assert rows[0][:-1] == ["example", "2", "CPUContainer=95", "True", "2027-01-01T00:00:00Z", "runs hot on purpose"]
    api.kubectl("delete", f"projects.{GROUP}", "columns")


def test_a_users_write_does_not_touch_the_status(api: Any) -> None:
    create(api, changed("SLO", "metadata.name", "no-status") | {"status": {"state": "Met"}})
    stored = json.loads(api.kubectl("get", "slo", "no-status", "-n", NAMESPACE, "-o", "json").stdout)
    assert "status" not in stored
    assert stored["metadata"]["generation"] == 1
    put_status(api, "slos", "no-status", {"state": "Met"})
    stored = json.loads(api.kubectl("get", "slo", "no-status", "-n", NAMESPACE, "-o", "json").stdout)
    assert stored["status"]["state"] == "Met"
    assert stored["metadata"]["generation"] == 1, "a status write must not look like a new spec"
