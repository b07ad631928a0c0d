"""Objects from files never saw admission: whatever they hold is answered with a field and a sentence, never with an exception."""

import pytest
from appstatus.api.objective import Outage
from appstatus.api.override import parse_override
from appstatus.api.project import parse_project
from appstatus.api.slo import parse_slo
from hypothesis import given
from hypothesis import strategies as st

SLO_SPEC = {
    "targetRef": {"kind": "Deployment", "name": "checkout"},
    "objective": "99.5",
    "indicator": {"latency": {"threshold": "250ms"}},
}

OUTAGE_TIER = {"name": "outage", "short": "5m", "long": "1h", "budget": "2"}


def slo(**spec):
    return parse_slo({"metadata": {"name": "x", "namespace": "shop"}, "spec": SLO_SPEC | spec})


def test_a_minimal_slo_has_the_documented_defaults() -> None:
    parsed = slo()
    assert parsed.problems == ()
    assert (parsed.indicator, parsed.ratio, parsed.threshold, parsed.window) == ("latency", 0.995, 0.25, 30 * 86400)
    assert (parsed.min_bad_events, parsed.events, parsed.outage) == (10, "All", Outage(0.5, 60.0, 2))
    assert [t.name for t in parsed.tiers] == ["fast", "medium", "slow", "long"]


def test_availability_may_be_an_empty_object() -> None:
    parsed = slo(indicator={"availability": {}})
    assert (parsed.indicator, parsed.bad_statuses, parsed.problems) == ("availability", {"5xx", "failed"}, ())


def test_custom_tiers_replace_the_usual_ones() -> None:
    alerting = {"tiers": [{"name": "quick", "short": "1m", "long": "10m", "budget": "1.5", "severity": "Ticket"}]}
    (tier,) = slo(alerting=alerting).tiers
    assert (tier.name, tier.short, tier.long, tier.budget, tier.severity) == ("quick", 60.0, 600.0, 0.015, "ticket")


def test_the_outage_check_can_be_turned_off() -> None:
    assert slo(alerting={"outage": {"enabled": False}}).outage is None


@pytest.mark.parametrize(
    ("spec", "field", "part"),
    [
        ({"objective": 99.5}, "spec.objective", "must be text, found 99.5; write it in quotes"),
        ({"objective": "100"}, "spec.objective", '"100" is not a percentage'),
        ({"window": "1month"}, "spec.window", '"1month" is not a time'),
        ({"window": "1m"}, "spec.window", "must be from"),
        ({"indicator": {}}, "spec.indicator", "has none of availability, latency, promql"),
        ({"indicator": {"latency": {}}}, "spec.indicator.latency.threshold", "is missing"),
        ({"indicator": {"promql": {"total": "x"}}}, "spec.indicator.promql", "exactly one of good and bad"),
        ({"targetRef": None}, "spec", "neither targetRef nor selector"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "spec", "both targetRef and selector"),
        ({"alerting": {"events": "Some"}}, "spec.alerting.events", "allowed are All, Page, None"),
        ({"alerting": {"tiers": [{"short": "5m"}]}}, "spec.alerting.tiers[0].budget", "percentage"),
        ({"alerting": {"labels": {"team": 7}}}, "spec.alerting.labels.team", "write it in quotes"),
        ({"alerting": {"labels": {"team": "a & b"}}}, "spec.alerting.labels", '"team: a & b", which no Kubernetes label'),
        (
            {"alerting": {"tiers": [{"name": "outage", "short": "5m", "long": "1h", "budget": "2"}]}},
            "spec.alerting.tiers[0].name",
            "has already",
        ),
        ({"alerting": "loud"}, "spec.alerting", "must be an object, found 'loud'"),
    ],
)
def test_a_mistake_is_answered_with_field_and_sentence(spec, field, part) -> None:
    found = {problem.field: problem.message for problem in slo(**spec).problems}
    assert part in found[field]


def test_an_override_without_effect_is_a_mistake() -> None:
    parsed = parse_override({"metadata": {"name": "x"}, "spec": {"reason": "because", "inspections": [{"id": "CPUNode"}]}})
    assert any("changes nothing" in p.message for p in parsed.problems)


def test_a_time_needs_its_zone() -> None:
    spec = {"reason": "x", "inspections": [{"id": "CPUNode", "disabled": True}], "expiresAt": "2027-01-01T00:00:00"}
    (problem,) = parse_override({"metadata": {}, "spec": spec}).problems
    assert problem.field == "spec.expiresAt" and "has no time zone" in problem.message


def test_what_an_override_changes_is_said_in_few_words() -> None:
    spec = {
        "reason": "x",
        "inspections": [{"id": "CPUContainer", "threshold": "95"}, {"id": "NetworkRTT", "disabled": True}],
        "exclude": {"peers": ["legacy:*", "old:*"], "nodes": ["n1"]},
    }
    parsed = parse_override({"metadata": {}, "spec": spec})
    assert parsed.problems == ()
    assert parsed.changes == "CPUContainer=95,NetworkRTT=off,without 1 node,without 2 peers"


def test_a_project_needs_only_the_address_of_prometheus() -> None:
    project = parse_project({"metadata": {"name": "default"}, "spec": {"prometheus": {"url": "http://p:9090/"}}})
    assert project.problems == ()
    assert (project.prometheus.url, project.prometheus.step) == ("http://p:9090", 15.0)
    assert (project.availability.ratio, project.availability.events) == (0.99, "Page")
    assert (project.latency.ratio, project.latency.threshold, project.latency.events) == (0.99, 0.5, "None")
    assert project.node_agent.enabled and project.node_agent.max_unavailable == "10%"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    "targetRef", "selector", "objective", "window", "indicator", "alerting", "inspections", "exclude", "reason", "expiresAt",
    "namespaces", "prometheus", "defaults", "categories", "customApplications", "promql", "incidents", "nodeAgent",
]  # fmt: skip


@pytest.mark.parametrize("parse", [parse_slo, parse_override, parse_project])
@given(spec=st.dictionaries(st.sampled_from(KEYS), json_values) | json_values)
def test_nothing_a_user_writes_raises(parse, spec) -> None:
    parsed = parse({"metadata": {"name": "x", "namespace": "y"}, "spec": spec})
    assert parsed.problems, "random input lacks what is required"
