"""Objects of a small shop on an API server without controllers or nodes: the tests play kubelet and controller manager."""

from typing import Any

from appstatus.kube import ApiError, Kube, own_path, path
from synthetic import NODE, Flow, Service, Shop

NAMESPACE = "shop"
MERGE = "application/merge-patch+json"
LONG_AGO = "2026-01-01T00:00:00Z"

# One pod each; the names of pods and ReplicaSets are as their controllers make them.
APPS = {"frontend": "10.0.0.1", "checkout": "10.0.0.2", "catalog": "10.0.0.3"}
PODS = {f"{name}-6c8d9f7b5-bcdfg": ip for name, ip in APPS.items()}


def services() -> dict[str, Service]:
    return {name: Service(NAMESPACE, pod, ip) for name, (pod, ip) in zip(APPS, PODS.items(), strict=True)}


def shop(rate: float = 20.0) -> Shop:
    """outside -> frontend -> checkout, catalog."""
    parts = services()
    flows = [
        Flow(None, parts["frontend"], rate),
        Flow(parts["frontend"], parts["checkout"], rate),
        Flow(parts["frontend"], parts["catalog"], rate),
    ]
    return Shop(list(parts.values()), flows)


def create(kube: Kube, where: str, body: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    """Creates an object, if it does not exist yet, and sets its status. Returns it as stored."""
    name = body["metadata"]["name"]
    try:
        found = kube.request("POST", where, body=body)
    except ApiError as error:
        if error.status != 409:
            raise
        found = kube.request("GET", f"{where}/{name}")
    if status is not None:
        found = kube.request("PATCH", f"{where}/{name}/status", body={"status": status}, content_type=MERGE)
    return found  # type: ignore[no-any-return]


def namespace(kube: Kube, name: str) -> None:
    create(kube, path("v1", "namespaces"), {"metadata": {"name": name}})


def node(kube: Kube) -> None:
    status = {
        "conditions": [_condition("Ready")],
        "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
    }
    create(kube, path("v1", "nodes"), {"metadata": {"name": NODE}}, status)


def deployment(kube: Kube, name: str, ip: str, namespace: str = NAMESPACE) -> None:
    """Deployment, ReplicaSet and one ready pod."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": f"{name}:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    running = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1, "observedGeneration": 1}
    top = create(
        kube, path("apps/v1", "deployments", namespace), {"metadata": {"name": name, "labels": labels}, "spec": spec}, running
    )
    hashed = {**labels, "pod-template-hash": "6c8d9f7b5"}
    set_spec = {**spec, "selector": {"matchLabels": hashed}, "template": {**template, "metadata": {"labels": hashed}}}
    rs = create(
        kube,
        path("apps/v1", "replicasets", namespace),
        {"metadata": {"name": f"{name}-6c8d9f7b5", "ownerReferences": [_owner("apps/v1", "Deployment", top)]}, "spec": set_spec},
    )
    pod = {
        "metadata": {"name": f"{name}-6c8d9f7b5-bcdfg", "labels": hashed, "ownerReferences": [_owner("apps/v1", "ReplicaSet", rs)]},
        "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": f"{name}:1"}]},
    }
    ready = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [_condition("PodScheduled"), _condition("Ready")],
        "containerStatuses": [
            {"name": "app", "ready": True, "restartCount": 0, "image": f"{name}:1", "imageID": "", "state": {"running": {}}}
        ],
    }
    create(kube, path("v1", "pods", namespace), pod, ready)


_WEBHOOKS = path("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations")


def refuse_events(kube: Kube) -> None:
    """Until ``accept_events`` the API server answers 500 to every new Event of the shop: a webhook that nobody serves decides."""
    webhook = {
        "name": "no-events.appstatus.dev",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    kube.request("POST", _WEBHOOKS, body={"metadata": {"name": "no-events"}, "webhooks": [webhook]})


def accept_events(kube: Kube) -> None:
    kube.request("DELETE", f"{_WEBHOOKS}/no-events")


def cluster(kube: Kube) -> None:
    namespace(kube, "appstatus")
    node(kube)
    apps(kube)


def apps(kube: Kube, where: str = NAMESPACE) -> None:
    """The applications of the shop in a namespace of their own."""
    namespace(kube, where)
    for name, ip in APPS.items():
        deployment(kube, name, ip, where)


def custom(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A custom resource of ours."""
    return {"apiVersion": "appstatus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def collect(kube: Kube, name: str) -> None:
    """Removes the Project and the AppStatus objects of the namespace that both have this name, as the garbage collector would."""
    kube.request("DELETE", own_path("projects", name=name))
    kube.request("DELETE", own_path("appstatuses", name))


def project(kube: Kube, url: str, step: str = "5s", **spec: Any) -> None:
    body = custom("Project", "default", {"prometheus": {"url": url, "step": step}, "namespaces": {"include": [NAMESPACE]}, **spec})
    create(kube, own_path("projects"), body)
    kube.request("PATCH", own_path("projects", name="default"), body={"spec": body["spec"]}, content_type=MERGE)


def _owner(api_version: str, kind: str, found: dict[str, Any]) -> dict[str, Any]:
    metadata = found["metadata"]
    return {"apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}


def _condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": LONG_AGO}
