"""AppStatus.status: what `kubectl get appstatus` shows of one application."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from appstatus.api.conditions import Condition, format_time, merge
from appstatus.api.fields import Problem
from appstatus.api.names import AppKey
from appstatus.diagnosis.result import Diagnosis
from appstatus.incidents.incident import Participation
from appstatus.inspections.instances import PERIODIC
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import AREAS
from appstatus.model.world import Application
from appstatus.report import checks as inspected
from appstatus.report import incident as incidents
from appstatus.report import objectives, text
from appstatus.report.dependencies import dependencies
from appstatus.report.size import shorten
from appstatus.slo.status import SLOStatus

Document = dict[str, Any]
Health = Literal["Healthy", "Warning", "Violated", "Unknown"]

# An object stays under 8 KiB; the rest is for its metadata, of which managedFields names every field once more.
MAX_BYTES = 5000


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything about one application in one cycle.

    missing        why there is no fresh data at all, empty if there is
    participation  in an incident, open or just closed; affected: the others, if it is the opener
    diagnosis      of a violation that is no incident (its SLO posts nothing)
    problems       annotations that could not be understood
    called         the display name, empty if it has none of its own
    """

    application: Application
    project: str
    category: str
    checks: Sequence[CheckResult] = ()
    statuses: Sequence[SLOStatus] = ()
    participation: Participation | None = None
    affected: Sequence[AppKey] = ()
    diagnosis: Diagnosis | None = None
    problems: Sequence[Problem] = ()
    called: str = ""
    missing: str = ""


def health(app: Application, statuses: Sequence[SLOStatus], checks: Sequence[CheckResult], missing: str = "") -> Health:
    """Violated: a tier fires. Unknown: no fresh data for an SLO, or for every check; no instance is available yet. Warning: a check
    fails, no budget is left."""
    if any(status.violated for status in statuses):
        return "Violated"
    judged = {check.outcome for check in checks if check.area != "slo"} - {"skip"}
    if missing or any(status.state == "NoData" and not status.idle for status in statuses) or judged == {"unknown"}:
        return "Unknown"
    if "fail" in judged or any(status.state == "Exhausted" for status in statuses):
        return "Warning"
    return "Unknown" if _unavailable(app) else "Healthy"


def _unavailable(app: Application) -> bool:
    """None of the instances that there should be is available, whether it starts or has just gone: nobody can call that healthy."""
    return bool(app.desired) and app.available == 0 and app.key.kind not in PERIODIC


def appstatus(
    found: Findings, others: Mapping[AppKey, str], step: float, previous: Mapping[str, Any], generation: int, now: float
) -> Document:
    """The status document, at most MAX_BYTES long as JSON.

    others      health of the applications that are judged
    previous    the status written last: times of what did not change, and figures that are still close
    generation  of the AppStatus object (it has no spec, so normally 1)
    """
    app = found.application
    state = health(app, found.statuses, found.checks, found.missing)
    part = found.participation
    document: Document = {
        "project": found.project,
        "application": _workload(app, found.called),
        "category": found.category,
        "health": state,
        "since": previous["since"] if previous.get("health") == state and "since" in previous else format_time(now),
        "sloSummary": _summary(found.statuses),
        "budget": _budget(found.statuses),
        "cause": _cause(found, state),
        "instances": _instances(app),
        "slos": [objectives.entry(status) for status in sorted(found.statuses, key=lambda status: status.objective.id)][:32],
        "inspections": inspected.inspections(found.checks, previous.get("inspections", {})),
        "dependencies": dependencies(app, others, step, previous),
        "history": incidents.with_history(previous.get("history", ()), part),
    }
    if part is not None and not part.done:
        document["incident"] = incidents.incident(part, found.affected)
    document["conditions"] = merge(previous.get("conditions", ()), _conditions(found, state), generation, now)
    shorten(document, MAX_BYTES)
    return document


def _workload(app: Application, called: str) -> Document:
    document: Document = {"kind": app.key.kind, "name": app.key.name}
    if called:
        document["displayName"] = called
    if app.ref is not None:
        document |= {"apiVersion": app.ref.api_version, "uid": app.ref.uid}
    return document


def _instances(app: Application) -> Document:
    return {
        name: value for name, value in (("desired", app.desired), ("available", app.available)) if value is not None and value >= 0
    }


def _summary(statuses: Sequence[SLOStatus]) -> str:
    judged = [status for status in statuses if status.state != "Pending" and not status.idle]
    return f"{sum(status.state == 'Met' for status in judged)}/{len(judged)}" if judged else "-"


def _budget(statuses: Sequence[SLOStatus]) -> str:
    known = [(status.budget, status) for status in statuses if status.budget is not None]
    if not known:
        return "-"
    least, status = min(known, key=lambda each: each[0])
    return text.budget(least, status.covered, status.objective.window)


def _cause(found: Findings, state: Health) -> str:
    if state == "Violated":
        part = found.participation
        known = part.diagnosis if part is not None and part.diagnosis is not None else found.diagnosis
        if known is not None:
            return incidents.cause(known)
        return "looking for the cause" if part is not None and part.waiting else "no cause found"
    bad = [each for each in inspected.failing(found.checks) if not each.startswith("SLO")]
    if state == "Warning" and any(status.state == "Exhausted" for status in found.statuses):
        bad.insert(0, "budget used up")
    return text.cut(", ".join(bad), 512)


def _conditions(found: Findings, state: Health) -> list[Condition]:
    sentences = {
        "Healthy": "no check fails",
        "Warning": "a check fails or a budget is used up; no SLO is violated",
        "Violated": "an SLO is violated",
        "Unknown": "there is not enough fresh data to judge",
    }
    status = {"Healthy": True, "Warning": False, "Violated": False, "Unknown": None}[state]
    reason = {"Healthy": "AllGood", "Warning": "ChecksFail", "Violated": "SLOViolated", "Unknown": "NoData"}[state]
    if state == "Unknown" and not found.missing and _unavailable(found.application):
        reason, sentences["Unknown"] = "NotAvailable", "no instance is available"
    conditions = [Condition("Healthy", status, reason, sentences[state]), *inspected.conditions(found.checks)]
    if found.statuses:
        conditions.append(_slos_met(found.statuses))
    conditions.append(_data_available(found))
    if found.problems:
        problems = "; ".join(str(problem) for problem in found.problems)
        conditions.append(Condition("AnnotationsValid", False, "Invalid", text.cut(problems, 1024)))
    return conditions


def _slos_met(statuses: Sequence[SLOStatus]) -> Condition:
    worst = objectives.most_urgent(statuses)
    unmet = [status for status in worst if status.state in ("Outage", "FastBurn", "SlowBurn", "Exhausted")]
    unknown = [status for status in worst if status.state in ("NoData", "Pending")]
    kind = AREAS["slo"]
    if unmet:
        return Condition(
            kind, False, unmet[0].state, "; ".join(f"{status.objective.id}: {objectives.message(status)}" for status in unmet[:3])
        )
    if unknown:
        return Condition(
            kind, None, unknown[0].state, "; ".join(f"{status.objective.id}: {status.reason}" for status in unknown[:3])
        )
    return Condition(kind, True, "AllMet", f"met: {text.names([status.objective.id for status in statuses], 8)}")


def _data_available(found: Findings) -> Condition:
    """False only when data are missing that should be there: that alarms. Young, rarely used, not asked yet: that passes."""
    kind = "DataAvailable"
    if found.missing:
        return Condition(kind, False, "NoData", text.cut(found.missing, 512))
    checks = [check for check in found.checks if check.area != "slo"]
    lost = [
        f"SLO {status.objective.id}: {status.reason}" for status in found.statuses if status.state == "NoData" and not status.idle
    ]
    ids, _ = inspected.without_data(checks)
    if ids:
        lost.append(f"checks without data: {text.names(ids, 8)}")
    if lost:
        return Condition(kind, False, "Incomplete", text.cut("; ".join(lost), 512))
    waiting = [
        f"SLO {status.objective.id} ({status.reason})" for status in found.statuses if status.state == "Pending" or status.idle
    ]
    waiting += [f"{check.id} ({check.evidence})" for check in checks if check.waiting]
    if waiting:
        judged = any(check.outcome in ("pass", "fail") for check in found.checks)
        message = f"nothing is missing, but there is too little yet for {text.names(waiting, 5)}"
        return Condition(kind, True if judged else None, inspected.GATHERING, text.cut(message, 512))
    return Condition(kind, True, "Fresh", "fresh data for everything that is judged")
