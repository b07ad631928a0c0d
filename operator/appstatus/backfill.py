"""The past of an SLO's window, read once after the start (and once for each new SLO): what earlier leaders counted where they did,
else raw data; in chunks of a day at most, the newest first, one at a time, in the background."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.model.build import build
from appstatus.model.queries import BACKFILL, Query
from appstatus.model.series import Metrics, Series
from appstatus.model.world import World
from appstatus.slo.ledger import Ledger
from appstatus.slo.sli import Events, rates
from appstatus.sources.prometheus import WINDOW, Prometheus
from appstatus.sources.promhttp import QueryFailed
from appstatus.sources.promql import PromQL

log = logging.getLogger(__name__)

HOUR, DAY = 3600.0, 86400.0
# Of one chunk, all of its queries together, seconds.
TIMEOUT = 300.0
# Least part of a chunk that the exported counters must cover to make raw data unnecessary.
COVERED = 0.9
# A Prometheus that scrapes the operator without honor_labels renames the label that its own target labels already have.
_BY = ("namespace", "exported_namespace", "application", "slo")  # in the order in which ``_rows`` reads them
EXPORTED: tuple[Query, ...] = tuple(
    Query(name, f"sum by ({', '.join(_BY)}) (rate(appstatus_slo_{name}_total[$RANGE]))", _BY, "SLO history")
    for name in ("good", "events")
)
Key = tuple[AppKey, str]


@dataclass(frozen=True, slots=True)
class Chunk:
    start: float
    end: float
    step: float


def plan(now: float, window: float) -> Iterator[Chunk]:
    """Newest first, from where the ring matrices end; the resolutions are about those in which the ledger keeps them."""
    end = now - WINDOW
    for length, reach, step in ((2.5 * HOUR, 6 * HOUR, 60.0), (6 * HOUR, 3 * DAY, 300.0), (DAY, float("inf"), HOUR)):
        while now - end < min(reach, window):
            start = max(end - length, now - window)
            yield Chunk(start, end, step)
            end = start


@dataclass(slots=True)
class _Fetched:
    chunk: Chunk
    exported: Metrics
    raw: Metrics | None
    promql: dict[Key, Events]


class Backfill:
    """Of one store. ``tick`` is called by the audit in each cycle and never waits."""

    def __init__(self, prometheus: Prometheus, promql: PromQL, ledger: Ledger) -> None:
        self._prometheus = prometheus
        self._promql = promql
        self._ledger = ledger
        self._done: set[Key] = set()
        self._running: list[Objective] = []
        self._chunks: list[Chunk] = []
        self._future: Future[_Fetched] | None = None
        self._failures = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backfill")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def tick(self, objectives: list[Objective], world: World) -> None:
        """Takes a finished chunk in and starts the next one. ``world``: of this cycle."""
        if self._future is not None:
            if not self._future.done():
                return
            future, self._future = self._future, None
            self._take(future, world.now)
        if not self._running:
            self._running = [objective for objective in objectives if (objective.app, objective.id) not in self._done]
            if not self._running:
                return
            self._chunks = list(plan(world.now, max(objective.window for objective in self._running)))
            self._failures = 0
        if not self._chunks:
            log.info("Read the past of %d SLOs back", len(self._running))
            self._done.update((objective.app, objective.id) for objective in self._running)
            self._done.intersection_update({(objective.app, objective.id) for objective in objectives})
            self._running = []
            return
        chunk = self._chunks[0]
        # Raw data of the whole cluster are not read for the sake of an application that did not exist then.
        apps = {objective.app: world.applications.get(objective.app) for objective in self._running}
        young = {key for key, app in apps.items() if app is not None and (app.created or 0.0) > chunk.end}
        self._future = self._pool.submit(self._fetch, chunk, list(self._running), young)

    def _fetch(self, chunk: Chunk, objectives: list[Objective], young: set[AppKey]) -> _Fetched:
        exported = self._prometheus.chunk(EXPORTED, chunk.start, chunk.end, chunk.step, TIMEOUT)
        known = _exported(exported)
        missing = [o for o in objectives if o.indicator != "promql" and o.app not in young and not _covers(known.get(_name(o)))]
        raw = self._prometheus.chunk(BACKFILL, chunk.start, chunk.end, chunk.step, TIMEOUT) if missing else None
        promql = {}
        for objective in objectives:
            if objective.indicator == "promql" and not _covers(known.get(_name(objective))):
                try:
                    found = self._promql.past(objective, chunk.start, chunk.end, chunk.step)
                except QueryFailed:
                    continue  # its owner hears of it from the evaluation of the present
                promql[objective.app, objective.id] = rates(found.good, found.bad, found.total, chunk.step)
        return _Fetched(chunk, exported, raw, promql)

    def _take(self, future: "Future[_Fetched]", now: float) -> None:
        try:
            fetched = future.result()
        except QueryFailed as error:
            self._failures += 1
            # A store that cannot answer a day of the past (too much data, beyond its retention) must not be asked for ever.
            if self._failures >= 5:
                log.warning("The past before chunk %s is given up: %s", self._chunks[0], error.reason)
                self._chunks = []
            return
        self._failures = 0
        self._chunks.pop(0)
        known = _exported(fetched.exported)
        times = fetched.exported.times
        uncovered: list[Objective] = []
        for objective in self._running:
            found = known.get(_name(objective))
            if found is not None and _covers(found):
                self._ledger.backfill_events(objective, times, fetched.chunk.step, found)
            elif objective.indicator == "promql":
                found = fetched.promql.get((objective.app, objective.id))
                if found is not None:
                    self._ledger.backfill_events(objective, times, fetched.chunk.step, found)
            else:
                uncovered.append(objective)
        if uncovered and fetched.raw is not None:
            self._ledger.backfill(build(self._prometheus.who, fetched.raw, now), uncovered)


def _name(objective: Objective) -> tuple[str, str, str]:
    return objective.app.namespace, objective.app.status_name, objective.id


def _exported(metrics: Metrics) -> dict[tuple[str, str, str], Events]:
    """Good and total events per step, by (namespace, application, SLO)."""
    good, total = _rows(metrics.get("good")), _rows(metrics.get("events"))
    step = metrics.step  # rates are per second
    return {name: Events(np.minimum(good[name], total[name]) * step, total[name] * step) for name in total if name in good}


def _rows(series: Series) -> dict[tuple[str, str, str], np.ndarray]:
    return {
        (exported or namespace, application, slo): row
        for (namespace, exported, application, slo), row in zip(series.keys, series.values, strict=True)
    }


def _covers(events: Events | None) -> bool:
    return events is not None and float(np.mean(~np.isnan(events.total))) >= COVERED
