"""Which instance is the odd one: what has changed at it and not at its peers.

Replicas of one application do the same work, so what befalls all of them (more load, a slow dependency) shows at all of them; what
is broken at one shows at that one. A metric speaks by the part of the incident during which it is off (beyond three of the scales
of ``shift.py``): a cause is there from the onset on, what follows from it comes later, and what is off by chance goes back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.slo import BAD_STATUSES
from appstatus.diagnosis.classes import classify
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.flow import Mode, Source
from appstatus.diagnosis.onset import Windows
from appstatus.diagnosis.result import Cause, Evidence
from appstatus.diagnosis.shift import LEAST_INCIDENT, LEAST_REFERENCE, RELATIVE_FLOOR, THRESHOLD
from appstatus.diagnosis.signals import Signals
from appstatus.diagnosis.suspects import reach
from appstatus.inspections.result import CheckResult
from appstatus.model.series import F64
from appstatus.model.world import Application, Instance, add

SHARED = 0.7  # so much less does it say about one instance what its peers show as well
NAMED = 0.5  # weight from which on the oddest instance is named as the place within an application
# Weights: of what an instance itself uses, of what others may do to it, of what tells the class only: errors are handed on.
INSIDE, OUTSIDE, SYMPTOM = 2.0, 1.0, 0.0


class Metric(NamedTuple):
    """``of``: (T,) values of an instance, None where unknown; ``way``: 1 up, -1 down; ``floor``: least scale, in ``unit``."""

    of: Callable[[Instance, int], F64 | None]
    way: int
    weight: float
    floor: float
    unit: str


def _containers(name: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        known = [v for c in instance.containers.values() if (v := getattr(c, name)) is not None]
        return known[0] if len(known) == 1 else add(known, times) if known else None

    return of


def _rate(side: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        traffic = getattr(instance, side)
        return traffic.total(times) if traffic is not None else None

    return of


def _mean(side: str) -> Callable[[Instance, int], F64 | None]:
    def of(instance: Instance, times: int) -> F64 | None:
        traffic = getattr(instance, side)
        return traffic.mean() if traffic is not None else None

    return of


def _failing(instance: Instance, times: int) -> F64 | None:
    """Share of its answers that are errors."""
    bad = [row for status, row in instance.served.requests.items() if status in BAD_STATUSES] if instance.served else []
    if not instance.served or not bad:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        return add(bad, times) / instance.served.total(times)


METRICS: dict[str, Metric] = {
    "instance-cpu": Metric(_containers("cpu_usage"), 1, INSIDE, 0.05, "cores"),
    "instance-memory": Metric(_containers("memory_rss"), 1, INSIDE, 2e7, "bytes"),
    "instance-sends-less": Metric(_containers("bytes_sent"), -1, INSIDE, 1.0, "bytes/s"),
    "instance-receives-less": Metric(_containers("bytes_received"), -1, OUTSIDE, 1.0, "bytes/s"),
    "instance-serves-less": Metric(_rate("served"), -1, OUTSIDE, 0.05, "req/s"),
    "instance-calls-less": Metric(_rate("calls"), -1, OUTSIDE, 0.05, "req/s"),
    "instance-waits": Metric(_mean("calls"), 1, INSIDE, 0.002, "s"),
    "instance-slow": Metric(_mean("served"), 1, OUTSIDE, 0.002, "s"),
    "instance-fails": Metric(_failing, 1, SYMPTOM, 0.02, ""),
}


@dataclass(slots=True)
class Odd:
    """``off``: metric -> part of the incident it is off at this instance; ``weight``: of all of it together."""

    app: Application
    instance: Instance
    off: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0

    @property
    def corroborated(self) -> bool:
        """One metric can be off by chance; two of one instance, as much as if one inside it had been off all the time, are not."""
        return len(self.off) > 1 and self.weight >= INSIDE


def odd(accounts: Accounts, apps: Iterable[Application], violator: Application) -> list[Odd]:
    """Instances at which something is off, the oddest first. What others do to the violator is what is to be explained."""
    times = len(accounts.world.times)
    members = [Odd(app, instance) for app in apps for instance in app.instances.values() if not instance.obsolete]
    replicas: dict[AppKey, list[int]] = {}
    for i, member in enumerate(members):
        replicas.setdefault(member.app.key, []).append(i)
    for name, metric in METRICS.items():
        parts = _off([metric.of(m.instance, times) for m in members], accounts.windows, metric)
        for i, member in enumerate(members):
            if not parts[i]:
                continue
            peers = [j for j in replicas[member.app.key] if j != i]
            shared = float(parts[peers].mean()) if peers else 0.0
            weight = 0.0 if member.app is violator and metric.weight == OUTSIDE else metric.weight
            member.off[name] = float(parts[i])
            member.weight += weight * member.off[name] * (1.0 - SHARED * shared)
    return sorted((m for m in members if m.off), key=lambda m: m.weight, reverse=True)


def _off(rows: list[F64 | None], windows: Windows, metric: Metric) -> F64:
    """(R,) part of the incident, 0..1, in which each row (T,) is off its reference to its side by more than `THRESHOLD` scales."""
    parts = np.zeros(len(rows))
    known = [i for i, row in enumerate(rows) if row is not None]
    if not known:
        return parts
    matrix = np.vstack([row for row in rows if row is not None])
    before, during = np.sort(matrix[:, windows.reference], axis=1), matrix[:, windows.incident]
    counts, samples = (~np.isnan(before)).sum(axis=1), (~np.isnan(during)).sum(axis=1)
    enough = (counts >= LEAST_REFERENCE) & (samples >= LEAST_INCIDENT)
    if not enough.any():
        return parts
    low, median, high = (before[np.arange(len(before)), (q * np.maximum(counts - 1, 0)).astype(int)] for q in (0.25, 0.5, 0.75))
    scale = np.maximum(np.maximum(high - low, RELATIVE_FLOOR * np.abs(median)), metric.floor)
    beyond = metric.way * (during - median[:, None]) > THRESHOLD * scale[:, None]
    parts[known] = np.where(enough, beyond.sum(axis=1) / np.maximum(samples, 1), 0.0)
    return parts


def located(
    accounts: Accounts,
    violator: Application,
    causes: Sequence[Cause],
    checks: Mapping[AppKey, Sequence[CheckResult]],
    most: int,
    thin: bool,
) -> list[Cause]:
    """At most so many, with instances: the causes as they are, then what else is odd. Where the evidence is ``thin``, shares say
    little, and corroborated odd instances come first."""
    paths = reach(accounts, violator)
    found = odd(accounts, [accounts.world.applications[key] for key in paths], violator)
    by_app = {cause.app: cause for cause in reversed(causes)}
    first = [o for o in found if o.corroborated] if thin else []
    replaced = {id(by_app.get(o.app.key)) for o in first}
    rest = [cause for cause in causes if id(cause) not in replaced]
    known = {o.app.key for o in first} | set(by_app)
    order: list[Cause | Odd] = [*first, *rest, *(o for o in found if o.app.key not in known)]
    oddest: dict[AppKey, list[Odd]] = {}
    for each in found:
        oddest.setdefault(each.app.key, []).append(each)

    def told(what: Cause | Odd) -> Cause:
        if isinstance(what, Cause):
            return _at(what, oddest.get(what.app, []))
        known = by_app.get(what.app.key) if oddest[what.app.key][0] is what else None
        return _cause(accounts, violator, what, paths[what.app.key], known, checks)

    return [told(what) for what in order[:most]]


def _at(cause: Cause, members: Sequence[Odd]) -> Cause:
    """``members``: its instances at which something is off, the oddest first. One that is like the next one does not stand out."""
    if cause.instance or not members or members[0].weight - (members[1].weight if len(members) > 1 else 0.0) < NAMED:
        return cause
    oddest = members[0].instance
    return replace(cause, instance=oddest.name, node=cause.node or oddest.node)


def _cause(
    accounts: Accounts,
    violator: Application,
    each: Odd,
    path: tuple[AppKey, ...],
    known: Cause | None,
    checks: Mapping[AppKey, Sequence[CheckResult]],
) -> Cause:
    """``known``: what was found of its application."""
    mode: Mode = "failures" if known is not None and known.mode == "failures" else "seconds"
    signals = Signals(accounts, Source(each.app.key, "own", mode, 0.0, path), violator, checks)
    facts = {name: _fact(accounts, each, name) for name in each.off}
    rule = classify({**facts, **{name: signals.found[name] for name in signals.causes}})
    evidence = [facts[s] for s in (*rule.every, *rule.some) if s in facts]
    evidence += [fact for fact in facts.values() if fact not in evidence]
    return Cause(
        each.app.key,
        rule.klass,
        known.share if known else 0.0,
        known.path if known else path,
        tuple(evidence),
        each.instance.name,
        each.instance.node,
        mode=mode,
    )


def _fact(accounts: Accounts, each: Odd, name: str) -> Evidence:
    metric = METRICS[name]
    before, during = accounts.levels(metric.of(each.instance, len(accounts.world.times)))
    return Evidence(name, each.instance.name, before, during, metric.unit, THRESHOLD * each.off[name])
