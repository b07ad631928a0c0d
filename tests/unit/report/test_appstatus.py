"""AppStatus.status and SLO.status: what `kubectl get` shows, and when it changes."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from appstatus.api.conditions import Condition, accepted
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.slo import parse_slo
from appstatus.diagnosis.result import Evidence
from appstatus.incidents.incident import Participation, marked
from appstatus.report.appstatus import Findings, appstatus, health
from appstatus.report.incident import incident, read_incident, read_latest, with_history
from appstatus.report.objectives import slo_status
from cases import CART, CHECKOUT, DAY, NOW, POSTGRES, application, checks, diagnosis, met, objective, opener, status
from crd import problems, status_schema

OTHERS = {POSTGRES: "Warning"}


def findings(**changes) -> Findings:
    values = {
        "application": application(),
        "project": "default",
        "category": "application",
        "checks": checks(DependencyLatency="fail"),
        "statuses": [status(), met()],
        "participation": opener(),
        "affected": [CART],
    }
    return Findings(**(values | changes))


def made(found: Findings, previous=None, now: float = NOW):
    document = appstatus(found, OTHERS, 15.0, previous or {}, 1, now)
    assert problems(document, status_schema("appstatuses")) == []
    return document


def condition(document, kind: str) -> tuple[str, str, str]:
    found = next(each for each in document["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]


def test_the_columns_of_a_violated_application():
    document = made(findings())
    shown = [document[name] for name in ("health", "sloSummary", "budget", "cause")]
    assert shown == ["Violated", "1/2", "42%", "postgres.statefulset: CPU throttled by its own limit"]


def test_the_columns_of_a_healthy_one():
    document = made(findings(checks=checks(SLOLatency="pass"), statuses=[met()], participation=None, affected=()))
    assert [document[name] for name in ("health", "sloSummary", "budget", "cause")] == ["Healthy", "1/1", "99%", ""]
    assert condition(document, "Healthy") == ("True", "AllGood", "no check fails")


def test_the_columns_of_one_that_has_no_slo_but_a_failing_check():
    document = made(findings(checks=checks(SLOLatency="skip", CPUThrottling="fail"), statuses=[], participation=None, affected=()))
    assert [document[name] for name in ("health", "sloSummary", "budget", "cause")] == ["Warning", "-", "-", "CPUThrottling"]
    assert condition(document, "CPUHealthy") == ("False", "CPUThrottling", "CPU throttling fails on checkout-7d4f-x2x1p")
    assert "SLOsMet" not in {each["type"] for each in document["conditions"]}


def test_health():
    passing, failing = checks(SLOLatency="pass"), checks(SLOLatency="pass", CPUThrottling="fail")
    unknown = [replace(check, outcome="unknown") for check in passing]
    assert health(application(), [status()], failing) == "Violated"
    assert health(application(), [status(), status("NoData")], failing, "Prometheus does not answer") == "Violated"
    assert health(application(), [status("NoData")], failing) == "Unknown"
    assert health(application(), [met()], passing, "Prometheus does not answer") == "Unknown"
    assert health(application(), [], unknown) == "Unknown"
    assert health(application(), [met()], failing) == "Warning"
    assert health(application(), [status("Exhausted")], passing) == "Warning"
    assert health(application(), [status("Pending")], passing) == "Healthy"


def test_nobody_calls_an_application_healthy_of_which_no_instance_is_available():
    passing = checks(SLOLatency="pass")
    down = replace(application(), available=0)
    assert health(down, [status("Pending")], passing) == "Unknown"
    assert health(replace(down, desired=0), [], passing) == "Healthy", "scaled to zero on purpose"
    document = made(findings(application=down, checks=passing, statuses=[status("Pending")], participation=None))
    assert condition(document, "Healthy") == ("Unknown", "NotAvailable", "no instance is available")


def test_a_budget_with_data_for_a_part_of_the_window_shows_the_part():
    found = findings(statuses=[met(covered=4.6 * DAY)])
    assert made(found)["budget"] == "99% (4d)"
    assert made(findings(statuses=[met(covered=600.0)]))["budget"] == "99% (<1h)"


def test_a_display_name_is_shown_beside_the_identity():
    assert made(findings(called="payments"))["application"] | {"uid": ""} == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "displayName": "payments", "uid": "",
    }  # fmt: skip
    assert "displayName" not in made(findings())["application"]


def test_missing_data_is_told():
    document = made(findings(statuses=[], missing="Prometheus does not answer: time-out", participation=None))
    assert document["health"] == "Unknown"
    assert condition(document, "DataAvailable") == ("False", "NoData", "Prometheus does not answer: time-out")


def young(*ids: str):
    """All checks pass but these, for which too little has been measured."""
    return [
        replace(c, outcome="unknown", waiting=True, evidence="5 of 20 min") if c.id in ids else c for c in checks(SLOLatency="pass")
    ]


def test_a_young_application_alarms_nobody_and_says_what_is_waited_for():
    statuses = [status("Pending", reason="its first instance is younger than 2 min"), met()]
    document = made(findings(checks=young("MemoryLeakPercent", "NetworkRTT"), statuses=statuses, participation=None))
    assert condition(document, "DataAvailable") == (
        "True",
        "Gathering",
        "nothing is missing, but there is too little yet for SLO checkout-latency (its first instance is younger than 2 min), "
        "MemoryLeakPercent (5 of 20 min), NetworkRTT (5 of 20 min)",
    )
    assert condition(document, "MemoryHealthy") == (
        "True", "ChecksPass", "checks pass: MemoryOOM, MemoryContainer; too little measured yet for MemoryLeakPercent",
    )  # fmt: skip
    assert document["inspections"]["unknown"] == ["MemoryLeakPercent", "NetworkRTT"]


def test_an_area_of_which_nothing_is_known_yet_is_unknown_not_without_data():
    document = made(findings(checks=young("CPUContainer", "CPUNode", "CPUThrottling", "CPUDelay"), statuses=[], participation=None))
    assert condition(document, "CPUHealthy")[:2] == ("Unknown", "Gathering")
    every = [replace(c, outcome="unknown", waiting=True) for c in checks()]
    document = made(findings(checks=every, statuses=[], participation=None))
    assert condition(document, "DataAvailable")[:2] == ("Unknown", "Gathering") and document["health"] == "Unknown"


def test_missing_data_outweigh_what_is_waited_for():
    found = [replace(c, outcome="unknown") if c.id == "CPUNode" else c for c in young("MemoryLeakPercent")]
    document = made(findings(checks=found, statuses=[status("NoData", reason="no fresh data")], participation=None))
    assert condition(document, "DataAvailable") == (
        "False", "Incomplete", "SLO checkout-latency: no fresh data; checks without data: CPUNode",
    )  # fmt: skip
    assert condition(document, "CPUHealthy")[:2] == ("Unknown", "NoData")


def test_an_slo_that_nobody_calls_lacks_no_data():
    idle = status("NoData", reason="no requests in the window", idle=True, sli=None, budget=None)
    document = made(findings(checks=checks(SLOLatency="unknown"), statuses=[idle], participation=None))
    assert condition(document, "DataAvailable")[:2] == ("True", "Gathering")
    assert (document["health"], document["sloSummary"]) == ("Healthy", "-"), "no traffic is no trouble"


def test_nothing_is_written_while_figures_move_a_little():
    """A whole cycle later: more requests, slightly other values, the same picture."""
    first = made(findings())
    later = findings(
        application=application(rate=54.0),
        checks=[replace(c, value=c.value * 1.1, evidence="a bit more") if c.value else c for c in findings().checks],
        statuses=[
            status(short_burn=28.3, good=4_361_900.0, total=4_374_450.0, sli=0.997138, budget=0.4242),
            met(sli=0.99990, covered=30 * DAY - 20),
        ],
    )
    assert made(later, first, NOW + 15) == first


def test_since_and_transition_times_tell_when_the_picture_changed():
    first = made(findings())
    again = made(findings(), first, NOW + 600)
    assert again["since"] == first["since"] == "2026-11-21T10:45:00Z"
    healthy = made(findings(checks=checks(SLOLatency="pass"), statuses=[met()], participation=None), again, NOW + 1200)
    assert healthy["since"] == "2026-11-21T11:05:00Z"
    flipped = {each["type"]: each["lastTransitionTime"] for each in healthy["conditions"]}
    assert flipped["SLOsMet"] == "2026-11-21T11:05:00Z" and flipped["CPUHealthy"] == "2026-11-21T10:45:00Z"


def test_the_state_of_an_incident_survives_its_text():
    for part in (
        opener(),
        marked(opener(), "SLOFastBurn"),
        opener(due=("SLORecovered",), posted=("SLOSlowBurn", "SLOFastBurn"), closed=NOW, closing_reason="Recovered"),
        opener(app=CART, opener=False, due=("SLOAffected",), diagnosis=None),
        opener(due=(), diagnosis=diagnosis(dominant=False)),
    ):
        document = json.loads(json.dumps(incident(part, [CART])))
        assert read_incident(document, part.app) == replace(part, opening=read_incident(document, part.app).opening)
        assert problems(document, status_schema("appstatuses")["properties"]["incident"]) == []


def test_times_in_evidence_keep_their_seconds():
    found = diagnosis()
    cause = replace(found.causes[0], evidence=(Evidence("rollout", "checkout", None, NOW - 61, "time"),))
    part = opener(diagnosis=replace(found, causes=(cause,)))
    assert read_incident(incident(part), CHECKOUT).diagnosis.causes[0].evidence[0].during == NOW - 61


def test_how_a_cause_hurts_and_thin_evidence_survive_a_change_of_leader():
    found = diagnosis(dominant=False)
    found = replace(found, causes=(replace(found.causes[0], mode="failures"),), thin="only 4 bad requests so far")
    document = incident(opener(diagnosis=found))
    assert problems(document, status_schema("appstatuses")["properties"]["incident"]) == []
    read = read_incident(document, CHECKOUT).diagnosis
    assert (read.causes[0].mode, read.thin) == ("failures", "only 4 bad requests so far")


def test_a_closed_incident_moves_into_a_bounded_history():
    done = opener(due=(), posted=("SLOFastBurn", "SLORecovered"), closed=NOW, closing_reason="Recovered")
    before = [{"id": f"{n:06x}", "opened": "2026-11-01T00:00:00Z", "closed": "2026-11-01T01:00:00Z"} for n in range(10)]
    document = made(findings(participation=done, statuses=[met()]), {"history": before})
    assert "incident" not in document
    assert [each["id"] for each in document["history"]] == ["9f2c41", *(each["id"] for each in before[:9])]
    assert document["history"][0] == {
        "id": "9f2c41",
        "role": "Opener",
        "opener": "shop/checkout.deployment",
        "opened": "2026-11-21T10:44:45Z",
        "closed": "2026-11-21T10:45:00Z",
        "closingReason": "Recovered",
        "slos": ["checkout-latency"],
        "cause": "postgres.statefulset: CPU throttled by its own limit",
    }
    assert with_history(document["history"], done) == document["history"], "only once"
    latest = read_latest(document["history"], CHECKOUT)
    assert (latest.closed, latest.opener_app, latest.done) == (NOW, CHECKOUT, True)


def huge() -> Findings:
    """More of everything than the schema allows for."""
    found = diagnosis()
    evidence = tuple(Evidence("throttled", f"checkout-7d4f-{n} " * 20, 0.0, 1.0, "s/s") for n in range(8))
    causes = tuple(replace(found.causes[0], evidence=evidence) for _ in range(3))
    part = opener(diagnosis=replace(found, causes=causes, dismissed=tuple("not it: " + "d" * 200 for _ in range(16))))
    failing = [
        replace(check, outcome="fail", value=0.5, instances=tuple(f"checkout-7d4f-{n:05}" for n in range(40)), evidence="e" * 600)
        for check in checks()
    ]
    return findings(
        application=application(upstreams=80),
        checks=failing,
        statuses=[status(objective=objective(id=f"slo-{n}")) for n in range(20)],
        participation=part,
        affected=[AppKey("shop", "Deployment", f"another-application-{n}") for n in range(80)],
    )


def test_it_stays_under_8_kib_and_says_what_was_left_out():
    document = made(huge())
    assert len(json.dumps(document, separators=(",", ":"))) <= 5000, "of 8 KiB, the rest is for metadata"
    message = condition(document, "Healthy")[2]
    assert "left out for size: " in message and "dependencies" in message
    assert document["incident"]["diagnosis"]["causes"][0]["class"] == "cpu-throttled"
    assert len(document["inspections"]["failing"]) == len(checks()), "every failing check is named"


def test_dependencies_show_the_sick_ones_first():
    app = application(upstreams=3)
    document = made(findings(application=app))
    first = document["dependencies"][0]
    assert first == {
        "namespace": "shop",
        "kind": "StatefulSet",
        "name": "postgres",
        "health": "Warning",
        "requests": "50/s",
        "errors": "0.99%",
        "latency": "310ms",
    }


def test_an_application_without_a_known_instance_count():
    app = application()
    app.desired = app.available = None
    assert made(findings(application=app))["instances"] == {}


# -- SLO.status -------------------------------------------------------------------------------------------------------------------


def written(**spec):
    """The SLO as its owner wrote it."""
    given = {"targetRef": {"kind": "Deployment", "name": "checkout"}, "objective": "99.5"}
    indicator = {"indicator": {"latency": {"threshold": "260ms"}}}
    return parse_slo({"metadata": {"namespace": "shop", "name": "slow", "generation": 3}, "spec": given | indicator | spec})


def slo(found, previous=None, now: float = NOW):
    incident_id = "9f2c41" if found.violated else ""
    document = slo_status(written(), found, CHECKOUT, accepted(), previous or {}, now, incident_id)
    assert problems(document, status_schema("slos")) == []
    return document


def test_the_columns_of_an_slo():
    document = slo(status())
    shown = [document[name] for name in ("target", "indicator", "objective", "sli", "budget", "burn", "state", "incident")]
    assert shown == ["Deployment/checkout", "latency<250ms", "99.5%", "99.71%", "42%", "17", "FastBurn", "9f2c41"]
    assert document["tiers"][0] == {
        "name": "fast",
        "windows": "5m/1h",
        "factor": "14.4",
        "firing": True,
        "shortBurn": "28",
        "longBurn": "17",
    }


def test_an_outage_does_not_make_the_object_in_git_unready():
    document = slo(status("Outage"))
    assert condition(document, "Ready")[0] == "True"
    assert condition(document, "Violated")[:2] == ("True", "Outage")


def test_without_data_an_slo_is_unknown_never_met():
    document = slo(status("NoData", sli=None, budget=None, burn=None, tiers=(), reason="no fresh data", total=0.0, good=0.0))
    assert (document["sli"], document["budget"], document["burn"]) == ("-", "-", "-")
    assert condition(document, "ObjectiveMet") == ("Unknown", "NoData", "no fresh data")


def test_an_slo_without_a_target_yet_shows_what_its_owner_wrote():
    document = slo_status(written(), None, None, accepted(), {}, NOW)
    assert problems(document, status_schema("slos")) == []
    assert [document[name] for name in ("target", "indicator", "objective")] == ["Deployment/checkout", "latency<250ms", "99.5%"]
    assert set(document) == {"observedGeneration", "target", "indicator", "objective", "conditions"}


def test_an_slo_by_labels_shows_them_until_its_target_is_found():
    by_labels = written(targetRef=None, selector={"matchLabels": {"app": "checkout"}}, indicator={"availability": {}})
    document = slo_status(by_labels, None, None, accepted(), {}, NOW)
    assert (document["target"], document["indicator"]) == ("selector app=checkout", "availability")
    assert slo_status(by_labels, None, CHECKOUT, accepted(), {}, NOW)["target"] == "Deployment/checkout"


def test_nothing_is_made_up_for_an_slo_that_cannot_be_understood():
    document = slo_status(written(objective="many"), None, None, accepted(), {}, NOW)
    assert set(document) == {"observedGeneration", "conditions"}


def test_a_missed_objective_never_looks_met():
    assert slo(status(sli=0.994999))["sli"] == "99.49%"
    wanted = objective(ratio=0.9999)
    assert slo(status(sli=0.999899, objective=wanted))["sli"] == "99.989%"


def test_an_slo_status_changes_only_with_what_it_shows():
    first = slo(status())
    assert slo(status(total=4_374_100.0, good=4_361_500.0, short_burn=28.2), first, NOW + 15) == first


@pytest.mark.parametrize("part", [opener(), None])
def test_documents_do_not_share_parts_with_what_they_are_made_from(part: Participation | None):
    previous = {"history": [{"id": "a", "opened": "2026-11-01T00:00:00Z", "closed": "2026-11-01T01:00:00Z"}]}
    kept = copy.deepcopy(previous)
    made(replace(huge(), participation=part), previous)
    assert previous == kept


def test_promql_objectives_are_told_by_their_own_name():
    ref = ObjectRef("appstatus.dev/v1alpha1", "SLO", "shop", "orders", "u")
    wanted = objective(id="orders", indicator="promql", threshold=None, query_bad="x", query_total="y", source=ref)
    document = made(findings(statuses=[status("Exhausted", objective=wanted, threshold=None)], participation=None))
    assert document["slos"][0]["indicator"] == "promql" and "default" not in document["slos"][0]
    assert document["cause"].startswith("budget used up")


def test_latency_of_a_dependency_without_answers_is_left_out():
    app = application()
    app.upstreams[0].traffic.seconds = np.zeros(40)
    app.upstreams[0].traffic.timed = np.zeros(40)
    assert "latency" not in made(findings(application=app))["dependencies"][0]


@pytest.mark.parametrize(("kind", "state"), [("Accepted", "Rejected"), ("TargetResolved", "NoTarget")])
def test_the_state_of_an_slo_says_why_it_is_not_evaluated(kind, state):
    document = slo_status(written(), None, None, [*accepted(), Condition(kind, False, "Why", "because")], {}, NOW)
    assert document["state"] == state
    assert "state" not in slo_status(written(), None, None, accepted(), {}, NOW)
