"""Causes that lie beside the call graph or above it: who takes the CPU, who sends the traffic, whose network it is.

The flow ends at the applications that suffer; several of them can suffer from one such origin, whose share is then theirs together.
"""

from appstatus.api.names import AppKey
from appstatus.diagnosis.demarcation import gaps
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.signals import SURGE, Signals
from appstatus.model.world import Application


def origin(klass: str, path: tuple[AppKey, ...], signals: Signals) -> tuple[AppKey, tuple[AppKey, ...]]:
    """(application to blame, path to it) for a source at the end of ``path``; itself for most classes."""
    if klass == "noisy-neighbour" and signals.neighbour is not None:
        return signals.neighbour, (*path, signals.neighbour)
    if klass == "traffic-surge":
        return _sender(signals.accounts, signals.accounts.world.applications[path[0]], path[:1])
    if klass == "network-latency" and len(path) > 1:
        applications = signals.accounts.world.applications
        ends = applications[path[-2]], applications[path[-1]]
        around = {id(c): c for end in ends for c in (*end.upstreams, *end.downstreams)}
        end = gaps(signals.accounts, around.values()).end(*path[-2:])
        return end, path if end == path[-1] else path[:-1]
    return path[-1], path


def _sender(accounts: Accounts, app: Application, path: tuple[AppKey, ...]) -> tuple[AppKey, tuple[AppKey, ...]]:
    """Up the call graph to where the additional requests begin; users outside leave the application that they call."""
    more: list[tuple[float, AppKey]] = []
    for connection in app.downstreams:
        if connection.client in path:
            continue
        before, during = accounts.levels(connection.traffic.total(len(accounts.world.times)))
        if during >= SURGE * before and during > 0:
            more.append((during - before, connection.client))
    if not more:
        return app.key, path
    grown, client = max(more)
    before, during = accounts.levels(app.served.total(len(accounts.world.times)))
    if grown < (during - before) / 2:  # most of it comes from where no client can be seen
        return app.key, path
    return _sender(accounts, accounts.world.applications[client], (*path, client))
