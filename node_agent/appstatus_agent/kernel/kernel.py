# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel side, and telling it what it cannot know: class Kernel."""

import select
import struct
from collections.abc import Iterable

import numpy as np

from appstatus_agent.kernel import addresses, events, rows
from appstatus_agent.kernel.addresses import Endpoint
from appstatus_agent.kernel.counters import Counters, read_counters
from appstatus_agent.kernel.expiry import expire
from appstatus_agent.kernel.libbpf import RingBuffer
from appstatus_agent.kernel.loader import Loaded
from appstatus_agent.kernel.settings import Config


class Kernel:
    """See the package."""

    def __init__(self, loaded: Loaded):
        self._loaded = loaded
        self._maps = loaded.maps
        self._sweep_number = 0
        self._walk_number = 0  # sweep number of the last read_tcp()
        self._open_connections = 0  # as of the last read_tcp()
        self._ring = RingBuffer(loaded.maps["events"])
        self.features = loaded.features  # by name, see loader.FEATURES
        self.event_fd = loaded.maps["events"].fd  # readable (poll, epoll) when events() has something

    @classmethod
    def load(cls, config: Config) -> "Kernel":
        """Load what this kernel allows, attach it. Raises KernelError only if nothing at all can run."""
        return cls(Loaded(config))

    def close(self) -> None:
        self._loaded.close()

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
        if self._loaded.connections:
            self._loaded.connections.run()
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
        for sweeper in self._loaded.sweepers:
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
        return self._loaded.sockets

    def counters(self) -> Counters:
        return read_counters(self._maps, self.map_entries())

    def map_entries(self) -> dict[str, int]:
        """Entries now in the maps that grow with what runs on the node."""
        names = ("requests", "tcp", "destinations", "nat")
        entries = {name: len(self._maps[name].read()[0]) for name in names if name in self._maps}
        # May be large; their number is in the series already.
        entries["connections"] = self._open_connections
        return entries

    def expire(self, idle_seconds: float = 600.0) -> list[bytes]:
        """Drop series unused for that long (call once a minute); their keys."""
        return expire(self._maps, idle_seconds, self._walk_number)

    # ---- telling ----

    def set_networks(self, node_ips: Iterable[str], cluster_cidrs: Iterable[str]) -> None:
        """What inbound peer classes rest on. Replaces what was set before.

        node_ips: every address of the host's network namespace (bridges too: the kubelet's probes come from there);
        cluster_cidrs: pod and node networks, single addresses as /32 or /128. All else is `outside`.
        """
        if "networks" in self._maps:
            addresses.set_networks(self._maps["networks"], node_ips, cluster_cidrs)

    def set_nat(self, source: Endpoint, destination: Endpoint, actual: Endpoint) -> None:
        """Connections source -> destination (as dialled) really go to `actual`. From conntrack; any thread."""
        addresses.set_nat(self._maps["nat"], source, destination, actual)

    def forget_nat(self, source: Endpoint, destination: Endpoint) -> None:
        addresses.forget_nat(self._maps["nat"], source, destination)

    def retain_nat(self, connections: Iterable[tuple[Endpoint, Endpoint]]) -> None:
        """Forget the mapping of every connection but these (source, destination as dialled)."""
        addresses.retain_nat(self._maps["nat"], connections)
