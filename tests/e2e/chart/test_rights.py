"""What the chart's roles allow, asked of the API server itself: enough to work, nothing that would be missed by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_chart import CHART, NAMESPACE, ROOT, helm, one, render

OPERATOR = f"system:serviceaccount:{NAMESPACE}:appstatus-operator"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")

WORKLOADS = (
    "nodes", "namespaces", "pods", "services", "deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps",
    "cronjobs.batch", "jobs.batch", "endpointslices.discovery.k8s.io",
)  # fmt: skip

ALLOWED: tuple[tuple[str, ...], ...] = (
    *((verb, kind, "-A") for kind in WORKLOADS for verb in ("list", "watch")),
    *((verb, f"{kind}.appstatus.dev", "-A") for kind in ("projects", "slos", "inspectionoverrides") for verb in ("list", "watch")),
    *(("patch", f"{kind}.appstatus.dev/status", "-A") for kind in ("projects", "slos", "inspectionoverrides", "appstatuses")),
    *((verb, "appstatuses.appstatus.dev", "-A") for verb in ("create", "get", "patch", "delete", "list", "watch")),
    ("create", "events", "-n", "shop"),
    ("create", "events", "-n", "default"),  # of a Project, which has no namespace
    ("list", "events", "-n", "shop"),
    ("create", "leases.coordination.k8s.io", "-n", NAMESPACE),
    ("get", "leases.coordination.k8s.io/appstatus-operator", "-n", NAMESPACE),
    ("update", "leases.coordination.k8s.io/appstatus-operator", "-n", NAMESPACE),
    ("delete", "leases.coordination.k8s.io/appstatus-operator", "-n", NAMESPACE),
    ("create", "daemonsets.apps", "-n", NAMESPACE),
    ("patch", "daemonsets.apps/appstatus-agent", "-n", NAMESPACE),
    ("delete", "daemonsets.apps/appstatus-agent", "-n", NAMESPACE),
    ("get", "secrets/mimir", "-n", NAMESPACE),
)
DENIED: tuple[tuple[str, ...], ...] = (
    ("get", "secrets/other", "-n", NAMESPACE),
    ("list", "secrets", "-n", NAMESPACE),
    ("get", "secrets/mimir", "-n", "shop"),
    ("get", "configmaps", "-n", "shop"),
    ("get", "pods/log", "-n", "shop"),
    ("create", "pods/exec", "-n", "shop"),
    ("create", "pods", "-n", NAMESPACE),
    ("patch", "deployments.apps", "-n", "shop"),
    ("patch", "daemonsets.apps/other", "-n", NAMESPACE),
    ("create", "daemonsets.apps", "-n", "shop"),
    ("update", "leases.coordination.k8s.io/other", "-n", NAMESPACE),
    ("update", "leases.coordination.k8s.io/appstatus-operator", "-n", "kube-system"),
    ("patch", "events", "-n", "shop"),
    ("delete", "events", "-n", "shop"),
    ("update", "projects.appstatus.dev", "-A"),
    ("delete", "slos.appstatus.dev", "-A"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io", "-A"),
    ("create", "clusterroles.rbac.authorization.k8s.io", "-A"),
    ("impersonate", "users", "-A"),
)


@pytest.fixture(scope="module")
def installed(api_server: Any) -> Iterator[Any]:
    api_server.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=appstatus", "--timeout=60s")
    flags = ("-n", NAMESPACE, "--create-namespace", "--set=prometheus.persistence.enabled=false,prometheus.authSecret=mimir")
    helm("install", "appstatus", str(CHART), *flags, kubeconfig=api_server.kubeconfig)
    yield api_server
    helm("uninstall", "appstatus", "-n", NAMESPACE, kubeconfig=api_server.kubeconfig)


def can(api: Any, kubeconfig: Path, question: tuple[str, ...]) -> bool:
    verb, what, *where = question
    kind, _, rest = what.partition("/")
    subresource = rest if rest in ("status", "log", "exec") else ""
    asked = [kind] if subresource or not rest else [what]
    flags = [f"--subresource={subresource}"] if subresource else []
    return api.kubectl("auth", "can-i", verb, *asked, *flags, *where, kubeconfig=kubeconfig, check=False).stdout.strip() == "yes"


@pytest.mark.parametrize("question", ALLOWED, ids=" ".join)
def test_the_operator_may(installed: Any, question: tuple[str, ...]) -> None:
    assert can(installed, installed.kubeconfig_for(OPERATOR, GROUPS), question)


@pytest.mark.parametrize("question", DENIED, ids=" ".join)
def test_the_operator_may_not(installed: Any, question: tuple[str, ...]) -> None:
    assert not can(installed, installed.kubeconfig_for(OPERATOR, GROUPS), question)


def test_the_operators_roles_hold_nothing_beyond_what_it_needs() -> None:
    """Every verb of every rule is one of ALLOWED, for which the code has a request."""
    documents = render(("prometheus.authSecret=mimir",))
    for kind, cluster_wide in (("ClusterRole", True), ("Role", False)):
        held = set()
        for rule in one(documents, kind, "appstatus-operator")["rules"]:
            kinds = [
                resource.replace("/", f".{group}/", 1) if group and "/" in resource else f"{resource}.{group}".rstrip(".")
                for group in rule["apiGroups"]
                for resource in rule["resources"]
            ]
            names = [f"/{name}" for name in rule.get("resourceNames", ())] or [""]
            held |= {(verb, what + name) for what in kinds for name in names for verb in rule["verbs"]}
        needed = {(verb, what) for verb, what, *where in ALLOWED if (where != ["-n", NAMESPACE]) == cluster_wide}
        assert held == needed


@pytest.mark.parametrize("role", ["appstatus-view", "appstatus-edit"])
def test_the_roles_of_users_aggregate(installed: Any, role: str) -> None:
    labels = installed.kubectl("get", "clusterrole", role, "-o", "jsonpath={.metadata.labels}").stdout
    assert f"aggregate-to-{role.removeprefix('appstatus-')}" in labels
    rules = installed.kubectl("get", "clusterrole", role, "-o", "jsonpath={.rules}").stdout
    assert "projects" not in rules and ("appstatuses" in rules) == (role == "appstatus-view")


def test_agent_and_prometheus_have_no_token(installed: Any) -> None:
    for name in ("appstatus-agent", "appstatus-prometheus"):
        shown = installed.kubectl("get", "sa", name, "-n", NAMESPACE, "-o", "jsonpath={.automountServiceAccountToken}").stdout
        assert shown == "false"
