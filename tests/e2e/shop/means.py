"""The ways in which a fault is put into the running shop, and taken out again.

Each means has `plan` (what must be remembered for the way back; changes nothing), `apply` (returns when it took effect, epoch
seconds) and `undo` (returns only when the shop is seen to be as before). A fault's record, a JSON object, is what all three share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import kubectl
from rollout import pending

Record = dict[str, Any]
PATIENCE_SECONDS = 180.0


class FaultError(Exception):
    """A fault could not be injected or undone; the message says which and why."""


class Means(Protocol):
    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record: ...
    def apply(self, record: Record, others: list[Record]) -> float: ...
    def undo(self, record: Record, others: list[Record]) -> None: ...


def until(what: str, condition: Callable[[], bool], timeout: float = PATIENCE_SECONDS) -> float:
    """Wait until `condition` holds; the time when it was seen to, epoch seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(f"{what}: not within {timeout:g} s")
        time.sleep(0.5)
    return time.time()


def workload(name: str) -> dict:
    """The Deployment, StatefulSet or DaemonSet of that name."""
    found = kubectl.items("deployments,statefulsets,daemonsets", f"app={name}")
    if not found:
        raise FaultError(f"the shop has no workload named {name}")
    return found[0]


def until_rolled_out(name: str) -> None:
    until(f"{name} rolled out", lambda: not pending([workload(name)]))


def reference(found: dict) -> str:
    return f"{found['kind'].lower()}/{found['metadata']['name']}"


@dataclass(frozen=True)
class Control:
    """Tells the target's processes, through a file in their pods: at once, without a rollout. `keys`: parameter -> fault."""

    keys: Mapping[str, str]

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        mounts = workload(target)["spec"]["template"]["spec"]["containers"][0].get("volumeMounts", [])
        if all(mount["name"] != "state" for mount in mounts):
            raise FaultError(f"{target} is none of the shop's Python parts, which alone can be told to misbehave")
        ready = [pod["metadata"]["name"] for pod in kubectl.pods(target) if kubectl.is_ready(pod)]
        wanted = parameters.get("instances") or len(ready)
        if not ready or wanted > len(ready):
            raise FaultError(f"{target} has {len(ready)} ready instances, {wanted or 'at least 1'} wanted")
        faults = {fault: parameters[parameter] for parameter, fault in self.keys.items()}
        return {"instances": ready[:wanted], "faults": faults}

    def apply(self, record: Record, others: list[Record]) -> float:
        return min(_control(pod, [*others, record]) for pod in record["instances"])

    def undo(self, record: Record, others: list[Record]) -> None:
        alive = {pod["metadata"]["name"] for pod in kubectl.pods(record["target"])}
        for pod in alive.intersection(record["instances"]):
            try:
                _control(pod, others)
            except kubectl.KubectlError:
                # Its container is not running, for instance waits to be restarted: a new pod knows of no fault.
                kubectl.run("delete", "pod", pod)
        until_rolled_out(record["target"])


def _control(pod: str, records: list[Record]) -> float:
    """Have `pod` take the faults that `records` give it, and no others; when it did."""
    faults: dict[str, Any] = {}
    for record in records:
        if pod in record.get("instances", ()):
            faults |= record["faults"]
    return float(kubectl.execute(pod, "python3", "-m", "shopsvc.control", json.dumps(faults)))


@dataclass(frozen=True)
class Scale:
    """Takes all instances away."""

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        found = workload(target)
        if "replicas" not in found["spec"]:
            raise FaultError(f"{reference(found)} has no replicas to scale")
        if not found["spec"]["replicas"]:
            raise FaultError(f"{reference(found)} has no instances already")
        return {"workload": reference(found), "replicas": found["spec"]["replicas"]}

    def apply(self, record: Record, others: list[Record]) -> float:
        kubectl.run("scale", record["workload"], "--replicas=0")
        return until(f"{record['target']} has no instances", lambda: not kubectl.pods(record["target"]))

    def undo(self, record: Record, others: list[Record]) -> None:
        kubectl.run("scale", record["workload"], f"--replicas={record['replicas']}")
        until_rolled_out(record["target"])


@dataclass(frozen=True)
class Rollout:
    """Releases the target anew with one environment variable more. `becomes_ready`: else its new instances never do."""

    variable: str
    value: Callable[[Mapping[str, Any]], str]
    becomes_ready: bool = True

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        found = workload(target)
        template = found["spec"]["template"]
        environment = template["spec"]["containers"][0].get("env", [])
        if any(variable["name"] == self.variable for variable in environment):
            raise FaultError(f"{reference(found)} has a variable {self.variable} already")
        before = [pod["metadata"]["name"] for pod in kubectl.pods(target)]
        return {"workload": reference(found), "template": template, "before": before, "value": self.value(parameters)}

    def apply(self, record: Record, others: list[Record]) -> float:
        kubectl.run("set", "env", record["workload"], f"{self.variable}={record['value']}")
        happened = kubectl.is_ready if self.becomes_ready else _failed_once

        def began() -> bool:
            new = [pod for pod in kubectl.pods(record["target"]) if pod["metadata"]["name"] not in record["before"]]
            return any(happened(pod) for pod in new)

        onset = until(f"the new release of {record['target']} has an instance", began)
        if self.becomes_ready:
            until_rolled_out(record["target"])
        return onset

    def undo(self, record: Record, others: list[Record]) -> None:
        kubectl.run("set", "env", record["workload"], f"{self.variable}-")
        until_rolled_out(record["target"])
        if workload(record["target"])["spec"]["template"] != record["template"]:
            raise FaultError(f"{record['workload']}: its template is not what it was before the fault")


def _failed_once(pod: dict) -> bool:
    statuses = pod["status"].get("containerStatuses", [])
    return any(status["restartCount"] or "terminated" in status["state"] for status in statuses)


@dataclass(frozen=True)
class CpuLimit:
    """Lowers the CPU limit of running instances in place, and the request that may not be above it: no restart, no rollout
    (Kubernetes 1.33 or newer)."""

    def plan(self, target: str, parameters: Mapping[str, Any]) -> Record:
        found = workload(target)
        resources = found["spec"]["template"]["spec"]["containers"][0]["resources"]
        before = {kind: resources.get(kind, {}).get("cpu") for kind in ("limits", "requests")}
        if not all(before.values()):
            raise FaultError(f"{reference(found)} has no CPU limit or request; what is added in place cannot be taken away again")
        return {"instances": [pod["metadata"]["name"] for pod in kubectl.pods(target)], "cpu": before}

    def apply(self, record: Record, others: list[Record]) -> float:
        cores = record["parameters"]["cores"]
        return self._set(record, {"limits": _milli(cores), "requests": _milli(min(cores, _cores(record["cpu"]["requests"])))})

    def undo(self, record: Record, others: list[Record]) -> None:
        self._set(record, record["cpu"])
        until_rolled_out(record["target"])

    @staticmethod
    def _set(record: Record, cpu: Mapping[str, str]) -> float:
        alive = [pod["metadata"]["name"] for pod in kubectl.pods(record["target"])]
        names = [name for name in alive if name in record["instances"]]
        resources = {kind: {"cpu": value} for kind, value in cpu.items()}
        patch = {"spec": {"containers": [{"name": record["target"], "resources": resources}]}}
        for name in names:
            kubectl.run("patch", "pod", name, "--subresource=resize", "--patch", json.dumps(patch))

        def in_effect() -> bool:
            pods = [pod for pod in kubectl.pods(record["target"]) if pod["metadata"]["name"] in names]
            return all(_cpu_limit(pod) == cpu["limits"] for pod in pods)

        return until(f"CPU limit {cpu['limits']} of {record['target']} in effect", in_effect)


def _milli(cores: float) -> str:
    return f"{round(1000 * cores)}m"


def _cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _cpu_limit(pod: dict) -> str | None:
    """The limit that the node has put into effect, not the one asked for."""
    return pod["status"]["containerStatuses"][0].get("resources", {}).get("limits", {}).get("cpu")
