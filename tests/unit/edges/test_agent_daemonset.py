"""The node agent's DaemonSet: the whole text, so that every change of its rights is seen in review."""

from pathlib import Path

import pytest
import yaml
from appstatus.agentwork import AgentWork
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.project import NodeAgentSpec, parse_project
from appstatus.api.scope import Scope
from appstatus.cluster.agent import AgentSettings, daemonset
from appstatus.cluster.writing import Writer
from appstatus.kube import ApiError
from appstatus.model.facts import Facts, WorkloadFact

OWNER = ObjectRef("appstatus.dev/v1alpha1", "Project", "", "default", "uid-1")
SETTINGS = AgentSettings(image="registry/appstatus-agent:1", namespace="appstatus")
KEY = AppKey("appstatus", "DaemonSet", "appstatus-agent")


def test_the_whole_object():
    golden = (Path(__file__).parent / "appstatus-agent.yaml").read_text()
    assert yaml.safe_dump(daemonset(SETTINGS, NodeAgentSpec(), OWNER), sort_keys=False) == golden


def test_what_a_project_may_change():
    spec = NodeAgentSpec(
        resources={"limits": {"memory": "1Gi"}},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        node_selector={"pool": "apps", "kubernetes.io/os": "windows"},
        max_unavailable=1,
    )
    body = daemonset(SETTINGS, spec, OWNER)
    pod = body["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["nodeSelector"] == {"pool": "apps", "kubernetes.io/os": "linux"}, "there is no agent for anything but Linux"
    assert body["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1


def test_it_is_never_privileged():
    text = yaml.safe_dump(daemonset(SETTINGS, NodeAgentSpec(), OWNER))
    assert "SYS_ADMIN" not in text and "privileged: false" in text and "blockOwnerDeletion" not in text


class Api:
    """Refuses or takes writes; knows the Events about the DaemonSet."""

    def __init__(self, error=None, events=()):
        self.error, self.events, self.requests = error, events, []

    def request(self, method, path, **kwargs):
        self.requests.append(method)
        if self.error:
            raise self.error
        return {}

    def list(self, path, **_):
        return iter(self.events)


def run(api, *, status=None, image="x", **node_agent):
    raw = {"metadata": {"name": "default", "uid": "u"}, "spec": {"prometheus": {"url": "http://p"}, "nodeAgent": node_agent}}
    scope = Scope([parse_project(raw)], {"shop": {}})
    workloads = {}
    if status is not None:
        desired, available = status
        ref = ObjectRef("apps/v1", "DaemonSet", "appstatus", "appstatus-agent", "u2")
        workloads[KEY] = WorkloadFact(KEY, ref, {"appstatus.dev/project": "default"}, {}, 0.0, desired, available)
    work = AgentWork(AgentSettings(image=image, namespace="appstatus"), Writer(api, allowed=lambda: True, clock=lambda: 1e6))
    state = work.run(scope.projects.values(), Facts(workloads), 2e6)
    return state.conditions["default"], state.counts.get("default", "")


def test_all_ready():
    condition, counts = run(Api(), status=(3, 3))
    assert condition.status is True and counts == "3/3"


def test_pods_that_pod_security_refuses_are_told_with_the_remedy():
    message = 'Error creating: pods "appstatus-agent-x" is forbidden: violates PodSecurity "restricted:latest": host namespaces'
    condition, _ = run(Api(events=[{"message": message, "lastTimestamp": "2026-01-01T00:00:00Z"}]), status=(3, 0))
    assert condition.status is False and condition.reason == "PodsRefused"
    assert "violates PodSecurity" in condition.message and "pod-security.kubernetes.io/enforce=privileged" in condition.message


def test_old_refusals_do_not_count_once_all_are_ready():
    condition, _ = run(Api(events=[{"message": "Error creating: quota"}]), status=(3, 3))
    assert condition.status is True


def test_a_refused_daemonset_is_told():
    condition, _ = run(Api(error=ApiError(403, "Forbidden", "cannot patch daemonsets")))
    assert condition.status is False and "cannot patch daemonsets" in condition.message


def test_without_an_image_nothing_is_applied():
    api = Api()
    condition, _ = run(api, image="")
    assert condition.status is False and "APPSTATUS_AGENT_IMAGE" in condition.message and not api.requests


def test_a_project_that_disables_the_agents_has_the_daemonset_deleted():
    api = Api()
    condition, _ = run(api, status=(3, 3), enabled=False)
    assert condition.status is None and condition.reason == "Disabled" and api.requests == ["DELETE"]


@pytest.mark.parametrize("status", [None, (None, None)])
def test_a_daemonset_that_no_controller_has_seen_yet_is_unknown(status):
    condition, _ = run(Api(), status=status)
    assert condition.status is None
