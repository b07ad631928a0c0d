"""What the cluster takes of this machine, and how all of it is given back, whatever state it was left in.

The machine may have been stopped or the run killed at any point, so nothing here relies on what an earlier step wrote
down, except for the values of sysctls that the kubelet and kube-proxy change.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .components import Settings

OWNER = "cluster"  # marks its processes
RUN = Path("/run/appstatus-cluster")
HOLDER = RUN / "holder.json"
CHECKOUT = Path(__file__).resolve().parents[3]
BRIDGE = "appstatus0"  # carries the node's address; kernels without dummy interfaces have bridges
NFT_TABLE = "appstatus_cluster"
CNI_NETWORK = "appstatus"
CGROUP = "appstatus-cluster"  # of the control plane
CGROUPS = Path("/sys/fs/cgroup")
POD_LOGS = (Path("/var/log/pods"), Path("/var/log/containers"))
_MARK = ".appstatus-cluster"  # in the kubelet's folder: this one is ours
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


class HeldError(RuntimeError):
    """Somebody else's cluster is on this machine; the message says whose."""


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One `up`, `down` or `images` at a time on this machine."""
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another command on the cluster to end", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_free(kubelet_root: Path) -> None:
    """Raises HeldError when the cluster of another checkout runs, or the machine is a Kubernetes node already."""
    holder = _holder()
    other = holder.get("checkout", str(CHECKOUT))
    # Of a checkout that was deleted meanwhile nobody could remove it any more: then it is anybody's.
    if other != str(CHECKOUT) and Path(other).is_dir() and processes.running(OWNER):
        raise HeldError(
            f"the cluster on this machine belongs to the checkout {other} (since {holder.get('since')}).\n"
            f"Use it:    export KUBECONFIG={holder.get('kubeconfig')}   (tests and Helm do, the demo has its own)\n"
            f"Remove it, if nothing uses it: make -C {other} cluster-down"
        )
    if kubelet_root.exists() and any(kubelet_root.iterdir()) and not (kubelet_root / _MARK).exists():
        raise HeldError(f"{kubelet_root} belongs to another kubelet: this machine is a node of some other cluster")


def take(settings: Settings) -> dict[str, str]:
    """Marks the machine as held, and sets up network and cgroups. Returns what it did for the log."""
    RUN.mkdir(parents=True, exist_ok=True)
    saved = {name: value for name in _SYSCTLS if (value := _read(Path("/proc/sys") / name)) is not None}
    HOLDER.write_text(
        json.dumps(
            {
                "checkout": str(CHECKOUT),
                "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "kubeconfig": str(settings.run / "kubeconfig"),
                "sysctls": saved,
            }
        )
    )
    root = Path(settings.kubelet_root)
    root.mkdir(parents=True, exist_ok=True)
    (root / _MARK).touch()
    for folder in POD_LOGS:
        folder.mkdir(parents=True, exist_ok=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{settings.address}/32", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    # A host without default route would refuse a service's address before kube-proxy could translate it.
    _run("ip", "route", "add", settings.service_network, "dev", BRIDGE)
    inside = f"{{ {settings.address}, {settings.pod_network}, {settings.service_network} }}"
    _run(
        "nft",
        f"add table ip {NFT_TABLE}; "
        f"add chain ip {NFT_TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}; "
        f"add rule ip {NFT_TABLE} postrouting ip saddr {settings.pod_network} ip daddr != {inside} masquerade",
    )
    return saved


def control_plane_cgroup() -> list[Path]:
    """Makes the control plane's cgroup in every hierarchy that matters and returns the folders to join.

    It gets eight times the CPU weight of a plain process: on two cores a busy pod must not starve the API server.
    """
    folders = []
    if (CGROUPS / "cgroup.controllers").exists():  # v2 alone
        with contextlib.suppress(OSError):  # not the real root: no weight then, all else works
            (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
        folders.append(CGROUPS / CGROUP)
    else:
        hierarchies = ("cpu", "cpuacct", "memory", "unified")
        folders += [CGROUPS / name / CGROUP for name in hierarchies if (CGROUPS / name).exists()]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name, value in (("cpu.shares", "8192"), ("cpu.weight", "800")):
            if (folder / name).exists():
                (folder / name).write_text(value)
    return folders


def joining(folders: list[Path]) -> tuple[str, ...]:
    """A command prefix that puts what it runs into these cgroups."""
    script = "".join(f'echo $$ > "{folder}/cgroup.procs"; ' for folder in folders) + 'exec "$@"'
    return ("sh", "-c", script, "sh")


def kill_everything() -> list[str]:
    """Ends the daemons and containerd's shims, then what runs in pods. Returns what could not be ended."""

    def in_pod(pid: int) -> bool:
        return "/kubepods" in (_read(Path(f"/proc/{pid}/cgroup")) or "")

    # The daemons and shims first, so that nobody restarts what ends in the pods.
    left = processes.kill(processes.running(OWNER), lambda pid: processes.marker(pid).startswith(f"{OWNER}/"))
    for _ in range(5):  # a process may fork while its cgroup is read
        pods = {pid for folder in _pod_cgroups() for pid in _pids(folder)}
        if not pods:
            break
        left += processes.kill(pods, in_pod)
    return [f"process {pid}" for pid in left if Path(f"/proc/{pid}").exists()]


def give_back(settings: Settings) -> list[str]:
    """Removes mounts, links, nftables, CNI and kubelet state, cgroups, sysctls. Returns what is left, empty if nothing.

    The processes must have been ended before.
    """
    left = []
    root = Path(settings.kubelet_root)
    ours = [RUN, *([root] if (root / _MARK).exists() else [])]
    for _ in range(5):  # stacked mounts come off one by one
        points = [point for point in _mount_points() if any(point.is_relative_to(folder) for folder in ours)]
        if not points:
            break
        for point in reversed(points):
            _run("umount", "--lazy", str(point), check=False)
    left += [f"mount {point}" for point in _mount_points() if any(point.is_relative_to(folder) for folder in ours)]
    if left:
        return left  # removing folders now could reach into what is mounted there
    for address in RUN.glob("containerd/io.containerd.runtime.v2.task/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)  # a shim's socket lies elsewhere
    for link in _pod_links(settings):
        _run("ip", "link", "delete", link, check=False)
    _run("ip", "link", "delete", BRIDGE, check=False)
    for family, table in (("ip", NFT_TABLE), ("ip", "kube-proxy"), ("ip6", "kube-proxy")):
        _run("nft", "delete", "table", family, table, check=False)
    for network in (settings.pod_network, settings.service_network):
        _run("conntrack", "--delete", "--orig-dst", network, check=False)
        _run("conntrack", "--delete", "--orig-src", network, check=False)
    results = Path("/var/lib/cni/results")
    for result in results.glob(f"{CNI_NETWORK}-*-eth0"):
        sandbox = result.name.removeprefix(f"{CNI_NETWORK}-").removesuffix("-eth0")
        (results / f"cni-loopback-{sandbox}-lo").unlink(missing_ok=True)
        result.unlink()
    for folder in [*_pod_cgroups(), *CGROUPS.glob(CGROUP), *CGROUPS.glob(f"*/{CGROUP}")]:
        for each in sorted(folder.glob("**/"), reverse=True):
            try:
                each.rmdir()
            except OSError as error:
                left.append(f"cgroup {each}: {error}")
    for name, value in _holder().get("sysctls", {}).items():
        with contextlib.suppress(OSError):
            (Path("/proc/sys") / name).write_text(value)
    if root in ours:
        shutil.rmtree(root)
        shutil.rmtree(settings.run / "logs" / "pods", ignore_errors=True)
        if POD_LOGS[0].exists():
            shutil.move(POD_LOGS[0], settings.run / "logs" / "pods")
        shutil.rmtree(POD_LOGS[1], ignore_errors=True)
    return left


def release() -> None:
    """The last step of a removal: nobody holds the machine any more."""
    for entry in RUN.iterdir():
        if entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _holder() -> dict:
    try:
        return json.loads(HOLDER.read_text())
    except (OSError, ValueError):
        return {}


def _pod_cgroups() -> list[Path]:
    return [*CGROUPS.glob("kubepods"), *CGROUPS.glob("*/kubepods")]


def _pids(folder: Path) -> set[int]:
    files = (each / "cgroup.procs" for each in folder.glob("**/"))
    return {int(pid) for file in files for pid in (_read(file) or "").split()}


def _mount_points() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]


def _pod_links(settings: Settings) -> list[str]:
    """The host's ends of pods' veth pairs: they carry the pods' gateway, the network's first address."""
    shown = subprocess.run(["ip", "-json", "address", "show"], capture_output=True, text=True).stdout
    gateway = settings.pod_network.split("/")[0].rsplit(".", 1)[0] + ".1"
    links = json.loads(shown or "[]")
    return [link["ifname"] for link in links if gateway in {a.get("local") for a in link.get("addr_info", [])}]


def _read(file: Path) -> str | None:
    with contextlib.suppress(OSError):
        return file.read_text().strip()
    return None


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if check and done.returncode:
        raise processes.StartError(f"{' '.join(command)}: {done.stderr.strip()}")
