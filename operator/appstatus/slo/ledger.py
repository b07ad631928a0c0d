"""The books of all objectives: fed with each cycle's world, asked for each objective's status."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.model.series import F64
from appstatus.model.world import World
from appstatus.slo import sli
from appstatus.slo.burn import HOUR, Subject, evaluate
from appstatus.slo.history import History, column
from appstatus.slo.record import Records
from appstatus.slo.sli import NEEDED, Events
from appstatus.slo.status import SLOStatus

# Newest steps that may still change: late samples. Neither exported as counters nor trusted after this many cycles without data.
OVERLAP = 3
# An objective that is gone for this long is forgotten; its application may only have been away for a moment.
FORGET = HOUR

Key = tuple[AppKey, str]


class Counted(NamedTuple):
    """Counters to export, so that another leader can read the long windows back."""

    objective: Objective
    good: float
    total: float


@dataclass(slots=True)
class _Row:
    """``meaning``: what the numbers count; when it changes, they are void. ``since``: earliest time with data. ``watched``: an
    agent has looked where the application runs, so its requests would have been seen."""

    index: int
    meaning: tuple[object, ...]
    seen: float
    since: float | None = None
    answered: bool = False
    watched: bool = False


class Ledger:
    """Not thread-safe. ``step``: seconds of the worlds that will be given; ``now``: unix seconds."""

    def __init__(self, step: float, now: float, span: float = 30 * 86400.0) -> None:
        self.history = History(step, span, column(now, step) * step)
        self._rows: dict[Key, _Row] = {}
        self._free: list[int] = []
        self._records = Records()
        self._live: dict[str, set[int]] = {kind: set() for kind in NEEDED}
        self._counted_to: int | None = None
        self._counted_bad = np.zeros(0)
        self._counted_total = np.zeros(0)

    def update(self, world: World, objectives: Sequence[Objective], promql: Mapping[Key, Events] | None = None) -> None:
        """Enters all steps of ``world``; where they are already known, the newest value wins, so late samples correct earlier ones.

        ``promql``: events per step on ``world.times`` for objectives with such an indicator, as ``sli.rates`` makes them.
        Kinds of indicators of which a query failed (``world.missing``) are left out: until it is answered again, their newest steps
        stay unknown and the older ones as they are.
        """
        if len(world.times) == 0:
            return
        self.history.reach(max((objective.window for objective in objectives), default=0.0))
        self.history.advance(float(world.times[-1]))
        self._drop_rows(objectives, world.now)
        usable = self._usable_steps(world)
        rows: list[_Row] = []
        parts: list[Events] = []
        for objective in objectives:
            self._meet(objective.app, world)
            row = self._row(objective, world.now)
            if not row.watched and usable[objective.indicator][-1]:
                row.watched = sli.watched(world.applications.get(objective.app), world)
        for objective, row, found in self._events(world, objectives, promql or {}, usable):
            self._records.answered(objective.app, world.times, found)
            found = self._records.from_judgement_on(objective.app, world.times, found)
            rows.append(row)
            parts.append(found)
            self._note(row, world.times, world.step, found)
        if rows:
            index = np.array([row.index for row in rows], dtype=np.intp)
            good, total = np.vstack([part.good for part in parts]), np.vstack([part.total for part in parts])
            self.history.put(index, world.times, good, total)
        # What cannot be entered now is entered late: counted only then, it is not lost for the next leader.
        if all(mask[-1] for mask in usable.values()):
            self._count()

    def backfill(self, world: World, objectives: Sequence[Objective]) -> None:
        """Enters the past from raw data: a world at a coarser step. Only what lies before an objective's earliest data is taken, so
        chunks go from the newest to the oldest."""
        usable = {kind: self._seen(kind, world) for kind in NEEDED}
        for objective, _, found in self._events(world, objectives, {}, usable):
            self.backfill_events(objective, world.times, world.step, found)

    def backfill_events(self, objective: Objective, times: F64, step: float, found: Events) -> None:
        """Enters the past of one objective: (times,) events in the ``step`` seconds before each of ``times`` (ascending)."""
        row = self._row(objective, self.history.now)
        before = row.since if row.since is not None else self.history.now
        found = self._records.from_birth_on(objective.app, times, step, found)
        self.history.fill(row.index, times, step, found.good, found.total, before)
        inside = times - step < before
        found = Events(found.good[inside], found.total[inside])
        self._note(row, times[inside], step, found)
        self._records.answered(objective.app, times[inside], found)

    def since(self, objective: Objective) -> float | None:
        """The earliest time with data, unix seconds."""
        row = self._rows.get((objective.app, objective.id))
        return row.since if row is not None else None

    def forgive(self, app: AppKey, closed: float) -> None:
        """An incident of the application closed: bad events up to then still cost budget, but cannot open another."""
        self._records.forgive(app, closed)

    def evaluate(self, objectives: Sequence[Objective], now: float) -> dict[AppKey, list[SLOStatus]]:
        """The status of each objective, by application, in the order given.

        A default of the Project is for applications with traffic: it is left out until a request was seen, unless nobody looks.
        """
        subjects = [
            Subject(
                objective,
                self._row(objective, now).index,
                self._records.judged(objective.app),
                self._records.forgiven(objective.app) if objective.post else 0.0,
            )
            for objective in objectives
        ]
        result: dict[AppKey, list[SLOStatus]] = {}
        for subject, status in zip(subjects, evaluate(subjects, self.history, now), strict=True):
            found = result.setdefault(subject.objective.app, [])
            unseen = status.state == "NoData" and not self._row(subject.objective, now).watched
            if subject.objective.source is not None or status.total > 0 or unseen:
                found.append(status)
        return result

    def cumulative(self, objectives: Iterable[Objective]) -> list[Counted]:
        """Good and total events since this process began, without the newest steps, which may still change. Never decreasing."""
        result = []
        for objective in objectives:
            row = self._rows.get((objective.app, objective.id))
            if row is not None and row.index < len(self._counted_total):
                total, bad = float(self._counted_total[row.index]), float(self._counted_bad[row.index])
                result.append(Counted(objective, total - bad, total))
        return result

    # -- what the steps of a world are worth --------------------------------------------------------------------------------------

    def _usable_steps(self, world: World) -> dict[str, NDArray[np.bool_]]:
        """(T,) by kind of indicator. None while a query that it needs was not answered: that query's past is absent from the world
        too, and what was right before would be overwritten with half of the truth. Otherwise the newest steps, and those that were
        the newest at an earlier such moment. Others (after a start or an outage the rings are filled in pieces) only if ``_seen``.
        """
        columns = [column(float(time), world.step) for time in world.times]
        first = columns[0]
        result: dict[str, NDArray[np.bool_]] = {}
        for kind, needed in NEEDED.items():
            live = self._live[kind]
            live.difference_update([number for number in live if number < first])
            if any(query in world.missing for query in needed):
                result[kind] = np.zeros(len(columns), dtype=bool)
                continue
            live.update(columns[-(OVERLAP + 1) :])
            known = np.array([number in live for number in columns])
            if not known.all():
                known |= self._seen(kind, world)
            result[kind] = known
        return result

    @staticmethod
    def _seen(kind: str, world: World) -> NDArray[np.bool_]:
        """(T,) where the answers to all queries of this kind are known of somebody in the cluster: unanswered requests alone would
        look like an outage, and answered ones alone like health."""
        times = len(world.times)
        if not NEEDED[kind]:
            return np.ones(times, dtype=bool)
        served = [application.served for application in world.applications.values()]
        if kind == "latency":
            return _known_of_any((traffic.buckets[-1] for traffic in served if traffic.buckets is not None), times)
        answered = _known_of_any((row for traffic in served for row in traffic.requests.values()), times)
        asked = _known_of_any((row for each in world.connections for row in each.traffic.requests.values()), times)
        # A cluster in which nobody asks anybody has only the servers' side.
        return answered & asked if asked.any() else answered

    def _events(
        self,
        world: World,
        objectives: Sequence[Objective],
        promql: Mapping[Key, Events],
        usable: Mapping[str, NDArray[np.bool_]],
    ) -> Iterable[tuple[Objective, _Row, Events]]:
        for objective in objectives:
            row = self._row(objective, world.now)
            found: Events | None
            if objective.indicator == "promql":
                found = promql.get((objective.app, objective.id))
            else:
                application = world.applications.get(objective.app)
                found = sli.events(objective, application, world, answered_before=row.answered) if application is not None else None
            if found is not None:
                mask = usable[objective.indicator]
                if not mask.all():
                    found = Events(np.where(mask, found.good, np.nan), np.where(mask, found.total, np.nan))
                yield objective, row, found

    def _meet(self, app: AppKey, world: World) -> None:
        application = world.applications.get(app)
        if application is None:
            return
        if self._records.is_another(application):
            for (owner, _), row in self._rows.items():
                if owner == app:
                    self._wipe(row.index)
                    row.since, row.answered = None, False
        self._records.look(application, world)

    # -- rows ---------------------------------------------------------------------------------------------------------------------

    def _row(self, objective: Objective, now: float) -> _Row:
        key = (objective.app, objective.id)
        meaning = _meaning(objective)
        row = self._rows.get(key)
        if row is None:
            index = self._free.pop() if self._free else len(self._rows)
            self.history.reserve(index + 1)
            row = self._rows[key] = _Row(index, meaning, now)
        elif row.meaning != meaning:
            self._wipe(row.index)
            row = self._rows[key] = _Row(row.index, meaning, now)
        return row

    def _drop_rows(self, objectives: Sequence[Objective], now: float) -> None:
        for objective in objectives:
            self._row(objective, now).seen = now
        for key in [key for key, row in self._rows.items() if now - row.seen > FORGET]:
            row = self._rows.pop(key)
            self._wipe(row.index)
            self._free.append(row.index)
        self._records.forget({app for app, _ in self._rows})

    def _wipe(self, index: int) -> None:
        self.history.clear(index)
        if index < len(self._counted_total):
            self._counted_total[index] = self._counted_bad[index] = 0.0

    def _note(self, row: _Row, times: F64, step: float, found: Events) -> None:
        known = np.flatnonzero(~np.isnan(found.total))
        if len(known):
            begin = float(times[known[0]]) - step
            row.since = begin if row.since is None else min(row.since, begin)
            row.answered = row.answered or bool((found.good[known] > 0).any())

    def _count(self) -> None:
        fine = self.history.fine
        upto = fine.end - OVERLAP
        if len(self._counted_total) < self.history.capacity:
            grown = (np.zeros(self.history.capacity), np.zeros(self.history.capacity))
            for new, old in zip(grown, (self._counted_bad, self._counted_total), strict=True):
                new[: len(old)] = old
            self._counted_bad, self._counted_total = grown
        if self._counted_to is not None and upto > self._counted_to:
            part = slice(max(self._counted_to + 1 - fine.first, 0), upto - fine.first + 1)
            self._counted_bad += np.clip(fine.bad[:, part], 0, None).sum(axis=1, dtype=np.float64)
            self._counted_total += fine.total[:, part].sum(axis=1, dtype=np.float64)
        self._counted_to = upto if self._counted_to is None else max(upto, self._counted_to)


def _known_of_any(rows: Iterable[F64], times: int) -> NDArray[np.bool_]:
    seen = np.zeros(times, dtype=bool)
    for row in rows:
        seen |= ~np.isnan(row)
        if seen.all():
            break
    return seen


def _meaning(objective: Objective) -> tuple[object, ...]:
    return (
        objective.indicator,
        objective.threshold,
        objective.bad_statuses,
        objective.query_good,
        objective.query_bad,
        objective.query_total,
    )
