"""Bad and total events of many objectives over a whole window, at three resolutions.

The step of a cycle for 6 h, 5 min for 3 d, 1 h beyond. Column ``k`` of a level holds the time (``(k-1) * step``, ``k * step``], so
a sample at time ``t`` lies in column ``ceil(t / step)``. All levels cover the present; the finest one that reaches back far enough
answers a question. Columns are kept in order and move left as time goes on: sums are then plain slices.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appstatus.model.series import F64

HOUR = 3600.0
DAY = 86400.0
FINE_SPAN = 6 * HOUR
MIDDLE_STEP, MIDDLE_SPAN = 300.0, 3 * DAY
COARSE_STEP = HOUR

Rows = NDArray[np.intp]
F32 = NDArray[np.float32]


class Sums(NamedTuple):
    """(rows,) each: bad and total events, and the seconds of the window that have data."""

    bad: F64
    total: F64
    covered: F64


class Level:
    """(rows, columns) at one resolution; ``end`` is the number of the last column."""

    def __init__(self, step: float, span: float, rows: int, end_time: float) -> None:
        self.step = step
        self.columns = math.ceil(span / step) + 1  # one more: the oldest one is left only in part
        self.end = column(end_time, step)
        self.bad = np.zeros((rows, self.columns), dtype=np.float32)
        self.total = np.zeros((rows, self.columns), dtype=np.float32)
        self.covered = np.zeros((rows, self.columns), dtype=np.float32)

    @property
    def span(self) -> float:
        return (self.columns - 1) * self.step

    @property
    def first(self) -> int:
        return self.end - self.columns + 1

    @property
    def arrays(self) -> tuple[F32, F32, F32]:
        return self.bad, self.total, self.covered

    def advance(self, end_time: float) -> None:
        by = column(end_time, self.step) - self.end
        if by <= 0:
            return
        self.end += by
        for array in self.arrays:
            if by < self.columns:
                array[:, :-by] = array[:, by:]
            array[:, -min(by, self.columns) :] = 0.0

    def sums(self, rows: Rows | slice, start: float, end: float) -> Sums:
        """Over (start, end]. A column that lies in the window only in part counts by that part."""
        low = max(math.floor(start / self.step + 1e-6) + 1, self.first)
        high = min(column(end, self.step), self.end)
        if low > high:
            zero = np.zeros(len(self.bad[rows]))
            return Sums(zero, zero, zero)
        head = 1.0 - max(start - (low - 1) * self.step, 0.0) / self.step
        part = slice(low - self.first, high - self.first + 1)
        found = [array[rows, part].sum(axis=1, dtype=np.float64) for array in self.arrays]
        if head < 1.0 - 1e-9:
            found = [sums - (1.0 - head) * array[rows, part.start] for sums, array in zip(found, self.arrays, strict=True)]
        return Sums(*found)

    def last_known(self, within: int) -> F64:
        """(rows,) number of columns since the newest one with data; ``within`` where none of the newest ``within`` has."""
        recent = self.covered[:, ::-1][:, :within] > 0
        return np.where(recent.any(axis=1), recent.argmax(axis=1), within).astype(np.float64)


class History:
    """Rows for ``capacity`` objectives, doubled when needed. ``step``: finest resolution, ``span``: longest window; seconds."""

    def __init__(self, step: float, span: float, now: float, capacity: int = 64) -> None:
        self.step = step
        self.capacity = capacity
        self.now = now
        self.levels = [
            Level(step, FINE_SPAN, capacity, now),
            Level(max(MIDDLE_STEP, step), MIDDLE_SPAN, capacity, now),
            Level(max(COARSE_STEP, step), max(span, MIDDLE_SPAN), capacity, now),
        ]

    @property
    def fine(self) -> Level:
        return self.levels[0]

    @property
    def span(self) -> float:
        return self.levels[-1].span

    def reserve(self, rows: int) -> None:
        """Makes room for at least ``rows`` rows."""
        if rows <= self.capacity:
            return
        more = max(rows, 2 * self.capacity) - self.capacity
        for level in self.levels:
            for name in ("bad", "total", "covered"):
                old = getattr(level, name)
                setattr(level, name, np.vstack([old, np.zeros((more, level.columns), dtype=np.float32)]))
        self.capacity += more

    def reach(self, span: float) -> None:
        """Makes room for windows of ``span`` seconds."""
        level = self.levels[-1]
        more = math.ceil(span / level.step) + 1 - level.columns
        if more > 0:
            for name in ("bad", "total", "covered"):
                old = getattr(level, name)
                setattr(level, name, np.hstack([np.zeros((self.capacity, more), dtype=np.float32), old]))
            level.columns += more

    def clear(self, row: int) -> None:
        for level in self.levels:
            for array in level.arrays:
                array[row] = 0.0

    def advance(self, now: float) -> None:
        """Moves the end of all levels to ``now``, which should lie on the finest grid."""
        if now > self.now:
            self.now = now
            for level in self.levels:
                level.advance(now)

    def put(self, rows: Rows, times: F64, good: F64, total: F64) -> None:
        """Sets columns of the finest level, (rows, times) events per step; NaN leaves a column as it is. The newest value wins:
        what was there is taken back from the coarser levels too."""
        fine = self.fine
        columns = np.rint(times / fine.step).astype(np.intp)
        inside = (columns >= fine.first) & (columns <= fine.end)
        columns, good, total = columns[inside], good[:, inside], total[:, inside]
        if not len(columns) or not len(rows):
            return
        at = np.ix_(rows, columns - fine.first)
        known = ~np.isnan(total)
        old = [array[at] for array in fine.arrays]
        values = (total - good, total, np.full_like(total, fine.step))
        new = [np.where(known, value, before).astype(np.float32) for value, before in zip(values, old, strict=True)]
        for array, after in zip(fine.arrays, new, strict=True):
            array[at] = after
        deltas = [after - before for after, before in zip(new, old, strict=True)]
        ends = columns * fine.step
        for level in self.levels[1:]:
            buckets = np.ceil(ends / level.step - 1e-6).astype(np.intp) - level.first
            for bucket in np.unique(buckets[buckets >= 0]):
                mine = buckets == bucket
                for array, delta in zip(level.arrays, deltas, strict=True):
                    array[rows, bucket] += delta[:, mine].sum(axis=1)

    def fill(self, row: int, times: F64, step: float, good: F64, total: F64, before: float) -> None:
        """Adds coarse samples of the past, (times,) events in the ``step`` before each time, to every level that reaches back to
        them; what lies after ``before`` (known at a finer resolution) is cut off, NaN is left out. Within a sample the rate is
        taken as constant."""
        begin = times - step
        end: F64 = np.minimum(times, before)
        share = (end - begin) / step
        known = ~np.isnan(total) & ~np.isnan(good) & (share > 0)
        if not known.any():
            return
        begin, end, share = begin[known], end[known], share[known]
        amounts = ((total[known] - good[known]) * share, total[known] * share, end - begin)
        for level in self.levels:
            # The running total at the edges of the columns, by interpolation, gives each column its part of each sample.
            edges = np.arange(level.first - 1, level.end + 1) * float(level.step)
            for array, amount in zip(level.arrays, amounts, strict=True):
                array[row] += np.diff(_running_total(begin, end, amount, edges)).astype(np.float32)

    def sums(self, rows: Rows | slice, length: float, start: float | None = None) -> Sums:
        """Over the last ``length`` seconds; over (start, now] if ``start`` is later than that."""
        level = next((level for level in self.levels if level.span >= length - 1e-6), self.levels[-1])
        begin = self.now - length
        if start is not None and start > begin:
            begin = math.ceil(start / level.step - 1e-6) * level.step  # never count a part of what lies before
        return level.sums(_plain(rows), begin, self.now)


def column(time: float, step: float) -> int:
    """The column that a time lies in; a time on an edge is the end of its column."""
    return math.ceil(time / step - 1e-6)


def _plain(rows: Rows | slice) -> Rows | slice:
    """Neighbouring rows as a slice: a view instead of a copy."""
    if isinstance(rows, slice) or not len(rows) or rows[-1] - rows[0] != len(rows) - 1 or (np.diff(rows) != 1).any():
        return rows
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _running_total(begin: F64, end: F64, amount: F64, edges: NDArray[Any]) -> F64:
    """Sum of all samples up to each edge; flat in gaps. ``begin`` and ``end`` ascend and do not overlap."""
    points = np.empty(2 * len(begin))
    points[0::2], points[1::2] = begin, end
    totals = np.empty(2 * len(begin))
    totals[1::2] = np.cumsum(amount)
    totals[0::2] = totals[1::2] - amount
    running: F64 = np.interp(edges, points, totals)
    return running
