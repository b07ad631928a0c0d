"""The diagnosis of one violator: what hurts its users, where it starts, and why."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.slo import BAD_STATUSES
from appstatus.diagnosis.changes import change_before
from appstatus.diagnosis.classes import UNEXPLAINED, classify
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.flow import Flow, Mode, Source
from appstatus.diagnosis.instances import located
from appstatus.diagnosis.onset import Windows, windows
from appstatus.diagnosis.opaque import blame
from appstatus.diagnosis.origin import origin
from appstatus.diagnosis.result import DOMINANT, Cause, Diagnosis, Evidence
from appstatus.diagnosis.shift import LEAST_REFERENCE, THRESHOLD, surprise
from appstatus.diagnosis.signals import CAUSES, EARLIER, Signals
from appstatus.diagnosis.specific import attribution
from appstatus.diagnosis.suspects import suspects
from appstatus.inspections.result import CheckResult
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, UNANSWERED, Application, World, add
from appstatus.slo.status import SLOStatus

MOST_CAUSES = 3
MOST_EVIDENCE = 6
LEAST_NAMED = 0.05
LEAST_BAD = 3.0  # bad events
MOST_OF = 0.9
# Without the answer to one of these queries every edge, or every server, looks as if it had no share.
NEEDED = ("requests_in", "requests_in_seconds", "requests_out", "requests_out_timed", "requests_out_seconds", "tcp_failed_connects")


class Examined(NamedTuple):
    """parts: (T,) what is to be explained, in events/s; windows: when; accounts: excesses; flow: where they start; weights: of the
    parts, together 1."""

    parts: dict[Mode, F64]
    windows: Windows
    accounts: Accounts
    flow: Flow
    weights: dict[Mode, float]


def diagnose(
    world: World,
    checks: Mapping[AppKey, Sequence[CheckResult]],
    violator: AppKey,
    statuses: Sequence[SLOStatus],
    now: float,
    since: float | None = None,
) -> Diagnosis:
    """The causes of a violation.

    checks    results of the inspections; those count that began to fail with the incident
    statuses  those of the violator; the violated ones say what to explain (without one: failures and time both)
    since     when it began, for who knows; else it is found in the violator's bad events
    """
    app = world.applications.get(violator)
    if app is None:
        return Diagnosis(violator, now, now, (), False, thin="the application is gone")
    parts, found, accounts, flow, weights = examine(world, app, statuses, since)
    causes = _causes(accounts, flow, app, checks)
    thin = _thin(world, found, causes, parts)
    if thin or causes[0].share < DOMINANT:
        most: Mode = max(weights, key=lambda m: weights[m]) if weights else next(iter(parts))
        others = suspects(accounts, app, most, checks, strong=not thin)
        strong = [other for other in others if _explained(other)]
        causes = _merged(_merged(strong, causes), others) if thin else _merged(causes, strong)
    named = located(accounts, app, causes, checks, MOST_CAUSES, bool(thin))
    dominant = bool(named) and named[0].share >= DOMINANT and not thin
    return Diagnosis(violator, found.onset, now, tuple(named), dominant, _dismissed(world, found, [*causes, *named]), thin)


def examine(world: World, app: Application, statuses: Sequence[SLOStatus], since: float | None = None) -> Examined:
    """Where the excess of a violator is. ``statuses`` and ``since`` as in ``diagnose``."""
    violated = [s for s in statuses if s.violated] or list(statuses)
    indicators = {s.objective.indicator for s in violated} or {"availability", "latency"}
    statuses_bad = frozenset().union(*(s.objective.bad_statuses for s in violated)) or BAD_STATUSES
    failing = failed(app, statuses_bad, len(world.times))
    slow = slower(app, [t for s in violated if (t := s.threshold or s.objective.threshold) is not None], len(world.times))
    parts: dict[Mode, F64] = {}
    if indicators - {"latency"}:
        parts["failures"] = failing
    if indicators - {"availability"}:
        parts["seconds"] = slow
    found = windows(world.times, world.step, add(list(parts.values()), len(world.times)), since)
    accounts = Accounts(world, found, statuses_bad)
    flow = Flow(accounts)
    weights = _weights(parts, found, world.step, accounts, app)
    for mode, weight in weights.items():
        flow.follow(app.key, mode, weight)
    return Examined(parts, found, accounts, flow, weights)


def failed(app: Application, bad: frozenset[str], times: int) -> F64:
    """(T,) bad requests/s: answers with a bad status, and requests that got none, as clients inside and outside see them."""
    answers = [v for status, v in app.served.requests.items() if status in bad]
    silent = [v for status, v in app.outside.requests.items() if status in UNANSWERED]
    for connection in app.downstreams:
        silent += [v for status, v in connection.traffic.requests.items() if status in UNANSWERED]
        silent.append(connection.failed_connects)
        if not app.served.requests:
            silent += [v for status, v in connection.traffic.requests.items() if status in bad - UNANSWERED]
    return add([*answers, *silent], times)


def slower(app: Application, thresholds: Sequence[float], times: int) -> F64:
    """(T,) good answers/s slower than the lowest threshold; without one, seconds of latency per second."""
    buckets = app.served.buckets
    if buckets is not None and thresholds:
        below = np.searchsorted(BUCKETS, min(thresholds) + 1e-9) - 1
        return np.asarray(buckets[-1] - (buckets[below] if below >= 0 else 0.0))
    seconds = [app.served.seconds] if app.served.seconds is not None else [c.traffic.seconds for c in app.downstreams]
    return add([s for s in seconds if s is not None], times)


def _weights(parts: dict[Mode, F64], found: Windows, step: float, accounts: Accounts, app: Application) -> dict[Mode, float]:
    """How much of the bad events are failures, how much slow answers; what has no excess at all has no weight."""
    node = accounts.node(app)
    excess = {"failures": node.failures, "seconds": node.seconds}
    events = {mode: float(np.nansum(values[found.incident])) * step for mode, values in parts.items() if excess[mode] > 0}
    whole = sum(events.values())
    return {mode: count / whole for mode, count in events.items() if whole > 0}


def _causes(accounts: Accounts, flow: Flow, violator: Application, checks: Mapping[AppKey, Sequence[CheckResult]]) -> list[Cause]:
    """Best first. What starts at the same application in both ways (failures, time), or by the same origin, is one cause."""
    merged: dict[tuple[AppKey, str], list[tuple[Source, Signals, tuple[AppKey, ...]]]] = {}
    for source in sorted(flow.sources.values(), key=lambda s: s.share, reverse=True):
        if source.share < LEAST_NAMED:
            continue
        source, signals = blame(accounts, source, Signals(accounts, source, violator, checks), violator, checks)
        app, path = origin(classify(signals.found).klass, source.path, signals)
        merged.setdefault((app, source.kind), []).append((source, signals, path))
    return sorted((_cause(app, parts) for (app, _), parts in merged.items()), key=lambda c: c.share, reverse=True)


def _explained(cause: Cause) -> bool:
    return cause.klass not in UNEXPLAINED or any(fact.signal in CAUSES for fact in cause.evidence)


def _merged(first: list[Cause], then: list[Cause]) -> list[Cause]:
    """What is in both keeps the place it has in the first, and the larger share."""
    shares = {cause.app: cause for cause in then if cause.share}
    known = {cause.app for cause in first}
    return [c if c.share else shares.get(c.app, c) for c in first] + [c for c in then if c.app not in known]


def _cause(app: AppKey, parts: list[tuple[Source, Signals, tuple[AppKey, ...]]]) -> Cause:
    """``parts``: what starts at ``app``, the largest first: it gives the path, the others add signals."""
    source, signals, path = parts[0]
    found = dict(signals.found)
    for _, other, _ in parts[1:]:
        if other.app is signals.app:
            found = {**other.found, **found}
    rule = classify(found)
    first = [found[s] for s in (*rule.every, *rule.some) if s in found]
    # That it was changed long before is told where that is to blame.
    rest = [e for e in found.values() if e not in first and e.signal not in EARLIER]
    # That calls fail is told with the edge already.
    told = [e for e in (*first, *rest) if (e.before, e.during) != (None, None) and e.signal != "failures"]
    return Cause(
        app,
        rule.klass,
        round(min(1.0, sum(part.share for part, _, _ in parts)), 3),
        path,
        tuple([*_where(source, signals), *told][:MOST_EVIDENCE]),
        signals.instance,
        signals.node,
        str(app) if rule.klass == "noisy-neighbour" else "",
        source.mode,
        attribution(signals.accounts, signals.app) if source.mode == "failures" and app == signals.app.key else "",
    )


def _where(source: Source, signals: Signals) -> list[Evidence]:
    """The edge into the source, as its last caller on the path sees it; the application itself if it is the violator, or if several
    ways lead to it."""
    one_way = source.strongest >= MOST_OF * source.share
    subject = "->".join(k.name for k in source.path[-2:]) if one_way else signals.app.key.name
    seen = signals.accounts.node(signals.app)
    for connection in signals.app.downstreams:
        if one_way and len(source.path) > 1 and connection.client == source.path[-2]:
            if not connection.traffic.requests:
                return []  # its requests cannot be read: other signals tell
            seen = signals.accounts.edge(connection)
    if source.mode == "failures":
        return [Evidence("failing", subject, 100 * seen.failing_before, 100 * seen.failing, "%")]
    if seen.before is None or seen.during is None:
        return []
    return [Evidence("latency", subject, seen.before, seen.during, "s")]


def _thin(world: World, found: Windows, causes: list[Cause], parts: Mapping[Mode, F64]) -> str:
    bad = sum(float(np.nansum(part[found.incident])) * world.step for part in parts.values())
    unanswered = next((query for query in NEEDED if query in world.missing), None)
    if unanswered is not None:
        return f"query {unanswered} failed"
    if bad < LEAST_BAD:
        return f"only {bad:.0f} bad requests so far"
    if not causes:
        return "nothing exceeds what was normal before"
    if not world.connections:
        return "nobody's calls are known"
    if max(surprise(part, found) for part in parts.values()) < THRESHOLD:
        return "what users see is hardly worse than before"
    if causes[0].mode == "seconds" and int(found.reference.sum()) < LEAST_REFERENCE:
        return "too little is known of the time before"
    return ""


def _dismissed(world: World, found: Windows, causes: list[Cause]) -> tuple[str, ...]:
    """Changes near the onset of applications that carry no share."""
    blamed = {cause.app for cause in causes}
    sentences = []
    for key, app in world.applications.items():
        if key in blamed:
            continue
        change = change_before(app, found.onset, world.step)
        if change is not None:
            minutes = (found.onset - change.time) / 60
            sentences.append(f"{key}: changed {max(0.0, minutes):.0f} min before, but carries none of the excess")
    return tuple(sorted(sentences)[:MOST_CAUSES])
