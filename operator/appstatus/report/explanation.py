"""Everything that can be told of one application, in order and in words; ``terminal``, ``page`` and ``data`` only lay it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.slo import BAD_STATUSES
from appstatus.api.values import format_duration, format_objective
from appstatus.diagnosis import wording
from appstatus.diagnosis.propagation import Link, propagation
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence
from appstatus.diagnosis.signals import SIGNALS
from appstatus.diagnosis.timeline import Happening, timeline
from appstatus.diagnosis.tracks import symptom, track
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID
from appstatus.model.series import F64
from appstatus.model.world import World
from appstatus.report import objectives
from appstatus.report.verdict import verdict
from appstatus.slo.status import SLOStatus

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out in one cycle. checks: of every application; diagnosis: None while no SLO is violated, or if it failed.

    called   the display name, empty if it has none of its own
    missing  why there is no fresh data at all, empty if there is
    """

    app: AppKey
    health: str
    world: World
    statuses: Sequence[SLOStatus]
    checks: Mapping[AppKey, Sequence[CheckResult]]
    diagnosis: Diagnosis | None = None
    project: str = ""
    called: str = ""
    missing: str = ""


class Measured(NamedTuple):
    """One fact and its series. shift: ``4ms -> 310ms``; meaning: what it says, may be empty; values: (T,) or None."""

    name: str
    shift: str
    meaning: str
    values: F64 | None
    unit: str


class Blamed(NamedTuple):
    """One cause in words. share: of what and where; place: instance and node, may be empty."""

    cause: Cause
    title: str
    share: str
    place: str
    todo: str
    facts: tuple[Measured, ...]


class Failing(NamedTuple):
    app: AppKey
    check: CheckResult
    value: str
    todo: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """verdict: sentences, the first is the answer; todo: the first thing to do, may be empty; onset: None while no SLO is violated.

    symptoms  what the users feel, per objective
    links     the way of the pain; shown() names its applications
    note      what is to be said of the happenings, or of that there are none; may be empty
    failing   failing checks of the application and of those on the way, SLOs left out
    """

    findings: Findings
    title: str
    verdict: tuple[str, ...]
    todo: str
    onset: float | None
    symptoms: tuple[Measured, ...]
    causes: tuple[Blamed, ...]
    links: tuple[Link, ...]
    dismissed: tuple[str, ...]
    happenings: tuple[Happening, ...]
    note: str
    failing: tuple[Failing, ...]
    slos: tuple[Document, ...]
    runbook: str

    def shown(self, app: AppKey) -> str:
        return _shown(app, self.findings.app)


def explain(found: Findings) -> Explanation:
    statuses = objectives.most_urgent(found.statuses)
    known, world = found.diagnosis, found.world
    links = propagation(world, known, found.statuses) if known is not None else ()
    causes = known.causes if known is not None else ()
    on_the_way = [key for link in links for key in (link.start, link.end)]
    involved = dict.fromkeys([found.app, *(key for cause in causes for key in cause.path), *on_the_way])
    onset = known.onset if known is not None else None
    bad = frozenset().union(*(s.objective.bad_statuses for s in statuses if s.violated)) or BAD_STATUSES
    telling = [s for s in statuses if s.violated] or statuses
    happenings = timeline(world, involved, onset if onset is not None else world.now)
    return Explanation(
        findings=found,
        title=_shown(found.app, AppKey("", "", "")),
        verdict=verdict(found.called or found.app.name, statuses, found.checks.get(found.app, ()), known, found.missing),
        todo=wording.todo(causes[0]) if known is not None and causes and known.dominant else "",
        onset=onset,
        symptoms=tuple(told for status in telling if (told := _symptom(world, status, onset)) is not None),
        causes=tuple(_blamed(world, cause, bad) for cause in causes),
        links=links,
        dismissed=known.dismissed if known is not None else (),
        happenings=happenings,
        note=_note(world, onset, happenings),
        failing=tuple(
            Failing(app, check, _value(check), BY_ID[check.id].todo)
            for app in involved
            for check in found.checks.get(app, ())
            if check.outcome == "fail" and check.area != "slo"  # SLOs are told apart
        ),
        slos=tuple(objectives.entry(status) for status in statuses),
        runbook=next((s.objective.runbook_url for s in telling if s.objective.runbook_url), ""),
    )


def _symptom(world: World, status: SLOStatus, onset: float | None) -> Measured | None:
    values = symptom(world, status)
    if values is None or np.isnan(values).all():
        return None
    objective = status.objective
    name = "failed requests"
    if objective.indicator == "latency":
        name = f"slower than {format_duration(status.threshold or objective.threshold or 0.0)}"
    shift = ""
    if onset is not None:
        before, during = (values[world.times <= onset], values[world.times > onset])
        shift = _shift(Evidence("", "", _mean(before), _mean(during), "%"))
    meaning = f"SLO {objective.id}: objective {format_objective(objective.ratio)}"
    return Measured(name, shift, meaning, values, "%")


def _note(world: World, onset: float | None, happenings: Sequence[Happening]) -> str:
    if onset is None:
        return ""
    if all(app.ref is None for app in world.applications.values()):
        return "Changes are not known: no cluster was asked."
    return "" if happenings else "No change, restart or lost instance near the onset."


def _mean(values: F64) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 2) if len(known) else None


def _blamed(world: World, cause: Cause, bad: frozenset[str]) -> Blamed:
    place = " on ".join(filter(None, (cause.instance, cause.node)))
    facts = tuple(
        Measured(_name(fact), _shift(fact), SIGNALS.get(fact.signal, ""), track(world, cause, fact, bad), fact.unit)
        for fact in cause.evidence
    )
    share = wording.share(cause) if cause.share else "suspected by its evidence; its share is not known"
    return Blamed(cause, wording.title(cause), share, place, wording.todo(cause), facts)


def _name(fact: Evidence) -> str:
    return fact.subject if fact.unit == "time" else wording.name(fact)


def _shift(fact: Evidence) -> str:
    if fact.unit == "time":
        return f"at {wording.quantity(fact.during, 'time')}"
    return " -> ".join(wording.quantity(value, fact.unit) for value in (fact.before, fact.during) if value is not None)


def _value(check: CheckResult) -> str:
    unit = BY_ID[check.id].unit
    if check.value is None:
        return ""
    limit = f" (threshold {wording.quantity(check.threshold, unit)})" if check.threshold is not None else ""
    return wording.quantity(check.value, unit) + limit


def _shown(app: AppKey, home: AppKey) -> str:
    """Without the namespace where that is the reader's own."""
    return app.name if app.is_external else app.status_name if app.namespace == home.namespace else str(app)


_WITHOUT_FACT = {
    "calls": "",
    "unread": "requests to it cannot be read",
    "sends": "sends the requests",
    "beside": "on the same node",
    "unknown": "whether it is called is not known",
}


def percent(share: float) -> str:
    """``81%``; ``?`` for what is only suspected."""
    return f"{100 * share:.0f}%" if share else "?"


def told(link: Link) -> str:
    """What a step of the way says: ``latency 4ms -> 310ms``."""
    if link.fact is not None:
        return f"{link.fact.signal} {_shift(link.fact)}"
    return _WITHOUT_FACT[link.how]
