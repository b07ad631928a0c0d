"""Every fault of the shop as data: what it is called, where it strikes, what users see, what a diagnosis should say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from means import Control, CpuLimit, Means, Rollout, Scale
from onnode import SlowDisk, ThinLink


@dataclass(frozen=True)
class Fault:
    """`failure_class`: the class that a right diagnosis gives, in the words of appstatus.diagnosis.classes where it has the class;
    `near`: what is no error either while the signals for the class do not exist.
    `cause`: the application that it names, when it is not the target; `accept`: others that are right too.
    `users_see`: what changes in the users' record: "failures", "slow" answers, "more" requests, or "nothing".
    `shows`: "application:Check", the inspections that fail while it is in and that did not before.
    `parameters`: name -> default; each is an option of the command line. `any_target`: --service chooses another target.
    """

    name: str
    failure_class: str
    target: str
    users_see: str
    what: str
    means: Means
    parameters: Mapping[str, float | int] = field(default_factory=dict)
    any_target: bool = False
    near: tuple[str, ...] = ()
    cause: str = ""
    accept: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()


def _faults_variable(**keys: str) -> Any:
    """The value of FAULTS for a release that is bad from the start: fault -> parameter."""
    return lambda parameters: json.dumps({fault: parameters[parameter] for fault, parameter in keys.items()})


TABLE: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "errors", "error-burst", "ledger", "failures",
            "a share of one service's requests is answered 500",
            Control({"share": "error_share"}), {"share": 1.0, "instances": 0}, any_target=True,
            near=("dependency-failure",),
            shows=("ledger:SLOAvailability", "payment:DependencyErrors"),
        ),
        Fault(
            "slow", "inside", "ledger", "slow",
            "a share of one service's requests takes longer",
            Control({"share": "slow_share", "seconds": "slow_seconds"}),
            {"share": 0.14, "seconds": 0.4, "instances": 0}, any_target=True,
            near=("unknown",),
        ),
        Fault(
            "hang", "dependency-failure", "payment", "failures",
            "a share of one service's requests is never answered",
            Control({"share": "hang_share"}), {"share": 0.3, "instances": 0}, any_target=True,
            near=("inside", "error-burst", "unknown"),
            shows=("checkout:DependencyErrors",),
        ),
        Fault(
            "cpu-noise", "noisy-neighbour", "thumbnailer", "slow",
            "a container that talks to nobody takes all the CPU it can get on the node",
            Control({"processes": "burn_processes"}), {"processes": 8},
            accept=("checkout", "cart", "catalog", "payment", "ledger", "recommendation"),  # who wait for it
            shows=("thumbnailer:CPUNode", "cart:CPUDelay"),
        ),
        Fault(
            "cpu-limit", "cpu-throttled", "cart", "slow",
            "one service's CPU limit becomes far too low",
            CpuLimit(), {"cores": 0.04}, any_target=True,
            shows=("cart:CPUThrottling", "cart:CPUContainer"),
        ),
        Fault(
            "memory-leak", "memory-oom", "recommendation", "failures",
            "one service leaks memory until it is killed, again and again",
            Control({"rate": "leak_mib_per_second"}), {"rate": 16.0}, any_target=True,
            near=("memory-pressure", "instance-down"),
            shows=("recommendation:MemoryOOM", "recommendation:InstanceRestarts", "recommendation:InstanceAvailability"),
        ),
        Fault(
            "slow-leak", "memory-pressure", "accounting", "nothing",
            "one service leaks memory so slowly that its limit is hours away",
            Control({"rate": "leak_mib_per_second"}), {"rate": 0.02}, any_target=True,
            shows=("accounting:MemoryLeakPercent",),
        ),
        Fault(
            "memory-full", "memory-pressure", "catalog", "nothing",
            "one service holds almost all the memory that its limit allows",
            Control({"share": "memory_share"}), {"share": 0.95}, any_target=True,
            shows=("catalog:MemoryContainer",),
        ),
        Fault(
            "db-lock", "lock-contention", "accounting", "slow",
            "a session holds an exclusive lock on the ledger's table, in cycles",
            Control({"table": "lock_table", "hold": "lock_hold_seconds", "period": "lock_period_seconds"}),
            {"table": "ledger", "hold": 0.7, "period": 1.0}, cause="postgres", accept=("accounting",),
            near=("inside", "unknown", "dependency-failure"),
        ),
        Fault(
            "slow-disk", "storage", "postgres", "slow",
            "the database's disk does few writes per second",
            SlowDisk("shopsvc.slowdisk", "iops", "/data"), {"iops": 8},
            near=("inside", "unknown"),
        ),
        Fault(
            "net-delay", "network-latency", "pgproxy", "slow",
            "what ledger sends to postgres arrives late",
            Control({"seconds": "delay_seconds"}), {"seconds": 0.3},
            near=("inside", "unknown"), accept=("ledger", "postgres"),
            shows=("payment:DependencyLatency",),
        ),
        Fault(
            "thin-link", "network-loss", "pgproxy", "failures",
            "the network link of one instance between ledger and postgres is too thin: queues, and losses",
            ThinLink("shopsvc.thinlink", "kbit"), {"kbit": 24.0},
            near=("network-latency", "network-unreachable", "dependency-failure", "error-burst"), accept=("ledger", "postgres"),
            shows=("ledger:NetworkRTT", "ledger:NetworkRetransmits"),
        ),
        Fault(
            "net-reset", "network-loss", "pgproxy", "failures",
            "connections from ledger to postgres are reset",
            Control({"share": "reset_share"}), {"share": 0.2},
            near=("network-unreachable", "dependency-failure", "error-burst"), accept=("ledger", "postgres"),
        ),
        Fault(
            "pool", "pool-saturation", "ledger", "failures",
            "connections of one service's database pool are taken and never given back",
            Control({"connections": "hold_connections"}), {"connections": 8}, any_target=True,
            near=("inside", "error-burst", "dependency-failure"),
        ),
        Fault(
            "redis-down", "instance-down", "redis", "failures",
            "Redis is scaled to zero",
            Scale(),
            near=("network-unreachable",),
            shows=("cart:NetworkTCPConnections", "redis:InstanceAvailability"),
        ),
        Fault(
            "scale-zero", "instance-down", "payment", "failures",
            "one service is scaled to zero under load",
            Scale(), any_target=True,
            near=("network-unreachable",),
        ),
        Fault(
            "bad-rollout", "bad-release", "payment", "failures",
            "a new release of one service answers a share of its requests with 500",
            Rollout("FAULTS", _faults_variable(error_share="share")), {"share": 0.5}, any_target=True,
            near=("error-burst",),
        ),
        Fault(
            "slow-rollout", "bad-release", "recommendation", "slow",
            "a new release of one service needs far more CPU per request",
            Rollout("FAULTS", _faults_variable(work_ms="work_ms")), {"work_ms": 250.0}, any_target=True,
            near=("cpu-demand",),
        ),
        Fault(
            "crash-rollout", "bad-release", "catalog", "nothing",
            "a new release of one service never starts; the old one goes on serving",
            Rollout("FAULTS", lambda parameters: "not JSON", becomes_ready=False), any_target=True,
            near=("instance-down",),
            shows=("catalog:DeploymentStatus", "catalog:InstanceRestarts"),
        ),
        Fault(
            "decoy-rollout", "none", "thumbnailer", "nothing",
            "an innocent release of a service that has nothing to do with the users",
            Rollout("RELEASE", lambda parameters: "next"), any_target=True,
        ),
        Fault(
            "surge", "traffic-surge", "load", "more",
            "users send far more requests",
            Control({"rate": "rate"}), {"rate": 100.0},
            near=("cpu-demand",), accept=("frontend", "checkout", "cart", "catalog"),
        ),
    )
}  # fmt: skip
