"""For every rule of the CRDs an object that breaks it, and what the answer must say: field, value found, what is allowed."""

from __future__ import annotations

from typing import Any, NamedTuple

Object = dict[str, Any]


class Case(NamedTuple):
    """``place`` of the rule; ``path`` in a valid object that is set to ``value`` (DELETE: taken away); parts of the answer."""

    place: str
    path: str
    value: Any
    says: tuple[str, ...]


DELETE = object()

VALID: dict[str, Object] = {
    "Project": {"spec": {"prometheus": {"url": "http://prometheus:9090"}}},
    "SLO": {
        "spec": {
            "targetRef": {"kind": "Deployment", "name": "checkout"},
            "objective": "99.5",
            "indicator": {"latency": {"threshold": "250ms"}},
        }
    },
    "InspectionOverride": {"spec": {"inspections": [{"id": "CPUContainer", "threshold": "95"}], "reason": "runs hot on purpose"}},
    "AppStatus": {},
}

_IN_WITHOUT_VALUES = [{"key": "team", "operator": "In"}]
_TIER = {"name": "fast", "short": "5m", "long": "1h", "budget": "2"}
_SELECTOR = ("team", "are empty", "operator is In", "In and NotIn need values")
_PATTERN = ('"Shop"', "pattern of lower case letters, digits, -")

CASES: tuple[Case, ...] = (
    # SLO
    Case("SLO#0", "metadata.name", "availability", ("metadata.name availability is reserved", "whose indicator is availability")),
    Case("SLO.spec#0", "spec.selector", {"matchLabels": {"app": "x"}}, ("spec", "both targetRef and selector are", "exactly one")),
    Case("SLO.spec#0", "spec.targetRef", DELETE, ("spec", "neither targetRef nor selector is set", "exactly one")),
    Case("SLO.spec.targetRef#0", "spec.targetRef.kind", "Service", ("spec.targetRef.kind", "is Service", "such as Deployment")),
    Case("SLO.spec.selector#0", "spec.selector", {"matchLabels": {}}, ("spec.selector", "is empty", "at least one entry")),
    Case(
        "SLO.spec.selector.matchExpressions[]#0",
        "spec.selector",
        {"matchExpressions": _IN_WITHOUT_VALUES},
        ("spec.selector.matchExpressions[0].values", *_SELECTOR),
    ),
    Case("SLO.spec.objective#0", "spec.objective", "100", ("spec.objective", '"100"', "more than 0 and less than 100", '"99.5"')),
    Case("SLO.spec.objective#0", "spec.objective", "99.5%", ("spec.objective", '"99.5%"', "no % sign")),
    Case("SLO.spec.objective#0", "spec.objective", "0.0", ("spec.objective", '"0.0"', "more than 0")),
    Case("SLO.spec.window#0", "spec.window", "91d", ("spec.window", '"91d"', "from 1h to 90d")),
    Case("SLO.spec.window#0", "spec.window", "1month", ("spec.window", '"1month"', "hours, days or weeks")),
    Case("SLO.spec.indicator#0", "spec.indicator", {}, ("spec.indicator", "has none of them", "exactly one of")),
    Case(
        "SLO.spec.indicator#0",
        "spec.indicator.availability",
        {},
        ("spec.indicator", "has availability latency", "exactly one of availability, latency and promql is allowed"),
    ),
    Case(
        "SLO.spec.indicator.availability.badStatuses[]#0",
        "spec.indicator",
        {"availability": {"badStatuses": ["503"]}},
        ("spec.indicator.availability.badStatuses[0]", '"503"', "allowed are 1xx, 2xx, 3xx, 4xx, 5xx, client_error and failed"),
    ),
    Case(
        "SLO.spec.indicator.latency.threshold#0",
        "spec.indicator.latency.threshold",
        "31s",
        ("spec.indicator.latency.threshold", '"31s"', "from 1ms to 30s"),
    ),
    Case(
        "SLO.spec.indicator.latency.threshold#0",
        "spec.indicator.latency.threshold",
        "250",
        ("spec.indicator.latency.threshold", '"250"', "such as 250ms"),
    ),
    Case(
        "SLO.spec.indicator.promql#0",
        "spec.indicator",
        {"promql": {"total": "b"}},
        ("spec.indicator.promql", "neither good nor bad", "exactly one"),
    ),
    Case(
        "SLO.spec.indicator.promql#1",
        "spec.indicator",
        {"promql": {"bad": "sum(x)", "total": "sum(x)"}},
        ("spec.indicator.promql.total", "same expression as bad (sum(x))", "must count all"),
    ),
    Case(
        "SLO.spec.alerting.tiers[]#0",
        "spec.alerting",
        {"tiers": [_TIER | {"short": "2h"}]},
        ("spec.alerting.tiers[0].short", "tier fast has short 2h and long 1h", "shorter than long"),
    ),
    Case(
        "SLO.spec.alerting.tiers[].name#0",
        "spec.alerting",
        {"tiers": [_TIER | {"name": "outage"}]},
        ("spec.alerting.tiers[0].name", 'the name is "outage"', "any other name"),
    ),
    Case(
        "SLO.spec.alerting.tiers[].short#0",
        "spec.alerting",
        {"tiers": [_TIER | {"short": "five"}]},
        ("spec.alerting.tiers[0].short", '"five"', "such as 5m"),
    ),
    Case(
        "SLO.spec.alerting.tiers[].long#0",
        "spec.alerting",
        {"tiers": [_TIER | {"long": "1.5h"}]},
        ("spec.alerting.tiers[0].long", '"1.5h"', "whole number of seconds, minutes, hours or days"),
    ),
    Case(
        "SLO.spec.alerting.tiers[].budget#0",
        "spec.alerting",
        {"tiers": [_TIER | {"budget": "101"}]},
        ("spec.alerting.tiers[0].budget", '"101"', "more than 0 and at most 100"),
    ),
    Case(
        "SLO.spec.alerting.outage.window#0",
        "spec.alerting",
        {"outage": {"window": "1h"}},
        ("spec.alerting.outage.window", '"1h"', "from 30s to 10m"),
    ),
    Case(
        "SLO.spec.alerting.runbookURL#0",
        "spec.alerting",
        {"runbookURL": "wiki/checkout"},
        ("spec.alerting.runbookURL", '"wiki/checkout"', "absolute http:// or https:// URL"),
    ),
    *(
        Case(
            "SLO.spec.alerting.labels#0",
            "spec.alerting",
            {"labels": labels},
            ("spec.alerting.labels", "no Kubernetes label may have", "at most 63"),
        )
        for labels in ({"the team": "shop"}, {"team": "shop & friends"}, {"/team": "shop"})
    ),
    # InspectionOverride
    Case(
        "InspectionOverride.spec#0",
        "spec",
        {"targetRef": {"kind": "Job", "name": "x"}, "selector": {"matchLabels": {"a": "b"}}, "reason": "x", "inspections": []},
        ("spec", "both targetRef and selector are set", "at most one"),
    ),
    Case("InspectionOverride.spec#1", "spec.inspections", DELETE, ("spec", "neither inspections nor exclude is set")),
    Case(
        "InspectionOverride.spec.targetRef#0",
        "spec.targetRef",
        {"kind": "ReplicaSet", "name": "x"},
        ("spec.targetRef.kind", "is ReplicaSet", "such as Deployment"),
    ),
    Case("InspectionOverride.spec.selector#0", "spec.selector", {}, ("spec.selector", "is empty", "leave selector out")),
    Case(
        "InspectionOverride.spec.selector.matchExpressions[]#0",
        "spec.selector",
        {"matchExpressions": _IN_WITHOUT_VALUES},
        ("spec.selector.matchExpressions[0].values", *_SELECTOR),
    ),
    Case(
        "InspectionOverride.spec.inspections[]#0",
        "spec.inspections",
        [{"id": "CPUContainer", "threshold": "95", "disabled": True}],
        ("spec.inspections[0]", "check CPUContainer has both a threshold and disabled", "exactly one"),
    ),
    Case(
        "InspectionOverride.spec.inspections[]#0",
        "spec.inspections",
        [{"id": "CPUContainer"}],
        ("spec.inspections[0]", "check CPUContainer has neither a threshold nor disabled", "exactly one"),
    ),
    Case(
        "InspectionOverride.spec.inspections[].threshold#0",
        "spec.inspections",
        [{"id": "CPUContainer", "threshold": "95%"}],
        ("spec.inspections[0].threshold", '"95%"', "decimal number in the unit of the check"),
    ),
    Case("InspectionOverride.spec.exclude#0", "spec.exclude", {}, ("spec.exclude", "is empty", "nodes or peers")),
    Case("InspectionOverride.spec.reason#0", "spec.reason", "  ", ("spec.reason", "is blank", "say why")),
    # Project
    Case("Project.spec.namespaces.include[]#0", "spec.namespaces", {"include": ["Shop"]}, ("namespaces.include[0]", *_PATTERN)),
    Case("Project.spec.namespaces.exclude[]#0", "spec.namespaces", {"exclude": ["Shop"]}, ("namespaces.exclude[0]", *_PATTERN)),
    Case(
        "Project.spec.namespaces.selector.matchExpressions[]#0",
        "spec.namespaces",
        {"selector": {"matchExpressions": _IN_WITHOUT_VALUES}},
        ("spec.namespaces.selector.matchExpressions[0].values", *_SELECTOR),
    ),
    Case(
        "Project.spec.prometheus.url#0",
        "spec.prometheus.url",
        "prometheus:9090",
        ("spec.prometheus.url", '"prometheus:9090"', "absolute http:// or https:// URL"),
    ),
    Case(
        "Project.spec.prometheus.url#0",
        "spec.prometheus.url",
        "https://me:secret@prometheus",
        ("spec.prometheus.url", "without user or password", "auth.secretRef"),
    ),
    Case(
        "Project.spec.prometheus.url#1",
        "spec.prometheus.url",
        "http://prometheus:9090/api/v1/query",
        ("spec.prometheus.url", '"http://prometheus:9090/api/v1/query"', "leave out /api/v1"),
    ),
    Case("Project.spec.prometheus.step#0", "spec.prometheus.step", "1s", ("spec.prometheus.step", '"1s"', "from 5s to 2m")),
    Case(
        "Project.spec.prometheus.tls#0",
        "spec.prometheus.tls",
        {"insecureSkipVerify": True, "secretRef": {"name": "ca"}},
        ("spec.prometheus.tls", "both insecureSkipVerify and secretRef"),
    ),
    Case(
        "Project.spec.prometheus.headers#0",
        "spec.prometheus.headers",
        {"Authorization": "Bearer x"},
        ("spec.prometheus.headers", "has Authorization", "any other header is allowed"),
    ),
    Case(
        "Project.spec.prometheus.headers#1",
        "spec.prometheus.headers",
        {"X Scope": "x"},
        ("spec.prometheus.headers", "name that is not one", "letters, digits and -"),
    ),
    *(
        case
        for slo in ("availability", "latency")
        for case in (
            Case(
                f"Project.spec.defaults.slos.{slo}.objective#0",
                "spec.defaults",
                {"slos": {slo: {"objective": "100"}}},
                (f"spec.defaults.slos.{slo}.objective", '"100"', "more than 0 and less than 100"),
            ),
            Case(
                f"Project.spec.defaults.slos.{slo}.window#0",
                "spec.defaults",
                {"slos": {slo: {"window": "13w"}}},
                (f"spec.defaults.slos.{slo}.window", '"13w"', "from 1h to 90d"),
            ),
        )
    ),
    Case(
        "Project.spec.defaults.slos.latency.threshold#0",
        "spec.defaults",
        {"slos": {"latency": {"threshold": "1m"}}},
        ("spec.defaults.slos.latency.threshold", '"1m"', "from 1ms to 30s"),
    ),
    Case(
        "Project.spec.defaults.inspections[]#0",
        "spec.defaults",
        {"inspections": [{"id": "CPUNode", "threshold": "90", "disabled": True}]},
        ("spec.defaults.inspections[0]", "check CPUNode has both a threshold and disabled", "at most one"),
    ),
    Case(
        "Project.spec.defaults.inspections[]#1",
        "spec.defaults",
        {"inspections": [{"id": "CPUNode"}]},
        ("spec.defaults.inspections[0]", "check CPUNode has neither a threshold nor disabled nor locked"),
    ),
    Case(
        "Project.spec.defaults.inspections[].threshold#0",
        "spec.defaults",
        {"inspections": [{"id": "CPUNode", "threshold": "-1"}]},
        ("spec.defaults.inspections[0].threshold", '"-1"', "no unit, no sign"),
    ),
    Case(
        "Project.spec.categories[].name#0",
        "spec.categories",
        [{"name": "Front End", "applications": ["shop/*"]}],
        ("spec.categories[0].name", '"Front End"', "lower case letters, digits and -"),
    ),
    Case(
        "Project.spec.categories[].applications[]#0",
        "spec.categories",
        [{"name": "front", "applications": ["nginx"]}],
        ("spec.categories[0].applications[0]", '"nginx"', "pattern of namespace/name"),
    ),
    Case(
        "Project.spec.customApplications[].name#0",
        "spec.customApplications",
        [{"name": "Kafka", "namespace": "shop", "instances": ["kafka-*"]}],
        ("spec.customApplications[0].name", '"Kafka"', "lower case letters, digits and -"),
    ),
    Case("Project.spec.promql.namespaces[]#0", "spec.promql", {"namespaces": ["Shop"]}, ("spec.promql.namespaces[0]", *_PATTERN)),
    *(
        Case(
            f"Project.spec.nodeAgent.resources.{part}.{name}#0",
            "spec.nodeAgent",
            {"resources": {part: {name: "much"}}},
            (f"spec.nodeAgent.resources.{part}.{name}", '"much"', "such as 100m or 128Mi"),
        )
        for part in ("requests", "limits")
        for name in ("cpu", "memory")
    ),
    Case(
        "Project.spec.nodeAgent.tolerations[]#0",
        "spec.nodeAgent",
        {"tolerations": [{"effect": "NoSchedule"}]},
        ("spec.nodeAgent.tolerations[0]", "toleration without key needs operator Exists"),
    ),
    Case(
        "Project.spec.nodeAgent.maxUnavailable#0",
        "spec.nodeAgent",
        {"maxUnavailable": "half"},
        ("spec.nodeAgent.maxUnavailable", "is half", "a number from 1 on or a percentage"),
    ),
)

# What the structural schema answers: the API server's own words already name field, value and what is allowed.
SCHEMA_CASES: tuple[Case, ...] = (
    Case("SLO", "spec.objective", 99.5, ("spec.objective", "must be of type string", "number")),
    Case("SLO", "spec.objective", DELETE, ("spec.objective", "Required value")),
    Case("SLO", "spec.objectives", "99", ('unknown field "spec.objectives"',)),
    Case("SLO", "metadata.name", "x" * 64, ("metadata.name", "Too long", "63")),
    Case("SLO", "spec.alerting", {"events": "all"}, ("spec.alerting.events", '"all"', '"All", "Page", "None"')),
    Case("SLO", "spec.alerting", {"dataMissing": "yes"}, ("spec.alerting.dataMissing", '"yes"', '"Event", "None"')),
    Case("SLO", "spec.alerting", {"minBadEvents": 0}, ("spec.alerting.minBadEvents", "0", "greater than or equal to 1")),
    Case("InspectionOverride", "spec.reason", DELETE, ("spec.reason", "Required value")),
    Case("InspectionOverride", "spec.expiresAt", "tomorrow", ("spec.expiresAt", '"tomorrow"', "date-time")),
    Case(
        "InspectionOverride",
        "spec.inspections",
        [{"id": "CPU", "threshold": "1"}],
        ("spec.inspections[0].id", '"CPU"', '"CPUContainer", "CPUNode"'),
    ),
    Case(
        "InspectionOverride",
        "spec.inspections",
        [{"id": "CPUNode", "threshold": "1"}, {"id": "CPUNode", "threshold": "2"}],
        ("spec.inspections[1]", "Duplicate value", "CPUNode"),
    ),
    Case("Project", "spec.prometheus", {}, ("spec.prometheus.url", "Required value")),
    Case("Project", "spec.nodeAgent", {"image": "evil"}, ('unknown field "spec.nodeAgent.image"',)),
)


def broken(kind: str, case: Case) -> Object:
    """The valid object of a kind, broken as the case says."""
    return changed(kind, case.path, case.value)


def changed(kind: str, path: str, value: Any) -> Object:
    """The valid object of a kind with one value replaced (DELETE: taken away)."""
    result = _copy(VALID[kind]) | {"apiVersion": "appstatus.dev/v1alpha1", "kind": kind, "metadata": {"name": "example"}}
    *parents, last = path.split(".")
    at = result
    for name in parents:
        at = at.setdefault(name, {})
    if value is DELETE:
        del at[last]
    else:
        at[last] = value
    return result


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value
