"""Builds the cluster's binaries from pinned Go modules, once, into the cache folder.

Every binary is kept under a key of what it was built from, so another checkout with the same pins reuses it, and a
changed pin rebuilds only what it concerns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import processes

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("APPSTATUS_CACHE") or Path.home() / ".cache" / "appstatus")
MODULE = HERE / "binaries"  # the go.mod and go.sum that pin etcd and Kubernetes


@dataclass(frozen=True)
class Binary:
    """`version` empty: built inside MODULE, whose go.mod pins it, or which has its source (`./package`).

    Else by `go install package@version`.
    """

    package: str
    version: str = ""
    seconds: int = 30  # measured on two idle cores with an empty build cache; only told to the user


# In build order: what a bare API server needs first. The first build of a group fills Go's cache for the next ones.
BINARIES: dict[str, Binary] = {
    "etcd": Binary("go.etcd.io/etcd/server/v3", seconds=30),
    "kube-apiserver": Binary("k8s.io/kubernetes/cmd/kube-apiserver", seconds=217),
    "kubectl": Binary("k8s.io/kubernetes/cmd/kubectl", seconds=19),
    "kube-controller-manager": Binary("k8s.io/kubernetes/cmd/kube-controller-manager", seconds=31),
    "kube-scheduler": Binary("k8s.io/kubernetes/cmd/kube-scheduler", seconds=4),
    "kubelet": Binary("k8s.io/kubernetes/cmd/kubelet", seconds=57),
    "kube-proxy": Binary("k8s.io/kubernetes/cmd/kube-proxy", seconds=9),
    "pause": Binary("./pause", seconds=1),
    "helm": Binary("helm.sh/helm/v4/cmd/helm", "v4.2.4", seconds=73),
    "coredns": Binary("github.com/coredns/coredns", "v1.14.2", seconds=150),
}
API_SERVER = ("etcd", "kube-apiserver", "kubectl")


class BuildError(RuntimeError):
    """A binary could not be built; the message says which and why."""


def kubernetes_version() -> str:
    """The pinned version, e.g. `v1.36.3`."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)\b", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if not match:
        raise BuildError(f"{MODULE / 'go.mod'}: no version of k8s.io/kubernetes")
    return match.group(1)


def _ldflags() -> str:
    # Unstamped binaries call themselves v0.0.0-master, which breaks Helm's kubeVersion and `kubectl version`.
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = [
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in (("gitVersion", version), ("gitMajor", major), ("gitMinor", minor))
    ]
    return " ".join(["-s -w", *stamps])


def path(name: str) -> Path:
    """Where the binary is, or will be once built."""
    binary = BINARIES[name]
    if binary.version:
        pins = binary.version.encode()
    elif binary.package.startswith("./"):
        pins = (MODULE / binary.package / "main.go").read_bytes()
    else:
        pins = (MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()
    key = hashlib.sha256(f"{binary.package} {_ldflags()} {os.uname().machine} ".encode() + pins).hexdigest()[:12]
    return CACHE / "bin" / key / name


def ensure(*names: str) -> dict[str, Path]:
    """Builds what is missing of `names` and returns where each binary is. Raises BuildError."""
    paths = {name: path(name) for name in names}
    if all(file.exists() for file in paths.values()):
        return paths
    _check_go()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would only compile the same packages twice
        missing = [name for name in BINARIES if name in names and not paths[name].exists()]
        for count, name in enumerate(missing, 1):
            _build(name, paths[name], f"{count}/{len(missing)}")
    return paths


def _check_go() -> None:
    if not shutil.which("go"):
        raise BuildError("Go is needed to build the cluster's binaries and is not on the PATH (any version from 1.26 on)")
    found = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, cwd=MODULE)
    if found.returncode:
        raise BuildError(f"Go does not accept {MODULE / 'go.mod'}: {found.stderr.strip()}")


def _build(name: str, target: Path, progress: str) -> None:
    binary = BINARIES[name]
    print(f"building {name} ({progress}, about {binary.seconds} s on two idle cores)", file=sys.stderr, flush=True)
    started = time.monotonic()
    partial = target.parent / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -buildvcs=false"}
    if binary.version:
        command = ["go", "install", "-v", "-ldflags", "-s -w", f"{binary.package}@{binary.version}"]
        environment |= {"GOBIN": str(partial)}
    else:
        command = ["go", "build", "-v", "-ldflags", _ldflags(), "-o", str(partial / name), binary.package]
    log = CACHE / "logs" / f"build-{name}.log"
    code = processes.run_logged(name, ["nice", "-n", "10", *command], log, cwd=MODULE, env=environment)
    if code or not (partial / name).exists():
        raise BuildError(f"{' '.join(command)} ended with {code}; log: {log}\n{processes.log_tail(log, 25)}")
    (partial / name).replace(target)
    shutil.rmtree(partial)
    print(f"built {name} in {time.monotonic() - started:.0f} s: {target}", file=sys.stderr, flush=True)
