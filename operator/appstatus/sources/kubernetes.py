"""Kubernetes facts in: caches that watch events (or one listing) fill, and a consistent snapshot of them for each cycle."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from appstatus.api.names import GROUP, VERSION, AppKey, ObjectRef
from appstatus.kube import ApiError, Kube, path
from appstatus.model.facts import Change, Facts, PodFact, WorkloadFact
from appstatus.sources import kubefacts
from appstatus.sources.kubefacts import Owner, Pod, Slice, Workload

log = logging.getLogger(__name__)

Raw = dict[str, Any]

# A change explains an incident for a day at most.
REMEMBER = 86400.0
_MAX_CHANGES = 20
# Intermediate controllers: their owner, if they have one, is what users know. The chain ends at the kinds of CONTROLLERS even if
# something owns these too: a database operator's object often owns several workloads that fail for different reasons.
_INTERMEDIATE = ("ReplicaSet", "Job")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind that is watched. ``parse`` gives what is kept of an object, None to keep nothing."""

    plural: str
    group_version: str
    kind: str
    parse: Callable[[Raw], Any]

    @property
    def group(self) -> str:
        return self.group_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.group_version.rpartition("/")[2]

    @property
    def path(self) -> str:
        return path(self.group_version, self.plural)


RESOURCES: tuple[Resource, ...] = (
    Resource("nodes", "v1", "Node", kubefacts.node),
    Resource("pods", "v1", "Pod", kubefacts.pod),
    Resource("services", "v1", "Service", kubefacts.service),
    Resource("endpointslices", "discovery.k8s.io/v1", "EndpointSlice", kubefacts.endpoint_slice),
    Resource("deployments", "apps/v1", "Deployment", kubefacts.workload),
    Resource("statefulsets", "apps/v1", "StatefulSet", kubefacts.workload),
    Resource("daemonsets", "apps/v1", "DaemonSet", kubefacts.workload),
    Resource("replicasets", "apps/v1", "ReplicaSet", kubefacts.workload),
    Resource("cronjobs", "batch/v1", "CronJob", kubefacts.workload),
    Resource("jobs", "batch/v1", "Job", kubefacts.workload),
)
# The project's own objects and what the policy needs besides the facts.
OWN_RESOURCES: tuple[Resource, ...] = (
    Resource("namespaces", "v1", "Namespace", kubefacts.named_labels),
    Resource("projects", f"{GROUP}/{VERSION}", "Project", kubefacts.custom),
    Resource("slos", f"{GROUP}/{VERSION}", "SLO", kubefacts.custom),
    Resource("inspectionoverrides", f"{GROUP}/{VERSION}", "InspectionOverride", kubefacts.custom),
    Resource("appstatuses", f"{GROUP}/{VERSION}", "AppStatus", kubefacts.written),
)
_TOP = ("deployments", "statefulsets", "daemonsets", "cronjobs")


@dataclass(slots=True)
class Entry:
    """``version`` orders what arrives about one object: parallel watchers may deliver a recreated object before its deletion."""

    uid: str
    version: int
    value: Any


class Cache:
    """What the API server last said, by resource. Thread-safe: watchers write, the audit takes snapshots."""

    def __init__(
        self, resources: tuple[Resource, ...] = (*RESOURCES, *OWN_RESOURCES), clock: Callable[[], float] | None = None
    ) -> None:
        self.resources = {resource.plural: resource for resource in resources}
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, dict[tuple[str, str], Entry]] = {plural: {} for plural in self.resources}
        self._changes: dict[AppKey, list[Change]] = {}
        self.gone: deque[tuple[str, str, str]] = deque(maxlen=10_000)  # (plural, namespace, name) deleted, for whoever wrote them
        self.unreadable: dict[tuple[str, str, str], str] = {}  # (plural, namespace, name) -> why, while it is so

    def put(self, plural: str, raw: Raw) -> None:
        """Takes an object in. One that cannot be read is logged once, named in ``unreadable``, and leaves its last good state."""
        metadata = raw["metadata"]
        key = (metadata.get("namespace") or "", metadata["name"])
        resource = self.resources[plural]
        raw.setdefault("kind", resource.kind)  # members of a list carry neither
        raw.setdefault("apiVersion", resource.group_version)
        try:
            value = resource.parse(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._complain((plural, *key), f"{type(error).__name__}: {error}")
            return
        version = _version(metadata)
        with self._lock:
            objects = self._objects[plural]
            old = objects.get(key)
            if old is not None and version < old.version:
                return
            objects[key] = Entry(metadata["uid"], version, value)
            if self.unreadable.pop((plural, *key), None) is not None:
                log.info("%s %s/%s can be read again", plural, *key)
            if old is not None and isinstance(value, Workload):
                if old.uid == metadata["uid"]:
                    self._note(old.value, value)
                else:
                    self._changes.pop(old.value.fact.key, None)  # another object with the same name

    def drop(self, plural: str, raw: Raw) -> None:
        """Forgets a deleted object, unless another one has taken its name since."""
        metadata = raw["metadata"]
        key = (metadata.get("namespace") or "", metadata["name"])
        with self._lock:
            old = self._objects[plural].get(key)
            if old is None:
                self.unreadable.pop((plural, *key), None)
            elif old.uid == metadata["uid"]:
                self._forget(plural, key)

    def values(self, plural: str) -> list[Any]:
        with self._lock:
            return [entry.value for entry in self._objects[plural].values()]

    def count(self) -> int:
        with self._lock:
            return sum(map(len, self._objects.values()))

    def fill(self, kube: Kube, plural: str) -> None:
        """One full listing. Raises ApiError or Unreachable."""
        for raw in kube.list(self.resources[plural].path):
            self.put(plural, raw)

    def sweep(self, kube: Kube, plural: str) -> int:
        """Drops what no longer exists; returns how many.

        A watch that had to start anew (410 Gone) lists what there is and says nothing of what was deleted meanwhile.
        """
        with self._lock:
            before = {key: entry.uid for key, entry in self._objects[plural].items()}
            never_read = [key for key in self.unreadable if key[0] == plural and key[1:] not in before]
        if not before and not never_read:
            return 0
        listed = [raw["metadata"] for raw in kube.list(self.resources[plural].path, metadata_only=True)]
        alive = {metadata["uid"] for metadata in listed}
        names = {(plural, metadata.get("namespace") or "", metadata["name"]) for metadata in listed}
        gone = {key: uid for key, uid in before.items() if uid not in alive}
        with self._lock:
            for key, uid in gone.items():
                entry = self._objects[plural].get(key)
                if entry is not None and entry.uid == uid:
                    self._forget(plural, key)
            for which in never_read:
                if which not in names:
                    self.unreadable.pop(which, None)
        return len(gone)

    def snapshot(self) -> Facts:
        """The state of this moment, owners resolved."""
        with self._lock:
            held = {plural: [entry.value for entry in objects.values()] for plural, objects in self._objects.items()}
            noted = {key: list(changes) for key, changes in self._changes.items()}
        return _facts(held, noted)

    def _complain(self, which: tuple[str, str, str], why: str) -> None:
        """A watch repeats an object at each of its changes, which are not news about why it cannot be read."""
        with self._lock:
            known = which in self.unreadable
            self.unreadable[which] = why
        if not known:
            log.error("%s %s/%s cannot be read, its last good state (if there is one) stays: %s", *which, why)

    def _forget(self, plural: str, key: tuple[str, str]) -> None:
        """All that is kept about a deleted object. The lock is held."""
        value = self._objects[plural].pop(key).value
        if isinstance(value, Workload):
            self._changes.pop(value.fact.key, None)
        self.unreadable.pop((plural, *key), None)
        self.gone.append((plural, *key))

    def _note(self, old: Workload, new: Workload) -> None:
        """Remembers that a workload was changed. Replicas of a Deployment's ReplicaSets follow the Deployment: noted there."""
        if self._clock is None or new.owner is not None:
            return
        found: list[tuple[str, str]] = []
        if new.template != old.template:
            found.append(("rollout", _images(old.images, new.images)))
        if new.fact.desired != old.fact.desired and new.fact.key.kind != "DaemonSet":
            found.append(("scale", f"replicas {old.fact.desired} -> {new.fact.desired}"))
        if not found:
            return
        now = self._clock()
        changes = [change for change in self._changes.get(new.fact.key, []) if change.time > now - REMEMBER]
        changes += [Change(now, kind, what) for kind, what in found]
        self._changes[new.fact.key] = changes[-_MAX_CHANGES:]


def listed(kube: Kube) -> tuple[Facts, dict[str, str]]:
    """One look without a watch, for the command line: the facts, and which resources could not be read and why.

    Raises Unreachable when the API server does not answer.
    """
    cache = Cache(RESOURCES)
    refused: dict[str, str] = {}
    for plural in cache.resources:
        try:
            cache.fill(kube, plural)
        except ApiError as error:
            refused[plural] = error.message
    return cache.snapshot(), refused


def _version(metadata: Raw) -> int:
    text = metadata.get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


def _images(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    changed = [f"{before} -> {after}" for before, after in zip(old, new, strict=False) if before != after]
    return ", ".join(changed) or "pod template changed"


def _facts(held: dict[str, list[Any]], noted: dict[AppKey, list[Change]]) -> Facts:
    controllers: dict[str, Workload] = {w.fact.ref.uid: w for plural in ("replicasets", "jobs") for w in held[plural]}
    tops: dict[AppKey, Workload] = {w.fact.key: w for plural in _TOP for w in held[plural]}
    rolled = _rollouts(held["replicasets"])

    workloads: dict[AppKey, WorkloadFact] = {}
    for key, top in tops.items():
        workloads[key] = replace(top.fact, changes=_merge(rolled.get(top.fact.ref.uid, []), noted.get(key, [])))
    for controller in controllers.values():
        fact = controller.fact
        if controller.owner is None and (fact.key.kind == "Job" or fact.desired):
            workloads[fact.key] = replace(fact, changes=tuple(noted.get(fact.key, ())))

    pods: dict[tuple[str, str], PodFact] = {}
    memo: dict[str, tuple[AppKey, ObjectRef]] = {}
    for pod in held["pods"]:
        key, ref = _top(pod, controllers, tops, memo)
        fact = pod.fact if pod.fact.owner == key else replace(pod.fact, owner=key)
        pods[(fact.namespace, fact.name)] = fact
        known = workloads.get(key)
        if known is None:
            # A bare pod, or a controller of a kind that is not watched: its pods are all that is known of it.
            workloads[key] = WorkloadFact(key, ref, fact.labels, {}, fact.created)
        elif key not in tops and fact.created < known.created:
            workloads[key] = replace(known, created=fact.created)

    slices: dict[tuple[str, str], list[Slice]] = {}
    for each in held["endpointslices"]:
        if each is not None:
            slices.setdefault(each.service, []).append(each)
    services = {}
    for service in held["services"]:
        mine = slices.get((service.namespace, service.name), ())
        services[(service.namespace, service.name)] = replace(
            service,
            backends=tuple(dict.fromkeys(backend for part in mine for backend in part.backends)),
            backend_addresses=tuple(dict.fromkeys(address for part in mine for address in part.addresses)),
        )
    return Facts(workloads, pods, services, {node.name: node for node in held["nodes"]})


def _top(
    pod: Pod, controllers: dict[str, Workload], tops: dict[AppKey, Workload], memo: dict[str, tuple[AppKey, ObjectRef]]
) -> tuple[AppKey, ObjectRef]:
    """The top controller of a pod, and the object that Events about it go to."""
    fact, owner = pod.fact, pod.owner
    if owner is None:
        return fact.owner, ObjectRef("v1", "Pod", fact.namespace, fact.name, fact.uid)
    found = memo.get(owner.uid)
    if found is None:
        top: Owner = owner
        while top.kind in _INTERMEDIATE:
            controller = controllers.get(top.uid)
            above = controller.owner if controller is not None else None
            if controller is None and top.kind == "ReplicaSet" and fact.version and top.name.endswith(f"-{fact.version}"):
                # The ReplicaSet is already deleted, its last pod is not: the name still tells the Deployment.
                deployment = tops.get(AppKey(fact.namespace, "Deployment", top.name.removesuffix(f"-{fact.version}")))
                if deployment is not None:
                    ref = deployment.fact.ref
                    above = Owner(ref.api_version, ref.kind, ref.name, ref.uid)
            if above is None or above.api_version.startswith(f"{GROUP}/"):
                break
            top = above
        key = AppKey(fact.namespace, top.kind, top.name)
        found = memo[owner.uid] = (key, ObjectRef(top.api_version, top.kind, fact.namespace, top.name, top.uid))
    return found


def _rollouts(replicasets: list[Workload]) -> dict[str, list[Change]]:
    """By the Deployment's uid: when its ReplicaSets appeared. Known after a restart too, unlike what was watched."""
    by_owner: dict[str, list[Workload]] = {}
    for each in replicasets:
        if each.owner is not None:
            by_owner.setdefault(each.owner.uid, []).append(each)
    found: dict[str, list[Change]] = {}
    for uid, sets in by_owner.items():
        sets.sort(key=lambda each: each.fact.created)
        found[uid] = [Change(new.fact.created, "rollout", _images(old.images, new.images)) for old, new in pairwise(sets)]
    return found


def _merge(listed: list[Change], noted: list[Change]) -> tuple[Change, ...]:
    """A rollout that was both watched and found as a ReplicaSet is one."""
    extra = [
        change for change in noted if change.kind != "rollout" or not any(abs(change.time - other.time) < 60 for other in listed)
    ]
    return tuple(sorted([*listed[-_MAX_CHANGES:], *extra], key=lambda change: change.time))
