"""kubectl as the shop's commands use it: any cluster, $KUBECONFIG, else the local one of `make cluster`.

A cluster may have several shops, each in a namespace: $SHOP_NAMESPACE.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("APPSTATUS_CACHE", Path.home() / ".cache" / "appstatus"))
NAMESPACE = os.environ.get("SHOP_NAMESPACE", "shop")
TIMEOUT_SECONDS = 120.0


class KubectlError(Exception):
    """kubectl said no; the message is its own."""


def _binary() -> str:
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if found:
        return found
    built = sorted((CACHE / "bin").glob("*/kubectl"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise KubectlError("no kubectl: neither $KUBECTL nor one on PATH, and `make cluster` has not built it yet")
    return str(built[-1])


def _kubeconfig() -> str:
    found = os.environ.get("KUBECONFIG", "")
    local = CACHE / "cluster" / "kubeconfig"
    if not found and not local.exists():
        raise KubectlError(f"no cluster: KUBECONFIG is not set and {local} does not exist (make cluster)")
    return found or str(local)


def run(*arguments: str, stdin: str | None = None, timeout: float = TIMEOUT_SECONDS) -> str:
    """Run kubectl in the shop's namespace; its output. KubectlError with what it said when it fails."""
    command = [_binary(), f"--kubeconfig={_kubeconfig()}", f"--namespace={NAMESPACE}", *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise KubectlError(f"kubectl {' '.join(arguments)}: no end after {timeout:g} s") from None
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def get(kind: str, name: str) -> dict | None:
    """The object, decoded; None when it does not exist."""
    text = run("get", kind, name, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text.strip() else None


def items(kinds: str, selector: str = "") -> list[dict]:
    """All objects of the comma-separated kinds, or those that the label selector picks."""
    found = run("get", kinds, "-o", "json", *([f"--selector={selector}"] if selector else []))
    return json.loads(found)["items"]


def pods(application: str) -> list[dict]:
    """The application's pods that are not being deleted, oldest first."""
    alive = [pod for pod in items("pods", f"app={application}") if "deletionTimestamp" not in pod["metadata"]]
    return sorted(alive, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def is_ready(pod: dict) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def execute(pod: str, *command: str, timeout: float = 60.0) -> str:
    """Run `command` in the pod's only container; what it printed."""
    return run("exec", pod, "--", *command, timeout=timeout)
