"""Small worlds for tests, from literal numbers: an hour of 15 s steps in which something changes at ``ONSET``."""

from collections.abc import Mapping, Sequence

import numpy as np
from appstatus.api.names import AppKey, ObjectRef
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, Application, Connection, Container, Instance, Node, Traffic, World

STEP = 15.0
T = 240
NOW = 1_800_000_000.0
TIMES = NOW - STEP * np.arange(T - 1, -1, -1.0)
# The first step that is bad: five minutes ago.
BAD_STEPS = 20
ONSET = float(TIMES[-BAD_STEPS - 1])


def series(before: float, during: float | None = None, bad_steps: int = BAD_STEPS, noise: float = 0.0, seed: int = 0) -> F64:
    """(T,): ``before`` until the onset, then ``during``; relative noise."""
    values = np.full(T, float(before))
    if during is not None:
        values[T - bad_steps :] = during
    if noise:
        values *= 1.0 + noise * np.random.default_rng(seed).standard_normal(T)
    return values


def last(steps: int, bad: float, good: float = 0.0) -> F64:
    return series(good, bad, steps)


def key(name: str, kind: str = "Deployment", namespace: str = "shop") -> AppKey:
    return AppKey(namespace, kind, name)


def container(name: str = "main", **arrays: F64) -> Container:
    return Container(name, **arrays)


def instance(name: str, node: str = "node-1", ready: bool = True, containers: Sequence[Container] = (), **more: object) -> Instance:
    made = Instance(name, node, "v1", ready, obsolete=False, ready_since=TIMES[0] if ready else None)
    made.containers = {c.name: c for c in containers}
    for field, value in more.items():
        setattr(made, field, value)
    return made


def application(
    app: AppKey,
    instances: Sequence[Instance] | None = None,
    desired: int | None = 1,
    available: int | None = 1,
    changes: Sequence[Change] = (),
    created: float = TIMES[0] - 86400.0,
    **more: object,
) -> Application:
    made = Application(
        key=app,
        ref=ObjectRef("apps/v1", app.kind, app.namespace, app.name, f"uid-{app.name}"),
        labels={},
        annotations={},
        category="application",
        created=created,
        desired=desired,
        available=available,
        rollout_in_progress=False,
        changes=tuple(changes),
    )
    made.instances = {i.name: i for i in ([instance(f"{app.name}-0")] if instances is None else instances)}
    for field, value in more.items():
        setattr(made, field, value)
    return made


def traffic(statuses: Mapping[str, F64], mean: F64 | float | None = None, buckets: bool = True) -> Traffic:
    """``mean``: latency of good answers, exponentially distributed around it."""
    made = Traffic({s: np.broadcast_to(v, T).astype(float) for s, v in statuses.items()})
    if mean is not None:
        timed = sum((v for s, v in made.requests.items() if s in ("2xx", "3xx", "4xx")), np.zeros(T))
        means = np.broadcast_to(np.asarray(mean, dtype=float), T)
        made.timed, made.seconds = timed, timed * means
        if buckets:
            bounds = np.array([*BUCKETS, np.inf])[:, None]
            made.buckets = timed * (1.0 - np.exp(-bounds / means))
    return made


def connection(client: AppKey, upstream: AppKey, requests: Traffic | None = None, **arrays: F64) -> Connection:
    names = ("connects", "failed_connects", "connect_time", "active", "retransmits", "segments_sent", "rtt", "bytes_sent")
    unknown = np.full(T, np.nan)
    return Connection(client, upstream, requests or Traffic(), **{name: arrays.get(name, unknown) for name in names})


def world(
    applications: Sequence[Application],
    connections: Sequence[Connection] = (),
    nodes: Sequence[Node] = (),
    missing: Mapping[str, str] | None = None,
    newest: float | None = NOW,
) -> World:
    found = {a.key: a for a in applications}
    for c in connections:
        found[c.client].upstreams.append(c)
        found[c.upstream].downstreams.append(c)
    return World(
        now=NOW,
        step=STEP,
        times=TIMES,
        applications=found,
        nodes={n.name: n for n in nodes} or {"node-1": Node("node-1", ready=True, cpu_cores=4.0, cpu_usage=series(0.3))},
        connections=list(connections),
        newest=newest,
        missing=dict(missing or {}),
    )
