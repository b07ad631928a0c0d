"""containerd: its configuration, the images handed to it, and the removal of containers that outlived their kubelet.

Its image store lies in the cache and outlives the cluster, so an image is imported once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import host, processes
from .binaries import CACHE
from .components import Settings

ROOT = CACHE / "containerd"
_CNI_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")


def configure(settings: Settings) -> None:
    """Writes containerd.toml and the CNI configuration."""
    plugins = next((path for path in _CNI_PLUGINS if Path(path, "ptp").exists()), None)
    if plugins is None:
        raise processes.StartError(f"the CNI plugin ptp is in none of {', '.join(_CNI_PLUGINS)}")
    config = settings.run / "config"
    (config / "cni").mkdir(parents=True, exist_ok=True)
    (config / "containerd.toml").write_text(_toml(settings, cri=True, plugins=plugins))
    # Routed point-to-point links: on a bridge, answers between two pods would bypass the translation of service
    # addresses unless the kernel has br_netfilter.
    network = {
        "cniVersion": "0.4.0",
        "name": host.CNI_NETWORK,
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(host.RUN / "cni"),
                    "ranges": [[{"subnet": settings.pod_network}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (config / "cni" / "10-appstatus.conflist").write_text(json.dumps(network, indent=1))


def _toml(settings: Settings, cri: bool, plugins: str = "") -> str:
    disabled = ["aufs", "btrfs", "devmapper", "zfs"]
    names = [f"io.containerd.snapshotter.v1.{name}" for name in disabled]
    if not cri:
        names.append("io.containerd.grpc.v1.cri")
    text = f"""\
version = 2
root = "{ROOT}"
state = "{host.RUN}/containerd"
disabled_plugins = {json.dumps(names)}
[grpc]
address = "{settings.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{ROOT}/opt"
"""
    if cri:
        # Without CAP_SYS_RESOURCE runc may not lower a sandbox's oom_score_adj, and every sandbox would fail.
        # Network namespaces under the state folder are known as ours when all else is lost.
        text += f"""\
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:dev"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{settings.run}/config/cni"
"""
    return text


def ctr(settings: Settings, *arguments: str, check: bool = True, timeout: float = 120) -> str:
    """Runs ctr in Kubernetes' namespace and returns what it printed."""
    command = ["ctr", "--address", settings.containerd_socket, "--namespace", "k8s.io", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise processes.StartError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_ready(settings: Settings, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    log = settings.log("containerd")
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        done = subprocess.run(["ctr", "--address", settings.containerd_socket, "version"], capture_output=True)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise processes.StartError(f"containerd did not start; log: {log}\n{processes.log_tail(log)}")


@contextlib.contextmanager
def daemon(settings: Settings) -> Iterator[None]:
    """The cluster's containerd if it runs, else one for the time being, which serves the image store and no pods."""
    if "containerd" in processes.running(host.OWNER).values():
        yield
        return
    config = settings.run / "config" / "containerd-store.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(_toml(settings, cri=False))
    command = ["containerd", f"--config={config}"]
    process = processes.start(f"{host.OWNER}/containerd-store", command, settings.log("containerd-store"))
    try:
        wait_ready(settings, process)
        yield
    finally:
        process.terminate()
        process.wait()


def forget_containers(settings: Settings) -> None:
    """Removes every container from the image store's database; containerd and their processes must have been ended.

    Without its CRI plugin, which would try to bring them back.
    """
    shutil.rmtree(ROOT / "io.containerd.grpc.v1.cri", ignore_errors=True)
    if not (ROOT / "io.containerd.metadata.v1.bolt").exists():
        return
    try:
        with daemon(settings):
            listed = ctr(settings, "containers", "list", "--quiet").split()
            if listed:
                ctr(settings, "containers", "delete", *listed)
    except (processes.StartError, subprocess.TimeoutExpired) as error:
        print(f"containerd's store is damaged and starts anew, images are imported again: {error}", file=sys.stderr)
        shutil.rmtree(ROOT)


def has_image(settings: Settings, name: str, content: str) -> bool:
    """Whether containerd holds image `name` as imported for the content hash `content`."""
    shown = ctr(settings, "images", "list", f"name=={name}")
    return f"appstatus.dev/content={content}" in shown


def import_image(settings: Settings, archive: Path, name: str, content: str) -> None:
    """Imports a docker-archive and labels the image with the hash of what it was made from.

    While it replaces one of the same name, nothing refers to the layers of before, and containerd may collect one that both have
    just before the new image is put on top of it: then the second time makes that layer, too.
    """
    try:
        ctr(settings, "images", "import", str(archive), timeout=300)
    except processes.StartError as error:
        if "does not exist: not found" not in str(error):
            raise
        ctr(settings, "images", "import", str(archive), timeout=300)
    ctr(settings, "images", "label", name, f"appstatus.dev/content={content}")
    # The CRI plugin keeps a second name, the image's id, on what was imported before; the kubelet's garbage collection,
    # which would remove it, is off.
    rows = [line.split()[:3] for line in ctr(settings, "images", "list").splitlines()[1:]]
    named = {digest for reference, _, digest in rows if not reference.startswith("sha256:")}
    old = [reference for reference, _, digest in rows if digest not in named]
    if old:
        ctr(settings, "images", "delete", *old)


def scratch_archive(archive: Path, name: str, binary: Path) -> None:
    """Writes a docker-archive of image `name` that holds one static binary, its entry point."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        member = tarfile.TarInfo(binary.name)
        member.size, member.mode = binary.stat().st_size, 0o755
        with binary.open("rb") as file:
            tar.addfile(member, file)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{binary.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": config, "layer.tar": layer.getvalue(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(archive, "w") as tar:
        for file, data in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
