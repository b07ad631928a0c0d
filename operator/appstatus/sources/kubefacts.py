"""Objects of the API server as compact facts: only the fields that the model reads are kept."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from kubernetes.utils.quantity import parse_quantity

from appstatus.api.names import GROUP, AppKey, ObjectRef
from appstatus.model.facts import Change, ContainerFact, NodeFact, PodFact, ServiceFact, WorkloadFact

Raw = dict[str, Any]


class Owner(NamedTuple):
    """The controller among an object's ownerReferences."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Pod:
    """``fact.owner`` is not resolved yet: the pod's own controller, or the pod itself."""

    fact: PodFact
    owner: Owner | None


@dataclass(frozen=True, slots=True)
class Workload:
    """A controller. ``template`` is a digest of its pod template: a change of it is a rollout."""

    fact: WorkloadFact
    owner: Owner | None
    template: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """One EndpointSlice. ``backends``: (namespace, pod); ``addresses``: "ip:port"."""

    service: tuple[str, str]
    backends: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]


def seconds(stamp: str | None) -> float | None:
    """Unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else None


def owner_of(metadata: Raw) -> Owner | None:
    """The controller. A static pod's is its Node, which controls nothing: the pod stands for itself."""
    for ref in metadata.get("ownerReferences") or ():
        if ref.get("controller") and ref["kind"] != "Node":
            return Owner(ref["apiVersion"], ref["kind"], ref["name"], ref["uid"])
    return None


def _quantity(resources: Raw | None, field: str, what: str) -> float | None:
    text = ((resources or {}).get(field) or {}).get(what)
    return float(parse_quantity(text)) if text is not None else None


def _condition(status: Raw, kind: str) -> Raw:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


def pod(raw: Raw) -> Pod:
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    labels = metadata.get("labels") or {}
    states = {s["name"]: s for s in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))}
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ready, scheduled = _condition(status, "Ready"), _condition(status, "PodScheduled")
    owner = owner_of(metadata)
    namespace, name = metadata["namespace"], metadata["name"]
    fact = PodFact(
        namespace=namespace,
        name=name,
        uid=metadata["uid"],
        node=spec.get("nodeName") or "",
        ips=tuple(ip["ip"] for ip in status.get("podIPs") or () if ip.get("ip")),
        host_network=bool(spec.get("hostNetwork")),
        labels=labels,
        owner=AppKey(namespace, owner.kind, owner.name) if owner else AppKey(namespace, "Pod", name),
        phase=status.get("phase") or "Pending",
        ready=ready.get("status") == "True",
        created=seconds(metadata["creationTimestamp"]) or 0.0,
        ready_since=seconds(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        unready_since=seconds(ready.get("lastTransitionTime")) if ready.get("status") != "True" else None,
        deleted="deletionTimestamp" in metadata,
        scheduled=bool(spec.get("nodeName")),
        unschedulable_message=str(scheduled.get("message") or "") if scheduled.get("status") == "False" else "",
        version=labels.get("pod-template-hash") or labels.get("controller-revision-hash") or "",
        containers=tuple(_container(c, states.get(c["name"]) or {}) for c in (*(spec.get("containers") or ()), *sidecars)),
    )
    return Pod(fact, owner)


def _container(spec: Raw, status: Raw) -> ContainerFact:
    last = (status.get("lastState") or {}).get("terminated") or {}
    resources = spec.get("resources")
    return ContainerFact(
        name=spec["name"],
        image=spec.get("image") or "",
        cpu_limit=_quantity(resources, "limits", "cpu"),
        cpu_request=_quantity(resources, "requests", "cpu"),
        memory_limit=_quantity(resources, "limits", "memory"),
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount") or 0),
        waiting_reason=((status.get("state") or {}).get("waiting") or {}).get("reason") or "",
        last_terminated_reason=last.get("reason") or "",
        last_terminated_at=seconds(last.get("finishedAt")),
    )


def workload(raw: Raw) -> Workload:
    """Deployment, StatefulSet, DaemonSet, ReplicaSet, CronJob, Job."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    kind = raw["kind"]
    key = AppKey(metadata["namespace"], kind, metadata["name"])
    template = (spec.get("jobTemplate") or {}).get("spec", {}).get("template") or spec.get("template") or {}
    desired: int | None = None
    available: int | None = None
    if kind == "DaemonSet":
        desired, available = status.get("desiredNumberScheduled"), int(status.get("numberAvailable") or 0)
    elif kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        desired = int(spec["replicas"]) if spec.get("replicas") is not None else 1
        available = int(status.get("availableReplicas") or 0)
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}
    fact = WorkloadFact(
        key=key,
        ref=ObjectRef(raw["apiVersion"], kind, key.namespace, key.name, metadata["uid"]),
        labels=metadata.get("labels") or {},
        annotations=annotations,
        created=seconds(metadata["creationTimestamp"]) or 0.0,
        desired=desired,
        available=available,
        generation=int(metadata.get("generation") or 0),
        observed_generation=int(status.get("observedGeneration") or 0),
        rollout_in_progress=_rolling(kind, spec, status, int(metadata.get("generation") or 0), desired),
        pod_labels=(template.get("metadata") or {}).get("labels") or {},
    )
    images = tuple(c.get("image") or "" for c in (template.get("spec") or {}).get("containers") or ())
    return Workload(fact, owner_of(metadata), hash(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)), images)


def _rolling(kind: str, spec: Raw, status: Raw, generation: int, desired: int | None) -> bool:
    """Whether pods are being replaced by those of a newer template; restarts of finished rollouts do not count."""
    if kind not in ("Deployment", "StatefulSet", "DaemonSet"):
        return False
    if int(status.get("observedGeneration") or 0) < generation:
        return True
    if kind == "Deployment":
        reason = _condition(status, "Progressing").get("reason")
        if reason:
            return reason not in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused")
        updated = int(status.get("updatedReplicas") or 0)
        return updated < (desired or 0) or int(status.get("replicas") or 0) > updated
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return False
    if kind == "StatefulSet":
        pending = int(status.get("updatedReplicas") or 0) < (desired or 0)
        return pending and status.get("updateRevision") != status.get("currentRevision")
    return int(status.get("updatedNumberScheduled") or 0) < (desired or 0)


def service(raw: Raw) -> ServiceFact:
    """Without backends: those are in the slices."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    balancers = (status.get("loadBalancer") or {}).get("ingress") or ()
    ips = [ip for ip in spec.get("clusterIPs") or () if ip and ip != "None"]
    ips += [*(spec.get("externalIPs") or ()), *(b["ip"] for b in balancers if b.get("ip"))]
    return ServiceFact(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ips=tuple(ips),
        ports=tuple((int(p["port"]), p.get("protocol") or "TCP") for p in spec.get("ports") or ()),
        external_name=spec.get("externalName") or "",
        selector=spec.get("selector") or {},
    )


def endpoint_slice(raw: Raw) -> Slice | None:
    """None for a slice that belongs to no Service."""
    metadata = raw["metadata"]
    name = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
    if not name:
        return None
    backends: list[tuple[str, str]] = []
    addresses: list[str] = []
    for endpoint in raw.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod":
            backends.append((target.get("namespace") or metadata["namespace"], target["name"]))
        for address in endpoint.get("addresses") or ():
            host = f"[{address}]" if ":" in address else address
            addresses += [f"{host}:{port['port']}" for port in raw.get("ports") or () if port.get("port")]
    return Slice((metadata["namespace"], name), tuple(backends), tuple(addresses))


def node(raw: Raw) -> NodeFact:
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    ready = _condition(status, "Ready")
    allocatable = {"allocatable": status.get("allocatable") or {}}
    happened = [(seconds(ready.get("lastTransitionTime")), "became ready" if ready.get("status") == "True" else "became not ready")]
    happened += [
        (seconds(taint.get("timeAdded")), "cordoned")
        for taint in spec.get("taints") or ()
        if taint.get("key") == "node.kubernetes.io/unschedulable"
    ]
    return NodeFact(
        name=metadata["name"],
        machine_id=((status.get("nodeInfo") or {}).get("machineID") or "").replace("-", ""),
        ips=tuple(a["address"] for a in status.get("addresses") or () if a.get("type") in ("InternalIP", "ExternalIP")),
        ready=ready.get("status") == "True",
        cpu=_quantity(allocatable, "allocatable", "cpu") or 0.0,
        memory=_quantity(allocatable, "allocatable", "memory") or 0.0,
        zone=(metadata.get("labels") or {}).get("topology.kubernetes.io/zone") or "",
        changes=tuple(Change(time, "node", what) for time, what in happened if time is not None),
    )


def named_labels(raw: Raw) -> tuple[str, dict[str, str]]:
    """Name and labels of a Namespace."""
    return raw["metadata"]["name"], raw["metadata"].get("labels") or {}


def custom(raw: Raw) -> Raw:
    """A custom resource as it is, without what only the API server needs."""
    return {**raw, "metadata": {name: value for name, value in raw["metadata"].items() if name != "managedFields"}}


class Written(NamedTuple):
    """An AppStatus: the operator knows its content, so that only who and which version is kept."""

    namespace: str
    name: str
    resource_version: str
    project: str


def written(raw: Raw) -> Written:
    metadata = raw["metadata"]
    project = (metadata.get("labels") or {}).get(f"{GROUP}/project") or ""
    return Written(metadata["namespace"], metadata["name"], metadata.get("resourceVersion") or "", project)
