"""`make cluster` starts from whatever was left behind, and `make cluster-down` leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from steps import wait

from . import cluster, host, images, processes

pytestmark = pytest.mark.cluster

_OWN_NAMESPACES = {"default", "kube-node-lease", "kube-public", "kube-system"}
POD = """
apiVersion: v1
kind: Pod
metadata: {name: survivor, namespace: default}
spec:
  containers: [{name: sleep, image: localhost/prometheus:dev, command: [sleep, "86399"]}]
"""


@pytest.fixture(scope="module", autouse=True)
def nobody_uses_it() -> Iterator[None]:
    """These tests pull the cluster away, so only one without workloads will do; it is up again afterwards."""
    if os.environ.get("KUBECONFIG") or os.geteuid() != 0:
        pytest.skip("needs root and the local cluster, and KUBECONFIG is set or this is not root")
    if cluster.healthy():
        listed = json.loads(cluster.kubectl("get", "namespaces", "-o", "json").stdout)["items"]
        if others := {item["metadata"]["name"] for item in listed} - _OWN_NAMESPACES:
            pytest.skip(f"the local cluster is in use: namespaces {', '.join(sorted(others))}")
    images.build(["prometheus"])
    yield
    cluster.up()


def start_with_a_pod() -> int:
    """Returns the process id of the pod's sleep."""
    cluster.up()
    cluster.kubectl("apply", "-f", "-", stdin=POD)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/survivor", "--timeout=60s")
    # What etcd has kept says Ready of a container that has yet to be started again.
    wait("the pod's process", lambda: len(sleeping()) == 1, 60, 0.2)
    (pid,) = sleeping()
    return pid


def sleeping() -> list[int]:
    wanted = b"sleep\x0086399\x00"
    files = (entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(file.parent.name) for file in files if file.exists() and file.read_bytes() == wanted]


def traces() -> dict[str, set[str]]:
    """What a cluster puts on a machine, by kind."""

    def output(*command: str) -> set[str]:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    def places(*patterns: str) -> set[str]:
        return {str(path) for pattern in patterns for path in Path("/").glob(pattern)}

    return {
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "links": {line.split()[0] for line in output("ip", "-brief", "link")},
        "routes": output("ip", "route"),
        "nftables": output("nft", "list", "tables"),
        "network namespaces": places("run/netns/*"),
        "cgroups": {
            str(path) for path in Path("/sys/fs/cgroup").glob("**/") if "/unified/" not in f"{path}/" or "kube" in str(path)
        },
        "files": places("run/appstatus-cluster/[!l]*", "var/lib/kubelet", "var/log/pods", "var/log/containers")
        | places("var/lib/cni/results/*", "opt/containerd", "run/containerd/s/*"),
        "processes": set(processes.running(host.OWNER).values()) | set(map(str, sleeping())),
        "sysctls": {f"{name}={(Path('/proc/sys') / name).read_text()}" for name in host._SYSCTLS},
    }


def left_behind(before: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: more for kind, now in traces().items() if (more := now - before[kind])}


def test_down_leaves_nothing_and_up_starts_again():
    cluster.down()
    before = traces()
    start_with_a_pod()
    assert set(left_behind(before)) >= {"mounts", "links", "nftables", "cgroups", "files", "processes"}
    cluster.down()
    assert left_behind(before) == {}
    cluster.down()  # and a second time


def test_up_starts_after_the_daemons_were_killed_and_a_pod_lives_on_without_its_shim():
    pod = start_with_a_pod()
    assert processes.kill(processes.running(host.OWNER), lambda pid: processes.marker(pid).startswith(host.OWNER)) == []
    assert sleeping() == [pod]
    cluster.up()
    assert sleeping() == []
    start_with_a_pod()


def test_up_starts_after_a_power_cut():
    start_with_a_pod()
    assert host.kill_everything() == []
    assert sleeping() == []
    host.HOLDER.unlink()
    subprocess.run(["rm", "-rf", str(cluster.SETTINGS.run / "pki"), str(cluster.SETTINGS.run / "kubeconfig")], check=True)
    start_with_a_pod()


def test_up_replaces_a_cluster_of_which_one_daemon_died():
    start_with_a_pod()
    scheduler = [pid for pid, name in processes.running(host.OWNER).items() if name == "kube-scheduler"]
    processes.kill(scheduler, lambda pid: processes.marker(pid) == f"{host.OWNER}/kube-scheduler")
    assert not cluster.healthy()
    cluster.up()
    assert cluster.healthy()


def test_another_checkout_is_told_who_holds_the_cluster(monkeypatch: pytest.MonkeyPatch):
    cluster.up()
    monkeypatch.setattr(host, "CHECKOUT", Path("/some/other/checkout"))
    for command in (cluster.up, cluster.down):
        with pytest.raises(host.HeldError, match=r"belongs to the checkout .*\n.*export KUBECONFIG=.*\n.*cluster-down"):
            command()
