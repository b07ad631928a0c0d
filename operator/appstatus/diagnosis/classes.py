"""What a cause can be: the classes, and the rules that tell them apart. Both are data.

A rule speaks of signals by the names in ``signals.SIGNALS``; a signal that comes later only adds rows.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple


class CauseClass(NamedTuple):
    """``title`` follows the application's name (``cart: CPU throttled by its own limit``); ``todo``: the first thing to do."""

    title: str
    todo: str


CLASSES: dict[str, CauseClass] = {
    "external": CauseClass(
        "fails outside the cluster", "Ask the provider, look at its status page; check egress, proxy and certificates."
    ),
    "memory-oom": CauseClass("killed for want of memory", "Raise the memory limit, or find what grows (see MemoryLeakPercent)."),
    "network-latency": CauseClass("network latency", "Look at the path between the two: node, proxy, policy, packet loss."),
    "network-unreachable": CauseClass(
        "cannot be reached", "Is it listening on that port, is it behind the Service, does a NetworkPolicy forbid it?"
    ),
    "certificate": CauseClass("certificate not accepted", "Renew the certificate, or restart what still holds the old one."),
    "dns": CauseClass("cannot resolve names", "Look at the cluster's resolver: its CPU, its log, what it forwards to."),
    "zone-down": CauseClass(
        "a zone of the cloud is impaired", "Look at the provider's status page; move traffic and instances away."
    ),
    "network-loss": CauseClass(
        "loses what it sends and receives", "Look at its node's network: drops, errors, policies, and at what else runs there."
    ),
    "restarted": CauseClass("was restarted", "See what ended it: `kubectl describe pod`, `kubectl logs --previous`, evictions."),
    "memory-growth": CauseClass(
        "needs more memory than before", "Find what grows (see MemoryLeakPercent); compare with the last release."
    ),
    "traffic-surge": CauseClass("traffic surge", "Add replicas or shed load; find where the traffic comes from."),
    "cpu-throttled": CauseClass("CPU throttled by its own limit", "Raise or remove the CPU limit."),
    "bad-release": CauseClass("bad release", "Roll back (`kubectl rollout undo`), then compare the two versions."),
    "instance-down": CauseClass(
        "instances down", "See why they are not ready: `kubectl describe pod`, `kubectl logs --previous`, scale, quota, node."
    ),
    "noisy-neighbour": CauseClass("noisy neighbour", "Limit its CPU or move it; give those that suffer CPU requests."),
    "cpu-contention": CauseClass(
        "waits for CPU on a busy node", "Find the largest consumer on the node; give this application CPU requests."
    ),
    "cpu-demand": CauseClass("needs more CPU than before", "Profile it, compare with the last release; add replicas meanwhile."),
    "memory-pressure": CauseClass(
        "close to its memory limit", "Raise the memory limit, or find what grows (see MemoryLeakPercent)."
    ),
    "pool-saturation": CauseClass(
        "waits for connections that are held", "Look for connections that are never given back, then at the size of the pool."
    ),
    "disk-full": CauseClass("disk full", "Free or enlarge the volume; find out what has filled it."),
    "bad-input": CauseClass(
        "cannot digest what it is sent", "Set the message aside (dead-letter queue) and ask its sender; a rollback changes nothing."
    ),
    "inside": CauseClass("slow inside", "Look at its own work: log, profile, locks, slow queries, disk, what it waits for."),
    "error-burst": CauseClass("answers with errors", "Read its log from the onset on; no resource explains the errors."),
    "dependency-failure": CauseClass("does not answer", "Read its log, then look at the way to it; nothing else explains it."),
    "unknown": CauseClass("for a reason that cannot be seen", "Look at its log and at what it waits for."),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """``every`` signals must be there, at least one of ``some`` (if any are named), none of ``none``."""

    klass: str
    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def fits(self, signals: Collection[str]) -> bool:
        return (
            all(s in signals for s in self.every)
            and (not self.some or any(s in signals for s in self.some))
            and not any(s in signals for s in self.none)
        )


# The first rule that fits decides: what cannot be an effect of anything further down comes first.
RULES: tuple[Rule, ...] = (
    Rule("external", ("external",)),
    Rule("memory-oom", ("oom-kills",)),
    Rule("network-latency", ("network",)),
    # No release makes these happen.
    Rule("certificate", ("certificate",)),
    Rule("dns", ("dns",)),
    Rule("zone-down", ("zone-down",)),
    Rule("external", ("provider",)),
    # More traffic explains that a limit is hit: before throttling.
    Rule("traffic-surge", ("more-traffic",), ("throttled", "cpu-delay", "cpu-usage", "slow", "errors"), ("no-instances",)),
    # Who is held back without using more CPU than before, on a node that somebody else fills, is held back by that.
    Rule("noisy-neighbour", ("neighbour", "node-cpu"), ("throttled", "cpu-delay"), ("cpu-usage",)),
    Rule("cpu-throttled", ("throttled",)),
    Rule(
        "bad-release",
        ("rollout",),
        ("errors", "slow", "no-instances", "fewer-instances", "restarts", "cpu-usage", "failed-connects"),
    ),
    Rule("instance-down", ("failures",), ("no-instances", "fewer-instances", "restarts")),
    Rule("network-unreachable", ("failed-connects",)),
    # Its traffic has stopped: with new memory it is another process, else the network. One that answers again was restarted.
    Rule("instance-down", ("instance-sends-less", "instance-memory", "instance-serves-less")),
    Rule("restarted", ("instance-sends-less", "instance-memory")),
    Rule("network-loss", ("instance-sends-less",), ("instance-serves-less", "instance-calls-less")),
    Rule("noisy-neighbour", ("cpu-delay", "neighbour")),
    Rule("cpu-contention", ("cpu-delay", "node-cpu"), none=("cpu-usage",)),
    # A change of which something is left comes before what it may have led to.
    Rule(
        "bad-release",
        ("earlier-rollout", "changed-since"),
        ("errors", "slow", "failures", "disk-full", "memory-near-limit", "cpu-usage"),
    ),
    # Want of CPU makes answers late, want of memory makes them fail (and costs CPU: collecting, reclaiming).
    Rule("memory-growth", ("instance-memory", "instance-fails")),
    Rule("cpu-demand", (), ("cpu-usage", "instance-cpu")),
    Rule("memory-pressure", ("memory-near-limit",)),
    Rule("memory-growth", ("instance-memory",)),
    Rule("network-latency", ("instance-waits",)),
    Rule("network-loss", ("instance-sends-less",)),
    Rule("pool-saturation", ("pool-held",)),
    Rule("disk-full", ("disk-full",)),
    Rule("bad-input", ("bad-input", "errors")),
    Rule("inside", ("opaque",)),
    Rule("error-burst", ("errors",)),
    Rule("dependency-failure", ("failures",)),
    Rule("inside", (), ("slow", "instance-slow")),
    Rule("unknown"),
)


def classify(signals: Collection[str]) -> Rule:
    return next(rule for rule in RULES if rule.fits(signals))


# Classes that say no more than that it is so.
UNEXPLAINED = frozenset({"inside", "error-burst", "dependency-failure", "unknown"})
