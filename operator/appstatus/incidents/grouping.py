"""Which violations are one outage."""

from collections.abc import Collection, Mapping, Sequence

from appstatus.api.names import AppKey
from appstatus.diagnosis.result import Cause, Diagnosis

Calls = Mapping[AppKey, Collection[AppKey]]


def plain(diagnosis: Diagnosis | None) -> bool:
    """Whether the evidence is enough to name the cause without waiting for more."""
    return diagnosis is not None and diagnosis.dominant and bool(diagnosis.causes)


def distance(diagnosis: Diagnosis | None) -> int:
    """Hops from the violator to its best cause; very far without one."""
    best = _best(diagnosis)
    return len(best.path) - 1 if best is not None else 1_000


def share_cause(one: Diagnosis | None, other: Diagnosis | None) -> bool:
    """The best cause is the same application (or the same noisy neighbour), or one's way to its cause leads through the other."""
    a, b = _best(one), _best(other)
    if one is not None and b is not None and one.violator in b.path:
        return True
    if other is not None and a is not None and other.violator in a.path:
        return True
    if a is None or b is None:
        return False
    return a.app == b.app or bool(a.neighbour and a.neighbour == b.neighbour and a.node == b.node)


def reaches(start: AppKey, goals: Collection[AppKey], calls: Calls) -> bool:
    """Whether ``start`` calls one of ``goals``, directly or through others."""
    seen, todo = {start}, [start]
    while todo:
        for upstream in calls.get(todo.pop(), ()):
            if upstream in goals:
                return True
            if upstream not in seen:
                seen.add(upstream)
                todo.append(upstream)
    return False


def related(one: Sequence[AppKey], other: Sequence[AppKey], calls: Calls) -> bool:
    """Whether somebody of one side calls somebody of the other: all that is left to go by when no cause is known."""
    return any(reaches(app, other, calls) for app in one) or any(reaches(app, one, calls) for app in other)


def _best(diagnosis: Diagnosis | None) -> Cause | None:
    """The best one that something was followed to: mere suspects join nobody."""
    return next((cause for cause in diagnosis.causes if cause.share > 0), None) if diagnosis is not None else None
