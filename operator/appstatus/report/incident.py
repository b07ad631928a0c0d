"""Incidents as they stand in AppStatus.status, and back: that text is the state machine's whole memory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from appstatus.api.conditions import format_time
from appstatus.api.names import EXTERNAL, AppKey, ObjectRef
from appstatus.diagnosis import wording
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence
from appstatus.incidents.incident import OPENINGS, Participation, Reason
from appstatus.report.text import cut

Document = dict[str, Any]

MAX_HISTORY = 10


def incident(part: Participation, affected: Sequence[AppKey] = ()) -> Document:
    """``status.incident``. ``affected``: the other applications, for the opener."""
    document: Document = {
        "id": part.incident_id,
        "role": "Opener" if part.opener else "Affected",
        "opener": _key(part.opener_app),
        "workload": {
            name: value
            for name, value in (
                ("apiVersion", part.ref.api_version),
                ("kind", part.ref.kind),
                ("namespace", part.ref.namespace),
                ("name", part.ref.name),
                ("uid", part.ref.uid),
            )
            if value
        },
        "opened": format_time(part.opened),
        "slos": list(part.slos),
        "due": list(part.due),
        "posted": list(part.posted),
    }
    if part.opener and affected:
        document["affected"] = [str(app) for app in affected][:50]
    if part.closed is not None:
        document["closed"] = format_time(part.closed)
        document["closingReason"] = part.closing_reason
    if part.diagnosis is not None:
        document["diagnosis"] = diagnosis(part.diagnosis)
    return document


def read_incident(document: Mapping[str, Any], app: AppKey) -> Participation:
    """The inverse of ``incident``. Raises KeyError or ValueError for what nobody but a stranger can have written."""
    workload = document["workload"]
    ref = ObjectRef(
        workload["apiVersion"], workload["kind"], workload.get("namespace", ""), workload["name"], workload.get("uid", "")
    )
    due = cast("tuple[Reason, ...]", tuple(document.get("due", ())))
    posted = cast("tuple[Reason, ...]", tuple(document.get("posted", ())))
    return Participation(
        incident_id=document["id"],
        app=app,
        ref=ref,
        opener=document["role"] == "Opener",
        opener_app=_read_key(document["opener"]),
        opened=_seconds(document["opened"]),
        slos=tuple(document.get("slos", ())),
        due=due,
        posted=posted,
        closed=_seconds(document["closed"]) if "closed" in document else None,
        closing_reason=document.get("closingReason", ""),
        diagnosis=_read_diagnosis(document["diagnosis"]) if "diagnosis" in document else None,
        opening=next((reason for reason in (*posted, *due) if reason in OPENINGS), "SLOFastBurn"),
    )


def history(part: Participation) -> Document:
    """One entry of ``status.history``."""
    document: Document = {
        "id": part.incident_id,
        "role": "Opener" if part.opener else "Affected",
        "opener": str(part.opener_app),
        "opened": format_time(part.opened),
        "closed": format_time(part.closed or part.opened),
        "closingReason": part.closing_reason,
        "slos": list(part.slos),
    }
    if part.diagnosis is not None:
        document["cause"] = cause(part.diagnosis)
    return document


def with_history(previous: Sequence[Mapping[str, Any]], part: Participation | None) -> list[Document]:
    """``status.history``, newest first, with ``part`` in it once it is done."""
    entries = [dict(entry) for entry in previous]
    if part is not None and part.done and all(entry["id"] != part.incident_id for entry in entries):
        entries.insert(0, history(part))
    return entries[:MAX_HISTORY]


def read_latest(previous: Sequence[Mapping[str, Any]], app: AppKey) -> Participation | None:
    """The newest entry of ``status.history`` as a closed participation, for the first cycle after a start."""
    if not previous:
        return None
    entry = previous[0]
    role = entry.get("role") == "Opener"
    namespace, _, status_name = str(entry.get("opener", "")).rpartition("/")
    name, _, kind = status_name.rpartition(".")
    # The kind's capitals are lost in the text; nothing but the id and the closing matters of an opener that is another application.
    opener_app = app if role else AppKey(namespace, kind, name)
    return Participation(
        incident_id=entry["id"],
        app=app,
        ref=ObjectRef("", app.kind, app.namespace, app.name, ""),
        opener=role,
        opener_app=opener_app,
        opened=_seconds(entry["opened"]),
        slos=tuple(entry.get("slos", ())),
        closed=_seconds(entry["closed"]),
        closing_reason=entry.get("closingReason", ""),
    )


def cause(found: Diagnosis) -> str:
    """One short line: ``postgres.statefulset: storage latency``."""
    if not found.causes or not found.dominant:
        return "no dominant cause"
    return cut(wording.title(found.causes[0]), 512)


def diagnosis(found: Diagnosis) -> Document:
    """``status.incident.diagnosis``."""
    document: Document = {
        "violator": _key(found.violator),
        "onset": format_time(found.onset),
        "at": format_time(found.at),
        "dominant": found.dominant,
        "causes": [_cause(each) for each in found.causes[:3]],
    }
    if found.thin:
        document["thin"] = cut(found.thin, 160)
    if found.dismissed:
        document["dismissed"] = [cut(each, 160) for each in found.dismissed[:16]]
    return document


def _cause(each: Cause) -> Document:
    document: Document = {
        "application": _key(each.app),
        "class": each.klass,
        "share": round(min(max(each.share, 0.0), 1.0), 2),
        "path": [_key(app) for app in each.path[:12]],
        "evidence": [_evidence(fact) for fact in each.evidence[:8]],
    }
    for name in ("mode", "instance", "node", "neighbour"):
        if getattr(each, name):
            document[name] = getattr(each, name)
    if each.attribution:
        document["attribution"] = cut(each.attribution, 256)
    return document


def _evidence(fact: Evidence) -> Document:
    document: Document = {"signal": fact.signal, "subject": cut(fact.subject, 160), "unit": fact.unit}
    for name in ("before", "during"):
        value = getattr(fact, name)
        if value is not None:
            # Times need all their digits.
            document[name] = round(value) if fact.unit == "time" else float(f"{value:.3g}")
    return document


def _read_diagnosis(document: Mapping[str, Any]) -> Diagnosis:
    return Diagnosis(
        violator=_read_key(document["violator"]),
        onset=_seconds(document["onset"]),
        at=_seconds(document["at"]),
        causes=tuple(
            Cause(
                app=_read_key(each["application"]),
                klass=each["class"],
                share=float(each["share"]),
                path=tuple(_read_key(app) for app in each.get("path", ())),
                evidence=tuple(
                    Evidence(fact["signal"], fact["subject"], fact.get("before"), fact.get("during"), fact["unit"])
                    for fact in each.get("evidence", ())
                ),
                instance=each.get("instance", ""),
                node=each.get("node", ""),
                neighbour=each.get("neighbour", ""),
                mode=each.get("mode", "seconds"),
                attribution=each.get("attribution", ""),
            )
            for each in document.get("causes", ())
        ),
        dominant=bool(document.get("dominant", False)),
        dismissed=tuple(document.get("dismissed", ())),
        thin=document.get("thin", ""),
    )


def _key(app: AppKey) -> Document:
    document: Document = {"kind": app.kind, "name": app.name}
    if app.namespace:
        document["namespace"] = app.namespace
    return document


def _read_key(document: Mapping[str, Any]) -> AppKey:
    return AppKey("" if document["kind"] == EXTERNAL else document.get("namespace", ""), document["kind"], document["name"])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
