# SPDX-License-Identifier: Apache-2.0
"""Loading, attaching and reading: class Kernel."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from appstatus_agent.kernel.events import Event


class KernelError(Exception):
    """Nothing can be traced on this node; the text is one sentence for the log."""


@dataclass(frozen=True, slots=True)
class Config:
    objects: Path | None = None  # folder of *.bpf.o; default: APPSTATUS_BPF_OBJECTS, else bpf/build of the checkout
    cgroup_root: Path | None = None  # cgroup-v2 mount; default: found in /proc/self/mounts
    max_series: int = 50_000
    max_connections: int = 262_144
    destinations_per_owner: int = 200
    overdue_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Feature:
    on: bool
    reason: str  # "" when on


@dataclass(frozen=True, slots=True)
class ProgramCost:
    """Estimated from one run in 1,024."""

    seconds: float
    runs: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since load."""

    events_lost: dict[str, int] = field(default_factory=dict)  # source -> n
    map_full: dict[str, int] = field(default_factory=dict)  # map -> n
    map_entries: dict[str, int] = field(default_factory=dict)  # map -> entries now
    unparsed: dict[tuple[str, str], int] = field(default_factory=dict)  # (protocol, reason) -> n
    unknown_owner: int = 0
    destinations_folded: int = 0
    programs: dict[str, ProgramCost] = field(default_factory=dict)


class Kernel:
    """Programs in the kernel, attached by links: they leave with this process, however it ends."""

    features: dict[str, Feature]  # "requests", "tcp", "processes", "cgroups", "dns", "sweep", "sockets_at_start"
    event_fd: int  # readable when events() has something

    @classmethod
    def load(cls, config: Config) -> "Kernel":
        """Load what this kernel allows, attach it. Raises KernelError only if nothing at all can run."""
        raise NotImplementedError

    def read_requests(self) -> np.ndarray:
        """All request series: array of rows.REQUEST. Runs sweep() first, so that `in_flight` is of now."""
        raise NotImplementedError

    def read_tcp(self) -> np.ndarray:
        """All TCP series: array of rows.TCP, with bytes, retransmits and RTT of open connections up to now."""
        raise NotImplementedError

    def sweep(self) -> None:
        """End requests unanswered for `overdue_seconds` as `overdue`, once each; renew `in_flight`."""
        raise NotImplementedError

    def events(self) -> list[Event]:
        """What the ring buffer holds now, oldest first."""
        raise NotImplementedError

    def sockets(self) -> np.ndarray:
        """TCP sockets open at load, with their owners: array of rows.SOCKET (listening and established)."""
        raise NotImplementedError

    def counters(self) -> Counters:
        raise NotImplementedError

    def set_networks(self, node_ips: Iterable[str], cluster_cidrs: Iterable[str]) -> None:
        """What inbound peer classes rest on. Replaces what was set before.

        node_ips: every address of the host's network namespace (bridges too: the kubelet's probes come from there);
        cluster_cidrs: pod and node networks, single addresses as /32 or /128. All else is `outside`.
        """
        raise NotImplementedError

    def set_nat(self, source: tuple[str, int], destination: tuple[str, int], actual: tuple[str, int]) -> None:
        """Connections source -> destination (as dialled) really go to `actual`. From conntrack; any thread."""
        raise NotImplementedError

    def forget_nat(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        raise NotImplementedError

    def forget(self, owners: Iterable[int]) -> None:
        """Drop the series of owners that are gone."""
        raise NotImplementedError

    def expire(self, idle_seconds: float = 600.0) -> int:
        """Drop series unused for that long (call once a minute); returns how many."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
