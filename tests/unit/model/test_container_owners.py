import pytest
from appstatus.api.names import AppKey
from appstatus.api.project import parse_project
from appstatus.api.scope import Scope
from appstatus.model.facts import Facts
from appstatus.model.identity import Identities
from clusters import deployment, facts, pod

NOBODY = Scope((), {})


def owner(container_id: str, known: Facts | None = None) -> tuple[str, str, str]:
    return tuple(Identities(known or Facts(), NOBODY).container(container_id, "node-1").app)  # type: ignore[return-value]


def test_a_pod_that_the_api_server_knows_belongs_to_its_controller() -> None:
    rollout = deployment("cart", kind="Rollout")
    known = facts([rollout], [pod("cart-5d4f8c7b9-abcde", rollout, "10.1.0.1")])
    assert owner("/k8s/shop/cart-5d4f8c7b9-abcde/main", known) == ("shop", "Rollout", "cart")


@pytest.mark.parametrize(
    ("name", "kind", "app"),
    [
        ("cart-5d4f8c7b9-xk2lp", "Deployment", "cart"),
        ("cart-api-5d4f8c7b9-xk2lp", "Deployment", "cart-api"),
        ("postgres-0", "StatefulSet", "postgres"),
        ("node-logger-xk2lp", "DaemonSet", "node-logger"),
        ("report-29384710-xk2lp", "CronJob", "report"),
        ("report-29384710-0-xk2lp", "CronJob", "report"),
        ("debug", "Pod", "debug"),
    ],
)
def test_without_the_api_server_the_form_of_the_name_tells(name: str, kind: str, app: str) -> None:
    assert owner(f"/k8s/shop/{name}/main") == ("shop", kind, app)


def test_a_pod_that_is_gone_belongs_to_the_controller_that_still_exists() -> None:
    known = facts([deployment("migrate", kind="Job"), deployment("cache", kind="RedisCluster")])
    assert owner("/k8s/shop/migrate-xk2lp/main", known) == ("shop", "Job", "migrate")
    assert owner("/k8s/shop/cache-leader-0/main", known) == ("shop", "RedisCluster", "cache")


def test_a_name_that_could_be_two_forms_goes_to_the_one_that_exists() -> None:
    # kube-proxy-bcdfg-xk2lp looks like a Deployment's pod too.
    known = facts([deployment("agent-bcdfgh", kind="DaemonSet")])
    assert owner("/k8s/shop/agent-bcdfgh-xk2lp/main", known) == ("shop", "DaemonSet", "agent-bcdfgh")


def test_the_same_name_in_another_namespace_is_somebody_else() -> None:
    known = facts([deployment("cart")])
    assert owner("/k8s/other/cart-5d4f8c7b9-xk2lp/main", known) == ("other", "Deployment", "cart")


@pytest.mark.parametrize(
    ("container_id", "expected"),
    [
        ("/system.slice/containerd.service", ("", "SystemdUnit", "containerd.service")),
        ("/docker/registry", ("", "Cgroup", "registry")),
        ("/", ("", "Cgroup", "/")),
        ("/k8s-cronjob/shop/report/main", ("shop", "CronJob", "report")),
    ],
)
def test_other_containers_are_what_they_are(container_id: str, expected: tuple[str, str, str]) -> None:
    assert owner(container_id) == expected


def test_a_custom_application_takes_the_pods_that_its_project_names() -> None:
    project = parse_project(
        {
            "metadata": {"name": "default"},
            "spec": {
                "prometheus": {"url": "http://prometheus:9090"},
                "customApplications": [{"name": "search", "namespace": "shop", "instances": ["es-*"]}],
            },
        }
    )
    assert not project.problems
    identities = Identities(Facts(), Scope((project,), {"shop": {}}))
    assert identities.pod("shop", "es-data-0") == AppKey("shop", "CustomApplication", "search")
    assert identities.pod("shop", "postgres-0") == AppKey("shop", "StatefulSet", "postgres")
