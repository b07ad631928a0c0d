"""From facts and metrics to the world: pure, rebuilt whole in every cycle."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from appstatus.api.names import AppKey
from appstatus.api.scope import Scope
from appstatus.model.facts import Facts, PodFact
from appstatus.model.identity import CUSTOM, Identities, Owner, is_former
from appstatus.model.queries import CONTAINER, QUERIES
from appstatus.model.rows import fold, increments
from appstatus.model.series import F64, Key, Metrics, Series
from appstatus.model.traffic import connections, served, served_by_instance
from appstatus.model.who import Who
from appstatus.model.world import Application, Container, Instance, Node, World

# Steps within which a container must have had memory to count as running, where the API server cannot be asked.
RUNNING_STEPS = 3

_CONTAINER_METRICS: tuple[tuple[str, str], ...] = (
    ("container_cpu_usage", "cpu_usage"),
    ("container_cpu_limit", "cpu_limit"),
    ("container_cpu_delay", "cpu_delay"),
    ("container_cpu_throttled", "cpu_throttled"),
    ("container_memory_rss", "memory_rss"),
    ("container_memory_limit", "memory_limit"),
)
_CONTAINER_COUNTERS: tuple[tuple[str, str], ...] = (
    ("container_oom_kills", "oom_kills"),
    ("container_restarts", "restarts"),
)


def build(who: Who, metrics: Metrics, now: float) -> World:
    """The world at ``now``, of the rows that ``who`` has folded.

    Nothing is left out for the sake of namespaces: a peer in an excluded one can be a cause.
    """
    facts, grouping, identities = who.facts, who.grouping, who.identities
    nodes = _nodes(who, metrics)
    applications = _applications(facts, grouping)

    def application(key: AppKey) -> Application:
        found = applications.get(key)
        if found is None:
            found = applications[key] = _bare(key, {}, {}, grouping)
        return found

    _add_pods(application, applications, facts, identities)
    _add_containers(application, who, metrics)
    # What is left of a custom application that no Project has any more is nobody's; but whom it called was called.
    made = [connection for connection in connections(metrics) if not is_former(connection.upstream, grouping)]
    for connection in made:
        application(connection.client).upstreams.append(connection)
        application(connection.upstream).downstreams.append(connection)
    for key, (all_peers, outside) in served(metrics).items():
        if is_former(key, grouping):
            continue
        app = application(key)
        app.served, app.outside = all_peers, outside
    for (key, name), traffic in served_by_instance(metrics).items():
        instance = applications[key].instances.get(name) if key in applications else None
        if instance is not None:
            instance.served = traffic
    return World(
        now=now,
        step=metrics.step,
        times=metrics.times,
        applications=applications,
        nodes=nodes,
        connections=made,
        newest=metrics.newest,
        missing=dict(metrics.failed),
    )


def _nodes(who: Who, metrics: Metrics) -> dict[str, Node]:
    facts = who.facts
    nodes = {fact.name: Node(fact.name, fact.ready, cpu_cores=fact.cpu, changes=fact.changes) for fact in facts.nodes.values()}
    for name in who.machines.values():
        nodes.setdefault(name, Node(name, ready=True))

    def rows(query: str) -> list[tuple[Node, F64]]:
        series = metrics.get(query)
        named = ((who.node(key[0]), row) for key, row in zip(series.keys, series.values, strict=True))
        return [(nodes[name], row) for name, row in named if name in nodes]

    for node, row in rows("node_cpu_cores"):
        node.cpu_cores = _last(row) or node.cpu_cores
    for node, row in rows("node_memory_total"):
        node.memory_total = _last(row)
    for node, available in rows("node_memory_available"):
        node.memory_available = available
    for node, usage in rows("node_cpu_usage"):
        if node.cpu_cores:
            node.cpu_usage = usage / node.cpu_cores
    return nodes


def _last(row: F64) -> float | None:
    known = row[~np.isnan(row)]
    return float(known[-1]) if len(known) else None


def _bare(key: AppKey, labels: dict[str, str], annotations: dict[str, str], grouping: Scope) -> Application:
    return Application(
        key=key,
        ref=None,
        labels=labels,
        annotations=annotations,
        category=grouping.category(key, annotations),
        created=None,
        desired=None,
        available=None,
        rollout_in_progress=False,
        changes=(),
    )


def _applications(facts: Facts, grouping: Scope) -> dict[AppKey, Application]:
    found: dict[AppKey, Application] = {}
    for key, fact in facts.workloads.items():
        app = _bare(key, fact.labels, fact.annotations, grouping)
        app.ref, app.created = fact.ref, fact.created
        app.desired, app.available = fact.desired, fact.available
        app.rollout_in_progress, app.changes = fact.rollout_in_progress, fact.changes
        found[key] = app
    return found


def _owners(who: Who, metrics: Metrics) -> dict[Key, Owner]:
    """Every container that any metric of containers names, by (machine_id, container_id)."""
    found: dict[Key, Owner] = {}
    for query in QUERIES:
        if query.rows == "series" and query.by[:2] == CONTAINER:
            for key in metrics.get(query.id).keys:
                owner = who.owner(*key[:2])
                if owner is not None:
                    found[key[:2]] = owner
    return found


def _add_pods(
    application: Callable[[AppKey], Application], applications: dict[AppKey, Application], facts: Facts, identities: Identities
) -> None:
    newest: dict[AppKey, PodFact] = {}
    for pod in facts.pods.values():
        known = newest.get(pod.owner)
        if known is None or pod.created > known.created:
            newest[pod.owner] = pod
    for pod in facts.pods.values():
        if pod.phase in ("Succeeded", "Failed") and pod.owner in facts.workloads:
            continue
        key = identities.pod(pod.namespace, pod.name)
        app = application(key)
        if key.kind == CUSTOM:  # takes the place of the workloads whose pods it has
            replaced = applications.pop(pod.owner, None)
            app.ref = app.ref or (replaced.ref if replaced else None)
        app.instances[pod.name] = Instance(
            name=pod.name,
            node=pod.node,
            version=pod.version,
            ready=pod.ready,
            obsolete=pod.deleted or (not pod.ready and pod.version != newest[pod.owner].version),
            ready_since=pod.ready_since,
            containers={c.name: Container(c.name) for c in pod.containers},
            unready_since=None if pod.ready else (pod.unready_since or pod.created),
            trouble=_trouble(pod),
        )


def _trouble(pod: PodFact) -> str:
    if not pod.scheduled:
        return f"Unschedulable: {pod.unschedulable_message}".rstrip(": ")
    return next((c.waiting_reason for c in pod.containers if c.waiting_reason and not c.ready), "")


def _add_containers(
    application: Callable[[AppKey], Application],
    who: Who,
    metrics: Metrics,
) -> None:
    """Containers with their arrays; instances that only the metrics know (no rights, or gone since) are added."""
    targets: list[Container] = []
    index: dict[tuple[AppKey, str, str], int] = {}
    rows: dict[Key, int] = {}
    only_metrics: list[Instance] = []
    facts = who.facts
    for key, owner in _owners(who, metrics).items():
        app = application(owner.app)
        instance = app.instances.get(owner.instance)
        if instance is None:
            gone = bool(facts.pods) and owner.pod is not None
            instance = Instance(owner.instance, who.node(key[0]), "", ready=False, obsolete=gone, ready_since=None)
            app.instances[owner.instance] = instance
            if not gone:
                only_metrics.append(instance)
        where = (owner.app, owner.instance, owner.container)
        if where not in index:
            index[where] = len(targets)
            targets.append(instance.containers.setdefault(owner.container, Container(owner.container)))
        rows[key] = index[where]
    existed = _fill(targets, rows, metrics)
    for query, name in _CONTAINER_COUNTERS:
        folded, present = _fold(metrics.get(query), rows, len(targets))
        counted = increments(folded, existed)
        for i in present:
            setattr(targets[i], name, counted[i])
    for instance in only_metrics:
        instance.ready = any(
            c.memory_rss is not None and not np.isnan(c.memory_rss[-RUNNING_STEPS:]).all() for c in instance.containers.values()
        )
    _add_limits(application, facts, len(metrics.times), who.identities)


def _fold(series: Series, rows: dict[Key, int], count: int) -> tuple[F64, NDArray[np.intp]]:
    groups = np.array([rows.get(key[:2], -1) for key in series.keys], dtype=np.intp)
    return fold(series.values, groups, count, "max"), np.unique(groups[groups >= 0])


def _fill(targets: list[Container], rows: dict[Key, int], metrics: Metrics) -> NDArray[np.bool_]:
    for query, name in _CONTAINER_METRICS:
        folded, present = _fold(metrics.get(query), rows, len(targets))
        for i in present:
            setattr(targets[i], name, folded[i])
    info, _ = _fold(metrics.get("container_info"), rows, len(targets))
    return ~np.isnan(info)


def _add_limits(application: Callable[[AppKey], Application], facts: Facts, times: int, identities: Identities) -> None:
    """Limits as the pod's spec has them, where the agent does not say."""
    for pod in facts.pods.values():
        instance = application(identities.pod(pod.namespace, pod.name)).instances.get(pod.name)
        if instance is None:
            continue
        for fact in pod.containers:
            container = instance.containers[fact.name]
            if container.cpu_limit is None and fact.cpu_limit is not None:
                container.cpu_limit = np.full(times, fact.cpu_limit)
            if container.memory_limit is None and fact.memory_limit is not None:
                container.memory_limit = np.full(times, fact.memory_limit)


assert {name for _, name in (*_CONTAINER_METRICS, *_CONTAINER_COUNTERS)} <= {f.name for f in fields(Container)}
