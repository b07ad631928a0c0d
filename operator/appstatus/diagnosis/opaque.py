"""Dependencies whose requests cannot be read (a database over an unknown protocol): seen only by what waiting for them looks like.

A caller that is slow without computing, waiting or throttled is waiting for somebody. A callee is named only on evidence of its
own; else the caller keeps the share, as unknown.
"""

from appstatus.api.names import AppKey
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.flow import Source
from appstatus.diagnosis.result import Evidence
from appstatus.diagnosis.signals import THRESHOLD, Signals
from appstatus.model.world import Application, Connection

LEAST_ACTIVE = 1.0  # connections


def blame(accounts: Accounts, source: Source, signals: Signals, violator: Application) -> tuple[Source, Signals]:
    """The source as it is, or moved to the opaque dependency that the evidence points to."""
    if source.kind == "network" or signals.internal or signals.app.key.is_external:
        return source, signals
    found: list[tuple[float, Source, Signals]] = []
    for connection in signals.app.upstreams:
        if connection.traffic.requests or connection.upstream in source.path:
            continue
        moved = Source(connection.upstream, "own", source.mode, source.share, (*source.path, connection.upstream), source.strongest)
        theirs = Signals(accounts, moved, violator)
        weight = _weight(accounts, connection, signals, theirs, source.app)
        if weight:
            found.append((weight, moved, theirs))
    if not found:
        return source, signals
    _, moved, theirs = max(found, key=lambda f: f[0])
    theirs.found.setdefault("opaque", Evidence("opaque", _edge(source.app, moved.app), None, None, ""))
    return moved, theirs


def _weight(accounts: Accounts, connection: Connection, ours: Signals, theirs: Signals, client: AppKey) -> float:
    weight = 2.0 if theirs.internal else 0.0
    active = ours.shift(connection.active, LEAST_ACTIVE)
    if active is not None and active.score > THRESHOLD:
        theirs.found["opaque"] = Evidence("opaque", _edge(client, connection.upstream), active.before, active.during, "connections")
        weight += 1.0
    # Others that use it became slow as well, by themselves.
    for other in theirs.app.downstreams:
        if other.client != client and _own_seconds(accounts, accounts.world.applications[other.client]) > 0:
            weight += 1.0
    return weight


def _own_seconds(accounts: Accounts, app: Application) -> float:
    own = accounts.node(app).seconds
    return own - sum(accounts.edge(c).seconds for c in app.upstreams)


def _edge(client: AppKey, upstream: AppKey) -> str:
    return f"{client.name}->{upstream.name}"
