"""What a cause can be: one table. The first row whose signals are there names the class.

Signals are the names in ``signals.SIGNALS``; a signal that comes later only adds rows here.
"""

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CauseClass:
    """``every`` signals must be there, at least one of ``some`` (if any are named), none of ``none``.

    title  what follows the application's name: ``cart`` + ``CPU throttled by its own limit``
    todo   the first thing to do
    """

    id: str
    title: str
    every: tuple[str, ...]
    some: tuple[str, ...]
    none: tuple[str, ...]
    todo: str

    def fits(self, signals: Container[str]) -> bool:
        return (
            all(s in signals for s in self.every)
            and (not self.some or any(s in signals for s in self.some))
            and not any(s in signals for s in self.none)
        )


CLASSES: tuple[CauseClass, ...] = (
    CauseClass(
        "external",
        "fails outside the cluster",
        ("external",),
        (),
        (),
        "Ask the provider, look at its status page; check egress, proxy and certificates.",
    ),
    CauseClass(
        "memory-oom",
        "killed for want of memory",
        ("oom-kills",),
        (),
        (),
        "Raise the memory limit, or find what grows (see MemoryLeakPercent).",
    ),
    CauseClass(
        "network-latency",
        "network latency",
        ("network",),
        ("network-gap", "rtt", "retransmits"),
        (),
        "Look at the path between the two: node, proxy, policy, packet loss.",
    ),
    CauseClass(
        "traffic-surge",
        "overloaded by more traffic",
        ("more-traffic",),
        ("throttled", "cpu-delay", "cpu-usage", "slow", "errors"),
        ("no-instances",),
        "Add replicas or shed load; find where the traffic comes from.",
    ),
    CauseClass(
        "cpu-throttled",
        "CPU throttled by its own limit",
        ("throttled",),
        (),
        (),
        "Raise or remove the CPU limit.",
    ),
    CauseClass(
        "bad-release",
        "bad release",
        ("rollout",),
        ("errors", "slow", "no-instances", "fewer-instances", "restarts", "cpu-usage", "failed-connects"),
        (),
        "Roll back (`kubectl rollout undo`), then compare the two versions.",
    ),
    CauseClass(
        "instance-down",
        "has no instance that answers",
        ("no-instances",),
        (),
        (),
        "See why no pod is ready (`kubectl describe pod`, scale, quota, node).",
    ),
    CauseClass(
        "instance-down",
        "instances down",
        (),
        ("fewer-instances", "restarts"),
        (),
        "Read the log of the previous run (`kubectl logs --previous`) and the pods' events.",
    ),
    CauseClass(
        "network-unreachable",
        "cannot be reached",
        ("failed-connects",),
        (),
        (),
        "Is it listening on that port, is it behind the Service, does a NetworkPolicy forbid it?",
    ),
    CauseClass(
        "noisy-neighbour",
        "waits for CPU that a neighbour takes",
        ("cpu-delay", "neighbour"),
        (),
        (),
        "Limit or move the neighbour; give this application CPU requests.",
    ),
    CauseClass(
        "noisy-neighbour",
        "waits for CPU on a busy node",
        ("cpu-delay", "node-cpu"),
        (),
        ("cpu-usage",),
        "Find the largest consumer on the node; give this application CPU requests.",
    ),
    CauseClass(
        "cpu-demand",
        "needs more CPU than before",
        ("cpu-usage",),
        (),
        (),
        "Profile it, compare with the last release; add replicas meanwhile.",
    ),
    CauseClass(
        "memory-pressure",
        "close to its memory limit",
        ("memory-near-limit",),
        (),
        (),
        "Raise the memory limit, or find what grows (see MemoryLeakPercent).",
    ),
    CauseClass(
        "inside",
        "slow inside",
        ("opaque",),
        (),
        (),
        "Its requests cannot be read: look at locks, slow queries and its disk.",
    ),
    CauseClass(
        "error-burst",
        "answers with errors",
        ("errors",),
        (),
        (),
        "Read its log from the onset on; no resource explains the errors.",
    ),
    CauseClass(
        "dependency-failure",
        "fails its callers",
        ("failures",),
        (),
        (),
        "Only its callers can be seen: look at it first, then at the way to it.",
    ),
    CauseClass(
        "unknown",
        "slow for no reason that can be seen",
        (),
        (),
        (),
        "No resource, network or change explains it: look at its own work (log, profile, what it waits for).",
    ),
)

BY_ID: dict[str, CauseClass] = {c.id: c for c in reversed(CLASSES)}


def classify(signals: Container[str]) -> CauseClass:
    return next(c for c in CLASSES if c.fits(signals))
