"""The way of the pain: over which calls the violator's excess comes from where it starts.

The flow splits the excess over calls. What a cause's path has beyond that (who takes the CPU, who sends the traffic, a dependency
whose requests cannot be read) carries the share of the cause, which is 0 of those that are suspected only.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from appstatus.api.names import AppKey
from appstatus.diagnosis.diagnose import LEAST_NAMED, examine
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.flow import Mode
from appstatus.diagnosis.result import Diagnosis, Evidence
from appstatus.model.world import World
from appstatus.slo.status import SLOStatus

# calls: start calls end; unread: likewise, but requests cannot be read; sends: end sends start its traffic; beside: end takes what
# start needs on its node; unknown: whether one calls the other is not known
How = Literal["calls", "unread", "sends", "beside", "unknown"]


@dataclass(frozen=True, slots=True)
class Link:
    """One step away from the violator. share: part of its excess that goes this way, 0..1; fact: what ``start`` sees of ``end``."""

    start: AppKey
    end: AppKey
    share: float
    how: How
    fact: Evidence | None = None


def propagation(world: World, diagnosis: Diagnosis, statuses: Sequence[SLOStatus]) -> tuple[Link, ...]:
    """Largest first: calls that carry a share worth naming, and every step of every cause's path.

    statuses  those of the violator, as they were given to ``diagnose``
    """
    violator = world.applications.get(diagnosis.violator)
    if violator is None:
        return ()
    examined = examine(world, violator, statuses, diagnosis.onset)
    carried: dict[tuple[AppKey, AppKey], dict[Mode, float]] = {}
    for (start, end, mode), share in examined.flow.edges.items():
        carried.setdefault((start, end), {})[mode] = share
    paths: dict[tuple[AppKey, AppKey], float] = {}
    for cause in diagnosis.causes:
        for pair in pairwise(cause.path):
            paths[pair] = max(paths.get(pair, 0.0), cause.share)
    neighbours = {cause.app for cause in diagnosis.causes if cause.neighbour}
    links = []
    for pair in {**carried, **paths}:
        modes = carried.get(pair, {})
        share = sum(modes.values()) or paths[pair]
        if share >= LEAST_NAMED or pair in paths:
            largest = sorted(modes, key=lambda mode: modes[mode])[-1:]
            links.append(_link(examined.accounts, neighbours, *pair, min(1.0, share), *largest))
    links.sort(key=lambda link: (-link.share, link.start, link.end))
    return tuple(link for link in links if link.start in _reached(diagnosis.violator, links))


def _reached(violator: AppKey, links: Sequence[Link]) -> set[AppKey]:
    """Several ways that are too small to be named can meet in one that is not: that one would hang in the air."""
    found = {violator}
    while more := {link.end for link in links if link.start in found} - found:
        found |= more
    return found


def _link(
    accounts: Accounts, neighbours: Collection[AppKey], start: AppKey, end: AppKey, share: float, mode: Mode | None = None
) -> Link:
    if mode is None and any(c.client == end and c.upstream == start for c in accounts.world.connections):
        return Link(start, end, share, "sends")
    connection = next((c for c in accounts.world.connections if c.client == start and c.upstream == end), None)
    if connection is None:
        return Link(start, end, share, "beside" if end in neighbours else "unknown")
    if not connection.traffic.requests:
        return Link(start, end, share, "unread")
    seen, subject = accounts.edge(connection), f"{start.name}->{end.name}"
    if mode == "failures":
        return Link(start, end, share, "calls", Evidence("failing", subject, 100 * seen.failing_before, 100 * seen.failing, "%"))
    if seen.before is None or seen.during is None:
        return Link(start, end, share, "calls")
    return Link(start, end, share, "calls", Evidence("latency", subject, seen.before, seen.during, "s"))
