"""Limits the write operations per second of one container on one block device, through the node's cgroups.

    python3 -m shopsvc.slowdisk CONTAINER_ID MAJOR:MINOR IOPS      (IOPS 0: no limit)

Runs in the fault switch's helper pod, which sees the node's /sys/fs/cgroup under /host/cgroup. Works with cgroup v1 (blkio) and v2
(io); with v1 a write is held back where its own process waits for it (fsync, direct I/O), not when the kernel writes it back later.
"""

from __future__ import annotations

import sys
from pathlib import Path

CGROUPS = Path("/host/cgroup")


class NotPossible(Exception):
    """The node cannot do it; the message says what was looked at."""


def whole_disk(device: str, sys_block: Path = Path("/sys/dev/block")) -> str:
    """The disk of a partition, MAJOR:MINOR both: limits are per disk."""
    entry = (sys_block / device).resolve()
    if not entry.exists():
        raise NotPossible(f"{device} is no block device of this node (an overlay or a network file system?)")
    return (entry.parent / "dev").read_text().strip() if (entry / "partition").exists() else device


def limit_file(container: str, root: Path = CGROUPS) -> Path:
    """The control file for the container's writes."""
    hierarchy, name = (root / "blkio", "blkio.throttle.write_iops_device") if (root / "blkio").is_dir() else (root, "io.max")
    found = [path for path in hierarchy.glob(f"**/*{container}*") if path.is_dir()]
    if not found:
        raise NotPossible(f"no cgroup of container {container[:12]} under {hierarchy}")
    file = min(found, key=lambda path: len(path.parts)) / name
    if not file.exists():
        raise NotPossible(f"{file} does not exist: the node has no blkio or io controller for containers")
    return file


def line(file: Path, device: str, iops: int) -> str:
    """What to write into the control file."""
    if file.name == "io.max":
        return f"{device} wiops={iops or 'max'}"
    return f"{device} {iops}"


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    container, device, iops = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        file, disk = limit_file(container), whole_disk(device)
        file.write_text(line(file, disk, iops))
    except (NotPossible, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    limited = [entry for entry in file.read_text().splitlines() if entry.startswith(f"{disk} ")]
    if bool(limited) != bool(iops):
        print(f"error: {file} says {limited} after writing {line(file, disk, iops)!r}", file=sys.stderr)
        return 1
    print(f"{file}: {limited or 'no limit'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
