"""Objects that pass admission and are answered in conditions: what only the operator can know."""

from __future__ import annotations

from typing import Any, NamedTuple

from appstatus.api.names import AppKey, ObjectRef

Object = dict[str, Any]
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
PAST, FUTURE = "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"


class Workload(NamedTuple):
    key: AppKey
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    created: float | None = None

    @property
    def ref(self) -> ObjectRef:
        versions = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "Rollout": "argoproj.io/v1alpha1"}
        return ObjectRef(versions[self.key.kind], self.key.kind, self.key.namespace, self.key.name, "uid")


class Answer(NamedTuple):
    """``objects`` are created in order; the last one must then have ``conditions``: type -> (status, reason, part of message)."""

    title: str
    objects: tuple[Object, ...]
    conditions: dict[str, tuple[str, str, str]]


WORKLOADS = (
    Workload(AppKey("shop", "Deployment", "checkout"), {"app": "checkout", "team": "a"}),
    Workload(AppKey("shop", "Deployment", "cart"), {"app": "cart", "team": "a"}),
    Workload(AppKey("shop", "StatefulSet", "postgres"), {"app": "postgres"}),
    Workload(AppKey("kube-system", "Deployment", "coredns")),
)
NAMESPACES = {"shop": {"team": "a"}, "kube-system": {}}


def project(name: str = "default", **spec: Any) -> Object:
    given = {"prometheus": {"url": "http://prometheus:9090"}, "namespaces": {"exclude": ["kube-system"]}}
    return {"kind": "Project", "metadata": {"name": name}, "spec": given | spec}


def slo(name: str, namespace: str = "shop", indicator: Object | None = None, **spec: Any) -> Object:
    given = {"objective": "99.5", "indicator": indicator or {"latency": {"threshold": "250ms"}}}
    if "selector" not in spec:
        given["targetRef"] = {"kind": "Deployment", "name": "checkout"}
    return {"kind": "SLO", "metadata": {"name": name, "namespace": namespace}, "spec": given | spec}


def override(name: str, namespace: str = "shop", **spec: Any) -> Object:
    given = {"inspections": [{"id": "CPUContainer", "threshold": "95"}], "reason": "on purpose"}
    return {"kind": "InspectionOverride", "metadata": {"name": name, "namespace": namespace}, "spec": given | spec}


ACCEPTED = {"Ready": ("True", "Accepted", ""), "Accepted": ("True", "Valid", "")}
PROMQL = {"promql": {"bad": "sum(rate(x[1m]))", "total": "sum(rate(y[1m]))"}}

ANSWERS: tuple[Answer, ...] = (
    Answer(
        "a target that does not exist yet",
        (project(), slo("early", targetRef={"kind": "Deployment", "name": "not-there"})),
        ACCEPTED | {"TargetResolved": ("False", "NotFound", "no application with Deployment/not-there in namespace shop yet")},
    ),
    Answer(
        "a target of another API group",
        (project(), slo("other-group", targetRef={"apiVersion": "argoproj.io/v1alpha1", "kind": "Deployment", "name": "checkout"})),
        {"TargetResolved": ("False", "NotFound", "Deployment/checkout")},
    ),
    Answer(
        "a selector that matches two applications",
        (project(), slo("both", selector={"matchLabels": {"team": "a"}})),
        ACCEPTED | {"TargetResolved": ("False", "Ambiguous", "matches 2 applications (cart.deployment, checkout.deployment)")},
    ),
    Answer(
        "a namespace that no Project judges",
        (project(), slo("dns", namespace="kube-system", targetRef={"kind": "Deployment", "name": "coredns"})),
        ACCEPTED | {"TargetResolved": ("False", "NamespaceNotWatched", "(projects.appstatus.dev) judges namespace kube-system")},
    ),
    Answer(
        "a tier that no failure can reach",
        (project(), slo("lenient", objective="90")),
        ACCEPTED | {"TiersReachable": ("False", "TierDropped", "tier fast is not evaluated: it would fire at 14.4 x 10% = 144%")},
    ),
    Answer(
        "a window too short for every tier",
        (project(), slo("hour", window="1h")),
        ACCEPTED | {"TiersReachable": ("False", "NoTierLeft", "only the outage check can open an incident")},
    ),
    Answer(
        "a tier longer than the window",
        (project(), slo("long", window="1d", alerting={"tiers": [{"name": "week", "short": "1h", "long": "7d", "budget": "10"}]})),
        {"TiersReachable": ("False", "NoTierLeft", "longer than the SLO's window of 1d")},
    ),
    Answer(
        "PromQL in a namespace that may not use it",
        (project(), slo("free", indicator=PROMQL)),
        {
            "Accepted": ("False", "PromQLNotAllowed", "spec.promql.namespaces of projects.appstatus.dev default"),
            "Ready": ("False", "NotAccepted", "namespace shop"),
            "Stalled": ("True", "PromQLNotAllowed", ""),
        },
    ),
    Answer(
        "PromQL in a namespace that may use it",
        (project(promql={"namespaces": ["sh*"]}), slo("allowed", indicator=PROMQL)),
        ACCEPTED | {"TargetResolved": ("True", "Found", "Deployment/checkout")},
    ),
    Answer(
        "an expired override",
        (project(), override("old", expiresAt=PAST)),
        ACCEPTED | {"Active": ("False", "Expired", "expired at 2027-01-01T00:00:00Z")},
    ),
    Answer(
        "an override in force",
        (project(), override("current", expiresAt=FUTURE)),
        ACCEPTED | {"Active": ("True", "InForce", "until 2027-02-01"), "TargetResolved": ("True", "Found", "3 applications")},
    ),
    Answer(
        "an override without a target",
        (project(), override("nobody", selector={"matchLabels": {"app": "nobody"}})),
        ACCEPTED | {"TargetResolved": ("False", "NotFound", "selector app=nobody"), "Active": ("False", "NoTarget", "")},
    ),
    Answer(
        "two overrides that contradict",
        (project(), override("a-first"), override("b-second", inspections=[{"id": "CPUContainer", "disabled": True}])),
        {
            "Accepted": ("False", "Contradiction", "is off here but 95 in the older InspectionOverride a-first"),
            "Active": ("False", "NotAccepted", ""),
        },
    ),
    Answer(
        "a special case of another override",
        (project(), override("all"), override("z-one", targetRef={"kind": "Deployment", "name": "cart"}, inspections=[
            {"id": "CPUContainer", "threshold": "50"}])),
        ACCEPTED | {"Active": ("True", "InForce", "without end")},
    ),
    Answer(
        "a check that the Project has locked",
        (project(defaults={"inspections": [{"id": "CPUContainer", "locked": True}]}), override("loose")),
        {"Accepted": ("False", "Locked", "projects.appstatus.dev default locks CPUContainer"), "Stalled": ("True", "Locked", "")},
    ),
    Answer(
        "an override where no Project looks",
        (project(), override("aside", namespace="kube-system")),
        ACCEPTED | {"Active": ("False", "NamespaceNotWatched", "kube-system")},
    ),
    Answer(
        "a second Project for the same namespaces",
        (project("a-first"), project("b-second")),
        {
            "Accepted": ("False", "NamespaceConflict", "shop (by a-first)"),
            "Ready": ("False", "NotAccepted", ""),
            "NamespacesClaimed": ("False", "ClaimedByOtherProject", "exclude them in one of the two"),
        },
    ),
    Answer(
        "a Project that overlaps in part",
        (project("a-first", namespaces={"include": ["shop"]}), project("b-second", namespaces={})),
        ACCEPTED | {"NamespacesClaimed": ("False", "ClaimedByOtherProject", "shop (by a-first)")},
    ),
    Answer(
        "a header that appstatus sets itself, in another spelling",
        (project(prometheus={"url": "http://prometheus:9090", "headers": {"authorization": "x"}}),),
        {"Accepted": ("False", "Invalid", "spec.prometheus.headers.authorization is set by appstatus itself")},
    ),
)  # fmt: skip
