"""Metrics in: the whole query table each cycle, only for what is new, into ring matrices on one grid.

No exception leaves ``update``: a query without a full answer is named in ``Metrics.failed`` with its reason, and whoever judges by
it says Unknown.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from appstatus.model import queries
from appstatus.model.facts import Facts
from appstatus.model.series import F64, Key, Metrics, Series
from appstatus.model.who import Who
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
# Columns asked for at once: at first, while nobody knows how many series there are, and at most. A short answer may have cost the
# server much: it reads the zeros that are left out too.
FEW, MOST = OVERLAP + 1, 32
FRESHNESS = "agent_sample_time"

# Tells who is who from the answers to ``queries.IDENTITY``.
Identify = Callable[[Metrics], Who]


@dataclass(slots=True)
class _Track:
    """One query of the table: its ring, the columns it has been asked for without a gap, and how many may be asked for at once."""

    query: queries.Query
    ring: Ring
    have_from: int = sys.maxsize
    have_to: int = -1
    piece: int = FEW

    def take(self, keys: list[Key], block: F64, count: int, first: int, last: int) -> None:
        self.ring.merge(keys, block, first)
        self.piece = _larger(self.piece, count)
        if self.have_to < first - 1 or self.have_to < 0:
            self.have_from = first
        self.have_from = min(self.have_from, first)
        self.have_to = max(self.have_to, last)


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
        self.who = Who(Facts(), Metrics(np.empty(0), step, {}, {}, None))
        self._pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="prometheus")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()

    def update(self, now: float, identify: Identify) -> Metrics:
        """What the store knows up to ``now``. The newest columns first; older ones as far as the deadline allows."""
        end = math.floor(now / self.step)
        if not self._tracks:
            self._tracks = [_Track(query, Ring(self.columns, end)) for query in self._table]
        until = time.monotonic() + self.deadline
        for track in self._tracks:
            track.ring.advance(end)
        # Who is who comes first: by it the rows of the others are told. Their last answers will do for a while.
        first = [track for track in self._tracks if track.query.id in (*queries.IDENTITY, FRESHNESS)]
        others = [track for track in self._tracks if track not in first]
        failed = self._read(first, end, until)
        former, self.who = self.who, identify(self._metrics(end, {}, first))
        self.who.follow(former, end, min((self._newest(track, end)[0] for track in others), default=end))
        unknown = next((t.query.id for t in first if t.query.id in queries.IDENTITY and t.have_to < 0), None)
        if unknown is None:
            failed |= self._read(others, end, until)
        else:
            failed |= {track.query.id: f"not asked: query {unknown} failed: {failed[unknown]}" for track in others}
        return self._metrics(end, failed, self._tracks)

    @property
    def filled(self) -> bool:
        """Whether the whole window has been asked for."""
        return bool(self._tracks) and all(track.have_from <= track.ring.end - self.columns + 1 for track in self._tracks)

    def at(self, now: float, identify: Identify, patience: float = 120.0) -> Metrics:
        """One complete look, as a command line wants it: like ``update``, but waits until the window is full or a query fails."""
        give_up = time.monotonic() + patience
        metrics = self.update(now, identify)
        while not metrics.failed and not self.filled and time.monotonic() < give_up:
            metrics = self.update(now, identify)
        return metrics

    def chunk(self, table: Iterable[queries.Query], start: float, end: float, step: float, timeout: float) -> Metrics:
        """One chunk of the past at a coarser step, outside the rings, told by who is who now. Raises QueryFailed if any query of it
        fails.

        The grid's columns are the multiples of ``step`` in (start, end]; each rate is the mean over the step before it.
        """
        who, first, last = self.who, math.floor(start / step) + 1, math.floor(end / step)
        series: dict[str, Series] = {}
        until = time.monotonic() + timeout
        for query in table:
            ring = Ring(last - first + 1, last)
            begin, piece = first, FEW
            while begin <= last:
                stop = min(begin + piece - 1, last)
                keys, block, count = self._ask(who, query, begin, stop, step, until - time.monotonic())
                ring.merge(keys, block, begin)
                begin, piece = stop + 1, _larger(piece, count)
            series[query.id] = Series(ring.keys(), ring.values())
        return Metrics(_grid(first, last, step), step, series, {}, None)

    def _read(self, tracks: list[_Track], end: int, until: float) -> dict[str, str]:
        """What these tracks do not have yet; the queries that were not answered, with the reason."""
        start = end - self.columns + 1
        failed = self._fetch({track.query.id: (track, *self._newest(track, end)) for track in tracks}, until)
        # Filling the past is worth half of the time at most: the present must never be late for it.
        while time.monotonic() < until - self.deadline / 2:
            older = {
                track.query.id: (track, max(track.have_from - track.piece, start), track.have_from - 1)
                for track in tracks
                if track.query.id not in failed and track.have_from > start
            }
            if not older or self._fetch(older, until):
                break
        return failed

    def _newest(self, track: _Track, end: int) -> tuple[int, int]:
        if track.have_to < 0:
            return end - min(track.piece, self.columns) + 1, end
        return max(track.have_to + 1 - OVERLAP, end - track.piece + 1), end

    def _fetch(self, wanted: dict[str, tuple[_Track, int, int]], until: float) -> dict[str, str]:
        """Asks for columns [first, last] of each; what was not answered, with the reason."""
        broken: list[str] = []

        def ask(track: _Track, first: int, last: int) -> tuple[list[Key], F64, int] | str:
            if broken:
                return broken[0]
            left = until - time.monotonic()
            if left <= 0.05:
                return f"not asked: the {self.deadline:.0f} s of the cycle were used up by other queries"
            try:
                return self._ask(self.who, track.query, first, last, self.step, left)
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
            # Popped: what has been merged need not wait for the others.
            answer = futures.pop(qid).result()
            if isinstance(answer, str):
                failed[qid] = answer
                if last - first + 1 > 2 * FEW:  # not the few of every cycle: it may have been too much
                    track.piece = max((last - first + 1) // 4, FEW)
            else:
                track.take(*answer, first, last)
        return failed

    def _ask(
        self, who: Who, query: queries.Query, first: int, last: int, step: float, timeout: float
    ) -> tuple[list[Key], F64, int]:
        """Columns [first, last] of a query: keys and values of the rows to keep, and the number of series. Raises QueryFailed."""
        columns = last - first + 1
        answer = self.connection.query_range(_expr(query, step), first * step, last * step, step, timeout)
        parts = (decode(part, query.by, first * step, step, columns) for part in answer)
        # Only a cycle's columns have the numbers by which ``who`` knows what was read before.
        return who.fold(query, parts, columns, first if step == self.step else None)

    def _metrics(self, end: int, failed: dict[str, str], tracks: list[_Track]) -> Metrics:
        start = end - self.columns + 1
        series = {
            track.query.id: Series(track.ring.keys(), track.ring.values(), max(track.have_from - start, 0))
            for track in tracks
            if track.query.id not in failed
        }
        newest = None
        fresh = series.get(FRESHNESS)
        if fresh is not None and fresh.values.size and not np.isnan(fresh.values).all():
            newest = float(np.nanmax(fresh.values))
        return Metrics(_grid(start, end, self.step), self.step, series, failed, newest)


def _larger(piece: int, count: int) -> int:
    """Columns to ask for at once after an answer of so many series: there may have been more of them in the past."""
    return max(min(4 * piece, POINTS // max(count, 1), MOST), FEW)


def _grid(first: int, last: int, step: float) -> F64:
    return np.arange(first, last + 1, dtype=np.float64) * step


def _expr(query: queries.Query, step: float) -> str:
    window = f"{queries.window(step):g}"
    return query.expr.replace("$RANGE", f"{window}s").replace("$SECONDS", window)
