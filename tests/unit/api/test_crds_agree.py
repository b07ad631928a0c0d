"""The CRDs and the code say the same: ids of checks, defaults, bounds."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from appstatus.api import names, project, slo
from appstatus.api.values import parse_duration, parse_objective
from appstatus.incidents import datagap
from appstatus.incidents.incident import Reason
from appstatus.inspections.table import CHECKS
from appstatus.slo.status import State

CRDS = {
    document["spec"]["names"]["kind"]: document
    for document in (yaml.safe_load(path.read_text()) for path in (Path(__file__).parents[3] / "crds").glob("*.yaml"))
}


def at(kind: str, path: str) -> dict[str, Any]:
    node = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in path.split("."):
        node = node["items"] if part == "[]" else node["properties"][part]
    return node


def test_group_and_version() -> None:
    for crd in CRDS.values():
        assert crd["spec"]["group"] == names.GROUP
        assert [v["name"] for v in crd["spec"]["versions"]] == [names.VERSION]


@pytest.mark.parametrize(
    ("kind", "path"), [("InspectionOverride", "spec.inspections.[].id"), ("Project", "spec.defaults.inspections.[].id")]
)
def test_the_checks_are_those_of_the_table(kind: str, path: str) -> None:
    """Objectives are set by SLOs, so their two checks are not among them."""
    assert at(kind, path)["enum"] == [check.id for check in CHECKS if check.kind != "slo"]


def test_the_states_are_those_of_the_evaluation() -> None:
    states = list(State.__args__)
    assert at("SLO", "status.state")["enum"] == [*states, "NoTarget", "Rejected"]
    assert at("AppStatus", "status.slos.[].state")["enum"] == states


def test_the_reasons_of_an_incident_are_those_of_its_events() -> None:
    for each in ("due", "posted"):
        assert at("AppStatus", f"status.incident.{each}.[]")["enum"] == list(Reason.__args__)
        assert at("Project", f"status.dataLoss.{each}.[]")["enum"] == list(datagap.PROJECT)
        assert at("SLO", f"status.dataLoss.{each}.[]")["enum"] == list(datagap.SLO)


def test_defaults_agree() -> None:
    default = project.parse_project({"metadata": {}, "spec": {"prometheus": {"url": "http://x"}}})
    for name, parsed in (("availability", default.availability), ("latency", default.latency)):
        path = f"spec.defaults.slos.{name}"
        assert parse_objective(at("Project", f"{path}.objective")["default"]) == parsed.ratio
        assert parse_duration(at("Project", f"{path}.window")["default"]) == parsed.window
        assert at("Project", f"{path}.events")["default"] == parsed.events
    assert parse_duration(at("Project", "spec.defaults.slos.latency.threshold")["default"]) == default.latency.threshold
    assert parse_duration(at("Project", "spec.prometheus.step")["default"]) == default.prometheus.step
    assert at("Project", "spec.nodeAgent.maxUnavailable")["default"] == default.node_agent.max_unavailable
    assert parse_duration(at("SLO", "spec.window")["default"]) == project.DEFAULT_WINDOW
    assert frozenset(at("SLO", "spec.indicator.availability.badStatuses")["default"]) == slo.BAD_STATUSES
    assert at("SLO", "spec.alerting.events")["default"] == "All"
    written = slo.parse_slo({"spec": {"alerting": {"dataMissing": at("SLO", "spec.alerting.dataMissing")["default"]}}})
    assert not written.data_missing
    assert at("SLO", "spec.alerting.minBadEvents")["default"] == slo.MIN_BAD_EVENTS


def test_choices_agree() -> None:
    for kind, path in (("SLO", "spec.alerting.events"), ("Project", "spec.defaults.slos.latency.events")):
        assert tuple(at(kind, path)["enum"]) == project.EVENT_SCOPES
