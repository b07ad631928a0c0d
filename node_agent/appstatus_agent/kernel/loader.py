# SPDX-License-Identifier: Apache-2.0
"""Loading and attaching the programs: what this node refuses turns off only what it is for."""

import contextlib
import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from appstatus_agent.kernel import addresses, rows
from appstatus_agent.kernel.libbpf import BpfError, CgroupLink, Link, Map, Object, Walker
from appstatus_agent.kernel.settings import Config, find_cgroup_root, find_objects, map_sizes, struct_config


class KernelError(Exception):
    """Nothing can be traced on this node; the text is one sentence for the log."""


@dataclass(frozen=True, slots=True)
class Feature:
    on: bool
    reason: str  # "" when on


@dataclass(frozen=True, slots=True)
class _Walk:
    """An iterator program over a map's elements, and the one that does the same where the kernel does not hand those out."""

    program: str
    over: str
    instead: str


INGRESS, EGRESS = 0, 1  # enum bpf_attach_type: BPF_CGROUP_INET_...

_SWEEPS = (_Walk("sweep_sockets", "sockets", "sweep_files"), _Walk("sweep_early", "early", "sweep_early_at_once"))
_CONNECTIONS = _Walk("walk_connections", "connections", "walk_connections_at_once")

_FURTHER = {protocol: f"tap_{protocol}" for protocol in rows.PROTOCOLS[2:]}
# The tap's programs call each other by these numbers: enum part of bpf/parsers.h.
_PARTS = ("tap", "tap_begin", "tap_early", "tap_end", "tap_sample", "tap_recognise", *_FURTHER.values())

# Programs whose refusal turns off only what they are for.
_OPTIONAL = {
    "tap": set(_FURTHER.values()),
    "tcp": set[str](),
    "walks": {name for walk in (*_SWEEPS, _CONNECTIONS) for name in (walk.program, walk.instead)} | {"walk_files"},
    "process": {"process_exec", "process_exit", "oom_victim", "cgroup_made", "cgroup_gone"},
}


# Each is on, or off with the kernel's reason; none needs another but `requests` for `overdue`, `tcp` for the two below it.
FEATURES = (
    "requests",  # series of requests: of HTTP, and
    *_FURTHER,  # of further protocols
    "dns",  # events.DnsAnswer
    "overdue",  # `overdue` endings and `in_flight`
    "tcp",  # TCP series, events.Listen, and requests of sockets that die without a packet
    "tcp_bytes",  # bytes, retransmits and RTT of connections that are still open
    "sockets_at_start",  # sockets()
    "processes",  # events.ProcessExec, ProcessExit
    "oom",  # events.OomKill
    "cgroups",  # events.CgroupChange
)


class Loaded:
    """The objects, their maps, and what is attached by links: those leave with this process, however it ends."""

    def __init__(self, config: Config):
        """Load what this kernel allows, attach it. Raises KernelError only if nothing at all can run."""
        self.features: dict[str, Feature] = {}  # see FEATURES
        self.maps: dict[str, Map] = {}
        self.sweepers: list[Walker] = []
        self.connections: Walker | None = None  # brings the counters of open connections into their series
        self.sockets = np.empty(0, rows.SOCKET)  # open now
        self._config = config
        self._root = config.cgroup_root or find_cgroup_root()
        self._objects: list[Object] = []
        self._links: list[Link | CgroupLink] = []
        self._load_tap()
        self._load_tcp()
        self._load_walks()
        self._load_processes()
        if not any(feature.on for feature in self.features.values()):
            reasons = "; ".join(f"{name}: {feature.reason}" for name, feature in self.features.items())
            self.close()
            raise KernelError(f"this kernel ({os.uname().release}) runs none of the programs ({reasons})")

    def close(self) -> None:
        for iterator in (*self.sweepers, *([self.connections] if self.connections else [])):
            iterator.link.destroy()
        for link in self._links:
            link.destroy()
        for loaded in self._objects:
            loaded.close()
        self.sweepers, self.connections, self._links, self._objects = [], None, [], []

    def _load(self, name: str) -> Object:
        path = (self._config.objects or find_objects()) / f"{name}.bpf.o"
        if not path.exists():
            raise BpfError(2, f"{path} is missing: make -C bpf builds it")
        config = struct_config(self._config, self._root, self.maps["sockets"].id() if "sockets" in self.maps else 0)
        unwanted = {program for protocol, program in _FURTHER.items() if protocol not in self._config.protocols}
        loaded = Object(path, self.maps, map_sizes(self._config), config, _OPTIONAL[name], unwanted)
        self._objects.append(loaded)
        for table, dtype in (("requests", rows.REQUEST_VALUE), ("tcp", rows.TCP_VALUE)):
            found = self.maps[table]
            if (found.key_size, found.value_size) != (rows.SERIES_KEY.itemsize, dtype.itemsize):
                raise KernelError(f"{path} is of another version than this agent: map {table} has other sizes")
        return loaded

    def _feature(self, names: Iterable[str], error: BpfError | str | None = None) -> None:
        reason = "" if error is None else _explain(error)
        for name in names:
            self.features[name] = Feature(error is None, reason)

    def _load_tap(self) -> None:
        try:
            if self._root is None:
                raise BpfError(2, "no cgroup-v2 hierarchy is mounted")
            tap = self._load("tap")
            for number, part in enumerate(_PARTS):
                if part not in tap.refused:
                    tap.put(part, self.maps["parts"], number)
            addresses.set_networks(self.maps["networks"], self._config.node_ips, self._config.cluster_cidrs)
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with contextlib.ExitStack() as undo:  # one hook without the other would count wrongly
                    links = []
                    for hook in (INGRESS, EGRESS):
                        links.append(tap.attach_cgroup("tap", fd, hook))
                        undo.callback(links[-1].destroy)
                    undo.pop_all()
                self._links += links
            finally:
                os.close(fd)
        except BpfError as error:
            self._feature(("requests", *_FURTHER, "dns", "overdue"), error)
            return
        self._feature(("requests", "dns"))
        for protocol, program in _FURTHER.items():
            self._feature((protocol,), tap.refused.get(program))

    def _load_tcp(self) -> None:
        try:
            tcp = self._load("tcp")
            self._links.append(tcp.attach("tcp_state"))
        except BpfError as error:
            self._feature(("tcp", "tcp_bytes", "sockets_at_start"), error)
            return
        self._feature(("tcp",))

    def _load_walks(self) -> None:
        features = {
            feature: start
            for feature, needed, start in (
                ("overdue", "requests", self._start_sweeps),
                ("tcp_bytes", "tcp", self._start_connections),
                ("sockets_at_start", "tcp", self._walk_files),
            )
            if self.features[needed].on
        }
        try:
            walks = self._load("walks")
        except BpfError as error:
            self._feature(features, error)
            return
        for feature, start in features.items():
            try:
                start(walks)
                self._feature((feature,))
            except BpfError as error:
                self._feature((feature,), error)

    def _start_sweeps(self, walks: Object) -> None:
        for sweep in _SWEEPS:
            self.sweepers.append(self._walker(walks, sweep))

    def _start_connections(self, walks: Object) -> None:
        self.connections = self._walker(walks, _CONNECTIONS)

    def _walker(self, walks: Object, walk: _Walk) -> Walker:
        if walk.program in walks.refused and walk.instead not in walks.refused:
            return walks.iterator(walk.instead)
        return walks.iterator(walk.program, self.maps[walk.over])

    def _walk_files(self, walks: Object) -> None:
        walker = walks.iterator("walk_files")
        found = []
        for kind in (0, 1):  # enum walk: listeners, then connections
            self.maps["walk_kind"].set(struct.pack("=I", 0), struct.pack("=I", kind))
            found.append(np.frombuffer(walker.run(), rows.SOCKET))
        walker.link.destroy()
        self.sockets = rows.distinct(np.concatenate(found))

    def _load_processes(self) -> None:
        programs = {
            "processes": ("process_exec", "process_exit"),
            "oom": ("oom_victim",),
            "cgroups": ("cgroup_made", "cgroup_gone"),
        }
        try:
            processes = self._load("process")
        except BpfError as error:
            self._feature(programs, error)
            return
        for feature, names in programs.items():
            try:
                for name in names:
                    self._links.append(processes.attach(name))
                self._feature((feature,))
            except BpfError as error:
                self._feature((feature,), error)


def _explain(error: BpfError | str) -> str:
    text = error if isinstance(error, str) else str(error.strerror)
    if isinstance(error, BpfError) and error.errno in (errno.EPERM, errno.EACCES):
        text += (
            "; are the capabilities BPF, PERFMON and NET_ADMIN given"
            " (below kernel 5.11 also SYS_RESOURCE, or a raised memlock limit)?"
        )
    return text
