"""Whether a workload is rolled out, judged as `kubectl rollout status` does, but for many at once and in words."""

from __future__ import annotations


def pending(workloads: list[dict]) -> dict[str, str]:
    """Of each workload that is not rolled out, what it still lacks: name -> "1 of 3 ready" or the like."""
    return {workload["metadata"]["name"]: lack for workload in workloads if (lack := _lack(workload))}


def _lack(workload: dict) -> str:
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return "not seen by its controller yet"
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        ready, current = status.get("numberReady", 0), status.get("updatedNumberScheduled", 0)
        if not wanted:
            return "scheduled on no node yet"
    else:
        wanted = workload["spec"].get("replicas", 1)
        ready, current = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if min(ready, current) < wanted:
        return f"{min(ready, current)} of {wanted} ready"
    if workload["kind"] == "Deployment" and status.get("replicas", 0) > wanted:
        return f"{status['replicas'] - wanted} old instances still there"
    return ""
