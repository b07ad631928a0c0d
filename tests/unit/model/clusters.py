"""Small clusters for tests of the model: what the API server says, and what Prometheus answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.scope import Scope
from appstatus.model.build import build
from appstatus.model.facts import ContainerFact, Facts, NodeFact, PodFact, ServiceFact, WorkloadFact
from appstatus.model.queries import BY_ID
from appstatus.model.series import Metrics, Series
from appstatus.model.who import Who
from appstatus.model.world import World

T = 8
STEP = 15.0
NOW = 1_800_000_000.0
MACHINE = "m1"
Rows = Sequence[tuple[Mapping[str, str], object]]


def deployment(name: str, namespace: str = "shop", kind: str = "Deployment", **more: object) -> WorkloadFact:
    key = AppKey(namespace, kind, name)
    ref = ObjectRef("apps/v1", kind, namespace, name, f"uid-{name}")
    fields: dict[str, object] = {"labels": {}, "annotations": {}, "created": NOW - 86400, "desired": 1, "available": 1} | more
    return WorkloadFact(key, ref, **fields)  # type: ignore[arg-type]


def pod(name: str, owner: WorkloadFact, ip: str, node: str = "node-1", **more: object) -> PodFact:
    fields: dict[str, object] = {
        "host_network": False,
        "labels": {"app": owner.key.name},
        "phase": "Running",
        "ready": True,
        "created": NOW - 3600,
        "ready_since": NOW - 3590,
        "version": "v1",
        "containers": (ContainerFact("main", "image"),),
    } | more
    return PodFact(owner.key.namespace, name, f"uid-{name}", node, (ip,), owner=owner.key, **fields)  # type: ignore[arg-type]


def service(name: str, ip: str, port: int, pods: Sequence[PodFact] = (), **more: object) -> ServiceFact:
    backends = tuple((p.namespace, p.name) for p in pods)
    return ServiceFact("shop", name, (ip,) if ip else (), ((port, "TCP"),), backends, **more)  # type: ignore[arg-type]


def node(name: str, machine_id: str, ip: str = "10.0.0.1") -> NodeFact:
    return NodeFact(name, machine_id, (ip,), True, 4.0, 8e9)


def facts(
    workloads: Sequence[WorkloadFact] = (),
    pods: Sequence[PodFact] = (),
    services: Sequence[ServiceFact] = (),
    nodes: Sequence[NodeFact] = (node("node-1", MACHINE),),
) -> Facts:
    return Facts(
        {w.key: w for w in workloads},
        {(p.namespace, p.name): p for p in pods},
        {(s.namespace, s.name): s for s in services},
        {n.name: n for n in nodes},
    )


def k8s(pod_name: str, container: str = "main", namespace: str = "shop", machine: str = MACHINE) -> dict[str, str]:
    """Labels of a container's series."""
    return {"machine_id": machine, "container_id": f"/k8s/{namespace}/{pod_name}/{container}"}


def metrics(answers: Mapping[str, Rows], failed: Mapping[str, str] | None = None, times: int = T) -> Metrics:
    """``answers``: query id -> [(labels, value or T values)] as Prometheus gives them. Labels that are not given are empty."""
    series = {}
    for query, rows in answers.items():
        for labels, _ in rows:
            assert set(labels) <= set(BY_ID[query].by), (query, labels)
        values = np.array([np.broadcast_to(np.asarray(v, dtype=float), times) for _, v in rows]).reshape(-1, times)
        keys = [tuple(labels.get(label, "") for label in BY_ID[query].by) for labels, _ in rows]
        series[query] = Series(keys, values)
    grid = NOW - STEP * np.arange(times - 1, -1, -1.0)
    return Metrics(grid, STEP, series, dict(failed or {}), NOW)


def built(known: Facts, answers: Metrics, grouping: Scope | None = None) -> World:
    """The world, with the answers folded as ``sources.prometheus`` does it."""
    who = Who(known, answers, grouping)
    folded = {}
    for query, series in answers.series.items():
        keys, values, _ = who.fold(BY_ID[query], [(series.keys, series.values)], len(answers.times))
        folded[query] = Series(keys, values)
    return build(who, replace(answers, series=folded), NOW)
