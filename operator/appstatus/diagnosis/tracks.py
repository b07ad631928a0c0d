"""The series behind a fact: what was measured, over the whole hour, in the fact's own unit.

A fact names a signal and a subject; both are looked up in the world again, so that a diagnosis stays as small as it is stored.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.slo import BAD_STATUSES
from appstatus.diagnosis.diagnose import failed
from appstatus.diagnosis.result import Cause, Evidence
from appstatus.diagnosis.signals import latency, requests
from appstatus.model.series import F64
from appstatus.model.world import UNANSWERED, Application, Connection, Container, World, add
from appstatus.slo.sli import events
from appstatus.slo.status import SLOStatus


def symptom(world: World, status: SLOStatus) -> F64 | None:
    """(T,) percent of the events that an objective counts as bad; None for PromQL, whose events are not in the world."""
    app = world.applications.get(status.objective.app)
    if app is None or status.objective.indicator == "promql":
        return None
    good, total = events(status.objective, app, world)
    return 100 * _ratio(total - good, total)


def track(world: World, cause: Cause, fact: Evidence, bad: frozenset[str] = BAD_STATUSES) -> F64 | None:
    """(T,) of one fact; None where it is no series (a rollout), or not in the world. ``bad``: statuses of the objectives."""
    place = _Place(world, [*reversed(cause.path), cause.app], fact.subject, cause.node, bad)
    connection = _connection(place)
    if connection is not None:
        look = _EDGES.get(fact.signal)
        return look(place, connection) if look is not None else None
    if fact.signal in _NODE:
        return _NODE[fact.signal](place)
    if fact.signal in _CONTAINERS:
        return _highest(map(_CONTAINERS[fact.signal], _containers(place)))
    app = next((a for a in _apps(place) if a.key.name == fact.subject), None)
    of_app = _APPLICATIONS.get(fact.signal)
    return of_app(place, app) if app is not None and of_app is not None else None


class _Place(NamedTuple):
    """Where to look. keys: applications on the path, the cause first."""

    world: World
    keys: list[AppKey]
    subject: str
    node: str
    bad: frozenset[str]


def _apps(place: _Place) -> Iterator[Application]:
    return (place.world.applications[key] for key in dict.fromkeys(place.keys) if key in place.world.applications)


def _connection(place: _Place) -> Connection | None:
    near = (c for app in _apps(place) for c in (*app.downstreams, *app.upstreams))
    found = (c for c in near if f"{c.client.name}->{c.upstream.name}" == place.subject)
    return min(found, key=lambda c: c.client not in place.keys, default=None)


def _containers(place: _Place) -> Iterator[Container]:
    name = place.subject.partition(", ")[0]
    return (c for app in _apps(place) for i in app.instances.values() if i.name == name for c in i.containers.values())


def _ratio(part: F64, whole: F64) -> F64:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _highest(found: Iterable[F64 | None]) -> F64 | None:
    rows = [row for row in found if row is not None]
    return np.asarray(np.fmax.reduce(rows)) if rows else None


def _waited(place: _Place, connection: Connection) -> F64 | None:
    """Mean latency as the client sees it, connecting included."""
    answered = connection.traffic.mean()
    if answered is None:
        return None
    return answered + np.nan_to_num(_ratio(connection.connect_time, connection.connects))


def _gap(place: _Place, connection: Connection) -> F64 | None:
    waited, served = _waited(place, connection), place.world.applications[connection.upstream].served.mean()
    return np.maximum(waited - served, 0.0) if waited is not None and served is not None else None


def _failing_edge(place: _Place, connection: Connection) -> F64:
    times, statuses = len(place.world.times), connection.traffic.requests
    bad = [v for s, v in statuses.items() if s in place.bad | UNANSWERED]
    refused = connection.failed_connects
    return 100 * _ratio(add([*bad, refused], times), add([*statuses.values(), refused], times))


def _failing(place: _Place, app: Application) -> F64:
    times = len(place.world.times)
    bad = failed(app, place.bad, times)
    return 100 * _ratio(bad, np.fmax(requests(app, times), bad))


def _slow(place: _Place, app: Application) -> F64 | None:
    return latency(app, len(place.world.times))


def _refused(place: _Place, app: Application) -> F64:
    times = len(place.world.times)
    refused = [c.failed_connects for c in app.downstreams]
    return 100 * _ratio(add(refused, times), add([*refused, *(c.connects for c in app.downstreams)], times))


def _cpu(place: _Place, app: Application) -> F64:
    used = [c.cpu_usage for i in app.instances.values() for c in i.containers.values() if c.cpu_usage is not None]
    return add(used, len(place.world.times))


def _cpu_here(place: _Place, app: Application) -> F64 | None:
    """Of the application's largest container on the node."""
    there = [i for i in app.instances.values() if i.node == place.node]
    return _highest(c.cpu_usage for i in there for c in i.containers.values())


def _node_cpu(place: _Place) -> F64 | None:
    node = place.world.nodes.get(place.subject)
    return 100 * node.cpu_usage if node is not None and node.cpu_usage is not None else None


def _memory(container: Container) -> F64 | None:
    if container.memory_rss is None or container.memory_limit is None:
        return None
    return 100 * _ratio(container.memory_rss, container.memory_limit)


# A signal that comes later adds a row; without one its facts are told without a picture.
_EDGES: dict[str, Callable[[_Place, Connection], F64 | None]] = {
    "latency": _waited,
    "failing": _failing_edge,
    "network-gap": _gap,
    "rtt": lambda _, connection: connection.rtt,
    "retransmits": lambda _, connection: connection.retransmits,
    "pool-held": lambda _, connection: connection.active,
    "opaque": lambda _, connection: connection.active,
    "calls-gone": lambda place, connection: connection.traffic.total(len(place.world.times)),
}
_APPLICATIONS: dict[str, Callable[[_Place, Application], F64 | None]] = {
    "latency": _slow,
    "slow": _slow,
    "failing": _failing,
    "failures": _failing,
    "errors": _failing,
    "failed-connects": _refused,
    "cpu-usage": _cpu,
    "neighbour": _cpu_here,
    "more-traffic": lambda place, app: requests(app, len(place.world.times)),
}
_CONTAINERS: dict[str, Callable[[Container], F64 | None]] = {
    "throttled": lambda container: container.cpu_throttled,
    "cpu-delay": lambda container: container.cpu_delay,
    "memory-near-limit": _memory,
    "oom-kills": lambda container: container.oom_kills,
    "restarts": lambda container: container.restarts,
}
_NODE: dict[str, Callable[[_Place], F64 | None]] = {"node-cpu": _node_cpu}
