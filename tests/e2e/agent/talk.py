# SPDX-License-Identifier: Apache-2.0
"""Conversations between two real sockets, byte by byte as a test says, each end in a cgroup of its own."""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from appstatus_agent.kernel import Kernel, rows
from appstatus_agent.kernel.settings import find_cgroup_root

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33


def network_inode() -> int:
    """Number of this thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


@contextlib.contextmanager
def own_network():
    """A network namespace of its own for the sockets of this thread and the processes it starts."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _libc.setns(before, CLONE_NEWNET)
        os.close(before)


GSO_MAX_SIZE, GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE = 41, 58, 63, 64  # IFLA_*


def set_link(name: str, attributes: dict[int, int]) -> None:
    """By netlink: Debian 12's ip(8) does not know all of them."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    body += b"".join(struct.pack("=HHI", 8, kind, value) for kind, value in attributes.items())
    new_link, request_and_acknowledge = 16, 1 | 4
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), new_link, request_and_acknowledge, 1, 0) + body)
        code = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
    if code:
        raise OSError(-code, f"attributes {attributes} of {name}: {os.strerror(-code)}")


class Owners:
    """Cgroups `client` and `server`; a socket belongs to the one its maker was in."""

    def __init__(self):
        self._root = find_cgroup_root()
        self._base = self._root / f"appstatus-test-{os.getpid()}-{time.monotonic_ns()}"
        self._home = self._root / Path("/proc/self/cgroup").read_text().split("0::/")[1].split("\n")[0]
        self.ids = {}
        self._base.mkdir()
        for name in ("client", "server"):
            (self._base / name).mkdir()
            self.ids[name] = (self._base / name).stat().st_ino

    @contextlib.contextmanager
    def as_(self, name: str):
        (self._base / name / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (self._home / "cgroup.procs").write_text("0")

    def path(self, name: str) -> Path:
        return self._base / name

    def remove(self) -> None:
        for name in ("client", "server"):
            (self._base / name).rmdir()
        self._base.rmdir()


@dataclass
class Sum:
    """What one end of a test's conversations counted: endings by status, latencies (number, seconds), in flight."""

    ended: dict[str, int] = field(default_factory=dict)
    latencies: int = 0
    seconds: float = 0.0
    in_flight: int = 0
    peers: dict[str, int] = field(default_factory=dict)
    rows: np.ndarray | None = None


def requests_of(kernel: Kernel, owner: int) -> Sum:
    table = kernel.read_requests()
    table = table[table["key"]["owner"] == owner]
    ended = table["value"]["ended"].sum(axis=0)
    peers: dict[str, int] = {}
    for row in table:
        name = rows.PEERS[row["key"]["peer"]]
        peers[name] = peers.get(name, 0) + int(row["value"]["ended"].sum())
    return Sum(
        {status: int(n) for status, n in zip(rows.STATUSES, ended, strict=True) if n},
        int(table["value"]["latency"].sum()),
        float(table["value"]["latency_sum"].sum()) / 1e9,
        int(table["value"]["in_flight"].sum()),
        peers,
        table,
    )


class Talk:
    """One connection, both ends held by the test. Each send waits until the other end has it, so it is one segment."""

    def __init__(self, owners: Owners, host: str = "127.0.0.1", listener: socket.socket | None = None, source: str = ""):
        self.owners = owners
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if listener is None:
            with owners.as_("server"):
                self.listener = socket.create_server(
                    ("::" if family == socket.AF_INET6 else "0.0.0.0", 0),
                    family=family,
                    dualstack_ipv6=family == socket.AF_INET6,
                )
        else:
            self.listener = listener
        with owners.as_("client"):
            self.client = socket.socket(family, socket.SOCK_STREAM)
            if source:
                self.client.bind((source, 0))
        self.address = (host, self.listener.getsockname()[1])

    def open(self) -> "Talk":
        self.client.connect(self.address)
        self.server, _ = self.listener.accept()
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(10)
        return self

    def ask(self, data: bytes) -> None:
        _pass_on(self.client, self.server, data)

    def answer(self, data: bytes) -> None:
        _pass_on(self.server, self.client, data)

    def close(self) -> None:
        for end in (getattr(self, "client", None), getattr(self, "server", None), self.listener):
            if end is not None:
                end.close()
        settle()


def _pass_on(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    sender.setblocking(False)
    left = len(data)
    while left:
        if data:
            with contextlib.suppress(BlockingIOError):
                data = data[sender.send(data) :]
        with contextlib.suppress(BlockingIOError):
            got = receiver.recv(1 << 20, socket.MSG_DONTWAIT)
            assert got, "the connection ended while bytes were still to come"
            left -= len(got)
    sender.settimeout(10)


def reset(end: socket.socket) -> None:
    """Close with RST instead of FIN."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def settle() -> None:
    """Long enough for FIN and ACK to pass loopback."""
    time.sleep(0.02)


@dataclass(frozen=True)
class Packet:
    """A TCP packet as a socket gets it, however large."""

    source: int
    target: int
    syn: bool
    payload: int  # bytes


class Sniffer:
    """What arrives on loopback in the test's own network namespace."""

    def __enter__(self):
        everything = 3  # ETH_P_ALL
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(everything))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self._socket.setblocking(False)
        self.packets: list[Packet] = []
        return self

    def __exit__(self, *_):
        with self._socket, contextlib.suppress(BlockingIOError):
            head = bytearray(128)
            while True:
                length, (_, _, kind, *_) = self._socket.recvfrom_into(head, 0, socket.MSG_TRUNC)
                if kind != socket.PACKET_OUTGOING and (packet := _packet(head, length)):
                    self.packets.append(packet)


def _packet(head: bytearray, length: int) -> Packet | None:
    if head[0] >> 4 == 4:
        protocol, at = head[9], 4 * (head[0] & 15)
    else:
        protocol, at = head[6], 40
        if protocol == 0:  # BIG TCP's hop-by-hop header
            protocol, at = head[40], 48
    if protocol != socket.IPPROTO_TCP:
        return None
    source, target, offset, flags = struct.unpack_from("!HH8xBB", head, at)
    return Packet(source, target, bool(flags & 2), length - at - 4 * (offset >> 4))


def lose_next(sender: socket.socket, side: str, port: int, data: bytes, cut: int) -> None:
    """Two segments, of which the first is lost once: the second one overtakes it."""
    rule = f"tcp {side} {port} limit rate over 1/day burst 1 packets accept; tcp {side} {port} drop"
    with Drops(f"type filter hook input priority 0; {rule}"):
        sender.sendall(data[:cut])
        time.sleep(0.02)
        sender.sendall(data[cut:])
        time.sleep(0.5)


class Drops:
    """nftables rules in the test's own network namespace."""

    def __init__(self, rule: str):
        table = "table inet t {\nchain c {\n" + rule.replace("; ", "\n") + "\n}\n}\n"
        subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["nft", "delete", "table", "inet", "t"], check=True)
