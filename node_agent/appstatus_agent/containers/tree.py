"""The cgroup trees of the node: which hierarchies are mounted where, and which cgroups they hold."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

V2 = "v2"
# v1 controllers that the agent reads; `systemd` names groups but holds no figures.
V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "systemd")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Mount points: `v2` is the cgroup-v2 tree (None on a pure v1 node), `v1` maps controller -> folder.

    `v2_controllers` are those on v2: on a hybrid node that tree groups processes, and the figures are in v1.
    """

    v2: Path | None
    v1: dict[str, Path] = field(default_factory=dict)
    v2_controllers: frozenset[str] = frozenset()


def find_hierarchies(root: Path) -> Hierarchies:
    """Hierarchies below `root` (normally /sys/fs/cgroup): v2 alone, v1, or hybrid with `unified`."""
    v2 = next((folder for folder in (root, root / "unified") if (folder / "cgroup.controllers").is_file()), None)
    v1 = {}
    for controller in V1_CONTROLLERS if v2 != root else ():
        for name in (controller, "cpu,cpuacct", "cpuacct,cpu"):
            if controller in name.split(",") and (root / name).is_dir():
                v1[controller] = root / name
                break
    controllers = (v2 / "cgroup.controllers").read_text().split() if v2 else ()
    return Hierarchies(v2, v1, frozenset(controllers))


def walk(mount: Path) -> dict[str, int]:
    """Every cgroup below a mount: path from its root (`/` first) -> inode number, which is the kernel's cgroup id.

    A leaf is recognised by its link count, so that its sixty control files need not be listed.
    """
    found: dict[str, int] = {}
    base = str(mount)
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            status = os.stat(base + path)  # noqa: PTH116
            found[path or "/"] = status.st_ino
            if status.st_nlink <= 2:
                continue
            with os.scandir(base + path) as entries:
                pending.extend(f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:  # the cgroup ended while it was looked at
            continue
    return found


def process_ids(folder: Path, *, threads: bool = False) -> list[int]:
    """Processes (or threads) in a cgroup and in those nested in it; [] when it has ended."""
    names = ("cgroup.threads", "tasks") if threads else ("cgroup.procs",)
    ids: list[int] = []
    pending = [str(folder)]
    while pending:
        path = pending.pop()
        for name in names:
            try:
                ids.extend(map(int, Path(path, name).read_bytes().split()))
                break
            except OSError:  # ended, a threaded group, or the other version's file name
                continue
        try:
            if os.stat(path).st_nlink > 2:  # noqa: PTH116
                with os.scandir(path) as entries:
                    pending.extend(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
    return ids


def commands(pids: Iterable[int]) -> set[str]:
    """Names of the programs that these processes run, without those that ended meanwhile."""
    found = set()
    for pid in pids:
        try:
            found.add(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return found
