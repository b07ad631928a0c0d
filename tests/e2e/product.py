"""Installs appstatus with its chart, as a user would, and reads what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster import binaries
from cluster.apiserver import run_kubectl

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "appstatus"
RELEASE = "appstatus"
# Only what a cluster without a registry needs; nothing else differs from an installation with defaults.
LOCAL_IMAGES = (
    "--set=image.repository=localhost/appstatus-operator,image.tag=dev,image.pullPolicy=IfNotPresent",
    "--set=agent.image.repository=localhost/appstatus-agent,agent.image.tag=dev,agent.image.pullPolicy=IfNotPresent",
    "--set=prometheus.image.repository=localhost/prometheus,prometheus.image.tag=dev,prometheus.image.pullPolicy=IfNotPresent",
)
LOG_HINT = f"kubectl -n {NAMESPACE} logs deployment/appstatus-operator; kubectl -n {NAMESPACE} logs daemonset/appstatus-agent"


class Cluster:
    """kubectl and helm against one kubeconfig; `beside`: a namespace whose Events are none of the caller's business."""

    def __init__(self, kubeconfig: Path, beside: str = "") -> None:
        self.kubeconfig, self.beside = kubeconfig, beside

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output of kubectl. Raises RuntimeError with its message unless `check` is False."""
        return run_kubectl(binaries.path("kubectl"), self.kubeconfig, *arguments, stdin=stdin, check=check).stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`; a list has `items`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def helm(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(binaries.path("helm")), *arguments],
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"helm {arguments[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))

    def install(self, *values: str) -> str:
        """helm upgrade --install of the chart with the locally built images; returns Helm's notes."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
            }
        )
        return self.helm(
            "upgrade", "--install", RELEASE, str(ROOT / "charts" / "appstatus"), "-n", NAMESPACE, *LOCAL_IMAGES, *values
        )

    def uninstall(self) -> None:
        """The README's way: the Project first, then the chart."""
        self.kubectl("delete", "projects.appstatus.dev", "--all", "--wait=true", "--timeout=120s", check=False)
        self.helm("uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "180s")

    def left(self) -> list[str]:
        """What its namespace holds beside what every one does, and cluster-wide what bears its name, but for its CRDs (and the API
        server's own record of each): as kubectl names it, of all kinds that can be listed.
        """
        kinds = {
            scope: self.kubectl("api-resources", "--verbs=list", f"--namespaced={scope}", "-o", "name").split()
            for scope in ("true", "false")
        }
        inside = self.kubectl("get", ",".join(kinds["true"]), "-n", NAMESPACE, "-o", "name", "--ignore-not-found").split()
        outside = self.kubectl("get", ",".join(kinds["false"]), "-o", "name", "--ignore-not-found").split()
        usual = ("configmap/kube-root-ca.crt", "serviceaccount/default", "event/", "event.events.k8s.io/")
        stays = ("customresourcedefinition.", "apiservice.", "namespace/")
        return sorted(
            {name for name in inside if not name.startswith(usual)}
            | {name for name in outside if "appstatus" in name and not name.startswith(stays)}
        )

    def statuses(self, namespace: str) -> dict[str, dict[str, Any]]:
        """status by AppStatus name; empty where nothing has been judged yet."""
        return {item["metadata"]["name"]: item.get("status", {}) for item in self.get("appstatus", "-n", namespace)["items"]}

    def slo_states(self, namespace: str) -> set[str]:
        """States of all SLOs of a namespace's applications, the defaults included; empty before anything is judged."""
        return {slo["state"] for status in self.statuses(namespace).values() for slo in status.get("slos", ())}

    def leader(self) -> str:
        """Who holds the operator's Lease, and renewed it lately; empty: nobody."""
        lease = self.get("lease", "appstatus-operator", "-n", NAMESPACE)["spec"]
        renewed = lease.get("renewTime")
        fresh = bool(renewed) and time.time() - datetime.fromisoformat(renewed).timestamp() < 60
        return str(lease.get("holderIdentity") or "") if fresh else ""

    def health(self, namespace: str) -> dict[str, str]:
        """Health by AppStatus name."""
        return {name: status.get("health", "") for name, status in self.statuses(namespace).items()}

    def events(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Events that appstatus posted at or after `since` (unix seconds), oldest first, wherever: a Project's are in `default`."""
        items = [item for item in self.get("events", "-A")["items"] if item["metadata"]["namespace"] != self.beside]
        ours = [item for item in items if item.get("reportingComponent") == "appstatus" and posted(item) >= since]
        return sorted(ours, key=posted)


def posted(event: dict[str, Any]) -> float:
    """When an Event was posted, unix seconds, to the microsecond where the Event has it."""
    return datetime.fromisoformat(event.get("eventTime") or event["lastTimestamp"]).timestamp()


def told(events: list[dict[str, Any]]) -> list[str]:
    """A line for each Event."""
    return [f"{event['reason']} {event['involvedObject']['name']}: {event['message']}" for event in events]
