"""Addresses of a network namespace and networks near by, from /proc/PID/net (no netlink, no setns)."""

import ipaddress
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LOCAL = re.compile(r"\|-- (?P<ip>[0-9.]+)\n\s+/32 host LOCAL")
_UP = 1


@dataclass(frozen=True, slots=True)
class Networks:
    """What inbound peer classes rest on (see Kernel.set_networks)."""

    node_ips: frozenset[str]
    cluster_cidrs: frozenset[str]


def parse_fib_trie(text: str) -> set[str]:
    """Local IPv4 addresses in /proc/net/fib_trie."""
    return set(_LOCAL.findall(text))


def parse_if_inet6(lines: Iterable[str]) -> set[str]:
    """IPv6 addresses in /proc/net/if_inet6, without link-local ones."""
    parsed = (ipaddress.ip_address(bytes.fromhex(line.split()[0])) for line in lines if line.strip())
    return {str(ip) for ip in parsed if not ip.is_link_local}


def parse_routes(lines: Iterable[str]) -> set[str]:
    """IPv4 networks in /proc/net/route (header first) that are reached otherwise than by the default route."""
    found = set()
    for line in list(lines)[1:]:
        _, destination, _, flags, _, _, _, mask = line.split()[:8]
        if int(flags, 16) & _UP and int(mask, 16):
            found.add(str(ipaddress.ip_network(f"{ipaddress.IPv4Address(_little(destination))}/{ipaddress.IPv4Address(_little(mask))}")))
    return _without_link_local(found)


def parse_routes6(lines: Iterable[str]) -> set[str]:
    """IPv6 networks in /proc/net/ipv6_route, without default routes, multicast and link-local ones."""
    found = set()
    for line in lines:
        fields = line.split()
        length = int(fields[1], 16)
        if length and fields[9] != "lo":
            found.add(str(ipaddress.ip_network((bytes.fromhex(fields[0]), length))))
    return _without_link_local(found)


def _little(digits: str) -> int:
    """/proc/net/route prints addresses as words of the machine."""
    return int.from_bytes(struct.pack("=I", int(digits, 16)), "big")


def _without_link_local(networks: set[str]) -> set[str]:
    parsed = map(ipaddress.ip_network, networks)
    return {str(network) for network in parsed if not (network.is_link_local or network.is_multicast)}


def local_addresses(pid: int | str = "self") -> set[str]:
    """Addresses of the network namespace that the process is in; loopback ones too."""
    return parse_fib_trie(_text(pid, "fib_trie")) | parse_if_inet6(_text(pid, "if_inet6").splitlines())


def networks(extra_cidrs: Iterable[str] = ()) -> Networks:
    """Those of this process's namespace (the host's, with hostNetwork); cluster networks are all routes but the default."""
    routes = parse_routes(_text("self", "route").splitlines()) | parse_routes6(_text("self", "ipv6_route").splitlines())
    return Networks(frozenset(local_addresses()), frozenset(routes | set(extra_cidrs)))


def _text(pid: int | str, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text()
    except OSError:  # the process ended, or the kernel has no IPv6
        return ""
