# SPDX-License-Identifier: Apache-2.0
"""Rows the kernel side hands to user space: numpy dtypes with the layout of the C structs in bpf/types.h.

The loader refuses an object whose map sizes differ, and a unit test compares every field's offset with the object's BTF.
Addresses are 16 bytes in network order; IPv4 is mapped (::ffff:a.b.c.d). Ports are host order. Times are nanoseconds.
Counters only grow while a row lives; a row that left (idle for 10 min, or its owner gone) starts again at 0.
"""

import ipaddress

import numpy as np

# An owner is the id (inode) of a cgroup. With OWNER_V1 set it is one of the v1 memory hierarchy: the socket's cgroup-v2 id was
# the root's, and the process that connected or listened was found there. OWNER_UNKNOWN: neither; counted in Counters.unknown_owner.
OWNER_V1 = 1 << 63
OWNER_UNKNOWN = 0

OUTBOUND, INBOUND = 0, 1
DIRECTIONS = ("outbound", "inbound")

# Index = column `protocol`; 0 never leaves the kernel. What could not be read of HTTP/2 is http's, or grpc's.
PROTOCOLS = ("", "http", "redis", "postgres", "mysql", "kafka", "mongo", "grpc", "memcached")


def noun(protocol: str) -> str:
    """What a metric's name calls the requests of a protocol: as coroot-node-agent's."""
    return "requests" if protocol in ("http", "kafka", "grpc") else "queries"


# Column `peer` of inbound request rows (0 in outbound rows).
PEERS = ("", "local", "cluster", "outside", "kubelet", "scrape")

# Order of column `ended`: how requests ended.
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "reset", "closed", "overdue", "unknown")
# What those mean of protocols that know no more classes; the others stay 0.
OK_OR_FAILED = {
    "2xx": "ok", "4xx": "client_error", "5xx": "failed",
    "reset": "reset", "closed": "closed", "overdue": "overdue", "unknown": "unknown",
}  # fmt: skip

# Upper bounds (inclusive) of the latency buckets, in ns; the 25th bucket is +Inf. Column `latency` is NOT cumulative over buckets.
LATENCY_BOUNDS_NS = tuple(
    int(ms * 1_000_000)
    for ms in (1, 2.5, 5, 10, 15, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750,
               1000, 1500, 2000, 2500, 5000, 7500, 10000, 30000)
)  # fmt: skip


# Key shared by request and TCP rows: whose traffic, and with whom. `destination` as dialled, `actual` after NAT as far as the
# kernel side knows it: all zero = not known (no mapping was given by set_nat, and the packet header said nothing else).
# `folded` = 1: one of the destinations beyond the first 200 of this owner; both addresses are zero ("~other").
SERIES_KEY = np.dtype(
    [
        ("owner", "<u8"),
        ("destination", "u1", (16,)),
        ("actual", "u1", (16,)),
        ("destination_port", "<u2"),
        ("actual_port", "<u2"),
        ("direction", "u1"),
        ("protocol", "u1"),
        ("peer", "u1"),
        ("folded", "u1"),
    ]
)

REQUEST_VALUE = np.dtype(
    [
        ("ended", "<u8", (len(STATUSES),)),
        ("latency", "<u8", (len(LATENCY_BOUNDS_NS) + 1,)),
        ("latency_sum", "<u8"),
        ("last_used", "<u8"),  # CLOCK_MONOTONIC
        ("in_flight", "<u4"),  # valid after sweep(); read_requests() zeroes what the last sweep did not touch
        ("sweep", "<u4"),
    ]
)
REQUEST = np.dtype([("key", SERIES_KEY), ("value", REQUEST_VALUE)])

# Outbound rows: everything but `accepted`. Inbound rows: `accepted` only, and `destination` is the local (listening) address.
TCP_VALUE = np.dtype(
    [
        ("connects", "<u8"),
        ("failed", "<u8"),  # counted with actual = 0
        ("connect_time", "<u8"),  # ns, sum over `connects`
        ("accepted", "<u8"),
        ("bytes_sent", "<u8"),
        ("bytes_received", "<u8"),
        ("segments", "<u8"),  # with payload, those sent again included
        ("retransmits", "<u8"),
        ("spurious", "<u8"),  # retransmits of what the receiver had already (duplicate SACKs)
        ("active", "<i8"),  # gauge: connections open at the last read_tcp()
        ("rtt_sum", "<u8"),  # us: their smoothed RTT
        ("rtt_count", "<u4"),
        ("sweep", "<u4"),
        ("last_used", "<u8"),
    ]
)
TCP = np.dtype([("key", SERIES_KEY), ("value", TCP_VALUE)])

# A TCP socket found open at start (Kernel.sockets()): listening ones for container_net_tcp_listen_info.
SOCKET = np.dtype(
    [
        ("owner", "<u8"),
        ("local", "u1", (16,)),
        ("remote", "u1", (16,)),
        ("local_port", "<u2"),
        ("remote_port", "<u2"),
        ("netns", "<u4"),
        ("pid", "<u4"),
        ("state", "u1"),  # TCP_ESTABLISHED = 1, TCP_LISTEN = 10
        ("pad", "u1", (3,)),
        ("inode", "<u8"),
    ]
)


def distinct(sockets: np.ndarray) -> np.ndarray:
    """One row (rows.SOCKET) of each socket, that of the first process: a socket held by several was found several times."""
    _, first = np.unique(sockets["inode"], return_index=True)
    return sockets[np.sort(first)]


def address(raw) -> str:
    """Text of a 16-byte address; IPv4-mapped ones as IPv4."""
    ip = ipaddress.IPv6Address(bytes(raw))
    return str(ip.ipv4_mapped or ip)


def packed(ip: str) -> bytes:
    """16 bytes of an address in text form (IPv4 mapped)."""
    parsed = ipaddress.ip_address(ip)
    return parsed.packed if parsed.version == 6 else b"\0" * 10 + b"\xff\xff" + parsed.packed
