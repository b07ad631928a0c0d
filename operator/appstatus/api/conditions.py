"""Conditions: what the operator answers to the owner of a custom resource.

``Ready`` and ``Accepted`` mean only that a spec is valid and accepted. Whether there is data, whether an objective is met,
whether a target exists: each has its own condition, so that an outage never turns an object in Git Degraded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from appstatus.api.fields import Problem

MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    """``status`` None is Unknown; ``reason`` is one CamelCase word; ``message`` is for people."""

    type: str
    status: bool | None
    reason: str
    message: str


def merge(previous: Iterable[Mapping[str, Any]], current: Iterable[Condition], generation: int, now: float) -> list[dict[str, Any]]:
    """``current`` as status documents, in order of type.

    lastTransitionTime is taken over from ``previous`` (the documents written last) unless the status flips.
    """
    known = {c.get("type"): c for c in previous}
    documents = []
    for condition in sorted(current, key=lambda c: c.type):
        status = {True: "True", False: "False", None: "Unknown"}[condition.status]
        before = known.get(condition.type, {})
        unchanged = before.get("status") == status and before.get("lastTransitionTime")
        documents.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": condition.message[:MAX_MESSAGE],
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if unchanged else format_time(now),
            }
        )
    return documents


def format_time(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, whole seconds: ``2026-11-21T09:12:00Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def accepted() -> tuple[Condition, ...]:
    message = "the spec is valid and in use"
    return Condition("Accepted", True, "Valid", message), Condition("Ready", True, "Accepted", message)


def refused(reason: str, message: str) -> tuple[Condition, ...]:
    """Stalled tells kstatus (Flux, kpt) that waiting does not help."""
    return (
        Condition("Accepted", False, reason, message),
        Condition("Ready", False, "NotAccepted", message),
        Condition("Stalled", True, reason, message),
    )


def invalid(problems: Iterable[Problem]) -> tuple[Condition, ...]:
    return refused("Invalid", "; ".join(str(p) for p in problems))


def with_refusal(conditions: Iterable[Condition], reason: str, message: str) -> tuple[Condition, ...]:
    """Turns an accepted object into a refused one: for what only a later step can know, such as PromQL that Prometheus rejects."""
    kept = (c for c in conditions if c.type not in ("Accepted", "Ready", "Stalled"))
    return (*refused(reason, message), *kept)


def slo_runtime(state: str, reason: str, sli: float | None, ratio: float, idle: bool = False) -> tuple[Condition, ...]:
    """DataAvailable, ObjectiveMet and Violated of an SLO.

    state  as in ``slo.status.State``; reason: why there is no data; sli and ratio: fractions
    idle   the data are fresh, but there was nothing to count in the window
    """
    if state == "NoData" and not idle:
        why = reason or "no fresh data"
        return (
            Condition("DataAvailable", False, "NoData", why),
            Condition("ObjectiveMet", None, "NoData", why),
            Condition("Violated", None, "NoData", why),
        )
    if state == "Pending":
        why = reason or "the application has been available for less than 2 min"
        return (
            Condition("DataAvailable", None, "Pending", why),
            Condition("ObjectiveMet", None, "Pending", why),
            Condition("Violated", False, "Pending", why),
        )
    violated = state in ("Outage", "FastBurn", "SlowBurn")
    met = None if sli is None else sli >= ratio
    # The figures are in status.sli and status.burn: in a message they would change the condition in every cycle.
    return (
        Condition("DataAvailable", True, "Fresh", "fresh data"),
        Condition(
            "ObjectiveMet",
            met,
            {True: "WithinBudget", False: "BudgetExhausted", None: "NoRequests"}[met],
            {
                True: "the share of good events over the window is at least the objective",
                False: "the share of good events over the window is less than the objective",
                None: "there was nothing to count in the window",
            }[met],
        ),
        Condition("Violated", True, state, f"tier {state} fires")
        if violated
        else Condition("Violated", False, "NotBurning", "no tier fires"),
    )


def prometheus_reachable(error: str) -> Condition:
    """``error``: why the latest query failed, empty if it did not."""
    if error:
        return Condition("PrometheusReachable", False, "Unreachable", error)
    return Condition("PrometheusReachable", True, "Reachable", "Prometheus answers")


def data_available(newest: float | None, now: float, max_age: float) -> Condition:
    """Of a Project: ``newest`` sample of any node agent, unix seconds; ``max_age`` seconds."""
    if newest is None:
        return Condition("DataAvailable", False, "NoData", "Prometheus has no data of any node agent")
    if now - newest > max_age:
        return Condition("DataAvailable", False, "Stale", f"the newest data of any node agent is of {format_time(newest)}")
    return Condition("DataAvailable", True, "Fresh", "fresh data of the node agents")


def agents_ready(desired: int, ready: int, refusal: str) -> Condition:
    """Roll-out of the node agents; ``refusal``: why the API server refuses their pods (Pod Security), empty if it does not."""
    if refusal:
        return Condition("AgentsReady", False, "PodsRefused", refusal)
    if desired == 0:
        return Condition("AgentsReady", False, "NoNodes", "no node fits the node agent's node selector")
    if ready < desired:
        return Condition("AgentsReady", False, "RollingOut", f"{ready} of {desired} node agents are ready")
    return Condition("AgentsReady", True, "AllReady", f"{ready} of {desired} node agents are ready")


def agents_elsewhere(owner: str) -> Condition:
    """``owner``: the Project that has the node agents, empty if no Project enables them."""
    if owner:
        message = f"the node agents belong to the older Project {owner}; set nodeAgent.enabled: false here"
        return Condition("AgentsReady", False, "OwnedByOtherProject", message)
    return Condition("AgentsReady", None, "Disabled", "nodeAgent.enabled is false; node agents are installed by other means")
