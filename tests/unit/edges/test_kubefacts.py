"""Objects of the API server as facts: owners, roll-outs, Services, and what arrives in the wrong order."""

import pytest
from appstatus.api.names import AppKey
from appstatus.sources import kubefacts
from appstatus.sources.kubernetes import Cache

CREATED = "2026-01-01T00:00:00Z"


def meta(name, namespace="shop", owner=None, labels=None, version="1", uid=None, created=CREATED):
    found = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": version,
        "creationTimestamp": created,
    }
    if labels:
        found["labels"] = labels
    if owner:
        kind, owner_name, *api = owner
        found["ownerReferences"] = [
            {
                "apiVersion": api[0] if api else "apps/v1",
                "kind": kind,
                "name": owner_name,
                "uid": f"uid-{owner_name}",
                "controller": True,
            }
        ]
    return found


def pod(name, owner=None, ready=True, ip="10.0.0.1", **more):
    return {
        "metadata": meta(name, owner=owner, **more),
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "app", "image": "x:1", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}],
        },
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:01:00Z"}],
            "containerStatuses": [
                {"name": "app", "ready": ready, "restartCount": 3, "lastState": {"terminated": {"reason": "OOMKilled"}}}
            ],
        },
    }


def workload(name, kind="Deployment", replicas=1, image="x:1", owner=None, generation=1, status=None, **more):
    body = {
        "apiVersion": "batch/v1" if kind in ("Job", "CronJob") else "apps/v1",
        "kind": kind,
        "metadata": {**meta(name, owner=owner, **more), "generation": generation},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"image": image}]}},
        },
        "status": {
            "observedGeneration": generation,
            "availableReplicas": replicas,
            "replicas": replicas,
            "updatedReplicas": replicas,
        },
    }
    body["status"] |= status or {}
    return body


@pytest.fixture
def cache():
    return Cache(clock=lambda: 1000.0)


def owner_of(cache, name):
    return cache.snapshot().pods["shop", name].owner


def test_a_pod_belongs_to_the_deployment_of_its_replicaset(cache):
    cache.put("deployments", workload("web"))
    cache.put("replicasets", workload("web-5d4f8", "ReplicaSet", owner=("Deployment", "web")))
    cache.put("pods", pod("web-5d4f8-x", owner=("ReplicaSet", "web-5d4f8")))
    assert owner_of(cache, "web-5d4f8-x") == AppKey("shop", "Deployment", "web")


def test_the_order_of_arrival_does_not_matter(cache):
    cache.put("pods", pod("web-5d4f8-x", owner=("ReplicaSet", "web-5d4f8")))
    cache.put("replicasets", workload("web-5d4f8", "ReplicaSet", owner=("Deployment", "web")))
    cache.put("deployments", workload("web"))
    assert owner_of(cache, "web-5d4f8-x") == AppKey("shop", "Deployment", "web")


def test_the_last_pod_of_a_deleted_replicaset_still_belongs_to_the_deployment(cache):
    cache.put("deployments", workload("web"))
    cache.put("pods", pod("web-5d4f8-x", owner=("ReplicaSet", "web-5d4f8"), labels={"pod-template-hash": "5d4f8"}))
    assert owner_of(cache, "web-5d4f8-x") == AppKey("shop", "Deployment", "web")


def test_a_job_belongs_to_its_cronjob(cache):
    cache.put("cronjobs", workload("nightly", "CronJob"))
    cache.put("jobs", workload("nightly-29000", "Job", owner=("CronJob", "nightly", "batch/v1")))
    cache.put("pods", pod("nightly-29000-x", owner=("Job", "nightly-29000", "batch/v1")))
    assert owner_of(cache, "nightly-29000-x") == AppKey("shop", "CronJob", "nightly")


def test_a_controller_of_an_unknown_kind_is_an_application(cache):
    cache.put("replicasets", workload("web-5d4f8", "ReplicaSet", owner=("Rollout", "web", "argoproj.io/v1alpha1")))
    cache.put("pods", pod("web-5d4f8-x", owner=("ReplicaSet", "web-5d4f8")))
    cache.put("pods", pod("pg-1", owner=("Cluster", "pg", "postgresql.cnpg.io/v1")))
    facts = cache.snapshot()
    assert facts.pods["shop", "web-5d4f8-x"].owner == AppKey("shop", "Rollout", "web")
    assert facts.pods["shop", "pg-1"].owner == AppKey("shop", "Cluster", "pg")
    assert facts.workloads[AppKey("shop", "Cluster", "pg")].ref.uid == "uid-pg"


def test_a_bare_pod_and_a_static_pod_stand_for_themselves(cache):
    cache.put("pods", pod("debug"))
    cache.put("pods", pod("etcd-node-1", owner=("Node", "node-1", "v1")))
    assert owner_of(cache, "debug") == AppKey("shop", "Pod", "debug")
    assert owner_of(cache, "etcd-node-1") == AppKey("shop", "Pod", "etcd-node-1")
    assert AppKey("shop", "Pod", "debug") in cache.snapshot().workloads


def test_a_statefulset_that_an_operator_owns_stays_an_application_of_its_own(cache):
    cache.put("statefulsets", workload("redis", "StatefulSet", owner=("RedisFailover", "cache", "databases.spotahome.com/v1")))
    cache.put("pods", pod("redis-0", owner=("StatefulSet", "redis")))
    assert owner_of(cache, "redis-0") == AppKey("shop", "StatefulSet", "redis")


def test_a_workload_without_pods_is_there(cache):
    cache.put("deployments", workload("idle", replicas=0))
    assert cache.snapshot().workloads[AppKey("shop", "Deployment", "idle")].desired == 0


def test_a_new_template_is_a_rollout_and_other_replicas_a_scaling(cache):
    cache.put("deployments", workload("web", image="shop:1"))
    cache.put("deployments", workload("web", image="shop:2", version="2", generation=2))
    cache.put("deployments", workload("web", image="shop:2", replicas=3, version="3", generation=3))
    cache.put(
        "deployments", workload("web", image="shop:2", replicas=3, version="4", generation=3, status={"availableReplicas": 0})
    )
    changes = cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].changes
    assert [(c.time, c.kind, c.what) for c in changes] == [
        (1000.0, "rollout", "shop:1 -> shop:2"),
        (1000.0, "scale", "replicas 1 -> 3"),
    ]


def test_rollouts_from_before_the_start_are_known_from_the_replicasets(cache):
    cache.put("deployments", workload("web", image="shop:2"))
    cache.put("replicasets", workload("web-1", "ReplicaSet", replicas=0, image="shop:1", owner=("Deployment", "web")))
    later = "2026-01-02T00:00:00Z"
    cache.put("replicasets", workload("web-2", "ReplicaSet", image="shop:2", owner=("Deployment", "web"), created=later))
    (change,) = cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].changes
    assert (change.kind, change.what, change.time) == ("rollout", "shop:1 -> shop:2", kubefacts.seconds(later))


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        ({"conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]}, True),
        (
            {"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}], "availableReplicas": 0},
            False,
        ),
        ({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}, False),
        ({"observedGeneration": 0}, True),
        ({"updatedReplicas": 0}, True),
    ],
)
def test_when_a_deployment_is_rolling_out(status, rolling):
    assert kubefacts.workload(workload("web", status=status)).fact.rollout_in_progress is rolling


def test_limits_restarts_and_endings_of_a_container():
    (container,) = kubefacts.pod(pod("web", ready=False)).fact.containers
    assert (container.cpu_limit, container.memory_limit, container.restarts) == (0.25, 64 * 2**20, 3)
    assert container.last_terminated_reason == "OOMKilled"
    fact = kubefacts.pod(pod("web", ready=False)).fact
    assert fact.ready_since is None and fact.unready_since == kubefacts.seconds("2026-01-01T00:01:00Z")


def test_a_service_has_the_backends_of_all_its_slices(cache):
    service = {
        "metadata": meta("web"),
        "spec": {"clusterIPs": ["10.96.0.1", "fd00::1"], "ports": [{"port": 80}], "selector": {"app": "web"}},
    }
    cache.put("services", service)
    for number, address in enumerate(("10.0.0.1", "fd00::2")):
        cache.put(
            "endpointslices",
            {
                "metadata": meta(f"web-{number}", labels={"kubernetes.io/service-name": "web"}),
                "ports": [{"port": 8080}],
                "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "name": f"web-{number}"}}],
            },
        )
    found = cache.snapshot().services["shop", "web"]
    assert found.ips == ("10.96.0.1", "fd00::1") and found.ports == ((80, "TCP"),)
    assert found.backends == (("shop", "web-0"), ("shop", "web-1"))
    assert found.backend_addresses == ("10.0.0.1:8080", "[fd00::2]:8080")


def test_an_older_state_of_an_object_does_not_replace_a_newer_one(cache):
    cache.put("deployments", workload("web", replicas=5, version="20"))
    cache.put("deployments", workload("web", replicas=1, version="10"))
    assert cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].desired == 5


def test_the_deletion_of_a_former_object_does_not_take_its_successor_along(cache):
    cache.put("pods", pod("db-0", uid="new", version="20"))
    cache.drop("pods", pod("db-0", uid="old", version="10"))
    assert ("shop", "db-0") in cache.snapshot().pods


def test_an_object_that_cannot_be_read_is_remembered_and_leaves_the_last_good_state(cache):
    cache.put("deployments", workload("web", replicas=5))
    broken = workload("web", version="2")
    broken["spec"]["replicas"] = "many"
    cache.put("deployments", broken)
    assert cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].desired == 5
    assert ("deployments", "shop", "web") in cache.unreadable


def test_an_unreadable_object_is_logged_once_and_cleared_when_it_is_repaired(cache, caplog):
    caplog.set_level("INFO")
    for version in ("1", "2", "3"):
        broken = workload("web", version=version)
        broken["spec"]["replicas"] = "many"
        cache.put("deployments", broken)
    (complaint,) = caplog.records
    assert complaint.levelname == "ERROR" and "deployments shop/web" in complaint.getMessage()
    cache.put("deployments", workload("web", version="4"))
    assert not cache.unreadable and "can be read again" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("notice", ["drop", "sweep"])
@pytest.mark.parametrize("once_good", [True, False])
def test_an_unreadable_object_that_is_deleted_is_no_longer_unreadable(cache, notice, once_good):
    if once_good:
        cache.put("deployments", workload("web"))
    broken = workload("web", version="2")
    broken["spec"]["replicas"] = "many"
    cache.put("deployments", broken)
    if notice == "drop":
        cache.drop("deployments", broken)
    else:
        cache.sweep(Listing(), "deployments")
    assert not cache.unreadable


@pytest.mark.parametrize("notice", ["drop", "sweep", "none"])
def test_a_workload_created_anew_does_not_inherit_the_changes_of_its_namesake(cache, notice):
    cache.put("deployments", workload("web", uid="one"))
    cache.put("deployments", workload("web", uid="one", replicas=3, version="2"))
    assert cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].changes
    if notice == "drop":
        cache.drop("deployments", workload("web", uid="one", version="3"))
    elif notice == "sweep":
        cache.sweep(Listing(), "deployments")
    cache.put("deployments", workload("web", uid="two", version="4"))
    assert not cache.snapshot().workloads[AppKey("shop", "Deployment", "web")].changes


class Listing:
    def __init__(self, *raws):
        self.raws = raws

    def list(self, path, **_):
        return iter(self.raws)


def test_what_was_deleted_without_notice_goes_with_the_sweep(cache):
    cache.put("pods", pod("a"))
    cache.put("pods", pod("b"))
    assert cache.sweep(Listing(pod("a")), "pods") == 1
    assert set(cache.snapshot().pods) == {("shop", "a")}
    assert list(cache.gone) == [("pods", "shop", "b")]
