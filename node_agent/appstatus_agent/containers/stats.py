"""CPU and memory of one cgroup, from cgroup v1 or v2 files. Absent figures are None, never 0."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .tree import Hierarchies

# v1 writes "no limit" as the largest multiple of the page size below 2**63.
_V1_UNLIMITED = 1 << 62
_NS_PER_SECOND = 10**9
_US_PER_SECOND = 10**6


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds and cores; `None` where the node has no such figure or no limit is set."""

    usage_seconds: float | None = None
    throttled_seconds: float | None = None
    limit_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `None` where the node has no such figure or no limit is set."""

    rss: int | None = None
    cache: int | None = None
    limit: float | None = None


def read_cpu(trees: Hierarchies, path: str, limited_by: str = "") -> Cpu:
    """CPU of the cgroup at `path`. `limited_by` is an ancestor whose limit counts too (a pod's group), or ""."""
    limits = [folder for folder in (path, limited_by) if folder]
    if "cpu" in trees.v2_controllers:
        stat = _table(trees.v2, path, "cpu.stat")
        return Cpu(
            _scaled(stat.get("usage_usec"), _US_PER_SECOND),
            _scaled(stat.get("throttled_usec"), _US_PER_SECOND),
            _least(_v2_cores(_text(trees.v2, folder, "cpu.max")) for folder in limits),
        )
    cpu = trees.v1.get("cpu")
    return Cpu(
        _scaled(_number(_text(trees.v1.get("cpuacct"), path, "cpuacct.usage")), _NS_PER_SECOND),
        _scaled(_table(cpu, path, "cpu.stat").get("throttled_time"), _NS_PER_SECOND),
        _least(
            _v1_cores(_text(cpu, folder, "cpu.cfs_quota_us"), _text(cpu, folder, "cpu.cfs_period_us")) for folder in limits
        ),
    )


def read_memory(trees: Hierarchies, path: str, limited_by: str = "") -> Memory:
    """Memory of the cgroup at `path`; `limited_by` as for `read_cpu`. rss is anonymous plus mapped memory."""
    limits = [folder for folder in (path, limited_by) if folder]
    if "memory" in trees.v2_controllers:
        stat = _table(trees.v2, path, "memory.stat")
        return Memory(
            _sum(stat, "anon", "file_mapped"),
            stat.get("file"),
            _least(_number(_text(trees.v2, folder, "memory.max")) for folder in limits),
        )
    root = trees.v1.get("memory")
    stat = _table(root, path, "memory.stat")
    return Memory(
        _sum(stat, "total_rss", "total_mapped_file"),
        stat.get("total_cache"),
        _least(_below(_number(_text(root, folder, "memory.limit_in_bytes")), _V1_UNLIMITED) for folder in limits),
    )


def _text(root: Path | None, path: str, name: str) -> str:
    """A control file's content, "" when there is none."""
    if root is None:
        return ""
    try:
        with open(f"{root}{path}/{name}", encoding="ascii") as file:  # noqa: PTH123  (Path costs as much as the read)
            return file.read()
    except (OSError, ValueError):
        return ""


def _table(root: Path | None, path: str, name: str) -> dict[str, int]:
    """A file of `key value` lines."""
    rows = (line.split() for line in _text(root, path, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdigit() else None  # "max" and "" are no number


def _v2_cores(text: str) -> float | None:
    """`cpu.max`: quota and period in microseconds, or `max 100000`."""
    parts = text.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdigit() else None


def _v1_cores(quota: str, period: str) -> float | None:
    """Quota is -1 when there is no limit."""
    q, p = _number(quota), _number(period)
    return q / p if q and p else None


def _below(value: int | None, bound: int) -> int | None:
    return value if value is not None and value < bound else None


def _scaled(value: int | None, per_second: int) -> float | None:
    return None if value is None else value / per_second


def _sum(table: dict[str, int], *keys: str) -> int | None:
    values = [table[key] for key in keys if key in table]
    return sum(values) if values else None


def _least(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None
