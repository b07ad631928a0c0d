"""The table of faults agrees with the parts that obey it, the manifests, and the words of the diagnosis."""

import json
from dataclasses import fields
from pathlib import Path

import fault as command
import pytest
import truth
import yaml
from appstatus.diagnosis.classes import CLASSES
from appstatus.inspections.table import BY_ID
from deploy import manifests
from faults import TABLE
from means import Control, Rollout
from shopsvc import config
from shopsvc.faults import Faults, parse

OBJECTS = [document for document in yaml.safe_load_all(manifests()) if document]
WORKLOADS = {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "CronJob")}
SERVICES = {o["metadata"]["name"] for o in OBJECTS if o["kind"] == "Service"}


def pod_spec(workload):
    spec = workload["spec"]
    return (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]["spec"]


def environment(workload):
    return {variable["name"]: variable["value"] for variable in pod_spec(workload)["containers"][0].get("env", [])}


@pytest.mark.parametrize("fault", TABLE.values(), ids=TABLE)
def test_a_fault_strikes_and_blames_workloads_that_exist(fault):
    assert {fault.target, fault.cause or fault.target, *fault.accept} <= set(WORKLOADS)


@pytest.mark.parametrize("fault", TABLE.values(), ids=TABLE)
def test_a_fault_shows_in_checks_that_exist(fault):
    shown = [each.split(":") for each in fault.shows]
    assert {name for name, _ in shown} <= set(WORKLOADS)
    assert {check for _, check in shown} <= set(BY_ID)


def test_every_check_has_a_fault_that_shows_it():
    shown = {each.split(":")[1] for fault in TABLE.values() for each in fault.shows}
    # The shop calls nobody outside; a slow answer of everybody is what the story of the product is about.
    assert set(BY_ID) - shown == {"NetworkRTTExternal", "SLOLatency"}


@pytest.mark.parametrize("fault", TABLE.values(), ids=TABLE)
def test_the_diagnosis_has_a_word_for_it_or_for_its_neighbour(fault):
    assert fault.failure_class == "none" or {fault.failure_class, *fault.near} & set(CLASSES)


@pytest.mark.parametrize("fault", [f for f in TABLE.values() if isinstance(f.means, Control)], ids=lambda fault: fault.name)
def test_a_part_understands_what_the_switch_tells_it(fault):
    assert set(fault.means.keys.values()) <= {field.name for field in fields(Faults)}
    told = {key: fault.parameters[parameter] for parameter, key in fault.means.keys.items()}
    assert parse(json.dumps(told)) != Faults()


def test_bad_releases_are_bad_and_the_decoy_is_not():
    def value(name):
        return TABLE[name].means.value(TABLE[name].parameters)

    assert parse(value("bad-rollout")).error_share == 0.5
    assert parse(value("slow-rollout")).work_ms == 250
    with pytest.raises(ValueError):
        parse(value("crash-rollout"))
    assert isinstance(TABLE["decoy-rollout"].means, Rollout)
    assert TABLE["decoy-rollout"].means.variable != "FAULTS"


def test_the_shop_has_workloads_of_every_kind():
    kinds = [workload["kind"] for workload in WORKLOADS.values()]
    assert len(kinds) >= 8
    assert set(kinds) == {"Deployment", "StatefulSet", "DaemonSet", "CronJob"}


def test_calls_go_to_services_that_exist_and_never_in_a_circle():
    calls = {}
    for name, workload in WORKLOADS.items():
        if "CALLS" in environment(workload):
            settings = config.read(environment(workload))
            calls[name] = {url.split("/")[2].split(":")[0] for stage in settings.calls for url in stage}
            assert calls[name] <= SERVICES

    def depth(name, above=()):
        assert name not in above
        return 1 + max((depth(callee, (*above, name)) for callee in calls.get(name, ())), default=0)

    assert depth("checkout") == 3  # checkout, payment, ledger; nginx is in front and PostgreSQL behind


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_pass_the_restricted_pod_security_standard(name):
    spec = pod_spec(WORKLOADS[name])
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec.get("volumes", []))


@pytest.mark.parametrize("fault", TABLE.values(), ids=TABLE)
def test_the_command_line_offers_each_parameter_with_its_default(fault):
    arguments = command._parser().parse_args(["inject", fault.name])
    assert {name: getattr(arguments, name) for name in fault.parameters} == fault.parameters


def test_the_truth_is_each_fault_as_it_was_written_last_without_what_only_the_way_back_needs(tmp_path):
    file = tmp_path / "new" / "truth.jsonl"
    first = {"id": "errors.ledger.1", "onset": 1.5, "undone": None, "template": {"big": "thing"}}
    truth.append(file, first)
    truth.append(file, {"id": "surge.load.2", "onset": 2.5, "undone": None})
    truth.append(file, first | {"undone": 9.0})
    assert [(r["id"], r["undone"]) for r in truth.read(file)] == [("errors.ledger.1", 9.0), ("surge.load.2", None)]
    assert all("template" not in record for record in truth.read(file))


def test_no_truth_yet_is_an_empty_truth(tmp_path):
    assert truth.read(tmp_path / "none.jsonl") == []


def test_the_docs_list_every_fault_as_the_table_has_it():
    page = (Path(__file__).parents[3] / "docs" / "demo-shop.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert rows == [f"| `{f.name}` | {f.target} | {f.failure_class} | {f.users_see}: {f.what} |" for f in TABLE.values()]


def requested(text):
    """Millicores that all pods of the shop request, those of one node's DaemonSet included."""
    workloads = [o for o in yaml.safe_load_all(text) if o and o["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "CronJob")]
    return sum(
        o["spec"].get("replicas", 1) * int(container["resources"]["requests"]["cpu"].removesuffix("m"))
        for o in workloads
        for container in pod_spec(o)["containers"]
    )


def test_a_shop_may_request_a_share_of_its_cpu_so_that_two_fit_on_two_cores():
    whole, part = requested(manifests()), requested(manifests(cpu_share=0.2))
    assert part == pytest.approx(0.2 * whole, rel=0.05)
    assert whole + part < 2000 - 370 - 100  # what the cluster and appstatus request themselves, and a rollout of one of them
