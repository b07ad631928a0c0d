# SPDX-License-Identifier: Apache-2.0
"""Loading, attaching and reading: class Kernel."""

import contextlib
import errno
import ipaddress
import os
import select
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appstatus_agent.kernel import events, rows
from appstatus_agent.kernel.counters import Counters, read_counters
from appstatus_agent.kernel.libbpf import BpfError, Link, Map, Object, RingBuffer, Walker


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
    connect_seconds: float = 10.0  # a connect without an answer for so long is counted as failed
    node_ips: Iterable[str] = ()  # these two as in Kernel.set_networks, known before the first packet is seen:
    cluster_cidrs: Iterable[str] = ()  # a connection keeps the peer class that it has at its beginning


@dataclass(frozen=True, slots=True)
class Feature:
    on: bool
    reason: str  # "" when on


# Of bpf/types.h.
_BUDGET_INBOUND = 1 << 62
_TCP_BACKEND = 1 << 16

_CONFIG = struct.Struct("=QQIIII")  # struct config of bpf/maps.h

# Programs whose refusal turns off only what they are for.
_OPTIONAL = {
    "tap": {"sweep_sockets", "sweep_early"},
    "tcp": {"walk_connections", "walk_files"},
    "process": {"process_exec", "process_exit", "oom_victim", "cgroup_made", "cgroup_gone"},
}


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


# Each is on, or off with the kernel's reason; none needs another but `requests` for `overdue`, `tcp` for the two below it.
FEATURES = (
    "requests",  # HTTP series
    "dns",  # events.DnsAnswer
    "overdue",  # `overdue` endings and `in_flight`
    "tcp",  # TCP series, events.Listen, and requests of sockets that die without a packet
    "tcp_bytes",  # bytes, retransmits and RTT of connections that are still open
    "sockets_at_start",  # sockets()
    "processes",  # events.ProcessExec, ProcessExit
    "oom",  # events.OomKill
    "cgroups",  # events.CgroupChange
)


class Kernel:
    """Programs in the kernel, attached by links: they leave with this process, however it ends."""

    features: dict[str, Feature]  # see FEATURES
    event_fd: int  # readable (poll, epoll) when events() has something
    _ring: RingBuffer

    def __init__(self, config: Config):
        self._config = config
        self.features = {}
        self._maps: dict[str, Map] = {}
        self._objects: list[Object] = []
        self._links: list[Link] = []
        self._sweepers: list[Walker] = []
        self._connections: Walker | None = None
        self._sockets = np.empty(0, rows.SOCKET)
        self._sweep_number = 0
        self._walk_number = 0  # sweep number of the last read_tcp()
        self._open_connections = 0  # as of the last read_tcp()

    @classmethod
    def load(cls, config: Config) -> "Kernel":
        """Load what this kernel allows, attach it. Raises KernelError only if nothing at all can run."""
        kernel = cls(config)
        root = config.cgroup_root or find_cgroup_root()
        folder = config.objects or find_objects()
        kernel._load_tap(folder, root)
        kernel._load_tcp(folder, root)
        kernel._load_processes(folder, root)
        if not any(feature.on for feature in kernel.features.values()):
            reasons = "; ".join(f"{name}: {feature.reason}" for name, feature in kernel.features.items())
            kernel.close()
            raise KernelError(f"this kernel ({os.uname().release}) runs none of the programs ({reasons})")
        ring = kernel._maps["events"]
        kernel._ring = RingBuffer(ring)
        kernel.event_fd = ring.fd
        return kernel

    # ---- loading ----

    def _load(self, folder: Path, name: str, root: Path | None) -> Object:
        entries = self._config.max_series
        sizes = {
            "requests": entries,
            "tcp": entries,
            "destinations": entries,
            "nat": self._config.max_connections,
            "connections": self._config.max_connections,
            "stray_sockets": 16_384 if memory_is_v1() else 1,
            "networks": 16_384,
            "early": lru_entries(possible_cpus()),
            "messages": lru_entries(possible_cpus()),
            "endings": lru_entries(possible_cpus()),
        }
        config = _CONFIG.pack(
            root.stat().st_ino if root else 1,
            int(self._config.overdue_seconds * 1e9),
            self._config.destinations_per_owner,
            self._maps["sockets"].id() if "sockets" in self._maps else 0,
            memory_is_v1(),
            int(self._config.connect_seconds * 1e3),
        )
        path = folder / f"{name}.bpf.o"
        if not path.exists():
            raise BpfError(2, f"{path} is missing: make -C bpf builds it")
        loaded = Object(path, self._maps, sizes, config, _OPTIONAL[name])
        self._objects.append(loaded)
        for table, dtype in (("requests", rows.REQUEST_VALUE), ("tcp", rows.TCP_VALUE)):
            found = self._maps[table]
            if (found.key_size, found.value_size) != (rows.SERIES_KEY.itemsize, dtype.itemsize):
                raise KernelError(f"{path} is of another version than this agent: map {table} has other sizes")
        return loaded

    def _feature(self, names: Iterable[str], error: BpfError | str | None = None) -> None:
        reason = "" if error is None else _explain(error)
        for name in names:
            self.features[name] = Feature(error is None, reason)

    def _load_tap(self, folder: Path, root: Path | None) -> None:
        try:
            if root is None:
                raise BpfError(2, "no cgroup-v2 hierarchy is mounted")
            tap = self._load(folder, "tap", root)
            self.set_networks(self._config.node_ips, self._config.cluster_cidrs)
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with contextlib.ExitStack() as undo:  # one hook without the other would count wrongly
                    links = []
                    for program in ("tap_in", "tap_out"):
                        links.append(tap.attach_cgroup(program, fd))
                        undo.callback(links[-1].destroy)
                    undo.pop_all()
                self._links += links
            finally:
                os.close(fd)
        except BpfError as error:
            self._feature(("requests", "dns", "overdue"), error)
            return
        self._feature(("requests", "dns"))
        try:
            for program, over in (("sweep_sockets", "sockets"), ("sweep_early", "early")):
                if program in tap.refused:
                    raise BpfError(95, tap.refused[program])
                self._sweepers.append(tap.iterator(program, self._maps[over]))
            self._feature(("overdue",))
        except BpfError as error:
            self._feature(("overdue",), error)

    def _load_tcp(self, folder: Path, root: Path | None) -> None:
        try:
            tcp = self._load(folder, "tcp", root)
            self._links.append(tcp.attach("tcp_state"))
        except BpfError as error:
            self._feature(("tcp", "tcp_bytes", "sockets_at_start"), error)
            return
        self._feature(("tcp",))
        try:
            if "walk_connections" in tcp.refused:
                raise BpfError(95, tcp.refused["walk_connections"])
            self._connections = tcp.iterator("walk_connections", self._maps["connections"])
            self._feature(("tcp_bytes",))
        except BpfError as error:
            self._feature(("tcp_bytes",), error)
        try:
            if "walk_files" in tcp.refused:
                raise BpfError(95, tcp.refused["walk_files"])
            self._sockets = self._walk_files(tcp)
            self._feature(("sockets_at_start",))
        except BpfError as error:
            self._feature(("sockets_at_start",), error)

    def _walk_files(self, tcp: Object) -> np.ndarray:
        walker = tcp.iterator("walk_files")
        found = []
        for kind in (0, 1):  # enum walk: listeners, then connections
            self._maps["walk_kind"].set(struct.pack("=I", 0), struct.pack("=I", kind))
            found.append(np.frombuffer(walker.run(), rows.SOCKET))
        walker.link.destroy()
        return rows.distinct(np.concatenate(found))

    def _load_processes(self, folder: Path, root: Path | None) -> None:
        programs = {
            "processes": ("process_exec", "process_exit"),
            "oom": ("oom_victim",),
            "cgroups": ("cgroup_made", "cgroup_gone"),
        }
        try:
            processes = self._load(folder, "process", root)
        except BpfError as error:
            self._feature(programs, error)
            return
        for feature, names in programs.items():
            try:
                for name in names:
                    if name in processes.refused:
                        raise BpfError(95, processes.refused[name])
                    self._links.append(processes.attach(name))
                self._feature((feature,))
            except BpfError as error:
                self._feature((feature,), error)

    # ---- reading ----

    def read_requests(self) -> np.ndarray:
        """All request series: array of rows.REQUEST. Runs sweep() first, so that `in_flight` is of now."""
        if "requests" not in self._maps:
            return np.empty(0, rows.REQUEST)
        self.sweep()
        keys, values = self._maps["requests"].read(rows.SERIES_KEY, rows.REQUEST_VALUE)
        table = np.empty(len(keys), rows.REQUEST)
        table["key"], table["value"] = keys, values
        table["value"]["in_flight"][table["value"]["sweep"] != self._sweep_number] = 0
        return table

    def read_tcp(self) -> np.ndarray:
        """All TCP series: array of rows.TCP, with bytes, retransmits and RTT of open connections up to now."""
        if "tcp" not in self._maps:
            return np.empty(0, rows.TCP)
        self._next_sweep()
        self._walk_number = self._sweep_number
        if self._connections:
            self._connections.run()
        keys, values = self._maps["tcp"].read(rows.SERIES_KEY, rows.TCP_VALUE)
        table = np.empty(len(keys), rows.TCP)
        table["key"], table["value"] = keys, values
        stale = table["value"]["sweep"] != self._sweep_number
        for name in ("active", "rtt_sum", "rtt_count"):
            table["value"][name][stale] = 0
        self._open_connections = int(table["value"]["active"].sum())
        return table

    def sweep(self) -> None:
        """End requests unanswered for `overdue_seconds` as `overdue`, once each; renew `in_flight`."""
        self._next_sweep()
        for sweeper in self._sweepers:
            sweeper.run()

    def _next_sweep(self) -> None:
        self._sweep_number = self._sweep_number % 0xFFFFFFFF + 1
        self._maps["sweep_number"].set(struct.pack("=I", 0), struct.pack("=I", self._sweep_number))

    def events(self) -> list[events.Event]:
        """What the ring buffer holds now, oldest first."""
        return [event for record in self._ring.records() if (event := events.decode(record)) is not None]

    def wait(self, seconds: float) -> bool:
        """Until events() has something; False: nothing came."""
        poller = select.poll()
        poller.register(self.event_fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def sockets(self) -> np.ndarray:
        """TCP sockets open at load, with their owners: array of rows.SOCKET (listening and established)."""
        return self._sockets

    def counters(self) -> Counters:
        return read_counters(self._maps, self.map_entries())

    def map_entries(self) -> dict[str, int]:
        """Entries now in the maps that grow with what runs on the node."""
        names = ("requests", "tcp", "destinations", "nat")
        entries = {name: len(self._maps[name].read()[0]) for name in names if name in self._maps}
        # May be large; their number is in the series already.
        entries["connections"] = self._open_connections
        return entries

    # ---- telling the kernel side ----

    def set_networks(self, node_ips: Iterable[str], cluster_cidrs: Iterable[str]) -> None:
        """What inbound peer classes rest on. Replaces what was set before.

        node_ips: every address of the host's network namespace (bridges too: the kubelet's probes come from there);
        cluster_cidrs: pod and node networks, single addresses as /32 or /128. All else is `outside`.
        """
        if "networks" not in self._maps:
            return
        networks = self._maps["networks"]
        wanted = {_prefix(cidr): 1 for cidr in cluster_cidrs} | {_prefix(ip): 2 for ip in node_ips}
        for prefix, kind in wanted.items():
            networks.set(prefix, struct.pack("=I", kind))
        for prefix in networks.all_keys():
            if prefix not in wanted:
                networks.delete(prefix)

    def set_nat(self, source: tuple[str, int], destination: tuple[str, int], actual: tuple[str, int]) -> None:
        """Connections source -> destination (as dialled) really go to `actual`. From conntrack; any thread."""
        target = rows.packed(actual[0]) + struct.pack("=H6x", actual[1])
        self._maps["nat"].set(_tuple(source, destination), target)

    def forget_nat(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        self._maps["nat"].delete(_tuple(source, destination))

    def retain_nat(self, connections: Iterable[tuple[tuple[str, int], tuple[str, int]]]) -> None:
        """Forget the mapping of every connection but these (source, destination as dialled)."""
        wanted = {_tuple(source, destination) for source, destination in connections}
        nat = self._maps["nat"]
        keys, _ = nat.read()
        for key in map(np.ndarray.tobytes, keys):
            if key not in wanted:
                nat.delete(key)

    def expire(self, idle_seconds: float = 600.0) -> list[bytes]:
        """Drop series unused for that long (call once a minute); their keys."""
        before = time.monotonic_ns() - int(idle_seconds * 1e9)
        dropped: list[bytes] = []
        kept = []
        for name, dtype in (("requests", rows.REQUEST_VALUE), ("tcp", rows.TCP_VALUE)):
            if name not in self._maps:
                continue
            series = self._maps[name]
            keys, values = series.read(rows.SERIES_KEY, dtype)
            choice = values["last_used"] < before
            if name == "tcp":  # a connection may be open and silent
                choice &= (values["sweep"] != self._walk_number) | (values["active"] == 0)
            dropped += [key for key in map(np.void.tobytes, keys[choice]) if series.delete(key)]
            kept.append(keys[~choice])
        if dropped:
            self._renew_budgets(np.concatenate(kept))
        return dropped

    def _renew_budgets(self, keys: np.ndarray) -> None:
        """Destinations without a series left are given back to their owners' budgets."""
        keys = keys[(keys["folded"] == 0) & (keys["destination_port"] > 0)]
        used: dict[bytes, int] = {}
        for series in keys:
            whose = int(series["owner"]) | (_BUDGET_INBOUND if series["direction"] == rows.INBOUND else 0)
            destination = struct.pack("=Q16sH6x", whose, series["destination"].tobytes(), series["destination_port"])
            backend = (1 if series["protocol"] else _TCP_BACKEND) if series["actual"].any() else 0
            used[destination] = used.get(destination, 0) + backend
        destinations, owners = self._maps["destinations"], self._maps["owners"]
        per_owner: dict[bytes, int] = {}
        for key in destinations.all_keys():
            if key in used:
                destinations.set(key, struct.pack("=I", used[key]))
                per_owner[key[:8]] = per_owner.get(key[:8], 0) + 1
            else:
                destinations.delete(key)
        for owner in owners.all_keys():
            if owner in per_owner:
                owners.set(owner, struct.pack("=I", per_owner[owner]))
            else:
                owners.delete(owner)

    def close(self) -> None:
        for iterator in (*self._sweepers, *([self._connections] if self._connections else [])):
            iterator.link.destroy()
        for link in self._links:
            link.destroy()
        for loaded in self._objects:
            loaded.close()
        self._sweepers, self._connections, self._links, self._objects = [], None, [], []


def _explain(error: BpfError | str) -> str:
    text = error if isinstance(error, str) else str(error.strerror)
    if isinstance(error, BpfError) and error.errno in (errno.EPERM, errno.EACCES):
        text += (
            "; are the capabilities BPF, PERFMON and NET_ADMIN given"
            " (below kernel 5.11 also SYS_RESOURCE, or a raised memlock limit)?"
        )
    return text


def _prefix(cidr: str) -> bytes:
    network = ipaddress.ip_network(cidr, strict=False)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return struct.pack("=I", bits) + rows.packed(str(network.network_address))


def _tuple(local: tuple[str, int], remote: tuple[str, int]) -> bytes:
    return rows.packed(local[0]) + rows.packed(remote[0]) + struct.pack("=HHI", local[1], remote[1], 0)
