"""The local cluster does what a real one does, as far as the product and its tests rely on it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cluster, images
from .apiserver import run_kubectl
from .binaries import path

pytestmark = pytest.mark.cluster

NAMESPACE = "cluster-test"
# Prometheus serves HTTP and keeps data; its image has a shell whose /dev/tcp is a client.
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: cluster-test}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: cluster-test}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: cluster-test, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: prometheus
      image: localhost/prometheus:dev
      args: [--config.file=/dev/null, --storage.tsdb.path=/prometheus]
      readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1}
      resources: {requests: {cpu: 10m}, limits: {cpu: 500m, memory: 128Mi}}
      volumeMounts: [{name: data, mountPath: /prometheus}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: cluster-test}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 9090}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: cluster-test}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: localhost/prometheus:dev, command: [sleep, "600"]}]
"""


@pytest.fixture(scope="module", autouse=True)
def pods(kubeconfig: Path) -> Iterator[None]:
    if kubeconfig != cluster.KUBECONFIG:
        pytest.skip("this is about the local cluster, and KUBECONFIG names another")
    images.build(["prometheus"])
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cluster.kubectl("apply", "-f", "-", stdin=OBJECTS)
    cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/web", "pod/client", "--timeout=60s")
    yield
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def in_client(script: str) -> str:
    return cluster.kubectl("exec", "-n", NAMESPACE, "client", "--", "bash", "-c", script).stdout


def get(address: str) -> str:
    request = r"GET /-/ready HTTP/1.0\r\n\r\n"
    return in_client(f"exec 3<>/dev/tcp/{address} && printf '{request}' >&3 && cat <&3")


def test_a_service_answers_under_its_name():
    assert "Prometheus Server is Ready" in get(f"web.{NAMESPACE}.svc.cluster.local/80")


def test_a_service_answers_under_its_cluster_address_from_pod_and_host():
    address = cluster.kubectl("get", "service", "web", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}").stdout
    assert "Prometheus Server is Ready" in get(f"{address}/80")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/-/ready", timeout=5) as answer:
        assert answer.status == 200


def test_logs_are_read_through_the_kubelet_and_lie_where_nodes_keep_them():
    line = "Server is ready to receive web requests"
    assert line in cluster.kubectl("logs", "-n", NAMESPACE, "web").stdout
    files = list(Path("/var/log/containers").glob(f"web_{NAMESPACE}_prometheus-*.log"))
    assert len(files) == 1
    assert line in files[0].read_text()


def test_a_claim_binds_and_an_unprivileged_pod_writes_to_it():
    claim = json.loads(cluster.kubectl("get", "pvc", "data", "-n", NAMESPACE, "-o", "json").stdout)
    assert claim["status"]["phase"] == "Bound"
    volume = cluster.SETTINGS.run / "volumes" / claim["spec"]["volumeName"]
    assert (volume / "wal").is_dir()


def test_limits_are_enforced_by_cgroups():
    groups = in_client("cat /proc/1/cgroup")
    assert "/kubepods/" in groups
    pod = cluster.kubectl("get", "pod", "web", "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}").stdout
    found = [*Path("/sys/fs/cgroup").rglob(f"*pod{pod}/cpu.cfs_quota_us"), *Path("/sys/fs/cgroup").rglob(f"*pod{pod}/cpu.max")]
    assert [file.read_text().split()[0] for file in found if file.read_text().strip() != "max 100000"] == ["50000"]


def test_a_service_account_may_nothing_until_a_role_says_so():
    cluster.kubectl("create", "serviceaccount", "nobody", "-n", NAMESPACE)
    token = cluster.kubectl("create", "token", "nobody", "-n", NAMESPACE).stdout.strip()
    config = cluster.SETTINGS.run / "nobody.kubeconfig"
    content = json.loads(cluster.KUBECONFIG.read_text())
    content["users"] = [{"name": "admin", "user": {"token": token}}]
    config.write_text(json.dumps(content))
    listing = ("get", "pods", "-n", NAMESPACE)
    refused = run_kubectl(path("kubectl"), config, *listing, check=False)
    assert refused.returncode != 0
    assert f'User "system:serviceaccount:{NAMESPACE}:nobody" cannot list resource "pods"' in refused.stderr
    cluster.kubectl("create", "rolebinding", "view", "-n", NAMESPACE, "--clusterrole=view", f"--serviceaccount={NAMESPACE}:nobody")
    deadline = time.monotonic() + 10
    while (allowed := run_kubectl(path("kubectl"), config, *listing, check=False)).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "web" in allowed.stdout


def test_a_node_reads_no_secret_that_none_of_its_pods_mounts():
    cluster.kubectl("create", "secret", "generic", "other", "-n", NAMESPACE, "--from-literal=a=b")
    config = cluster.SETTINGS.run / "config" / "kubelet.kubeconfig"
    refused = run_kubectl(path("kubectl"), config, "get", "secret", "other", "-n", NAMESPACE, check=False)
    assert "no relationship found between node 'node-1' and this object" in refused.stderr


def test_pod_security_refuses_what_a_restricted_namespace_forbids():
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", NAMESPACE, label)
    command = ("run", "root", "-n", NAMESPACE, "--image=localhost/prometheus:dev", "--privileged")
    refused = cluster.kubectl(*command, check=False)
    cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce-")
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr
