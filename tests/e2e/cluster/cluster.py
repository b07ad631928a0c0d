"""Starts the whole cluster and takes it away again."""

from __future__ import annotations

import contextlib
import json
import os
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import binaries, components, containers, host, packages, processes
from .apiserver import run_kubectl
from .binaries import CACHE
from .components import Settings
from .pki import Authority

MANIFESTS = Path(__file__).with_name("manifests")
SETTINGS = Settings(host.OWNER, CACHE / "cluster", address="10.230.0.1", api_port=6443, etcd_port=2379, etcd_peer_port=2380)
KUBECONFIG = SETTINGS.run / "kubeconfig"
_STARTED = host.RUN / "started"  # absent when a start was killed half way
VOLUMES = 24  # more than the tests claim between two runs of `make cluster`, which renews the used ones
_NODE_BINARIES = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet",
                  "kube-proxy", "coredns", "pause", "helm")  # fmt: skip
# The user each component is to the API server; RBAC and the Node authorizer know these names.
_USERS = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
}


def up() -> Path:
    """Starts the cluster unless it runs already; returns the kubeconfig of its administrator."""
    if os.geteuid() != 0:
        raise processes.StartError("the local cluster needs root (network, mounts, cgroups)")
    host.check_free(Path(SETTINGS.kubelet_root))
    with step("Debian packages"):
        packages.ensure()
    with step("binaries"):
        paths = binaries.ensure(*_NODE_BINARIES)
    with host.lock():
        host.check_free(Path(SETTINGS.kubelet_root))
        if healthy():
            print("the cluster runs already", file=sys.stderr)
        else:
            if processes.running(host.OWNER):
                print(f"what runs is not a whole cluster (not running: {', '.join(sorted(_dead())) or 'nothing'}); starting anew",
                      file=sys.stderr)  # fmt: skip
            _remove()
            try:
                _start(paths)
                _STARTED.touch()
            except BaseException:
                # Also on Ctrl-C: what is half there serves nobody, and the logs stay.
                _remove()
                raise
        _renew_volumes(paths["kubectl"])
        for name in ("kubectl", "helm"):
            link = CACHE / "bin" / name
            link.unlink(missing_ok=True)
            link.symlink_to(paths[name])
    print(f'to look around: export KUBECONFIG={KUBECONFIG} PATH="$PATH:{CACHE}/bin"', file=sys.stderr)
    return KUBECONFIG


def down() -> None:
    """Ends and removes everything of the cluster; logs and images stay in the cache."""
    host.check_free(Path(SETTINGS.kubelet_root))
    with host.lock(), step("removing the cluster"):
        _remove()
        KUBECONFIG.unlink(missing_ok=True)  # else it would point to nobody


def healthy() -> bool:
    """Whether it was started to the end, every component runs and the node is Ready, within a minute of waiting.

    On a machine at its limit the API server may answer late, and that is no reason to take the cluster away.
    """
    if not _STARTED.exists() or _dead():
        return False
    with contextlib.suppress(processes.StartError):
        _wait(_node_ready, 60, "the node is not Ready", "kubelet")
        return True
    return False


def _dead() -> set[str]:
    """The components that do not run."""
    return {component.name for component in components.CLUSTER} - set(processes.running(host.OWNER).values())


def _node_ready() -> bool:
    jsonpath = '{.items[0].status.conditions[?(@.type=="Ready")].status}'
    shown = kubectl("get", "nodes", "--request-timeout=5s", "-o", f"jsonpath={jsonpath}", check=False)
    return shown.stdout == "True"


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs kubectl as the local cluster's administrator."""
    return run_kubectl(binaries.path("kubectl"), KUBECONFIG, *arguments, stdin=stdin, check=check)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Says what took how long, if it took long enough to wonder."""
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    if seconds >= 0.5:
        print(f"{title}: {seconds:.1f} s", file=sys.stderr, flush=True)


def _remove() -> None:
    left = host.kill_everything()
    left += host.give_back(SETTINGS)
    if left:
        raise processes.StartError(f"{len(left)} things could not be removed: {', '.join(left[:5])}")
    containers.forget_containers(SETTINGS)
    host.release()


def _start(paths: dict[str, Path]) -> None:
    run = SETTINGS.run
    for folder in ("pki", "etcd", "config", "logs", "volumes"):
        subprocess.run(["rm", "-rf", "--one-file-system", str(run / folder)], check=True)
    with step("machine, certificates, configuration"):
        host.take(SETTINGS)
        prefix = host.joining(host.control_plane_cgroup())
        components.prepare_api_server(SETTINGS)
        authority = Authority(SETTINGS.pki)
        node = SETTINGS.node
        users = _USERS | {"kubelet": (f"system:node:{node}", ("system:nodes",))}
        for name, (user, groups) in users.items():
            authority.sign(name, user, groups, hosts=(SETTINGS.address, node) if name == "kubelet" else ())
            authority.kubeconfig(run / "config" / f"{name}.kubeconfig", SETTINGS.url, name)
        containers.configure(SETTINGS)
        _configure_node()

    def launch(component: components.Component) -> components.Started:
        binary = paths.get(component.name, Path(component.name))
        return components.launch(component, binary, SETTINGS, prefix=prefix)

    with step("etcd, API server, containerd"):
        runtime, *control = [launch(component) for component in components.CLUSTER[:3]]
        containers.wait_ready(SETTINGS, runtime.process)
        for name in ("pause", "coredns"):
            _import_binary(name, paths[name])
        for daemon in control:
            daemon.wait_ready(60)
    with step("controllers, kubelet, kube-proxy"):
        rest = [launch(component) for component in components.CLUSTER[3:]]
        kubectl("apply", "-f", "-", stdin=_manifests())
        for daemon in rest:
            daemon.wait_ready(60)
    with step("node Ready"):
        _wait(_node_ready, 60, "the node is not Ready", "kubelet")
    with step("name service"):
        ready = ("get", "deployment", "coredns", "-n", "kube-system", "-o", "jsonpath={.status.readyReplicas}")
        _wait(lambda: kubectl(*ready, check=False).stdout == "1", 60, "CoreDNS is not ready", "kubelet")


def _wait(condition: Callable[[], bool], seconds: float, failure: str, component: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            log = SETTINGS.log(component)
            raise processes.StartError(f"{failure} after {seconds:.0f} s; log: {log}\n{processes.log_tail(log)}")
        time.sleep(0.3)


def _import_binary(name: str, binary: Path) -> None:
    image, key = f"localhost/{name}:dev", binary.parent.name
    if containers.has_image(SETTINGS, image, key):
        return
    archive = SETTINGS.run / f"{name}.tar"
    containers.scratch_archive(archive, image, binary)
    containers.import_image(SETTINGS, archive, image, key)
    archive.unlink()


def _configure_node() -> None:
    config, run = SETTINGS.run / "config", SETTINGS.run
    resolved = Path("/run/systemd/resolve/resolv.conf")  # the real servers, where /etc/resolv.conf names a local stub
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{SETTINGS.pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{SETTINGS.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{SETTINGS.pki}/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{SETTINGS.containerd_socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [SETTINGS.dns_address],
        "resolvConf": str(resolved if resolved.exists() else Path("/etc/resolv.conf")),
        # No registry has these images: one that is collected is gone.
        "imageGCHighThresholdPercent": 100,
        # A developer's disk is often fuller than a node's; the defaults would evict at 85 %.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "volumePluginDir": f"{run}/volume-plugins",
        "readOnlyPort": 0,
        "makeIPTablesUtilChains": False,  # for its own canaries only; they would stay behind
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": SETTINGS.node,
        "clusterCIDR": SETTINGS.pod_network,
        "clientConnection": {"kubeconfig": f"{run}/config/kube-proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": None},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }
    (config / "kubelet.json").write_text(json.dumps(kubelet, indent=1))
    (config / "kube-proxy.json").write_text(json.dumps(proxy, indent=1))


def _manifests() -> str:
    lines = (line.split() for line in Path("/etc/resolv.conf").read_text().splitlines())
    # A stub on the loopback address is not there inside a pod.
    servers = [words[1] for words in lines if words[:1] == ["nameserver"] and not words[1].startswith("127.")]
    forward = f"forward . {' '.join(servers)}" if servers else "# this machine has no name server"
    text = (MANIFESTS / "base.yaml").read_text()
    return string.Template(text).substitute(dns_address=SETTINGS.dns_address, forward=forward)


def _renew_volumes(kubectl_binary: Path) -> None:
    """Makes the persistent volumes; those which a deleted claim has left are emptied and offered again."""
    shown = run_kubectl(kubectl_binary, KUBECONFIG, "get", "persistentvolumes", "-o", "json").stdout
    phases = {item["metadata"]["name"]: item["status"].get("phase") for item in json.loads(shown)["items"]}
    used = [name for name, phase in phases.items() if phase in ("Released", "Failed")]
    if used:
        run_kubectl(kubectl_binary, KUBECONFIG, "delete", "persistentvolume", *used)
    items = []
    for name in (f"local-{number:02}" for number in range(VOLUMES)):
        if name in phases and name not in used:
            continue
        folder = SETTINGS.run / "volumes" / name
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [SETTINGS.node]}]}]
        items.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "64Gi"},  # not enforced: a folder of this machine
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "local",
                    "persistentVolumeReclaimPolicy": "Retain",
                    "local": {"path": str(folder)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
                },
            }
        )
    if items:
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        run_kubectl(kubectl_binary, KUBECONFIG, "apply", "-f", "-", stdin=content)
