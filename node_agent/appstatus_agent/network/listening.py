"""Addresses on which containers listen: sockets found open at start, then the kernel's listen events."""

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .addresses import local_addresses

MAX_EXPANDED = 16  # a namespace with more addresses (kube-proxy in IPVS mode has one for each Service) keeps the wildcard
MAX_PIDS = 4  # remembered of each namespace: in the node's own, processes that listen for a moment come and go without end


@dataclass(frozen=True, slots=True)
class Listener:
    owner: int
    netns: int
    ip: str
    port: int


class Listeners:
    """Counted, since several sockets may share an address (SO_REUSEPORT)."""

    def __init__(self) -> None:
        self._open: Counter[Listener] = Counter()
        self._pids: dict[int, list[int]] = {}  # by network namespace: processes in it; the one that told addresses, then the latest
        self._addresses: dict[int, set[str]] = {}

    def opened(self, listener: Listener, pid: int) -> None:
        self._open[listener] += 1
        pids = self._pids.setdefault(listener.netns, [])
        if pid not in pids:
            pids.append(pid)
            del pids[1:-MAX_PIDS + 1]
        if listener.netns not in self._addresses:
            self._look(listener.netns)

    def closed(self, listener: Listener) -> None:
        self._open[listener] -= 1
        if self._open[listener] <= 0:
            del self._open[listener]

    def forget(self, is_gone: Callable[[int], bool]) -> None:
        """Drop what owners that are gone listened on: their end closed the sockets, but an event may have been lost."""
        for listener in [listener for listener in self._open if is_gone(listener.owner)]:
            del self._open[listener]

    def refresh(self) -> None:
        """Look at the namespaces' addresses again; forget those that nobody listens in."""
        used = {listener.netns for listener in self._open}
        self._pids = {netns: pids for netns, pids in self._pids.items() if netns in used}
        self._addresses = {netns: found for netns, found in self._addresses.items() if netns in used}
        for netns in used:
            self._look(netns)

    def _look(self, netns: int) -> None:
        pids = self._pids.get(netns, [])
        while pids:
            found = local_addresses(pids[0])
            if found:
                self._addresses[netns] = found
                return
            del pids[0]  # it ended

    def items(self) -> set[tuple[int, str, int]]:
        """(owner, address, port); a wildcard stands for every address of its namespace but loopback."""
        return {
            (listener.owner, ip, listener.port)
            for listener in list(self._open)
            for ip in expand(listener.ip, self._addresses.get(listener.netns, set()))
        }


def expand(ip: str, local: set[str]) -> list[str]:
    """What `0.0.0.0` or `::` means in a namespace with these addresses; other addresses stay as they are."""
    parsed = ipaddress.ip_address(ip)
    if not parsed.is_unspecified:
        return [ip]
    found = [
        address for address in sorted(local)
        if not (other := ipaddress.ip_address(address)).is_loopback and other.version in (4, parsed.version)
    ]
    return found if 0 < len(found) <= MAX_EXPANDED else [ip]
