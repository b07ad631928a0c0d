"""Metrics in: the whole query table each cycle, only for what is new, into ring matrices on one grid.

No exception leaves ``update``: a query without a full answer is named in ``Metrics.failed`` with its reason, and whoever judges by
it says Unknown.
"""

import logging
import math
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from appstatus.model import queries
from appstatus.model.series import F64, Metrics, Series
from appstatus.sources.promhttp import Connection, Endpoint, QueryFailed, decode
from appstatus.sources.ring import Ring

log = logging.getLogger(__name__)

# Seconds of the past that a cycle sees.
WINDOW = 3600.0
# Steps that each cycle asks for again: a scrape that was slow to be stored would otherwise be missing for good.
OVERLAP = 3
# Most samples in one answer, about: bounds time and memory while the past is filled. Many series are asked for in short pieces.
POINTS = 60_000
CONCURRENCY = 4
FRESHNESS = "agent_sample_time"


@dataclass(slots=True)
class _Track:
    """One query of the table: its ring and the columns it has been asked for without a gap."""

    query: queries.Query
    ring: Ring
    have_from: int = sys.maxsize
    have_to: int = -1

    @property
    def piece(self) -> int:
        """Columns to ask for at once; few while nobody knows how many series there are."""
        return max(POINTS // len(self.ring), OVERLAP + 1) if len(self.ring) else OVERLAP + 1


class Prometheus:
    """One store, asked for one query table. Not thread-safe: one cycle at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        step: float,
        *,
        table: Iterable[queries.Query] = queries.QUERIES,
        window: float = WINDOW,
        deadline: float | None = None,
    ) -> None:
        self.step = step
        self.deadline = deadline if deadline is not None else 0.8 * step
        self.connection = Connection(endpoint)
        self.columns = max(int(window // step), 2)
        self._table = tuple(table)
        self._tracks: list[_Track] = []
        self._pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="prometheus")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()

    def update(self, now: float) -> Metrics:
        """What the store knows up to ``now``. The newest columns first; older ones as far as the deadline allows."""
        end = math.floor(now / self.step)
        if not self._tracks:
            self._tracks = [_Track(query, Ring(query.by, self.columns, end)) for query in self._table]
        start = end - self.columns + 1
        until = time.monotonic() + self.deadline
        for track in self._tracks:
            track.ring.advance(end)
        failed = self._fetch({track.query.id: (track, *self._newest(track, end)) for track in self._tracks}, until)
        # Filling the past is worth half of the time at most: the present must never be late for it.
        while time.monotonic() < until - self.deadline / 2:
            older = {
                track.query.id: (track, max(track.have_from - track.piece, start), track.have_from - 1)
                for track in self._tracks
                if track.query.id not in failed and track.have_from > start
            }
            if not older or self._fetch(older, until):
                break
        return self._metrics(end, failed)

    @property
    def filled(self) -> bool:
        """Whether the whole window has been asked for."""
        return bool(self._tracks) and all(track.have_from <= track.ring.end - self.columns + 1 for track in self._tracks)

    def at(self, now: float, patience: float = 120.0) -> Metrics:
        """One complete look, as a command line wants it: like ``update``, but waits until the window is full or a query fails."""
        give_up = time.monotonic() + patience
        metrics = self.update(now)
        while not metrics.failed and not self.filled and time.monotonic() < give_up:
            metrics = self.update(now)
        return metrics

    def chunk(self, table: Iterable[queries.Query], start: float, end: float, step: float, timeout: float) -> Metrics:
        """One chunk of the past at a coarser step, outside the rings. Raises QueryFailed if any query of it fails.

        The grid's columns are the multiples of ``step`` in (start, end]; each rate is the mean over the step before it.
        """
        first, last = math.floor(start / step) + 1, math.floor(end / step)
        series: dict[str, Series] = {}
        until = time.monotonic() + timeout
        for query in table:
            ring = Ring(query.by, last - first + 1, last)
            begin, piece = first, OVERLAP + 1
            while begin <= last:
                stop = min(begin + piece - 1, last)
                answer = self.connection.query_range(_expr(query, step), begin * step, stop * step, step, until - time.monotonic())
                ring.merge(*decode(answer, query.by, begin * step, step, stop - begin + 1), begin)
                begin, piece = stop + 1, max(POINTS // max(len(ring), 1), OVERLAP + 1)
            series[query.id] = ring.series()
        return Metrics(_grid(first, last, step), step, series, {}, None)

    def _newest(self, track: _Track, end: int) -> tuple[int, int]:
        if track.have_to < 0:
            return end - min(track.piece, self.columns) + 1, end
        return max(track.have_to + 1 - OVERLAP, end - max(track.piece, OVERLAP + 1) + 1), end

    def _fetch(self, wanted: dict[str, tuple[_Track, int, int]], until: float) -> dict[str, str]:
        """Asks for columns [first, last] of each; what was not answered, with the reason."""
        broken: list[str] = []

        def ask(track: _Track, first: int, last: int) -> tuple[list[tuple[str, ...]], F64] | str:
            if broken:
                return broken[0]
            left = until - time.monotonic()
            if left <= 0.05:
                return f"not asked: the {self.deadline:.0f} s of the cycle were used up by other queries"
            try:
                start, end = first * self.step, last * self.step
                answer = self.connection.query_range(_expr(track.query, self.step), start, end, self.step, left)
                return decode(answer, track.query.by, start, self.step, last - first + 1)
            except QueryFailed as error:
                if error.kind == "unreachable":
                    broken.append(error.reason)  # nobody else needs to wait for the same time-out
                return error.reason
            except Exception as error:  # an answer that no parser foresaw must not end the cycle
                log.exception("The answer to query %s could not be read", track.query.id)
                return f"unreadable answer: {error}"

        futures = {qid: self._pool.submit(ask, *request) for qid, request in wanted.items()}
        failed: dict[str, str] = {}
        for qid, (track, first, last) in wanted.items():
            answer = futures[qid].result()
            if isinstance(answer, str):
                failed[qid] = answer
                continue
            track.ring.merge(*answer, first)
            if track.have_to < first - 1 or track.have_to < 0:
                track.have_from = first
            track.have_from = min(track.have_from, first)
            track.have_to = max(track.have_to, last)
        return failed

    def _metrics(self, end: int, failed: dict[str, str]) -> Metrics:
        series = {track.query.id: track.ring.series() for track in self._tracks if track.query.id not in failed}
        times = _grid(end - self.columns + 1, end, self.step)
        newest = None
        fresh = series.get(FRESHNESS)
        if fresh is not None and fresh.values.size and not np.isnan(fresh.values).all():
            newest = float(np.nanmax(fresh.values))
        return Metrics(times, self.step, series, failed, newest)


def _grid(first: int, last: int, step: float) -> F64:
    return np.arange(first, last + 1, dtype=np.float64) * step


def _expr(query: queries.Query, step: float) -> str:
    window = f"{queries.window(step):g}"
    return query.expr.replace("$RANGE", f"{window}s").replace("$SECONDS", window)
