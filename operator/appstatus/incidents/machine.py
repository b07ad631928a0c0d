"""The state machine of incidents: pure. What was, and what is seen now, give what is and what must be posted.

An application whose SLO is violated waits, for at most a minute, until its cause is plain; it joins an incident with the same
cause, or opens one together with the others that wait for the same cause. From the moment the opening is due, opener and id are
fixed. An incident is over when all of its applications meet their objectives again, or its opener is gone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from appstatus.api.names import AppKey
from appstatus.diagnosis.result import Diagnosis
from appstatus.incidents.grouping import Calls, distance, plain, related, share_cause
from appstatus.incidents.incident import (
    NO_TRAFFIC,
    OPENINGS,
    RECOVERED,
    SLO_REMOVED,
    WORKLOAD_DELETED,
    Participation,
    Reason,
    incident_id,
)
from appstatus.incidents.observe import Observed

# How long an opening waits for evidence, seconds.
EVIDENCE_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """participations: all that are not history yet, state to be written; due: Events to post once their state is written, openings
    first; closed: those that this step closed (their bad events so far cannot open another incident)."""

    participations: tuple[Participation, ...]
    due: tuple[tuple[Participation, Reason], ...]
    closed: tuple[Participation, ...]


def step(
    previous: Iterable[Participation],
    observed: Mapping[AppKey, Observed],
    diagnoses: Mapping[AppKey, Diagnosis],
    present: Collection[AppKey],
    now: float,
    calls: Calls | None = None,
    unjudged: Collection[AppKey] = (),
) -> Outcome:
    """One cycle.

    previous   what AppStatus holds (``done`` ones are ignored)
    observed   every application that is judged; diagnoses: of those that are violated
    unjudged   applications that should be judged, but could not be (their Prometheus is not configured rightly): they stay as they
               are, while one that is in neither has no SLO any more
    present    workloads that exist; only from a complete view of the cluster, else incidents would be closed for nothing
    calls      who calls whom: joins violations for which no cause is found
    """
    parts = {part.app: part for part in previous if not part.done}
    before = dict(parts)
    _mend(parts, observed)
    for app, part in parts.items():
        if app not in unjudged:
            parts[app] = _gone(part, observed, present, now)
    for app, seen in observed.items():
        # While the end of an earlier incident is still to be posted, the next one waits for it.
        if seen.opens and app not in parts:
            parts[app] = _new(seen, now)
    for app, part in parts.items():
        parts[app] = _refreshed(part, observed.get(app), diagnoses.get(app))
    _gather(parts)
    _open(parts, now, calls or {})
    _escalate(parts, observed)
    _close(parts, observed, now)
    everything = tuple(parts[app] for app in sorted(parts))
    return Outcome(
        participations=everything,
        due=_due(everything),
        closed=tuple(
            part for part in everything if part.closed is not None and (part.app not in before or before[part.app].closed is None)
        ),
    )


def _new(seen: Observed, now: float) -> Participation:
    opened = float(int(now))
    return Participation(
        incident_id=incident_id(seen.ref.uid or str(seen.app), opened),
        app=seen.app,
        ref=seen.ref,
        opener=True,
        opener_app=seen.app,
        opened=opened,
        slos=seen.firing,
        opening="SLOFastBurn" if seen.page else "SLOSlowBurn",
    )


def _refreshed(part: Participation, seen: Observed | None, diagnosis: Diagnosis | None) -> Participation:
    if part.closed is not None:
        return part
    if seen is not None and not set(seen.firing) <= set(part.slos):
        part = replace(part, slos=tuple(sorted({*part.slos, *seen.firing})))
    if seen is not None and seen.page and part.opening != "SLOFastBurn":
        part = replace(part, opening="SLOFastBurn")
    # Once posted, the evidence stays what the Event said, unless there was none.
    if diagnosis is not None and (part.waiting or part.diagnosis is None or (plain(diagnosis) and not plain(part.diagnosis))):
        part = replace(part, diagnosis=diagnosis)
    return part


def _mend(parts: dict[AppKey, Participation], observed: Mapping[AppKey, Observed]) -> None:
    """Applications in an incident without its opener: left by a crash between two writes, or by somebody who deleted an AppStatus.

    An opener that is still violated gets its part back; the names of its Events follow from its uid and the id, so none can be
    posted twice. If it is in another incident by now, they follow it; if it is fine, they end with their own SLOs. Of those
    whose Event was not posted nobody has heard (the opener's state is stored before the first Event): they start anew.
    """
    for app, part in list(parts.items()):
        opener, seen = parts.get(part.opener_app), observed.get(part.opener_app)
        if part.opener or part.closed is not None:
            continue
        if opener is not None and opener.opener and opener.incident_id == part.incident_id and (opener.known or part.waiting):
            continue
        if not part.posted:
            del parts[app]
        elif opener is None and seen is not None and seen.opens:
            back = replace(_new(seen, part.opened), slos=seen.firing or part.slos, diagnosis=part.diagnosis)
            parts[part.opener_app] = _reinstated(back, part)
        elif opener is not None and opener.waiting:
            parts[part.opener_app] = _reinstated(opener, part)
        elif opener is not None and opener.closed is None:
            parts[app] = replace(part, incident_id=opener.incident_id, opener_app=opener.opener_app, opened=opener.opened)


def _reinstated(opener: Participation, member: Participation) -> Participation:
    return replace(
        opener, incident_id=member.incident_id, opener=True, opener_app=opener.app, opened=member.opened, due=(opener.opening,)
    )


def _gone(part: Participation, observed: Mapping[AppKey, Observed], present: Collection[AppKey], now: float) -> Participation:
    if part.closed is not None:
        return part
    seen = observed.get(part.app)
    if part.app not in present or (seen is not None and seen.ref.uid != part.ref.uid):
        return replace(part, closed=float(int(now)), closing_reason=WORKLOAD_DELETED)
    if seen is None:
        return replace(part, closed=float(int(now)), closing_reason=SLO_REMOVED)
    return part


def _incidents(parts: Mapping[AppKey, Participation]) -> dict[str, list[Participation]]:
    """Open participations by incident, oldest incident first, opener first."""
    found: dict[str, list[Participation]] = {}
    for part in sorted(parts.values(), key=lambda part: (part.opened, part.incident_id, not part.opener, part.app)):
        if part.closed is None:
            found.setdefault(part.incident_id, []).append(part)
    return found


def _fixed(members: list[Participation]) -> bool:
    return any(part.known for part in members)


def _gather(parts: dict[AppKey, Participation]) -> None:
    """Incidents that wait join one that has the same cause: one that is open already, since it cannot move, else an older one."""
    for members in _incidents(parts).values():
        opener = next((part for part in members if part.opener and part.known), None)
        # After a crash in the middle of an opening some members are still stored as waiting.
        late = [part for part in members if part.waiting] if opener is not None else []
        if opener is not None and late:
            _join(parts, late, [opener])
    for waiting_id in list(_incidents(parts)):
        incidents = _incidents(parts)
        mine = incidents.get(waiting_id)
        if mine is None or _fixed(mine):
            continue
        order = list(incidents)
        older = order[: order.index(waiting_id)]
        candidates = [incidents[each] for each in order if _fixed(incidents[each])] + [incidents[each] for each in older]
        for members in candidates:
            if any(share_cause(a.diagnosis, b.diagnosis) for a in mine for b in members):
                _join(parts, mine, members)
                break


def _join(parts: dict[AppKey, Participation], joining: list[Participation], members: list[Participation]) -> None:
    opener = members[0]
    for part in joining:
        told: tuple[Reason, ...] = ("SLOAffected",) if _fixed(members) else ()
        parts[part.app] = replace(
            part, incident_id=opener.incident_id, opener=False, opener_app=opener.opener_app, opened=opener.opened, due=told
        )


def _open(parts: dict[AppKey, Participation], now: float, calls: Calls) -> None:
    """Makes openings due whose cause is plain, or that have waited long enough."""
    for waiting_id in list(_incidents(parts)):
        incidents = _incidents(parts)
        mine = incidents.get(waiting_id)
        if mine is None or _fixed(mine):
            continue
        if any(plain(part.diagnosis) for part in mine):
            _make_due(parts, mine)
        elif now >= mine[0].opened + EVIDENCE_WAIT:
            apps = [part.app for part in mine]
            open_ones = [members for members in incidents.values() if _fixed(members)]
            callers = next((m for m in open_ones if related(apps, [part.app for part in m], calls)), None)
            if callers is not None:
                _join(parts, mine, callers)
            else:
                _make_due(parts, mine)


def _make_due(parts: dict[AppKey, Participation], members: list[Participation]) -> None:
    """Fixes the opener: the violating application nearest to the cause."""
    nearest = min(members, key=lambda part: (distance(part.diagnosis), not plain(part.diagnosis), part.opened, part.app))
    opening: Reason = "SLOFastBurn" if any(part.opening == "SLOFastBurn" for part in members) else "SLOSlowBurn"
    for part in members:
        if part.app == nearest.app:
            parts[part.app] = replace(part, opener=True, opener_app=part.app, opening=opening, due=(opening,))
        else:
            parts[part.app] = replace(part, opener=False, opener_app=nearest.app, due=("SLOAffected",))


def _escalate(parts: dict[AppKey, Participation], observed: Mapping[AppKey, Observed]) -> None:
    for members in _incidents(parts).values():
        opener = members[0]
        if not opener.opener or "SLOSlowBurn" not in opener.known or "SLOFastBurn" in opener.known:
            continue
        if any((seen := observed.get(part.app)) is not None and seen.page and seen.opens for part in members):
            parts[opener.app] = replace(opener, due=(*opener.due, "SLOFastBurn"))


def _close(parts: dict[AppKey, Participation], observed: Mapping[AppKey, Observed], now: float) -> None:
    at = float(int(now))
    for part in list(parts.values()):
        # The opener's workload is gone, or its SLOs are: what it said cannot be followed up, so the incident ends with it.
        if part.opener and part.closed is not None:
            for member in parts.values():
                if member.incident_id == part.incident_id and member.closed is None:
                    parts[member.app] = replace(member, closed=at, closing_reason=part.closing_reason)
            parts[part.app] = _ended(part)
    for members in _incidents(parts).values():
        reasons = [observed[part.app].over(part.slos) if part.app in observed else "" for part in members]
        if not all(reasons) or not _fixed(members):  # what has opened is told first, even if it is over by then
            continue
        best = next(reason for reason in (RECOVERED, NO_TRAFFIC, SLO_REMOVED) if reason in reasons)
        for part, reason in zip(members, reasons, strict=True):
            closed = replace(part, closed=at, closing_reason=best if part.opener else reason)
            parts[part.app] = _ended(closed) if part.opener else closed


def _ended(opener: Participation) -> Participation:
    """The recovery is due if an opening was."""
    if not any(reason in opener.known for reason in OPENINGS) or "SLORecovered" in opener.known:
        return opener
    return replace(opener, due=(*opener.due, "SLORecovered"))


def _due(parts: tuple[Participation, ...]) -> tuple[tuple[Participation, Reason], ...]:
    found = [(part, reason) for part in parts for reason in part.due]
    return tuple(sorted(found, key=lambda each: (not each[0].opener, each[0].opened, each[0].app, each[0].due.index(each[1]))))
