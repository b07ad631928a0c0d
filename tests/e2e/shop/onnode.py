"""Means that work from the node of an instance: in a helper pod there, which may touch the node's cgroups and network namespaces.

The helper runs one module of the shop's Python parts (`shopsvc.slowdisk`, `shopsvc.thinlink`) with a value, of which 0 takes the
fault out again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kubectl
from means import FaultError, Record, until, until_rolled_out, workload

NAMESPACE = f"{kubectl.NAMESPACE}-faults"
HELPER = "helper"


@dataclass(frozen=True)
class OnNode:
    """Runs `module` for the first ready instance of the target, with the value of the fault's `parameter`."""

    module: str
    parameter: str

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        pod = next((pod for pod in kubectl.pods(target) if kubectl.is_ready(pod)), None)
        if pod is None:
            raise FaultError(f"{target} has no ready instance")
        return {
            "instances": [pod["metadata"]["name"]],
            "image": workload("node-logger")["spec"]["template"]["spec"]["containers"][0]["image"],
        }

    def apply(self, record: Record, others: list[Record]) -> float:
        self._run(record, record["parameters"][self.parameter])
        return time.time()

    def undo(self, record: Record, others: list[Record]) -> None:
        try:
            self._run(record, 0)
        finally:
            remove_helper()
        until_rolled_out(record["target"])

    def _run(self, record: Record, value: float) -> None:
        pod = next((pod for pod in kubectl.pods(record["target"]) if pod["metadata"]["name"] in record["instances"]), None)
        if pod is None:  # the fault went away with it
            return
        start_helper(pod["spec"]["nodeName"], record["image"])
        command = ("python3", "-m", self.module, *self.subject(pod, record), str(value))
        kubectl.run("exec", f"--namespace={NAMESPACE}", HELPER, "--", *command)

    def subject(self, pod: dict, record: Record) -> tuple[str, ...]:
        """What of the pod, for the module."""
        raise NotImplementedError


@dataclass(frozen=True)
class ThinLink(OnNode):
    """The link is the pod's, whatever becomes of its container."""

    def subject(self, pod: dict, record: Record) -> tuple[str, ...]:
        return (pod["metadata"]["uid"],)


@dataclass(frozen=True)
class SlowDisk(OnNode):
    """The container's operations on the disk of `directory`."""

    directory: str

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        record = super().plan(target, parameters)
        number = int(kubectl.execute(record["instances"][0], "stat", "--format=%d", self.directory))
        return record | {"device": f"{os.major(number)}:{os.minor(number)}"}

    def subject(self, pod: dict, record: Record) -> tuple[str, ...]:
        return pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2], record["device"]


def start_helper(node: str, image: str) -> None:
    objects = json.dumps(_helper(node, image))

    def created() -> bool:
        try:
            kubectl.run("apply", f"--namespace={NAMESPACE}", "--server-side", "-f", "-", stdin=objects)
        except kubectl.KubectlError as error:
            if "serviceaccount" not in str(error):
                raise
            return False  # a new namespace takes no pods until its service account is there
        return True

    until("the helper pod created", created, timeout=30)
    kubectl.run("wait", f"--namespace={NAMESPACE}", f"pod/{HELPER}", "--for=condition=Ready", "--timeout=60s")


def remove_helper() -> None:
    kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")


def _helper(node: str, image: str) -> dict:
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    container = {
        "name": HELPER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        # The last three to enter a network namespace and to shape its link.
        "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"]}},
        "volumeMounts": [{"name": "cgroup", "mountPath": "/host/cgroup"}],
    }
    spec = {
        "nodeName": node,
        "hostPID": True,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup"}}],
    }
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": HELPER, "namespace": NAMESPACE}, "spec": spec},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}
