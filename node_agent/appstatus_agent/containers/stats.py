"""CPU and memory of one cgroup, from cgroup v1 or v2 files. Absent figures are None, never 0."""

from dataclasses import dataclass
from pathlib import Path

from .tree import Hierarchies

# v1 writes "no limit" as the largest multiple of the page size below 2**63.
_V1_UNLIMITED = 1 << 62
_NS = 1e-9
_US = 1e-6


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds and bytes of one cgroup; `None` where the node has no such figure or no limit is set."""

    cpu_usage_seconds: float | None = None
    cpu_throttled_seconds: float | None = None
    cpu_limit_cores: float | None = None
    memory_rss_bytes: int | None = None
    memory_cache_bytes: int | None = None
    memory_limit_bytes: int | None = None


def read_usage(trees: Hierarchies, path: str, limited_by: str = "") -> Usage:
    """Usage of the cgroup at `path`. `limited_by` is an ancestor whose limits count too (a pod's group), or ""."""
    limits = [folder for folder in (path, limited_by) if folder]
    if trees.v2_has_controllers:
        return _read_v2(trees.v2, path, limits)
    return _read_v1(trees.v1, path, limits)


def _read_v2(root: Path, path: str, limits: list[str]) -> Usage:
    cpu = _table(root, path, "cpu.stat")
    memory = _table(root, path, "memory.stat")
    return Usage(
        cpu_usage_seconds=_scaled(cpu.get("usage_usec"), _US),
        cpu_throttled_seconds=_scaled(cpu.get("throttled_usec"), _US),
        cpu_limit_cores=_least(_v2_cores(_text(root, folder, "cpu.max")) for folder in limits),
        memory_rss_bytes=_sum(memory, "anon", "file_mapped"),
        memory_cache_bytes=memory.get("file"),
        memory_limit_bytes=_least(_number(_text(root, folder, "memory.max")) for folder in limits),
    )


def _read_v1(v1: dict[str, Path], path: str, limits: list[str]) -> Usage:
    cpu, cpuacct, memory_root = v1.get("cpu"), v1.get("cpuacct"), v1.get("memory")
    memory = _table(memory_root, path, "memory.stat")
    return Usage(
        cpu_usage_seconds=_scaled(_number(_text(cpuacct, path, "cpuacct.usage")), _NS),
        cpu_throttled_seconds=_scaled(_table(cpu, path, "cpu.stat").get("throttled_time"), _NS),
        cpu_limit_cores=_least(
            _v1_cores(_text(cpu, folder, "cpu.cfs_quota_us"), _text(cpu, folder, "cpu.cfs_period_us"))
            for folder in limits
        ),
        memory_rss_bytes=_sum(memory, "total_rss", "total_mapped_file"),
        memory_cache_bytes=memory.get("total_cache"),
        memory_limit_bytes=_least(
            _below(_number(_text(memory_root, folder, "memory.limit_in_bytes")), _V1_UNLIMITED) for folder in limits
        ),
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


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _sum(table: dict[str, int], *keys: str) -> int | None:
    values = [table[key] for key in keys if key in table]
    return sum(values) if values else None


def _least(values):
    known = [value for value in values if value is not None]
    return min(known) if known else None
