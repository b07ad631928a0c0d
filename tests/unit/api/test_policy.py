"""What holds for an application."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from appstatus.api.names import EXTERNAL, AppKey, ObjectRef
from appstatus.api.override import parse_override
from appstatus.api.policy import AppPolicy, resolve
from appstatus.api.project import parse_project
from appstatus.api.scope import Scope
from appstatus.api.slo import parse_slo

NOW = 1_800_000_000.0
CART = AppKey("shop", "Deployment", "cart")


@dataclass
class Workload:
    key: AppKey
    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ref: ObjectRef | None = None
    created: float | None = None


def project(name: str = "default", created: str = "2026-01-01T00:00:00Z", **spec: Any):
    metadata = {"name": name, "creationTimestamp": created}
    return parse_project({"metadata": metadata, "spec": {"prometheus": {"url": "http://p"}} | spec})


def slo(name: str, **spec: Any):
    given = {"targetRef": {"kind": "Deployment", "name": "cart"}, "objective": "99.9", "indicator": {"availability": {}}}
    return parse_slo({"metadata": {"name": name, "namespace": "shop"}, "spec": given | spec})


def override(name: str, created: str = "2026-01-01T00:00:00Z", **spec: Any):
    metadata = {"name": name, "namespace": "shop", "creationTimestamp": created}
    return parse_override({"metadata": metadata, "spec": {"reason": "x"} | spec})


def judged(
    workload: Workload | None = None, projects=None, slos=(), overrides=(), namespaces=("shop", "kube-system"), now=NOW
) -> AppPolicy:
    workload = workload or Workload(CART)
    scope = Scope(projects if projects is not None else [project()], {name: {} for name in namespaces})
    return resolve(scope, slos, overrides, [workload], now).apps[workload.key]


def by_id(policy: AppPolicy):
    return {o.id: o for o in policy.objectives}


def check(id: str, threshold: str | None = None, disabled: bool = False):
    return {"id": id} | ({"threshold": threshold} if threshold else {}) | ({"disabled": True} if disabled else {})


def test_without_configuration_availability_alerts_and_latency_only_shows() -> None:
    found = by_id(judged())
    assert set(found) == {"availability", "latency"}
    availability, latency = found["availability"], found["latency"]
    assert (availability.ratio, availability.post, availability.outage is not None) == (0.99, True, True)
    assert {t.severity for t in availability.tiers} == {"page"}, "outage and fast burn only"
    assert (latency.ratio, latency.threshold, latency.post) == (0.99, 0.5, False)
    assert availability.source is None


@pytest.mark.parametrize(
    ("key", "category"),
    [
        (AppKey("shop", "StatefulSet", "postgres"), "database"),
        (AppKey("shop", "Deployment", "session-redis-master"), "database"),
        (AppKey("kube-system", "Deployment", "coredns"), "infrastructure"),
        (AppKey("shop", "CronJob", "report"), "batch"),
    ],
)
def test_databases_infrastructure_and_batch_have_no_default_latency(key: AppKey, category: str) -> None:
    policy = judged(Workload(key))
    assert policy.category == category
    assert set(by_id(policy)) == {"availability"}


def test_a_project_names_categories_before_the_built_in_ones() -> None:
    projects = [project(categories=[{"name": "front", "applications": ["shop/postgres*"]}])]
    policy = judged(Workload(AppKey("shop", "StatefulSet", "postgres")), projects)
    assert policy.category == "front" and "latency" in by_id(policy)


def test_an_slo_replaces_the_default_of_its_indicator_only() -> None:
    found = by_id(judged(slos=[slo("strict")]))
    assert set(found) == {"strict", "latency"}
    assert (found["strict"].ratio, found["strict"].post, len(found["strict"].tiers)) == (0.999, True, 4)
    assert found["strict"].source is not None and found["strict"].source.name == "strict"


def test_an_application_may_have_several_latency_slos() -> None:
    slos = [slo(n, indicator={"latency": {"threshold": t}}) for n, t in (("quick", "100ms"), ("bearable", "1s"))]
    assert set(by_id(judged(slos=slos))) == {"quick", "bearable", "availability"}


def test_an_slo_that_only_shows_keeps_all_tiers() -> None:
    found = by_id(judged(slos=[slo("quiet", alerting={"events": "None"})]))["quiet"]
    assert not found.post and len(found.tiers) == 4


def test_a_wrong_slo_leaves_the_default_in_place() -> None:
    assert set(by_id(judged(slos=[slo("broken", objective="many")]))) == {"availability", "latency"}


def test_annotations_change_the_defaults() -> None:
    workload = Workload(
        CART,
        {
            "appstatus.dev/slo-availability-objective": "99.9",
            "appstatus.dev/slo-latency-objective": "95",
            "appstatus.dev/slo-latency-threshold": "1s",
            "appstatus.dev/category": "database",
            "unrelated": "x",
        },
    )
    policy = judged(workload)
    found = by_id(policy)
    assert found["availability"].ratio == 0.999
    assert (found["latency"].ratio, found["latency"].threshold) == (0.95, 1.0)
    assert found["latency"].post, "who writes a latency SLO wants to hear of it"
    assert (policy.category, policy.problems) == ("database", ())


def test_an_slo_wins_over_an_annotation() -> None:
    workload = Workload(CART, {"appstatus.dev/slo-availability-objective": "95"})
    assert set(by_id(judged(workload, slos=[slo("strict")]))) == {"strict", "latency"}


def test_an_annotation_can_turn_an_slo_off() -> None:
    workload = Workload(CART, {"appstatus.dev/slo-availability-objective": "off"})
    assert set(by_id(judged(workload))) == {"latency"}


@pytest.mark.parametrize(
    ("annotation", "value", "part"),
    [
        ("appstatus.dev/slo-availability-objective", "99,9", '"99,9" is not a decimal number'),
        ("appstatus.dev/slo-latency-threshold", "quick", '"quick" is not a time'),
        ("appstatus.dev/slo-latency-threshold", "1h", "from 1ms to 30s"),
        ("appstatus.dev/slo-availabilty-objective", "99", "is unknown; known are appstatus.dev/category"),
    ],
)
def test_an_annotation_that_cannot_be_understood_changes_nothing_and_is_told(annotation, value, part) -> None:
    policy = judged(Workload(CART, {annotation: value}))
    (problem,) = policy.problems
    assert problem.field == annotation and part in problem.message
    assert by_id(policy)["availability"].ratio == 0.99 and by_id(policy)["latency"].threshold == 0.5


NAME = "appstatus.dev/name"
CHECKOUT = AppKey("shop", "Deployment", "checkout")
CANARY = AppKey("shop", "Deployment", "checkout-canary")


def named(*workloads: Workload) -> dict[AppKey, tuple[str, list[str]]]:
    """What each is called, and what its owner is told."""
    found = resolve(Scope([project()], {"shop": {}, "other": {}}), [], [], workloads, NOW).apps
    return {key: (app.called, [str(problem) for problem in app.problems]) for key, app in found.items()}


def test_an_annotation_gives_an_application_a_display_name() -> None:
    assert named(Workload(CART, {NAME: "Basket"}), Workload(CHECKOUT)) == {CART: ("Basket", []), CHECKOUT: ("", [])}


def test_two_that_want_the_same_name_stay_two_and_the_older_has_it() -> None:
    for created in ((NOW - 10, NOW), (NOW - 10, None)):
        older, newer = (Workload(key, {NAME: "pay"}, created=at) for key, at in zip((CHECKOUT, CANARY), created, strict=True))
        expected = 'appstatus.dev/name is "pay", as the older Deployment/checkout is called already'
        for order in ((older, newer), (newer, older)):
            found = named(*order)
            assert (found[CHECKOUT], found[CANARY][0]) == (("pay", []), "")
            assert found[CANARY][1] == [f"{expected}; the workload's own name is shown"]


def test_nobody_is_called_as_another_workload_is_named() -> None:
    found = named(Workload(CANARY, {NAME: "checkout"}, created=1.0), Workload(CHECKOUT, created=NOW))
    assert found[CHECKOUT] == ("", []) and found[CANARY][0] == ""
    assert 'is "checkout", which is the name of Deployment/checkout' in found[CANARY][1][0]


def test_a_name_is_unique_in_its_namespace_only() -> None:
    other = AppKey("other", "Deployment", "checkout")
    assert named(Workload(CHECKOUT, {NAME: "pay"}), Workload(other, {NAME: "pay"})) == {CHECKOUT: ("pay", []), other: ("pay", [])}


def test_the_own_name_needs_no_telling() -> None:
    same = AppKey("shop", "StatefulSet", "cart")
    assert named(Workload(CART, {NAME: "cart"}), Workload(same, {NAME: "cart"})) == {CART: ("", []), same: ("", [])}


@pytest.mark.parametrize("wish", ["", "two words", "x" * 64, "-pay", "a\nb"])
def test_a_name_that_is_none_changes_nothing_and_is_told(wish: str) -> None:
    called, (problem,) = named(Workload(CART, {NAME: wish}))[CART]
    assert called == "" and "it must be 1 to 63 letters, digits" in problem


def test_external_services_and_excluded_namespaces_are_not_judged() -> None:
    scope = Scope([project(namespaces={"exclude": ["kube-*"]})], {"shop": {}, "kube-system": {}})
    workloads = [Workload(CART), Workload(AppKey("kube-system", "Deployment", "coredns")), Workload(AppKey("", EXTERNAL, "x:443"))]
    assert set(resolve(scope, [], [], workloads, NOW).apps) == {CART}


def test_namespaces_can_be_chosen_by_label() -> None:
    chosen = project(namespaces={"selector": {"matchLabels": {"team": "a"}}})
    scope = Scope([chosen], {"shop": {"team": "a"}, "other": {"team": "b"}})
    assert scope.projects["default"].namespaces == {"shop"}


def test_the_oldest_project_has_a_namespace_and_the_agents() -> None:
    young, old = project("a", created="2026-02-01T00:00:00Z"), project("b", created="2026-01-01T00:00:00Z")
    scope = Scope([young, old], {"shop": {}})
    assert scope.project_of("shop") is old
    assert (scope.projects["b"].owns_agent, scope.projects["a"].owns_agent) == (True, False)
    assert not scope.projects["a"].accepted and scope.projects["a"].agent_owner == "b"


def test_a_wrong_project_claims_nothing() -> None:
    wrong = project("old", created="2025-01-01T00:00:00Z", prometheus={"url": "ftp://p"})
    scope = Scope([wrong, project()], {"shop": {}})
    assert scope.projects["default"].namespaces == {"shop"}
    assert [c.reason for c in scope.projects["old"].conditions if c.type == "Accepted"] == ["Invalid"]


def test_custom_applications_go_by_pod_name() -> None:
    scope = Scope(
        [project(customApplications=[{"name": "kafka", "namespace": "shop", "instances": ["broker-*"]}])], {"shop": {}, "other": {}}
    )
    assert scope.custom_application("shop", "broker-0") == "kafka"
    assert scope.custom_application("other", "broker-0") is None


def test_settings_go_from_project_to_namespace_to_application() -> None:
    policy = judged(
        projects=[project(defaults={"inspections": [check("CPUNode", "70"), check("NetworkRTT", disabled=True)]})],
        overrides=[
            override("z-one", targetRef={"kind": "Deployment", "name": "cart"}, inspections=[check("CPUNode", "99")]),
            override("a-all", inspections=[check("CPUNode", "80"), check("NetworkRTT", "50")]),
        ],
    )
    checks = policy.settings.checks
    assert (checks["CPUNode"].threshold, checks["CPUNode"].by) == (99, "shop/z-one")
    assert (checks["NetworkRTT"].disabled, checks["NetworkRTT"].threshold) == (False, 50)


def test_of_two_that_contradict_the_older_holds() -> None:
    newer = override("a", created="2026-02-01T00:00:00Z", inspections=[check("CPUNode", "90")])
    older = override("b", created="2026-01-01T00:00:00Z", inspections=[check("CPUNode", "95")])
    assert judged(overrides=[newer, older]).settings.checks["CPUNode"] == (95, False, "shop/b")


def test_two_that_agree_do_not_contradict() -> None:
    both = [override(n, inspections=[check("CPUNode", "90")]) for n in ("a", "b")]
    scope = Scope([project()], {"shop": {}})
    verdicts = resolve(scope, [], both, [Workload(CART)], NOW).overrides
    assert all(v.apps == (CART,) for v in verdicts.values())


def test_an_override_ends_at_its_second() -> None:
    ends = override("x", inspections=[check("CPUNode", "95")], expiresAt="2027-01-15T08:00:00Z")
    assert "CPUNode" in judged(overrides=[ends], now=NOW - 1).settings.checks
    assert "CPUNode" not in judged(overrides=[ends], now=NOW).settings.checks


def test_an_expired_override_does_not_contradict() -> None:
    old = override("a", inspections=[check("CPUNode", "95")], expiresAt="2026-12-01T00:00:00Z")
    new = override("b", inspections=[check("CPUNode", "90")])
    assert judged(overrides=[old, new]).settings.checks["CPUNode"].threshold == 90


def test_exclusions_add_up() -> None:
    settings = judged(
        overrides=[
            override("a", exclude={"peers": ["legacy:*"]}),
            override("b", exclude={"peers": ["shop/redis.*"], "nodes": ["n1"]}),
        ]
    ).settings
    by = settings.excludes_peer(AppKey("shop", "StatefulSet", "redis"))
    assert by is not None and by.by == "shop/b"
    assert settings.excludes_peer(AppKey("", EXTERNAL, "legacy:8080")) is not None
    assert settings.excludes_peer(AppKey("", EXTERNAL, "new:8080")) is None
    assert settings.excludes_node("n1") is not None and settings.excludes_node("n2") is None
