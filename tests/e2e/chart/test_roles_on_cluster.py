"""The roles for users on a cluster whose controllers aggregate them into view, edit and admin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from test_chart import CHART, helm

pytestmark = pytest.mark.cluster

NAMESPACE = "appstatus-roles"
LABEL = "appstatus-test=roles"


@pytest.fixture(scope="module")
def users(kubectl: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Users bound to the cluster's own roles in one namespace; the chart's roles under other names, beside an installed chart."""
    text = helm("template", "appstatus", str(CHART), "-s", "templates/rbac-users.yaml").stdout
    roles = [role for role in yaml.safe_load_all(text) if role]
    for role in roles:
        role["metadata"]["name"] += "-test"
        role["metadata"]["labels"]["appstatus-test"] = "roles"
    try:
        kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(roles))
        for role in ("view", "edit", "admin"):
            kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=test-{role}", "-n", NAMESPACE)
        yield kubectl
    finally:
        kubectl("delete", "clusterrole", "-l", LABEL, check=False)
        kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def can(kubectl: Callable[..., Any], user: str, verb: str, kind: str) -> bool:
    """Asks the authoriser itself: `kubectl auth can-i` first looks the kind up, which the cluster need not have yet."""
    attributes = {"group": "appstatus.dev", "resource": kind, "verb": verb, "namespace": NAMESPACE}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"test-{user}", "groups": ["system:authenticated"], "resourceAttributes": attributes},
    }
    return json.loads(kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)).stdout)["status"]["allowed"]


@pytest.mark.parametrize(
    ("user", "verb", "kind"),
    [
        ("view", "list", "appstatuses"),
        ("view", "get", "slos"),
        ("edit", "get", "appstatuses"),
        ("edit", "create", "slos"),
        ("edit", "delete", "inspectionoverrides"),
        ("admin", "patch", "slos"),
    ],
)
def test_a_user_may(users: Callable[..., Any], user: str, verb: str, kind: str) -> None:
    deadline = time.monotonic() + 20  # the controller aggregates within a second or two
    while not can(users, user, verb, kind):
        assert time.monotonic() < deadline, f"{user} may not {verb} {kind}"
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("user", "verb", "kind"),
    [
        ("view", "create", "slos"),
        ("edit", "patch", "appstatuses"),
        ("admin", "delete", "appstatuses"),
        ("admin", "patch", "projects"),
    ],
)
def test_a_user_may_not(users: Callable[..., Any], user: str, verb: str, kind: str) -> None:
    assert not can(users, user, verb, kind)
