# SPDX-License-Identifier: Apache-2.0
"""What user space tells the kernel side about addresses: networks for peer classes, and where connections really go."""

import ipaddress
import struct
from collections.abc import Iterable

import numpy as np

from appstatus_agent.kernel import rows
from appstatus_agent.kernel.libbpf import Map

Endpoint = tuple[str, int]


def set_networks(networks: Map, node_ips: Iterable[str], cluster_cidrs: Iterable[str]) -> None:
    """Replaces what was set before. See Kernel.set_networks."""
    wanted = {_prefix(cidr): 1 for cidr in cluster_cidrs} | {_prefix(ip): 2 for ip in node_ips}
    for prefix, kind in wanted.items():
        networks.set(prefix, struct.pack("=I", kind))
    for prefix in networks.all_keys():
        if prefix not in wanted:
            networks.delete(prefix)


def set_nat(nat: Map, source: Endpoint, destination: Endpoint, actual: Endpoint) -> None:
    nat.set(_tuple(source, destination), rows.packed(actual[0]) + struct.pack("=H6x", actual[1]))


def forget_nat(nat: Map, source: Endpoint, destination: Endpoint) -> None:
    nat.delete(_tuple(source, destination))


def retain_nat(nat: Map, connections: Iterable[tuple[Endpoint, Endpoint]]) -> None:
    wanted = {_tuple(source, destination) for source, destination in connections}
    keys, _ = nat.read()
    for key in map(np.ndarray.tobytes, keys):
        if key not in wanted:
            nat.delete(key)


def _prefix(cidr: str) -> bytes:
    network = ipaddress.ip_network(cidr, strict=False)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return struct.pack("=I", bits) + rows.packed(str(network.network_address))


def _tuple(local: Endpoint, remote: Endpoint) -> bytes:
    return rows.packed(local[0]) + rows.packed(remote[0]) + struct.pack("=HHI", local[1], remote[1], 0)
