"""Missing data in words: ``status.dataLoss`` of a Project or SLO, and the Events that tell the beginning and the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from appstatus.api.conditions import format_time
from appstatus.api.names import GROUP, AppKey, ObjectRef
from appstatus.api.slo import SLO
from appstatus.diagnosis.wording import clock
from appstatus.incidents.datagap import DataGap, GapReason
from appstatus.report import text
from appstatus.report.corev1 import LABEL_APPLICATION, LABEL_NAME, MAX_MESSAGE, core_event, event_name
from appstatus.report.event import appstatus_ref

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What the Event says beside the gap. ``why``: data are missing now, empty if none are; instance: the operator's pod; called:
    the application's display name, empty if it has none of its own."""

    project: str
    why: str = ""
    cluster: str = ""
    instance: str = ""
    called: str = ""


def gap_document(gap: DataGap) -> Document:
    """``status.dataLoss``."""
    document: Document = {"since": format_time(gap.since), "due": list(gap.due), "posted": list(gap.posted)}
    if gap.until is not None:
        document["until"] = format_time(gap.until)
    return document


def read_gap(document: Mapping[str, Any], uid: str) -> DataGap:
    """The inverse of ``gap_document``; ``uid`` of the object. Raises KeyError or ValueError for what a stranger has written."""
    return DataGap(
        uid=uid,
        since=_seconds(document["since"]),
        until=_seconds(document["until"]) if "until" in document else None,
        due=cast("tuple[GapReason, ...]", tuple(document.get("due", ()))),
        posted=cast("tuple[GapReason, ...]", tuple(document.get("posted", ()))),
    )


def project_event(gap: DataGap, reason: GapReason, project: ObjectRef, context: Context, now: float) -> Document:
    if reason == "DataLost":
        fact = f"SLOs cannot be judged {_since(gap, now)}{_why(context)}. Until the data are back no incident opens or closes."
    else:
        fact = f"The data are back {_after(gap, now)}. The SLOs are judged again."
    labels = {f"{GROUP}/project": context.project, f"{GROUP}/cluster": context.cluster}
    hint = f"kubectl describe projects.{GROUP} {project.name}"
    return _event(gap, reason, project.name, project, None, fact, hint, labels, {}, context, now)


def slo_event(
    gap: DataGap, reason: GapReason, slo: SLO, app: AppKey, workload: ObjectRef, context: Context, now: float
) -> Document:
    """``workload``: of the application, which the Event is about."""
    which = f"SLO {slo.meta.name} of {context.called or app.name}"
    if reason == "SLODataMissing":
        fact = f"{which}: {context.why or 'no fresh data'} {_since(gap, now)}. It is not judged until they are back."
    else:
        fact = f"{which} has fresh data again {_after(gap, now)}."
    own = {
        LABEL_APPLICATION: app.status_name,
        LABEL_NAME: context.called,
        f"{GROUP}/project": context.project,
        f"{GROUP}/slo": slo.meta.name,
        f"{GROUP}/cluster": context.cluster,
    }
    runbook = {f"{GROUP}/runbook": slo.runbook_url} if slo.runbook_url else {}
    hint = f"kubectl describe slos.{GROUP} {slo.meta.name} -n {slo.meta.namespace}"
    return _event(gap, reason, app.name, workload, appstatus_ref(app), fact, hint, slo.labels | own, runbook, context, now)


def _event(
    gap: DataGap,
    reason: GapReason,
    prefix: str,
    about: ObjectRef,
    related: ObjectRef | None,
    fact: str,
    hint: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    context: Context,
    now: float,
) -> Document:
    """The name follows from the object whose status holds the gap, its beginning and the reason."""
    warning = reason in ("DataLost", "SLODataMissing")
    severity = {"DataLost": "page", "SLODataMissing": "ticket"}.get(reason, "info")
    tail = " ".join(filter(None, (f"cluster={context.cluster}" if context.cluster else "", hint)))
    message = f"{text.cut(fact, MAX_MESSAGE - len(tail.encode()) - 1)} {tail}"
    return core_event(
        event_name(prefix, gap.uid, f"{gap.since:.0f}", reason),
        about,
        related,
        "Warning" if warning else "Normal",
        reason,
        message,
        {**labels, f"{GROUP}/severity": severity},
        annotations,
        context.instance,
        now,
    )


def _since(gap: DataGap, now: float) -> str:
    return f"for {text.ago(now - gap.since)} (since {clock(gap.since)} UTC)"


def _after(gap: DataGap, now: float) -> str:
    until = now if gap.until is None else gap.until
    return f"after {text.ago(until - gap.since)} ({clock(gap.since)} to {clock(until)} UTC)"


def _why(context: Context) -> str:
    return f": {text.cut(context.why, 512)}" if context.why else ""


def _seconds(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()
