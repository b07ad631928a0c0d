"""The core/v1 Event of an incident: the one thing that reaches people and their alerting.

Consumers forward nothing but the message, so it says everything in 1024 bytes: the fact, the cause with its evidence, every area
as a token, failing checks by id. All results as data are in an annotation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from appstatus.api.names import GROUP, VERSION, AppKey, ObjectRef
from appstatus.diagnosis import wording
from appstatus.diagnosis.result import Diagnosis
from appstatus.incidents.incident import OPENINGS, SLO_REMOVED, WORKLOAD_DELETED, Participation, Reason
from appstatus.inspections.result import CheckResult
from appstatus.report import checks as inspected
from appstatus.report import corev1, objectives, text
from appstatus.report import incident as incidents
from appstatus.report.corev1 import LABEL_APPLICATION, LABEL_NAME, MAX_MESSAGE, core_event, label_value
from appstatus.slo.status import SLOStatus

Document = dict[str, Any]

MAX_RESULTS = 32 * 1024
SCHEMA = "appstatus.dev/results/v1"
LABEL_INCIDENT = f"{GROUP}/incident"
RESULTS = f"{GROUP}/results"


@dataclass(frozen=True, slots=True)
class Context:
    """What an Event says beside the incident's own state, all of the same cycle.

    others  the other applications of the incident
    called  the application's display name, empty if it has none of its own
    """

    project: str
    checks: Sequence[CheckResult] = ()
    statuses: Sequence[SLOStatus] = ()
    others: Sequence[AppKey] = ()
    opener_diagnosis: Diagnosis | None = None
    appstatus_uid: str = ""
    cluster: str = ""
    instance: str = ""  # the operator's pod
    called: str = ""


def event(part: Participation, reason: Reason, context: Context, now: float) -> Document:
    """The Event for one reason of a participation, complete: it is never changed afterwards.

    Its name follows from application, incident and reason, so that posting it again answers 409.
    """
    violated = objectives.most_urgent(status for status in context.statuses if status.objective.id in part.slos)
    runbook = next((status.objective.runbook_url for status in violated if status.objective.runbook_url), "")
    annotations = {RESULTS: _results(part, reason, context, violated)}
    if runbook:
        annotations[f"{GROUP}/runbook"] = runbook
    return core_event(
        event_name(part, reason),
        part.ref,
        appstatus_ref(part.app, context.appstatus_uid),
        "Warning" if reason in OPENINGS else "Normal",
        reason,
        message(part, reason, context, now),
        _labels(part, reason, context, violated),
        annotations,
        context.instance,
        now,
    )


def event_name(part: Participation, reason: Reason) -> str:
    """``checkout.1f0c…``: the same for every try."""
    return corev1.event_name(part.app.name, part.ref.uid, part.incident_id, reason)


def appstatus_ref(app: AppKey, uid: str = "") -> ObjectRef:
    return ObjectRef(f"{GROUP}/{VERSION}", "AppStatus", app.namespace, app.status_name, uid)


def message(part: Participation, reason: Reason, context: Context, now: float) -> str:
    """At most 1024 bytes; the cause gives way first, the tokens, ids and the hint at the end never."""
    violated = objectives.most_urgent(status for status in context.statuses if status.objective.id in part.slos)
    head = text.cut(_fact(part, reason, violated, context.called or part.app.name, now), 320)
    tail = _tail(part, context)
    others = _others(part, reason, context)
    cause = _cause(part, reason, context)
    room = MAX_MESSAGE - len(" ".join(filter(None, (head, others, tail))).encode()) - 1
    return " ".join(filter(None, (head, text.cut(cause, max(room, 0)), others, tail)))


def _fact(part: Participation, reason: Reason, violated: Sequence[SLOStatus], called: str, now: float) -> str:
    facts = _facts(part, violated, called)
    if reason == "SLORecovered":
        return _ending(part, called, now)
    if reason == "SLOAffected":
        return f"{facts}. Part of incident {part.incident_id} of {part.opener_app}."
    if reason in OPENINGS and any(each in OPENINGS and each != reason for each in part.posted):
        return f"Burning faster now: {facts}."
    return f"{facts}."


def _facts(part: Participation, violated: Sequence[SLOStatus], called: str) -> str:
    if not violated:
        return f"SLO {', '.join(part.slos)} of {called} violated"
    return objectives.facts(violated, called)


def _ending(part: Participation, called: str, now: float) -> str:
    closed = part.closed if part.closed is not None else now
    span = f"{text.ago(closed - part.opened)} ({wording.clock(part.opened)} to {wording.clock(closed)} UTC)"
    slos = text.names(part.slos, 3)
    if part.closing_reason == WORKLOAD_DELETED:
        return f"Incident {part.incident_id} closed after {span}: {part.ref.kind} {part.ref.name} was deleted."
    if part.closing_reason == SLO_REMOVED:
        return f"Incident {part.incident_id} closed after {span}: SLO {slos} of {called} is not evaluated any more."
    if part.closing_reason == "NoTraffic":
        return f"Incident {part.incident_id} closed after {span}: nobody has called {called} for an hour."
    return f"{called} met {slos} for the last 5 min: incident {part.incident_id} is over after {span}."


def _others(part: Participation, reason: Reason, context: Context) -> str:
    if not context.others or reason == "SLOAffected":
        return ""
    shown = text.names([str(app) if app.namespace != part.app.namespace else app.status_name for app in context.others], 4)
    if reason != "SLORecovered":
        return f"Also affected: {shown}."
    if part.closing_reason in (WORKLOAD_DELETED, SLO_REMOVED):
        return f"Affected by it, judged on their own from now on: {shown}."
    return f"Recovered with it: {shown}."


def _cause(part: Participation, reason: Reason, context: Context) -> str:
    own, shared = part.diagnosis, context.opener_diagnosis
    known = own if own is not None and own.dominant else shared or own
    if known is None:
        return "" if reason == "SLORecovered" else "Cause: not found."
    if reason == "SLORecovered":
        return f"Cause was: {incidents.cause(known)}."
    return f"Cause: {wording.line(known)}."


def _tail(part: Participation, context: Context) -> str:
    slo = "FAIL" if any(status.state not in ("Met", "Pending", "NoData") for status in context.statuses) else "ok"
    if all(status.state == "NoData" for status in context.statuses):
        slo = "?"
    bad = [each for each in inspected.failing(context.checks) if not each.startswith("SLO")]
    fails = f"fails: {text.names(bad, 8)}" if bad else ""
    runbook = next((s.objective.runbook_url for s in context.statuses if s.objective.runbook_url), "")
    hint = f"kubectl get appstatus {part.app.status_name} -n {part.app.namespace} -o yaml"
    cluster = f"cluster={context.cluster}" if context.cluster else ""
    tail = (inspected.tokens(context.checks, slo), fails, cluster, f"id={part.incident_id}", hint)
    # A runbook may be 512 bytes long: it is also in an annotation.
    link = f"runbook={runbook}" if runbook and len(runbook) <= 200 else ""
    return " ".join(filter(None, (*tail[:-1], link, tail[-1])))


def _labels(part: Participation, reason: Reason, context: Context, violated: Sequence[SLOStatus]) -> dict[str, str]:
    labels = {key: value for status in reversed(violated) for key, value in status.objective.labels.items()}
    own = {
        LABEL_APPLICATION: part.app.status_name,
        LABEL_INCIDENT: part.incident_id,
        LABEL_NAME: context.called,
        f"{GROUP}/project": context.project,
        f"{GROUP}/slo": part.slos[0] if part.slos else "",
        f"{GROUP}/severity": {"SLOFastBurn": "page", "SLOSlowBurn": "ticket"}.get(reason, "info"),
        f"{GROUP}/cluster": context.cluster,
    }
    return labels | own


def _results(part: Participation, reason: Reason, context: Context, violated: Sequence[SLOStatus]) -> str:
    document: Document = {
        "schema": SCHEMA,
        "cluster": context.cluster,
        "project": context.project,
        "application": str(part.app),
        "displayName": context.called or part.app.name,
        "reason": reason,
        "incident": incidents.incident(part, context.others),
        "slos": [objectives.entry(status) for status in objectives.most_urgent(context.statuses)],
        "inspections": inspected.results(context.checks),
    }
    if part.diagnosis is None and context.opener_diagnosis is not None:
        document["incident"]["diagnosis"] = incidents.diagnosis(context.opener_diagnosis)
    for shorten in (_no_instances, _no_evidence, _only_failing):
        if len(orjson.dumps(document)) <= MAX_RESULTS:
            break
        shorten(document)
        document["shortened"] = True
    return orjson.dumps(document).decode()


def _no_instances(document: Document) -> None:
    for entry in document["inspections"]:
        entry["instances"] = entry.get("instances", [])[:3]


def _no_evidence(document: Document) -> None:
    for entry in document["inspections"]:
        entry.pop("evidence", None)
    document["slos"] = document["slos"][:32]


def _only_failing(document: Document) -> None:
    document["inspections"] = [entry for entry in document["inspections"] if entry["outcome"] == "fail"][:64]


def still_open(events: Sequence[Mapping[str, Any]], app: AppKey) -> Participation | None:
    """The open incident of an application whose AppStatus somebody deleted, from its Events (found by label): the newest opening
    without a recovery. None if there is none, or its annotation cannot be read."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in events:
        labels = each.get("metadata", {}).get("labels", {})
        if labels.get(LABEL_APPLICATION) == label_value(app.status_name) and LABEL_INCIDENT in labels:
            found.setdefault(labels[LABEL_INCIDENT], {})[each.get("reason", "")] = each
    openings = [
        reasons[opening]
        for reasons in found.values()
        if "SLORecovered" not in reasons
        for opening in ("SLOFastBurn", "SLOSlowBurn", "SLOAffected")
        if opening in reasons
    ]
    for each in sorted(openings, key=lambda each: str(each.get("eventTime", "")), reverse=True):
        try:
            document = orjson.loads(each["metadata"]["annotations"][RESULTS])["incident"]
            known = found[document["id"]]
            document["due"] = []
            document["posted"] = sorted(known, key=lambda reason: str(known[reason].get("eventTime", "")))
            return incidents.read_incident(document, app)
        except (KeyError, ValueError, TypeError):
            continue
    return None
