"""Dependencies whose requests cannot be read (a database's own protocol, a TCP proxy): seen only by what waiting looks like.

A caller that is slow without computing, waiting for CPU or being throttled waits for somebody. Whom, must be told by evidence: the
dependency's own troubles, connections that stay busy longer, or other callers of it that became slow by themselves as well. Without
any the caller keeps the share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from appstatus.api.names import AppKey
from appstatus.diagnosis.excess import Accounts, Excess
from appstatus.diagnosis.flow import Source
from appstatus.diagnosis.result import Evidence
from appstatus.diagnosis.shift import THRESHOLD, Shift
from appstatus.diagnosis.signals import Signals
from appstatus.inspections.result import CheckResult
from appstatus.model.world import Application, Connection

LEAST_ACTIVE = 0.5  # connections
DEEPEST = 3  # edges that cannot be read, in a row
# Busy connections over which less than this part of the bytes goes are held by the caller, not waited for.
STARVED = 0.5
LATE = 2.0  # times the mean latency before


@dataclass(slots=True)
class _Suspect:
    path: tuple[AppKey, ...]
    signals: Signals
    busy: Evidence | None
    weight: float


def blame(
    accounts: Accounts,
    source: Source,
    signals: Signals,
    violator: Application,
    checks: Mapping[AppKey, Sequence[CheckResult]],
) -> tuple[Source, Signals]:
    """The source as it is, or moved to the dependency that the evidence points to; of equally likely ones the deepest."""
    if source.kind == "network" or signals.internal or signals.app.key.is_external:
        return source, signals
    # Whoever waits answers late; errors at once are the caller's own (that nobody listens is found by failed connects).
    if source.mode == "failures" and not _late(accounts.node(signals.app)):
        return source, signals
    suspects = []
    for path, connection in _opaque(accounts, source.path, DEEPEST):
        moved = Source(connection.upstream, "own", source.mode, source.share, path, source.strongest)
        theirs = Signals(accounts, moved, violator, checks)
        active = signals.shift(connection.active, LEAST_ACTIVE)
        busy = None
        if active is not None and active.score > THRESHOLD:
            edge = f"{connection.client.name}->{connection.upstream.name}"
            busy = Evidence("opaque", edge, active.before, active.during, "connections")
        others = _others(accounts, theirs.app, path, violator, checks)
        if busy is not None and _starved(signals, connection) and not others and not theirs.internal:
            signals.found.setdefault("pool-held", busy)
            continue
        weight = (2.0 if theirs.internal else 0.0) + (1.0 if busy else 0.0) + others
        if weight:
            suspects.append(_Suspect(path, theirs, busy, weight))
    if not suspects or "pool-held" in signals.found:
        return source, signals
    best = max(suspects, key=lambda s: (s.weight, len(s.path)))
    moved = Source(best.path[-1], "own", source.mode, source.share, best.path, source.strongest)
    edge = "->".join(k.name for k in best.path[-2:])
    best.signals.found["opaque"] = best.busy or Evidence("opaque", edge, None, None, "")
    return moved, best.signals


def _opaque(accounts: Accounts, path: tuple[AppKey, ...], depth: int) -> Iterator[tuple[tuple[AppKey, ...], Connection]]:
    """Edges that cannot be read, from the end of the path on, with the path to their far end."""
    if not depth:
        return
    for connection in accounts.world.applications[path[-1]].upstreams:
        if connection.traffic.requests or connection.upstream in path:
            continue
        longer = (*path, connection.upstream)
        yield longer, connection
        yield from _opaque(accounts, longer, depth - 1)


def _starved(signals: Signals, connection: Connection) -> bool:
    sent: Shift | None = signals.shift(connection.bytes_sent, 1.0)
    return sent is not None and sent.during < STARVED * sent.before


def _others(
    accounts: Accounts,
    app: Application,
    path: tuple[AppKey, ...],
    violator: Application,
    checks: Mapping[AppKey, Sequence[CheckResult]],
) -> int:
    """How many other callers of ``app`` have become late, for no reason of their own nor of anybody below who can be read."""
    found = 0
    for connection in app.downstreams:
        if connection.client in path or connection.traffic.requests:
            continue
        other = accounts.world.applications[connection.client]
        node = accounts.node(other)
        below = sum(accounts.edge(c).seconds for c in other.upstreams)
        if _late(node) and node.seconds - below > node.seconds / 2:
            itself = Source(other.key, "own", "seconds", 0.0, (other.key,))
            found += not Signals(accounts, itself, violator, checks).internal
    return found


def _late(node: Excess) -> bool:
    return node.seconds > 0 and node.before is not None and node.during is not None and node.during >= LATE * node.before
