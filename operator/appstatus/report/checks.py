"""Inspections in words: conditions per area, the lists in AppStatus.status.inspections, tokens and ids in an Event."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appstatus.api.conditions import Condition, format_time
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import AREAS, BY_ID, CHECKS
from appstatus.report import text

Document = dict[str, Any]

# Reason of a condition: the data are fresh, but too few yet to judge.
GATHERING = "Gathering"
SHOWN_AREAS = tuple(area for area in AREAS if any(check.area == area for check in CHECKS))


def failing(checks: Iterable[CheckResult]) -> list[str]:
    """Ids of failing checks, in the order of the table."""
    found = {check.id for check in checks if check.outcome == "fail"}
    return [each for each in BY_ID if each in found]


def tokens(checks: Sequence[CheckResult], slo: str) -> str:
    """``slo:FAIL inst:ok cpu:ok net:?``: every area; ``none``: nothing of it applies here, ``?``: nothing can be said."""
    found = []
    for area in SHOWN_AREAS:
        outcomes: set[str] = {check.outcome for check in checks if check.area == area and not check.waiting}
        waiting = any(check.waiting for check in checks if check.area == area)
        # What waits for more to be measured does not hide what is known.
        token = "?" if waiting and outcomes <= {"skip"} else _token(outcomes)
        found.append(f"{area}:{slo if area == 'slo' else token}")
    return " ".join(found)


def _token(outcomes: set[str]) -> str:
    for outcome, token in (("fail", "FAIL"), ("unknown", "?"), ("pass", "ok")):
        if outcome in outcomes:
            return token
    return "none"


def conditions(checks: Sequence[CheckResult]) -> list[Condition]:
    """One per area with checks that apply; the area of SLOs has its own."""
    found = []
    for area in SHOWN_AREAS:
        mine = [check for check in checks if check.area == area and check.outcome != "skip"]
        if area == "slo" or not mine:
            continue
        bad = failing(mine)
        lost, waiting = without_data(mine)
        passing = [check.id for check in mine if check.outcome == "pass"]
        too_little = f"too little measured yet for {text.names(waiting, 5)}" if waiting else ""
        if bad:
            by_id = {check.id: check for check in mine}
            # Evidence has figures that move; it stands in status.inspections.failing, where it keeps its text while they are close.
            titles = [f"{BY_ID[each].title} fails{_where(by_id[each])}" for each in bad]
            found.append(Condition(AREAS[area], False, bad[0], text.cut("; ".join(titles), 160)))
        elif lost:
            found.append(Condition(AREAS[area], None, "NoData", f"no fresh data for {text.names(lost, 5)}"))
        elif not passing:
            found.append(Condition(AREAS[area], None, GATHERING, too_little))
        else:
            sentences = filter(None, (f"checks pass: {text.names(passing, 8)}", too_little))
            found.append(Condition(AREAS[area], True, "ChecksPass", "; ".join(sentences)))
    return found


def without_data(checks: Iterable[CheckResult]) -> tuple[list[str], list[str]]:
    """Ids of checks about which nothing can be said: because data are missing, and because too little has been measured so far."""
    unknown = [check for check in checks if check.outcome == "unknown"]
    return [check.id for check in unknown if not check.waiting], [check.id for check in unknown if check.waiting]


def _where(check: CheckResult) -> str:
    return f" on {text.names(check.instances, 1)}" if check.instances else ""


def inspections(checks: Sequence[CheckResult], previous: Mapping[str, Any]) -> Document:
    """AppStatus.status.inspections. ``previous``: what was written last; a failing check keeps its text while it is close."""
    before = {entry["id"]: entry for entry in previous.get("failing", ())}
    by_id = {check.id: check for check in checks}
    return {
        "passing": [each for each in BY_ID if each in by_id and by_id[each].outcome == "pass"],
        "unknown": [each for each in BY_ID if each in by_id and by_id[each].outcome == "unknown"],
        "disabled": [each for each in BY_ID if each in by_id and by_id[each].outcome == "skip" and by_id[each].overridden_by],
        "failing": [entry(by_id[each], before.get(each, {})) for each in failing(checks)],
    }


def entry(check: CheckResult, before: Mapping[str, Any]) -> Document:
    document: Document = {"id": check.id, "area": check.area}
    same_instances = list(check.instances[:16]) == before.get("instances", [])
    if check.value is not None:
        document["value"] = text.steady(before.get("value") if same_instances else None, check.value)
        document["unit"] = BY_ID[check.id].unit
    if check.threshold is not None:
        document["threshold"] = check.threshold
    if check.since is not None:
        document["since"] = format_time(check.since)
    if check.instances:
        document["instances"] = list(check.instances[:16])
    if check.evidence:
        unmoved = same_instances and document.get("value") == before.get("value") and "evidence" in before
        document["evidence"] = before["evidence"] if unmoved else text.cut(check.evidence, 512)
    if check.overridden_by:
        document["overriddenBy"] = text.cut(check.overridden_by, 253)
    return document


def results(checks: Sequence[CheckResult]) -> list[Document]:
    """Every check for an Event's annotation: whole, with figures as measured."""
    documents = []
    for check in checks:
        document: Document = {"id": check.id, "area": check.area, "outcome": check.outcome}
        if check.value is not None:
            document |= {"value": text.significant(check.value, 4), "unit": BY_ID[check.id].unit}
        if check.threshold is not None:
            document["threshold"] = check.threshold
        if check.since is not None:
            document["since"] = format_time(check.since)
        if check.instances:
            document["instances"] = list(check.instances)
        if check.evidence:
            document["evidence"] = check.evidence
        if check.overridden_by:
            document["overriddenBy"] = check.overridden_by
        documents.append(document)
    return documents
