"""The Event, word for word: this is what people read at night."""

import json
from dataclasses import replace

from appstatus.api.names import AppKey
from appstatus.diagnosis.result import Cause
from appstatus.incidents.incident import marked
from appstatus.report.corev1 import label_value
from appstatus.report.event import Context, event, event_name, message, still_open
from cases import CART, CHECKOUT, NOW, REF, checks, diagnosis, met, objective, opener, status
from hypothesis import given, settings
from hypothesis import strategies as st

CONTEXT = Context("default", checks(DependencyLatency="fail"), [status(), met()], others=[CART])
TAIL = (
    "slo:FAIL inst:ok cpu:ok mem:ok net:ok deps:FAIL deploy:ok fails: DependencyLatency id=9f2c41 "
    "kubectl get appstatus checkout.deployment -n shop -o yaml"
)


def told(part, reason, context=CONTEXT) -> str:
    return message(part, reason, context, NOW)


def test_opening():
    assert told(opener(), "SLOFastBurn") == (
        "14% of requests to checkout slower than 250ms for 5m (objective 99.5%, burning 28x). "
        "Cause: postgres CPU throttled by its own limit: 81% of the extra time is in checkout->postgres; "
        "postgres-0 throttled 0s/s->0.62s/s since 10:41 on node-3. "
        "Also affected: cart.deployment. " + TAIL
    )


def test_opening_of_an_outage():
    wanted = objective(id="availability", indicator="availability", ratio=0.99, threshold=None, source=None)
    down = status("Outage", 100.0, objective=wanted)
    down = replace(down, tiers=(replace(down.tiers[0], name="outage", short=60, long=60),))
    context = Context("default", checks(SLOLatency="pass", InstanceAvailability="fail"), [down])
    assert told(opener(slos=("availability",), diagnosis=None), "SLOFastBurn", context).startswith(
        "100% of requests to checkout failed for 1m (objective 99%, burning 100x). Cause: not found. slo:FAIL inst:FAIL "
    )


def test_an_application_is_called_as_its_annotation_says():
    context = replace(CONTEXT, called="payments")
    text = told(opener(), "SLOFastBurn", context)
    assert text.startswith("14% of requests to payments slower than 250ms for 5m")
    assert text.endswith("kubectl get appstatus checkout.deployment -n shop -o yaml"), "what kubectl takes stays"
    labels = event(opener(), "SLOFastBurn", context, NOW)["metadata"]["labels"]
    assert (labels["appstatus.dev/name"], labels["appstatus.dev/application"]) == ("payments", "checkout.deployment")
    part = opener(opened=NOW - 720, closed=NOW, closing_reason="Recovered")
    assert told(part, "SLORecovered", context).startswith("payments met checkout-latency for the last 5 min")


def test_no_dominant_cause_says_so():
    part = opener(diagnosis=diagnosis(dominant=False))
    assert "Cause: no dominant cause; best: postgres CPU throttled by its own limit (20%). Also" in told(part, "SLOFastBurn")


def test_escalation_says_that_it_got_worse():
    part = marked(opener(due=("SLOSlowBurn",)), "SLOSlowBurn")
    assert told(part, "SLOFastBurn").startswith("Burning faster now: 14% of requests to checkout slower than 250ms")


def test_affected_names_the_incident_and_the_cause():
    part = opener(app=CART, opener=False, diagnosis=None, due=("SLOAffected",), slos=("checkout-latency",))
    context = replace(CONTEXT, statuses=[status(objective=objective(app=CART))], opener_diagnosis=diagnosis(), others=())
    assert told(part, "SLOAffected", context).startswith(
        "14% of requests to cart slower than 250ms for 5m (objective 99.5%, burning 28x). "
        "Part of incident 9f2c41 of shop/checkout.deployment. Cause: postgres CPU throttled by its own limit: 81% of"
    )


def test_recovery():
    part = opener(opened=NOW - 720, closed=NOW, closing_reason="Recovered")
    context = Context("default", checks(SLOLatency="pass"), [status("Met"), met()], others=[CART])
    assert told(part, "SLORecovered", context) == (
        "checkout met checkout-latency for the last 5 min: incident 9f2c41 is over after 12m (10:33 to 10:45 UTC). "
        "Cause was: postgres.statefulset: CPU throttled by its own limit. Recovered with it: cart.deployment. "
        "slo:ok inst:ok cpu:ok mem:ok net:ok deps:ok deploy:ok id=9f2c41 "
        "kubectl get appstatus checkout.deployment -n shop -o yaml"
    )


def test_closing_of_a_deleted_workload_says_what_happens_to_the_others():
    part = opener(opened=NOW - 720, closed=NOW, closing_reason="WorkloadDeleted")
    assert told(part, "SLORecovered", Context("default", others=[CART])).startswith(
        "Incident 9f2c41 closed after 12m (10:33 to 10:45 UTC): Deployment checkout was deleted. "
        "Cause was: postgres.statefulset: CPU throttled by its own limit. "
        "Affected by it, judged on their own from now on: cart.deployment."
    )


def test_areas_without_data_or_without_checks_are_told_apart():
    context = replace(CONTEXT, checks=checks(CPUContainer="unknown", DeploymentStatus="skip"))
    assert " cpu:? " in told(opener(), "SLOFastBurn", context)
    assert " deploy:none " in told(opener(), "SLOFastBurn", context)
    young = [
        replace(c, outcome="unknown", waiting=True) if c.id in ("MemoryLeakPercent", "DeploymentStatus") else c for c in checks()
    ]
    assert " mem:ok " in told(opener(), "SLOFastBurn", replace(CONTEXT, checks=young)), "what is known counts"
    assert " deploy:? " in told(opener(), "SLOFastBurn", replace(CONTEXT, checks=young))


def test_the_whole_object():
    found = event(
        opener(), "SLOFastBurn", replace(CONTEXT, appstatus_uid="as-uid", cluster="prod-1", instance="op-abc"), NOW + 0.25
    )
    results = json.loads(found["metadata"]["annotations"].pop("appstatus.dev/results"))
    text = found.pop("message")
    assert len(text.encode()) <= 1024 and "cluster=prod-1 id=9f2c41" in text
    assert found == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": event_name(opener(), "SLOFastBurn"),
            "namespace": "shop",
            "labels": {
                "team": "shop",
                "appstatus.dev/application": "checkout.deployment",
                "appstatus.dev/incident": "9f2c41",
                "appstatus.dev/project": "default",
                "appstatus.dev/slo": "checkout-latency",
                "appstatus.dev/severity": "page",
                "appstatus.dev/cluster": "prod-1",
            },
            "annotations": {},
        },
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": "shop",
            "name": "checkout",
            "uid": REF.uid,
        },
        "related": {
            "apiVersion": "appstatus.dev/v1alpha1",
            "kind": "AppStatus",
            "namespace": "shop",
            "name": "checkout.deployment",
            "uid": "as-uid",
        },
        "type": "Warning",
        "reason": "SLOFastBurn",
        "action": "Inspect",
        "source": {"component": "appstatus"},
        "reportingComponent": "appstatus",
        "reportingInstance": "op-abc",
        "eventTime": "2026-11-21T10:45:00.250000Z",
        "firstTimestamp": "2026-11-21T10:45:00Z",
        "lastTimestamp": "2026-11-21T10:45:00Z",
        "count": 1,
    }
    assert results["schema"] == "appstatus.dev/results/v1"
    assert {each["id"] for each in results["inspections"]} == {check.id for check in CONTEXT.checks}
    assert results["incident"]["diagnosis"]["causes"][0]["application"] == {
        "kind": "StatefulSet",
        "name": "postgres",
        "namespace": "shop",
    }


def test_only_openings_are_warnings():
    assert event(opener(), "SLOSlowBurn", CONTEXT, NOW)["type"] == "Warning"
    for reason in ("SLOAffected", "SLORecovered"):
        assert event(opener(), reason, CONTEXT, NOW)["type"] == "Normal"


def test_the_name_is_the_same_at_every_try_and_differs_by_application_incident_and_reason():
    name = event_name(opener(), "SLOFastBurn")
    assert name == event_name(opener(slos=("x",), opened=0.0), "SLOFastBurn")
    assert name.startswith("checkout.") and len(name) == len("checkout.") + 16
    others = {
        event_name(opener(), "SLORecovered"),
        event_name(opener(incident_id="000000"), "SLOFastBurn"),
        event_name(opener(ref=REF._replace(uid="other")), "SLOFastBurn"),
    }
    assert len({name, *others}) == 4
    long = opener(app=AppKey("shop", "Deployment", "x" * 253))
    assert len(event_name(long, "SLOFastBurn")) == 253


@settings(max_examples=60)
@given(
    subject=st.text(min_size=0, max_size=900),
    others=st.lists(st.text("абвгд-x", min_size=1, max_size=200), max_size=60),
    name=st.text("ab-", min_size=1, max_size=63),
    failing=st.sets(st.sampled_from([check.id for check in checks()])),
)
def test_whatever_the_length_the_message_fits_and_keeps_its_end(subject, others, name, failing):
    app = AppKey("shop", "Deployment", name)
    cause = diagnosis().causes[0]
    evidence = (cause.evidence[0], replace(cause.evidence[1], subject=subject))
    found = replace(diagnosis(), causes=(replace(cause, evidence=evidence),))
    part = opener(app=app, diagnosis=found)
    context = replace(
        CONTEXT,
        checks=checks(**dict.fromkeys(failing, "fail")),
        others=[AppKey("shop", "Deployment", each) for each in others],
    )
    text = message(part, "SLOFastBurn", context, NOW)
    assert len(text.encode()) <= 1024
    assert text.endswith(f"id=9f2c41 kubectl get appstatus {name}.deployment -n shop -o yaml")
    assert "slo:FAIL" in text and text.startswith("14% of requests")


def test_the_results_stay_under_32_kib():
    many = [
        replace(check, outcome="fail", evidence="e" * 500, instances=tuple(f"{check.id}-pod-{n}" * 5 for n in range(40)))
        for check in checks()
    ]
    context = replace(CONTEXT, checks=many, others=[AppKey("shop", "Deployment", "x" * 200)] * 50)
    found = event(opener(), "SLOFastBurn", context, NOW)
    results = found["metadata"]["annotations"]["appstatus.dev/results"]
    assert len(results.encode()) <= 32 * 1024
    assert json.loads(results)["shortened"] is True


def test_label_values_are_valid_whatever_the_name():
    assert label_value("checkout.deployment") == "checkout.deployment"
    assert len(label_value("x" * 200)) == 63
    assert label_value("a:b/c ") == "a-b-c"


def test_the_runbook_is_in_message_and_annotation():
    wanted = objective(runbook_url="https://wiki/checkout")
    found = event(opener(), "SLOFastBurn", replace(CONTEXT, statuses=[status(objective=wanted)]), NOW)
    assert " runbook=https://wiki/checkout kubectl" in found["message"]
    assert found["metadata"]["annotations"]["appstatus.dev/runbook"] == "https://wiki/checkout"


def test_an_open_incident_is_found_again_in_its_events():
    """Somebody deleted the AppStatus while the incident was open."""
    opened = event(opener(), "SLOFastBurn", CONTEXT, NOW)
    found = still_open([opened], CHECKOUT)
    assert found is not None
    assert (found.incident_id, found.opened, found.posted, found.due, found.ref) == (
        "9f2c41",
        opener().opened,
        ("SLOFastBurn",),
        (),
        REF,
    )
    closed = event(opener(closed=NOW), "SLORecovered", CONTEXT, NOW + 60)
    assert still_open([opened, closed], CHECKOUT) is None
    assert still_open([opened], CART) is None


def test_a_cause_outside_the_cluster_is_named():
    outside = AppKey("", "ExternalService", "api.stripe.com:443")
    found = replace(diagnosis(), causes=(Cause(outside, "external", 0.9, (CHECKOUT, outside), ()),))
    assert "Cause: api.stripe.com:443 fails outside the cluster" in told(opener(diagnosis=found), "SLOFastBurn")
