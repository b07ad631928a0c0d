"""What the Events about missing data say, and that status.dataLoss fits the schema."""

from dataclasses import replace

from appstatus.api.names import ObjectRef
from appstatus.api.slo import parse_slo
from appstatus.incidents.datagap import DataGap
from appstatus.report.datagap import Context, gap_document, project_event, slo_event
from cases import CHECKOUT, NOW, REF
from crd import problems, status_schema

PROJECT = ObjectRef("appstatus.dev/v1alpha1", "Project", "", "default", "project-uid")
GAP = DataGap("project-uid", NOW - 315, due=("DataLost",))
CONTEXT = Context("default", "cannot connect to http://prometheus:9090", "prod-1", "op-abc")
SLO = parse_slo(
    {
        "metadata": {"name": "orders", "namespace": "shop", "uid": "slo-uid"},
        "spec": {
            "targetRef": {"kind": "Deployment", "name": "checkout"},
            "objective": "99",
            "indicator": {"promql": {"bad": "x", "total": "y"}},
            "alerting": {"dataMissing": "Event", "runbookURL": "https://wiki/orders", "labels": {"team": "shop"}},
        },
    }
)


def test_lost_data_of_a_project():
    found = project_event(GAP, "DataLost", PROJECT, CONTEXT, NOW)
    assert found["message"] == (
        "SLOs cannot be judged for 5m (since 10:39 UTC): cannot connect to http://prometheus:9090. Until the data are back "
        "no incident opens or closes. cluster=prod-1 kubectl describe projects.appstatus.dev default"
    )
    assert (found["type"], found["reason"], found["metadata"]["namespace"]) == ("Warning", "DataLost", "default")
    assert found["involvedObject"] == {
        "apiVersion": "appstatus.dev/v1alpha1", "kind": "Project", "name": "default", "uid": "project-uid",
    }  # fmt: skip
    assert "related" not in found
    assert found["metadata"]["labels"] == {
        "appstatus.dev/project": "default", "appstatus.dev/cluster": "prod-1", "appstatus.dev/severity": "page",
    }  # fmt: skip


def test_restored_data_of_a_project():
    gap = replace(GAP, since=NOW - 1800, until=NOW - 120, posted=("DataLost",), due=("DataRestored",))
    found = project_event(gap, "DataRestored", PROJECT, replace(CONTEXT, why=""), NOW)
    assert found["message"].startswith("The data are back after 28m (10:15 to 10:43 UTC). The SLOs are judged")
    assert (found["type"], found["metadata"]["labels"]["appstatus.dev/severity"]) == ("Normal", "info")


def test_missing_and_restored_data_of_an_slo():
    gap = replace(GAP, uid="slo-uid")
    context = Context("default", "no fresh data", "", "op-abc")
    found = slo_event(gap, "SLODataMissing", SLO, CHECKOUT, REF, context, NOW)
    assert found["message"] == (
        "SLO orders of checkout: no fresh data for 5m (since 10:39 UTC). It is not judged until they are back. "
        "kubectl describe slos.appstatus.dev orders -n shop"
    )
    assert (found["type"], found["involvedObject"]["uid"], found["related"]["name"]) == ("Warning", REF.uid, "checkout.deployment")
    assert found["metadata"]["labels"]["team"] == "shop" and found["metadata"]["labels"]["appstatus.dev/slo"] == "orders"
    assert found["metadata"]["annotations"] == {"appstatus.dev/runbook": "https://wiki/orders"}
    back = slo_event(replace(gap, until=NOW), "SLODataRestored", SLO, CHECKOUT, REF, context, NOW)
    assert back["type"] == "Normal" and back["message"].startswith("SLO orders of checkout has fresh data again after 5m (10:39 to")


def test_the_name_follows_from_object_beginning_and_reason():
    name = project_event(GAP, "DataLost", PROJECT, CONTEXT, NOW)["metadata"]["name"]
    assert name == project_event(GAP, "DataLost", PROJECT, replace(CONTEXT, why=""), NOW + 60)["metadata"]["name"]
    others = (
        project_event(GAP, "DataRestored", PROJECT, CONTEXT, NOW),
        project_event(replace(GAP, since=NOW), "DataLost", PROJECT, CONTEXT, NOW),
        project_event(replace(GAP, uid="other"), "DataLost", PROJECT, CONTEXT, NOW),
    )
    assert len({name, *(each["metadata"]["name"] for each in others)}) == 4


def test_a_long_reason_is_cut_and_the_hint_stays():
    found = project_event(GAP, "DataLost", PROJECT, replace(CONTEXT, why="ä" * 4000), NOW)
    assert len(found["message"].encode()) <= 1024 and found["message"].endswith(" kubectl describe projects.appstatus.dev default")


def test_the_state_fits_the_schema():
    for plural, reasons in (("projects", ("DataLost", "DataRestored")), ("slos", ("SLODataMissing", "SLODataRestored"))):
        gap = DataGap("uid", NOW, NOW + 60, due=reasons[1:], posted=reasons[:1])  # type: ignore[arg-type]
        assert problems(gap_document(gap), status_schema(plural)["properties"]["dataLoss"]) == []
