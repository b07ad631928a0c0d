"""An explanation for machines."""

from typing import Any

from appstatus.api.conditions import format_time
from appstatus.report import checks as inspected
from appstatus.report import incident as incidents
from appstatus.report.explanation import Explanation

Document = dict[str, Any]

SCHEMA = "appstatus.dev/explanation/v1"


def document(x: Explanation) -> Document:
    """``slos``, ``inspections`` and ``diagnosis`` are as in the annotation of an Event."""
    found = x.findings
    made: Document = {
        "schema": SCHEMA,
        "project": found.project,
        "application": str(found.app),
        "displayName": found.called or found.app.name,
        "at": format_time(found.world.now),
        "health": found.health,
        "verdict": " ".join(x.verdict),
        "slos": list(x.slos),
        "inspections": inspected.results(found.checks.get(found.app, ())),
    }
    if found.diagnosis is not None:
        made["diagnosis"] = incidents.diagnosis(found.diagnosis)
        made["todo"] = x.todo
        made["propagation"] = [
            {"from": str(link.start), "to": str(link.end), "share": round(link.share, 2), "how": link.how} for link in x.links
        ]
    made["timeline"] = [{"at": format_time(each.at), "where": str(each.where), "what": each.what} for each in x.happenings]
    made["failing"] = [{"application": str(each.app), **inspected.results([each.check])[0]} for each in x.failing]
    return made
