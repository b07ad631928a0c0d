# SPDX-License-Identifier: Apache-2.0
"""What the caller and the node say before the programs are loaded: paths, map sizes, struct config of bpf/maps.h."""

import os
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from appstatus_agent.kernel import rows


@dataclass(frozen=True, slots=True)
class Config:
    objects: Path | None = None  # folder of *.bpf.o; default: APPSTATUS_BPF_OBJECTS, else bpf/build of the checkout
    cgroup_root: Path | None = None  # cgroup-v2 mount; default: found in /proc/self/mounts
    protocols: Collection[str] = rows.PROTOCOLS[2:]  # of these, beside http, requests are read
    max_series: int = 50_000
    max_connections: int = 262_144
    destinations_per_owner: int = 200
    overdue_seconds: float = 30.0
    slow_seconds: float = 0.5  # an answer that takes longer is worth a sample of its request
    connect_seconds: float = 10.0  # a connect without an answer for so long is counted as failed
    node_ips: Iterable[str] = ()  # these two as in Kernel.set_networks, known before the first packet is seen:
    cluster_cidrs: Iterable[str] = ()  # a connection keeps the peer class that it has at its beginning


STRUCT_CONFIG = struct.Struct("=QQIIIIQ")  # of bpf/maps.h


def find_objects() -> Path:
    named = os.environ.get("APPSTATUS_BPF_OBJECTS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "bpf" / "build"


def find_cgroup_root() -> Path | None:
    """Where the cgroup-v2 hierarchy is mounted, as this process sees it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(path)
    return None


def memory_is_v1() -> bool:
    """Is the memory controller in a v1 hierarchy (/proc/cgroups names its hierarchy; 0 = v2 or off)?"""
    for line in Path("/proc/cgroups").read_text().splitlines():
        parts = line.split()
        if parts[0] == "memory":
            return parts[1] != "0"
    return False


def possible_cpus() -> int:
    """CPUs that the kernel has made room for."""
    return int(Path("/sys/devices/system/cpu/possible").read_text().replace(",", "-").split("-")[-1]) + 1


def lru_entries(cpus: int) -> int:
    """Size of an LRU map: each CPU keeps up to 128 free entries to itself, which others then evict living ones for."""
    return max(4096, 256 * cpus)


def map_sizes(config: Config) -> dict[str, int]:
    """Entries of the maps whose size in the objects is a placeholder."""
    lru = lru_entries(possible_cpus())
    strays = 16_384 if memory_is_v1() else 1
    return {
        "requests": config.max_series,
        "tcp": config.max_series,
        "destinations": config.max_series,
        "nat": config.max_connections,
        "connections": config.max_connections,
        "stray_sockets": strays,
        "child_owners": strays,
        "networks": 16_384,
        "early": lru,
        "messages": lru,
        "endings": lru,
    }


def struct_config(config: Config, root: Path | None, sockets_map: int) -> bytes:
    """`root`: the cgroup-v2 hierarchy; `sockets_map`: id of that map, 0 if there is none."""
    return STRUCT_CONFIG.pack(
        root.stat().st_ino if root else 1,
        int(config.overdue_seconds * 1e9),
        config.destinations_per_owner,
        sockets_map,
        memory_is_v1(),
        int(config.connect_seconds * 1e3),
        int(config.slow_seconds * 1e9),
    )
