"""SLOs in words: what stands in AppStatus.status.slos, in SLO.status, and in an Event's first sentence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appstatus.api.conditions import Condition, format_time, merge, slo_runtime
from appstatus.api.names import AppKey
from appstatus.api.objective import Indicator
from appstatus.api.slo import SLO
from appstatus.api.values import format_duration, format_objective
from appstatus.report import text
from appstatus.slo.sli import effective_threshold
from appstatus.slo.status import SLOStatus, TierStatus

Document = dict[str, Any]

_URGENCY = ("Outage", "FastBurn", "SlowBurn", "Exhausted", "NoData", "Pending", "Met")


def most_urgent(statuses: Iterable[SLOStatus]) -> list[SLOStatus]:
    """Worst first; among equals the one that burns fastest."""
    return sorted(statuses, key=lambda status: (_URGENCY.index(status.state), -(status.burn or 0.0), status.objective.id))


def indicator(kind: Indicator, threshold: float | None) -> str:
    """``availability``, ``latency<250ms`` (the effective threshold), ``promql``."""
    if kind != "latency" or threshold is None:
        return kind
    return f"latency<{format_duration(effective_threshold(threshold) or threshold)}"


def fact(status: SLOStatus, called: str) -> str:
    """``called``: what the application is called.

    ``14% of requests to checkout slower than 250ms for 5m (objective 99.5%, burning 28x)``."""
    objective = status.objective
    tier = _telling_tier(status)
    allowed = 1 - objective.ratio
    if tier is not None and tier.short_burn is not None:
        share, length = tier.short_burn * allowed, tier.short
    else:
        share, length = status.bad_ratio_5m or 0.0, 300.0
    bound = status.threshold or objective.threshold or 0.0
    what = {
        "availability": f"requests to {called} failed",
        "latency": f"requests to {called} slower than {format_duration(bound)}",
        "promql": f"events of SLO {objective.id} of {called} bad",
    }[objective.indicator]
    return (
        f"{text.percent(min(share, 1.0))} of {what} for {format_duration(length)} "
        f"(objective {format_objective(objective.ratio)}, burning {text.burn(share / allowed)}x)"
    )


def facts(violated: Sequence[SLOStatus], called: str) -> str:
    """The fact of the most urgent one, and which others are violated too. ``violated``: most urgent first, not empty."""
    more = [status.objective.id for status in violated[1:] if status.violated]
    return fact(violated[0], called) + (f", SLO {text.names(more, 2)} too" if more else "")


def _telling_tier(status: SLOStatus) -> TierStatus | None:
    return min(status.firing, key=lambda tier: tier.short, default=None)


def message(status: SLOStatus) -> str:
    """Why an SLO is not met, in one sentence without figures that move from cycle to cycle."""
    if status.violated:
        tiers = ", ".join(tier.name for tier in status.firing)
        return f"burning too fast (tier {tiers}): {text.burn(status.burn)} times the sustainable rate"
    if status.state == "Exhausted":
        return "no error budget is left, but nothing burns too fast now"
    return status.reason


def entry(status: SLOStatus) -> Document:
    """One item of AppStatus.status.slos."""
    objective = status.objective
    document: Document = {
        "name": objective.id,
        "indicator": indicator(objective.indicator, objective.threshold),
        "objective": format_objective(objective.ratio),
        "window": format_duration(objective.window),
        "state": status.state,
        "sli": text.sli(status.sli, objective.ratio),
        "budget": text.budget(status.budget, status.covered, objective.window),
        "burn": text.burn(status.burn),
    }
    if objective.source is None:
        document["default"] = True
    if status.state != "Met":
        document["message"] = text.cut(message(status), 512)
    return document


# Why an SLO is not evaluated, by the condition that is False.
_NOT_EVALUATED = {"Accepted": "Rejected", "TargetResolved": "NoTarget"}


def slo_status(
    slo: SLO,
    status: SLOStatus | None,
    app: AppKey | None,
    conditions: Sequence[Condition],
    previous: Mapping[str, Any],
    now: float,
    incident_id: str = "",
) -> Document:
    """SLO.status. ``status`` is None while the SLO is not evaluated: the conditions, from the policy, say why, and what is shown is
    what its owner wrote, as far as that can be understood.

    previous  the status written last: keeps the times of what did not change
    """
    document: Document = {"observedGeneration": slo.meta.generation}
    if not slo.problems:
        document |= {
            "target": f"{app.kind}/{app.name}" if app is not None else text.cut(str(slo.target), 320),
            "indicator": indicator(slo.indicator, slo.threshold),
            "objective": format_objective(slo.ratio),
        }
    runtime: tuple[Condition, ...] = ()
    if status is None:
        refused = {condition.type for condition in conditions if condition.status is False}
        states = [state for kind, state in _NOT_EVALUATED.items() if kind in refused]
        if states:
            document["state"] = states[0]
    else:
        objective = status.objective
        runtime = slo_runtime(status.state, status.reason, status.sli, objective.ratio, status.idle)
        document |= {
            "state": status.state,
            "since": previous["since"] if previous.get("state") == status.state and "since" in previous else format_time(now),
            "sli": text.sli(status.sli, objective.ratio),
            "budget": text.budget(status.budget, status.covered, objective.window),
            "burn": text.burn(status.burn),
            "good": text.count(status.good),
            "total": text.count(status.total),
            "coverage": text.coverage(status.covered),
            "tiers": [_tier(tier) for tier in status.tiers],
        }
        if status.threshold is not None:
            document["threshold"] = format_duration(status.threshold)
        if incident_id:
            document["incident"] = incident_id
    types = {condition.type for condition in runtime}
    kept = [condition for condition in conditions if condition.type not in types]
    document["conditions"] = merge(previous.get("conditions", ()), [*kept, *runtime], slo.meta.generation, now)
    return document


def _tier(tier: TierStatus) -> Document:
    windows = (
        format_duration(tier.short) if tier.short == tier.long else f"{format_duration(tier.short)}/{format_duration(tier.long)}"
    )
    document: Document = {"name": tier.name, "windows": windows, "factor": text.factor(tier.factor), "firing": tier.firing}
    for name, value in (("shortBurn", tier.short_burn), ("longBurn", tier.long_burn)):
        if value is not None:
            document[name] = text.burn(value)
    if tier.dropped:
        document["dropped"] = text.cut(tier.dropped, 256)
    return document
