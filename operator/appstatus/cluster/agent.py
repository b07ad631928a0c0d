"""The node agent's DaemonSet: built from the Project, applied, and its roll-out told.

The image comes from the operator's own environment, never from the Project: whoever may edit a Project must not thereby be able to
run code on every node.
"""

from dataclasses import dataclass
from typing import Any

from appstatus.api.names import GROUP, ObjectRef
from appstatus.api.project import NodeAgentSpec
from appstatus.cluster.writing import Writer
from appstatus.kube import ApiError, Unreachable, path

NAME = "appstatus-agent"
PORT = 10301
PROJECT_LABEL = f"{GROUP}/project"  # tells the operator's own DaemonSet from one that was installed by other means

# name, path on the node, where it is mounted, why. All read-only.
HOST_PATHS: tuple[tuple[str, str, str, str], ...] = (
    ("cgroup", "/sys/fs/cgroup", "/host/cgroup", "CPU and memory of each container; the root to attach the programs to"),
    ("pods", "/var/log/pods", "/host/log/pods", "names of pods and containers, so that neither API server nor runtime is asked"),
    ("containers", "/var/log/containers", "/host/log/containers", "container ids by pod and container name"),
)

# What each one is needed for; nothing else is added, everything else is dropped, and the pod is not privileged.
CAPABILITIES: tuple[tuple[str, str], ...] = (
    ("BPF", "load the programs, create and read the maps"),
    ("PERFMON", "attach them to tracepoints and read kernel memory with their types"),
    ("NET_ADMIN", "attach to cgroup sockets' traffic; read the translations of conntrack"),
    ("SYS_PTRACE", "read /proc/PID of containers: sockets, namespaces, scheduler statistics"),
    ("DAC_READ_SEARCH", "read files of containers that run as other users"),
)

DEFAULT_RESOURCES = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}
EVERYWHERE = ({"operator": "Exists"},)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the chart says. ``extra_capabilities``: SYS_RESOURCE for kernels below 5.11, which charge maps to the memlock limit."""

    image: str
    namespace: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    priority_class: str = "system-node-critical"
    service_account: str = NAME
    extra_capabilities: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def daemonset(settings: AgentSettings, spec: NodeAgentSpec, owner: ObjectRef) -> dict[str, Any]:
    """The whole object, as it is applied."""
    selector = {"app.kubernetes.io/name": NAME}
    labels = {**dict(settings.labels), **selector, "app.kubernetes.io/part-of": "appstatus"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": {**labels, PROJECT_LABEL: owner.name},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": spec.max_unavailable}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(PORT),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": _pod(settings, spec),
            },
        },
    }


def _pod(settings: AgentSettings, spec: NodeAgentSpec) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "hostPID": True,  # processes of all containers
        "hostNetwork": True,  # conntrack's translations are per network namespace
        "nodeSelector": {**spec.node_selector, "kubernetes.io/os": "linux"},
        "tolerations": list(EVERYWHERE if spec.tolerations is None else spec.tolerations),
        "terminationGracePeriodSeconds": 10,
        "containers": [_container(settings, spec)],
        "volumes": [{"name": name, "hostPath": {"path": where, "type": "DirectoryOrCreate"}} for name, where, _, _ in HOST_PATHS],
    }
    if settings.priority_class:
        pod["priorityClassName"] = settings.priority_class
    if settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    return pod


def _container(settings: AgentSettings, spec: NodeAgentSpec) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": ["--listen", f"0.0.0.0:{PORT}", "--cgroup-root", "/host/cgroup", "--log-root", "/host/log"],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"name": "metrics", "containerPort": PORT, "protocol": "TCP"}],
        "resources": spec.resources or DEFAULT_RESOURCES,
        "securityContext": {
            "runAsUser": 0,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": [*(name for name, _ in CAPABILITIES), *settings.extra_capabilities]},
            # The runtimes' default profiles refuse bpf() and reading other processes even with the capabilities above.
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 20, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 5, "timeoutSeconds": 5},
        "volumeMounts": [
            # No mount propagation: the runtime refuses it where the host's mount is not shared, and these trees are there at start.
            {"name": name, "mountPath": mount, "readOnly": True}
            for name, _, mount, _ in HOST_PATHS
        ],
    }


def owner_reference(owner: ObjectRef) -> dict[str, Any]:
    """Deleting the owner deletes the object; blockOwnerDeletion would need rights on the owner's finalizers and could hang it."""
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid, "controller": True}


def apply(writer: Writer, body: dict[str, Any], deadline: float) -> None:
    """Raises ApiError, OutOfTime, NotLeading."""
    writer.apply(_path(body["metadata"]["namespace"], NAME), body, deadline)


def delete(writer: Writer, namespace: str, deadline: float) -> None:
    """Raises ApiError, OutOfTime, NotLeading."""
    try:
        writer.request("DELETE", _path(namespace, NAME), deadline)
    except ApiError as error:
        if error.status != 404:
            raise


def refusals(writer: Writer, namespace: str) -> list[str]:
    """Why pods of the DaemonSet could not be created (Pod Security, quota), newest first; empty if nobody can tell."""
    selector = f"involvedObject.kind=DaemonSet,involvedObject.name={NAME},reason=FailedCreate"
    try:
        events = list(writer.kube.list(path("v1", "events", namespace), query={"fieldSelector": selector}, timeout=5.0))
    except (ApiError, Unreachable):
        return []
    events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", reverse=True)
    return list(dict.fromkeys(str(event.get("message") or "").removeprefix("Error creating: ") for event in events))


def _path(namespace: str, name: str) -> str:
    return path("apps/v1", "daemonsets", namespace, name)
