"""The container's own memory, as its cgroup accounts for it (v1 or v2), bytes."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def limit(root: Path = CGROUP) -> int:
    """ValueError without a limit."""
    text = _first(root, "memory/memory.limit_in_bytes", "memory.max").read_text().strip()
    if not text.isdigit() or int(text) >= 1 << 60:
        raise ValueError("the container has no memory limit")
    return int(text)


def used(root: Path = CGROUP) -> int:
    """What its processes hold; page cache left out."""
    fields = dict(line.split() for line in _first(root, "memory/memory.stat", "memory.stat").read_text().splitlines())
    return int(fields["total_rss"] if "total_rss" in fields else fields["anon"])


def _first(root: Path, *names: str) -> Path:
    return next((root / name for name in names if (root / name).exists()), root / names[-1])
