"""The SLO as its owner wrote it: every default filled in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appstatus.api.fields import Fields, Problem
from appstatus.api.meta import Meta, parse_meta
from appstatus.api.objective import Indicator, Outage, Tier
from appstatus.api.project import DEFAULT_WINDOW, EVENT_SCOPES, MAX_THRESHOLD, MAX_WINDOW, MIN_THRESHOLD, MIN_WINDOW, EventScope
from appstatus.api.selection import Target, parse_target
from appstatus.api.tiers import default_tiers
from appstatus.api.values import is_label_value

BAD_STATUSES = frozenset({"5xx", "failed"})
MIN_BAD_EVENTS = 10
RESERVED_TIER = "outage"  # how status names the outage check among the tiers
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_SEVERITIES: dict[str, Any] = {"Page": "page", "Ticket": "ticket"}


@dataclass(frozen=True, slots=True)
class SLO:
    """``ratio`` is a fraction; ``window``, ``threshold`` and lengths are seconds; ``tiers`` are not yet checked for reach;
    ``data_missing``: an Event is wanted when its data go missing."""

    meta: Meta
    target: Target
    indicator: Indicator
    ratio: float
    window: float
    tiers: tuple[Tier, ...]
    outage: Outage | None
    events: EventScope = "All"
    min_bad_events: int = MIN_BAD_EVENTS
    threshold: float | None = None
    bad_statuses: frozenset[str] = BAD_STATUSES
    query_good: str | None = None
    query_bad: str | None = None
    query_total: str | None = None
    data_missing: bool = False
    runbook_url: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def parse_slo(body: Mapping[str, Any]) -> SLO:
    """An SLO from the API server or a file; what is wrong with it is in ``problems``."""
    problems: list[Problem] = []
    meta = parse_meta(body, "SLO")
    spec = Fields(body.get("spec"), "spec", problems)
    spec.required("objective")
    window = spec.duration("window", DEFAULT_WINDOW, MIN_WINDOW, MAX_WINDOW)
    alerting = spec.part("alerting")
    indicator = _indicator(spec)
    latency, promql = spec.part("indicator").part("latency"), spec.part("indicator").part("promql")
    if indicator == "latency":
        latency.required("threshold")
    if indicator == "promql":
        _check_promql(promql)
    bad = spec.part("indicator").part("availability").strings("badStatuses")
    return SLO(
        meta=meta,
        target=parse_target(spec, meta.namespace, needed=True),
        indicator=indicator,
        ratio=spec.objective("objective", 0.99),
        window=window,
        tiers=_tiers(alerting, window),
        outage=_outage(alerting.part("outage")),
        events=alerting.choice("events", EVENT_SCOPES, "All"),  # type: ignore[arg-type]
        min_bad_events=max(1, alerting.integer("minBadEvents", MIN_BAD_EVENTS)),
        threshold=latency.duration("threshold", 0.5, MIN_THRESHOLD, MAX_THRESHOLD) if indicator == "latency" else None,
        bad_statuses=frozenset(bad) if bad else BAD_STATUSES,
        query_good=promql.string("good") or None,
        query_bad=promql.string("bad") or None,
        query_total=promql.string("total") or None,
        data_missing=alerting.choice("dataMissing", ("Event", "None"), "None") == "Event",
        runbook_url=alerting.string("runbookURL"),
        labels=_labels(alerting),
        problems=tuple(problems),
    )


def _indicator(spec: Fields) -> Indicator:
    names: tuple[Indicator, ...] = ("availability", "latency", "promql")
    part = spec.part("indicator")
    # `availability: {}` is a choice too, so that presence counts, not content.
    given = [name for name in names if name in part]
    if len(given) != 1:
        spec.problem("indicator", f"has {' and '.join(given) or 'none'} of {', '.join(names)}; exactly one is allowed")
    return given[0] if given else "availability"


def _check_promql(part: Fields) -> None:
    part.required("total")
    if ("good" in part) == ("bad" in part):
        part.problem("", "must have exactly one of good and bad")


def _tiers(alerting: Fields, window: float) -> tuple[Tier, ...]:
    if "tiers" not in alerting:
        return default_tiers(window)
    found: list[Tier] = []
    for part in alerting.parts("tiers"):
        percent = part.decimal("budget", None)
        if percent is None or not 0 < percent <= 100:
            part.problem("budget", "must be a percentage more than 0 and at most 100")
            continue
        short, long = part.duration("short", 0.0), part.duration("long", 0.0)
        if not 0 < short < long:
            part.problem("short", "must be shorter than long, and both must be set")
            continue
        name = part.required("name")
        if name == RESERVED_TIER or any(name == tier.name for tier in found):
            part.problem("name", f'is "{name}", which another tier has already')
            continue
        severity = part.choice("severity", tuple(_SEVERITIES), "Page")
        found.append(Tier(name, short, long, percent / 100, _SEVERITIES[severity]))
    return tuple(found)


def _outage(part: Fields) -> Outage | None:
    if not part.boolean("enabled", True):
        return None
    return Outage(share=part.integer("share", 50) / 100, window=part.duration("window", 60.0, 30.0, 600.0))


def _labels(alerting: Fields) -> dict[str, str]:
    """They become labels of the Event, which the API server would otherwise refuse as a whole."""
    labels = alerting.mapping("labels")
    for name, value in labels.items():
        if not (_LABEL_NAME.fullmatch(name) and is_label_value(value)):
            alerting.problem("labels", f'has "{name}: {value}", which no Kubernetes label may have')
    return labels
