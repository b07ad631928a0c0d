"""Indicators that users write in PromQL: own connection, own thread, own time-out, slower cadence. A slow query delays neither the
audit nor other users' queries by more than its time-out."""

import logging
import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.model.series import F64
from appstatus.sources.promhttp import Connection, Endpoint, QueryFailed, decode

log = logging.getLogger(__name__)

TIMEOUT = 5.0
CADENCE = 30.0
# Steps that are asked for again each time.
OVERLAP = 3
Key = tuple[AppKey, str]


@dataclass(slots=True)
class Rates:
    """Events/s of one objective on the columns ``first .. first + len - 1`` (unix time / step). ``good`` or ``bad`` is None."""

    first: int
    good: F64 | None
    bad: F64 | None
    total: F64


@dataclass(slots=True)
class _Job:
    objective: Objective
    due: float = 0.0
    have_to: int = -1
    rates: list[Rates] = field(default_factory=list)
    problem: tuple[str, str] | None = None  # reason, message: the query is wrong, its owner must hear of it
    failure: str = ""  # it could not be answered this time


class PromQL:
    """``want`` and ``take`` are called by the audit; the queries run in a thread of their own."""

    def __init__(self, endpoint: Endpoint, step: float, columns: int) -> None:
        self._connection = Connection(endpoint)
        self._step = step
        self._columns = columns
        self._lock = threading.Lock()
        self._jobs: dict[Key, _Job] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._now = 0.0

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def reconnect(self, endpoint: Endpoint) -> None:
        self._connection.use(endpoint)

    def want(self, objectives: Iterable[Objective], now: float) -> None:
        """The promql objectives that are evaluated at present."""
        wanted = {(objective.app, objective.id): objective for objective in objectives if objective.indicator == "promql"}
        with self._lock:
            for key in [key for key in self._jobs if key not in wanted]:
                del self._jobs[key]
            for key, objective in wanted.items():
                if key not in self._jobs or queries_of(self._jobs[key].objective) != queries_of(objective):
                    self._jobs[key] = _Job(objective)
            self._now = now
        if wanted and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="promql", daemon=True)
            self._thread.start()
        self._wake.set()

    def take(self) -> tuple[dict[Key, list[Rates]], dict[Key, tuple[str, str]]]:
        """New rates since the last call, and the objectives whose queries are wrong: (reason, message)."""
        with self._lock:
            rates = {key: job.rates for key, job in self._jobs.items() if job.rates}
            for key in rates:
                self._jobs[key].rates = []
            return rates, {key: job.problem for key, job in self._jobs.items() if job.problem is not None}

    def run_due(self) -> None:
        """Runs every query that is due, one after another."""
        with self._lock:
            now = self._now
            due = sorted((job for job in self._jobs.values() if job.due <= now), key=lambda job: job.due)
        for job in due:
            if self._closed:
                return
            self._ask(job, now)

    def past(self, objective: Objective, start: float, end: float, step: float) -> Rates:
        """Rates on the multiples of ``step`` in (start, end], for the back-fill. Raises QueryFailed."""
        return self._rates(objective, math.floor(start / step) + 1, math.floor(end / step), step)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            self.run_due()

    def _ask(self, job: _Job, now: float) -> None:
        end = math.floor(now / self._step)
        first = max(end - self._columns + 1, job.have_to + 1 - OVERLAP) if job.have_to >= 0 else end - self._columns + 1
        problem: tuple[str, str] | None = None
        rates: Rates | None = None
        try:
            rates = self._rates(job.objective, first, end, self._step)
        except QueryFailed as error:
            if error.kind in ("rejected", "many"):
                problem = ("InvalidQuery" if error.kind == "rejected" else "NotOneSeries", error.reason)
            else:
                log.warning("SLO %s of %s: %s", job.objective.id, job.objective.app, error.reason)
        with self._lock:
            # A wrong query is asked again less often: it may be right one day, when the metric has another type.
            job.due = now + max(CADENCE, 2 * self._step) * (10 if problem else 1)
            job.problem = problem
            if rates is not None:
                job.rates.append(rates)
                job.have_to = end

    def _rates(self, objective: Objective, first: int, last: int, step: float) -> Rates:
        until = time.monotonic() + TIMEOUT

        def one(name: str, expr: str | None) -> F64 | None:
            if expr is None:
                return None
            parts = self._connection.query_range(expr, first * step, last * step, step, until - time.monotonic())
            answer = [series for part in parts for series in part]
            if len(answer) > 1:
                labels = ", ".join(sorted({label for series in answer[:20] for label in series["metric"]}))
                raise QueryFailed("many", f"{name} gives {len(answer)} series (by {labels}); it must give one: wrap it in sum(...)")
            _, block = decode(answer, (), first * step, step, last - first + 1)
            return block[0] if len(block) else np.full(last - first + 1, np.nan)

        try:
            total = one("total", objective.query_total)
            good, bad = one("good", objective.query_good), one("bad", objective.query_bad)
        except QueryFailed as error:
            if error.kind == "rejected":
                raise QueryFailed("rejected", f"Prometheus rejects the query: {error.reason}") from error
            raise
        assert total is not None
        if bad is not None:
            # A counter of failures that never failed does not exist yet: no series beside a total is none bad.
            bad = np.where(np.isnan(bad) & ~np.isnan(total), 0.0, bad)
        return Rates(first, good, bad, total)


def queries_of(objective: Objective) -> tuple[str | None, ...]:
    return objective.query_good, objective.query_bad, objective.query_total
