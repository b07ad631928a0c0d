"""All checks: one table. Docs pages, the CRD's enum and the defaults are generated from it or tested against it.

Ids, meaning and defaults are Coroot's where it has the check; but a condition must have held for ``sustained_for`` seconds,
not only at the newest point.
"""

from dataclasses import dataclass
from typing import Literal

# Areas in the order in which an Event lists them, and their condition in AppStatus. An area without a check here is not shown.
AREAS: dict[str, str] = {
    "slo": "SLOsMet",
    "inst": "InstancesHealthy",
    "cpu": "CPUHealthy",
    "mem": "MemoryHealthy",
    "disk": "StorageHealthy",
    "net": "NetworkHealthy",
    "deps": "DependenciesHealthy",
    "logs": "LogsHealthy",
    "deploy": "RolloutHealthy",
}


@dataclass(frozen=True, slots=True)
class Check:
    """unit: of value and threshold; direction: on which side of the threshold it fails.

    sustained_for  seconds for which the condition must hold before the check fails; for ``count`` checks the seconds counted over
    kind           ``gauge``: every known sample of the last ``sustained_for`` seconds is beyond the threshold;
                   ``count``: what was counted in the last ``sustained_for`` seconds is beyond it;
                   ``trend``: the slope over the last ``sustained_for`` seconds is;
                   ``state``: what the API server says has held for so long; ``slo``: judged by the SLO evaluation
    needs          queries (``model.queries``) without which it is unknown
    """

    id: str
    area: str
    title: str
    unit: str
    threshold: float
    direction: Literal["above", "below"]
    sustained_for: float
    kind: Literal["gauge", "count", "trend", "state", "slo"]
    description: str
    todo: str
    needs: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        return f"docs/checks/{self.id}.md"


CHECKS: tuple[Check, ...] = (
    Check(
        "SLOAvailability",
        "slo",
        "Availability objective",
        "%",
        99,
        "below",
        0,
        "slo",
        "Share of requests that were answered well: bad answers by status, and requests that never got an answer, count as bad. "
        "Fails while a burn-rate tier or the outage tier fires, or while no error budget is left.",
        "Read the cause in the Event or in `kubectl get appstatus`; it names the application in which the failures begin.",
    ),
    Check(
        "SLOLatency",
        "slo",
        "Latency objective",
        "%",
        99,
        "below",
        0,
        "slo",
        "Share of good answers faster than the objective's threshold. Fails while a burn-rate tier or the outage tier "
        "fires, or while no error budget is left.",
        "Read the cause in the Event or in `kubectl get appstatus`; it names the application in which the extra time is spent.",
    ),
    Check(
        "InstanceAvailability",
        "inst",
        "Instances available",
        "%",
        75,
        "below",
        120,
        "state",
        "Available instances against desired ones, in percent. An application with no available instance fails whatever the "
        "threshold. Jobs are not judged; an application scaled to zero only fails if others still try to connect to it.",
        "Look at the pods that are not ready (`kubectl describe pod`): image, probe, node, quota.",
    ),
    Check(
        "InstanceRestarts",
        "inst",
        "Container restarts",
        "restarts",
        1,
        "above",
        3600,
        "count",
        "Restarts of any one container within the last hour.",
        "Read the log of the container's previous run (`kubectl logs --previous`) and its exit reason.",
        ("container_restarts",),
    ),
    Check(
        "CPUContainer",
        "cpu",
        "CPU usage against limit",
        "%",
        80,
        "above",
        300,
        "gauge",
        "CPU usage of a container in percent of its limit. Containers without a limit are not judged.",
        "Raise the limit, add replicas, or find what burns the CPU (profile, last release, request rate).",
        ("container_cpu_usage",),
    ),
    Check(
        "CPUNode",
        "cpu",
        "Node CPU",
        "%",
        80,
        "above",
        300,
        "gauge",
        "CPU usage of a node on which the application runs, in percent of all its cores; idle and I/O wait left out.",
        "Find the largest consumer on the node; give it a limit, or move it.",
        ("node_cpu_usage",),
    ),
    Check(
        "CPUThrottling",
        "cpu",
        "CPU throttling",
        "s/s",
        0.1,
        "above",
        120,
        "gauge",
        "Seconds per second for which a container was kept from running by its own CPU limit.",
        "Raise or remove the CPU limit; if usage per request grew with a release, look there.",
        ("container_cpu_throttled",),
    ),
    Check(
        "CPUDelay",
        "cpu",
        "Waiting for CPU",
        "%",
        40,
        "above",
        120,
        "gauge",
        "Share of the time in which a container was ready to run that it spent waiting for a CPU: delay / (delay + usage). "
        "Waits of less than 0.1 s/s in all, and those that its own limit explains (throttling), do not count.",
        "Something else on the node takes the CPU: see CPUNode and the noisy neighbour that the diagnosis names; set CPU requests.",
        ("container_cpu_delay", "container_cpu_usage"),
    ),
    Check(
        "MemoryOOM",
        "mem",
        "Out-of-memory kills",
        "kills",
        0,
        "above",
        3600,
        "count",
        "Processes of the application that the kernel killed for want of memory within the last hour.",
        "Raise the memory limit if the growth is wanted; else look for the leak (MemoryLeakPercent, heap dumps).",
        ("container_oom_kills",),
    ),
    Check(
        "MemoryContainer",
        "mem",
        "Memory usage against limit",
        "%",
        90,
        "above",
        300,
        "gauge",
        "Resident memory of a container in percent of its limit; page cache left out. Containers without a limit are not judged.",
        "Raise the limit before the kernel kills the process, or reduce what is held in memory.",
        ("container_memory_rss",),
    ),
    Check(
        "MemoryLeakPercent",
        "mem",
        "Memory growth",
        "%/h",
        10,
        "above",
        3600,
        "trend",
        "Steady growth of a container's resident memory, in percent per hour of what it has, by linear regression over the "
        "last hour (a restart begins anew). Growth that has stopped, or that is less than 5 % of the limit (50 MiB without "
        "one), does not count.",
        "Compare heap profiles of now and an hour ago; a restart buys time.",
        ("container_memory_rss",),
    ),
    Check(
        "NetworkRTT",
        "net",
        "Round-trip time",
        "ms",
        10,
        "above",
        300,
        "gauge",
        "Mean smoothed TCP round-trip time to an upstream application in the cluster.",
        "See which pairs of nodes are slow; look at the network between them and at CPU pressure on either end.",
        ("tcp_rtt",),
    ),
    Check(
        "NetworkRTTExternal",
        "net",
        "Round-trip time to outside",
        "ms",
        200,
        "above",
        300,
        "gauge",
        "Mean smoothed TCP round-trip time to a service outside the cluster.",
        "Ask the provider; look at the egress path (NAT, proxy).",
        ("tcp_rtt",),
    ),
    Check(
        "NetworkTCPConnections",
        "net",
        "Failed connections",
        "%",
        5,
        "above",
        120,
        "count",
        "Share of connection attempts to an upstream that failed within the last two minutes, if at least three did.",
        "Is the upstream up and listening, is it behind its Service, does a NetworkPolicy forbid it?",
        ("tcp_failed_connects", "tcp_connects"),
    ),
    Check(
        "NetworkRetransmits",
        "net",
        "TCP retransmits",
        "%",
        5,
        "above",
        300,
        "count",
        "Share of the segments sent to an upstream within the last five minutes that had to be sent again, if at least ten were. "
        "Segments that the receiver had already do not count (where the node agent tells them apart).",
        "Packet loss or an overloaded receiver: compare pairs of nodes, look at interface errors and softirq load.",
        ("tcp_retransmits", "tcp_segments_sent"),
    ),
    Check(
        "DependencyErrors",
        "deps",
        "Dependency failing",
        "%",
        5,
        "above",
        60,
        "count",
        "Share of the requests to an upstream that failed within the last minute, if at least five did: 5xx, failed, or never "
        "answered.",
        "Look at the upstream named here first (`kubectl get appstatus`).",
        ("requests_out",),
    ),
    Check(
        "DependencyLatency",
        "deps",
        "Dependency slow",
        "x",
        3,
        "above",
        120,
        "gauge",
        "Mean latency of the requests to an upstream as a multiple of its own median before, if at least 10 ms were added.",
        "Look at the upstream named here first (`kubectl get appstatus`).",
        ("requests_out_seconds", "requests_out_timed"),
    ),
    Check(
        "DeploymentStatus",
        "deploy",
        "Rollout",
        "s",
        180,
        "above",
        0,
        "state",
        "Seconds for which a rollout has been under way while new instances are not ready.",
        "Look at the new pods (image, configuration, probes), then fix or `kubectl rollout undo`.",
    ),
)

BY_ID: dict[str, Check] = {check.id: check for check in CHECKS}
