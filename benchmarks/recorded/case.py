"""What every set gives for each of its incidents, and the plain parts that worlds are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.inspections.result import CheckResult
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, Application, Connection, Container, Instance, Node, Traffic, World
from appstatus.slo.status import SLOStatus

_RATES = ("connects", "failed_connects", "connect_time", "active", "retransmits", "segments_sent", "rtt", "bytes_sent")


@dataclass(frozen=True, slots=True)
class Case:
    """One incident.

    truth    names that are right as the first cause: of the application, or (where the set knows more) of its instance
    classes  ids of the product's classes that are right; empty: the set does not say
    kind     the set's own name for the kind of fault
    since    unix seconds if the alert says when it began, else the diagnosis finds it
    decoys   changes that are not to blame, as ``Change.what`` names them; None: the set has no changes
    sufferer of a noisy neighbour the truth names who suffers from it, not who it is
    """

    id: str
    world: World
    violator: AppKey
    statuses: tuple[SLOStatus, ...]
    truth: str
    kind: str
    classes: frozenset[str] = frozenset()
    since: float | None = None
    by_instance: bool = False
    decoys: frozenset[str] | None = None
    sufferer: bool = False
    checks: Mapping[AppKey, Sequence[CheckResult]] = field(default_factory=dict)


def key(name: str, namespace: str = "recorded") -> AppKey:
    return AppKey(namespace, "Deployment", name)


def application(name: str, instances: Iterable[Instance] = (), changes: Iterable[Change] = ()) -> Application:
    made = Application(key(name), None, {}, {}, "application", None, None, None, rollout_in_progress=False, changes=tuple(changes))
    made.instances = {instance.name: instance for instance in instances}
    return made


def instance(name: str, node: str, container: Container) -> Instance:
    return Instance(name, node, "", ready=True, obsolete=False, ready_since=None, containers={container.name: container})


def connection(client: str, upstream: str, traffic: Traffic, times: int, **known: F64) -> Connection:
    return Connection(key(client), key(upstream), traffic, **{name: known.get(name, np.full(times, np.nan)) for name in _RATES})


def traffic(rate: F64, mean: F64 | None = None, failing: F64 | None = None) -> Traffic:
    """``rate``: (T,) requests/s, ``mean``: (T,) s of latency of each, ``failing``: (T,) share that fails."""
    bad = np.zeros_like(rate) if failing is None else rate * failing
    made = Traffic({"2xx": rate - bad, "5xx": bad})
    if mean is not None:
        made.timed, made.seconds = rate, rate * mean
    return made


def buckets(rate: F64, quantiles: Mapping[float, F64]) -> F64:
    """Cumulative rows as in ``Traffic.buckets`` from quantiles (s): linear between them, the first reached from 0."""
    shares = np.array([0.0, *quantiles])
    levels = np.vstack([np.zeros_like(rate), *quantiles.values()])
    found = np.empty((len(BUCKETS) + 1, len(rate)))
    for t in range(len(rate)):
        found[:-1, t] = np.interp(BUCKETS, levels[:, t], shares, right=1.0) * rate[t]
    found[-1] = rate
    return found


def world(
    times: F64, step: float, applications: Iterable[Application], connections: Iterable[Connection], nodes: Iterable[Node] = ()
) -> World:
    made = {app.key: app for app in applications}
    edges = list(connections)
    for edge in edges:
        made[edge.client].upstreams.append(edge)
        made[edge.upstream].downstreams.append(edge)
    return World(float(times[-1]), step, times, made, {node.name: node for node in nodes}, edges, float(times[-1]))


def violated(app: AppKey, indicator: str, threshold: float | None = None) -> SLOStatus:
    objective = Objective("slo", app, indicator, 0.99, 30 * 86400.0, (), None, threshold=threshold)  # type: ignore[arg-type]
    return SLOStatus(objective, "FastBurn", None, None, 0.0, None, (), 0.0, 0.0, None, 0.0, threshold=threshold)
