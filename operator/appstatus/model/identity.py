"""Whose a container is: from its ``container_id`` to instance and application.

The API server's facts come first. A pod that it no longer knows, or a cluster that may not be asked, is judged by its name: the
controllers of Kubernetes build pod names in fixed forms.
"""

import re
from typing import NamedTuple

from appstatus.api.names import AppKey
from appstatus.api.scope import Scope
from appstatus.model.facts import Facts

# k8s.io/apimachinery/pkg/util/rand: no vowels, no 0 1 3. Suffixes have 5 characters, pod template hashes up to 10.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("CronJob", re.compile(rf"^(?P<name>.+)-\d{{8}}(-\d+)?-[{_SAFE}]{{5}}$")),  # <cronjob>-<minutes since 1970>[-index]-<5>
    ("Deployment", re.compile(rf"^(?P<name>.+)-[{_SAFE}]{{6,10}}-[{_SAFE}]{{5}}$")),
    ("StatefulSet", re.compile(r"^(?P<name>.+)-\d{1,4}$")),
    ("DaemonSet", re.compile(rf"^(?P<name>.+)-[{_SAFE}]{{5}}$")),  # Jobs have the same form
)
CUSTOM = "CustomApplication"
_SAME_FORM = {"DaemonSet": ("DaemonSet", "Job")}


def is_former(app: AppKey, grouping: Scope) -> bool:
    """Whether this is a custom application that no Project has any more."""
    return app.kind == CUSTOM and not grouping.has_custom_application(app.namespace, app.name)


class Owner(NamedTuple):
    """``pod``: (namespace, name) if the container is in one; ``instance``: name of the instance within its application."""

    app: AppKey
    instance: str
    container: str
    pod: tuple[str, str] | None


class Identities:
    """Resolves containers. Keeps what it has resolved, so that a container with forty series is judged once."""

    def __init__(self, facts: Facts, grouping: Scope) -> None:
        self._facts = facts
        self._grouping = grouping
        self._pods: dict[tuple[str, str], AppKey] = {}
        self._workloads: dict[tuple[str, str], list[AppKey]] = {}
        for key in facts.workloads:
            self._workloads.setdefault((key.namespace, key.name), []).append(key)

    def container(self, container_id: str, node: str) -> Owner:
        """Owner of ``/k8s/<namespace>/<pod>/<container>``; any other path is shown as what it is, one instance per node."""
        parts = container_id.strip("/").split("/")
        if parts[0] == "k8s" and len(parts) == 4:
            _, namespace, pod, container = parts
            return Owner(self.pod(namespace, pod), pod, container, (namespace, pod))
        if parts[0] == "k8s-cronjob" and len(parts) == 4:  # how coroot-node-agent folds the pods of a CronJob
            _, namespace, job, container = parts
            return Owner(AppKey(namespace, "CronJob", job), f"{job}@{node}", container, None)
        name = parts[-1] or container_id
        kind = "SystemdUnit" if name.endswith((".service", ".slice", ".scope")) else "Cgroup"
        return Owner(AppKey("", kind, name), f"{name}@{node}", name, None)

    def pod(self, namespace: str, name: str) -> AppKey:
        known = self._pods.get((namespace, name))
        if known is None:
            fact = self._facts.pods.get((namespace, name))
            known = fact.owner if fact is not None else self._guess(namespace, name)
            custom = self._grouping.custom_application(namespace, name)
            if custom is not None:
                known = AppKey(namespace, CUSTOM, custom)
            self._pods[namespace, name] = known
        return known

    def _guess(self, namespace: str, pod: str) -> AppKey:
        """A controller that exists and whose pods are named like this one; else, by the name's form alone."""
        first: AppKey | None = None
        for kind, form in _FORMS:
            match = form.match(pod)
            if match is None:
                continue
            for key in self._workloads.get((namespace, match["name"]), ()):
                if key.kind in _SAME_FORM.get(kind, (kind,)):
                    return key
            first = first or AppKey(namespace, kind, match["name"])
        # A custom controller (Argo Rollout, a database operator): the longest existing name that the pod's name begins with.
        parts = pod.split("-")
        for end in range(len(parts) - 1, 0, -1):
            for key in self._workloads.get((namespace, "-".join(parts[:end])), ()):
                if key.kind not in _BUILT_IN:
                    return key
        return first or AppKey(namespace, "Pod", pod)


_BUILT_IN = frozenset({"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "ReplicaSet", "Pod"})
