"""Series from rows of the kernel: rows with equal labels become one series, whose counters never fall.

A row belongs to one life of a container (its cgroup); the next life, or a row dropped for being idle, must not
make the counter of a label set fall, since `rate()` would count everything again. So what a row had when it left stays in its
series as long as that has another row. A series without rows leaves.

A series is shown at 0 to each reader that it is new to (readers.py), and with what its rows counted from that reader's next scrape
on: `rate()` sees no increase from nothing to a first value, so that a container's first error would stay invisible.

Text is made only for series that changed since the last time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric made of some columns of a table.

    `prefixes` gives the beginning of each of a series' lines, from the metric's name and the labels' inner text;
    `values` turns (counters [n, c], gauges [n, g]) into n lists with one number (None: no line) for each prefix.
    """

    name: str
    prefixes: Callable[[str, str], list[str]]
    values: Callable[[np.ndarray, np.ndarray], Iterable[Sequence[float | None]]]


class Table:
    """The series of one set of metric families. Not thread-safe."""

    def __init__(self, families: Sequence[Family], counters: int, gauges: int, common: Callable[[Labels], str]) -> None:
        """`counters`, `gauges`: number of columns. `common` writes labels as text, with those that every series has."""
        self._families = families
        self._labels_text = common
        self._rows: dict[bytes, int] = {}  # key -> row of the last update
        self._row_series = np.empty(0, np.int64)
        self._row_counters = np.empty((0, counters), np.int64)
        self._series: dict[Labels, int] = {}
        self._left = np.zeros((0, counters), np.int64)  # by series: what rows that left had
        self._counters = np.zeros((0, counters), np.int64)  # by series, as shown
        self._gauges = np.zeros((0, gauges), np.int64)
        self._made = np.zeros(0)  # by series: when
        self._prefixes: list[list[list[str]]] = []  # by series, by family
        self._texts: list[list[str]] = []

    def __len__(self) -> int:
        return len(self._series)

    def update(self, keys: Sequence[bytes], resolve: Callable[[int], Labels | None],
               counters: np.ndarray, gauges: np.ndarray, now: float) -> None:
        """Take all rows of now. `resolve(i)` names row i when it is new; None: not known yet, ask again next time."""
        before = np.fromiter((self._rows.get(key, -1) for key in keys), np.int64, len(keys))
        series = np.where(before >= 0, self._row_series[before] if len(self._row_series) else -1, -1)
        for row in np.flatnonzero(before < 0).tolist():
            labels = resolve(row)
            if labels is not None:
                series[row] = self._series_of(labels)
        self._make_room(now)
        self._keep_what_left(before, counters)

        named = np.flatnonzero(series >= 0)
        self._row_series, self._row_counters = series[named], np.ascontiguousarray(counters[named], np.int64)
        self._rows = {keys[row]: at for at, row in enumerate(named.tolist())}
        self._drop_empty_series()

        shown = self._left.copy()
        np.add.at(shown, self._row_series, self._row_counters)
        unwritten = np.array([not texts for texts in self._texts], bool)
        levels = np.zeros((len(self._series), self._gauges.shape[1]), np.int64)
        np.add.at(levels, self._row_series, gauges[named])
        changed = (shown != self._counters).any(axis=1) | (levels != self._gauges).any(axis=1)
        self._counters, self._gauges = shown, levels
        which = np.flatnonzero(unwritten | changed)
        for at, texts in zip(which.tolist(), self._written(which, self._counters[which]), strict=True):
            self._texts[at] = texts

    def forget(self, keys: Iterable[bytes]) -> None:
        """These rows were dropped: one that has the same key from now on counts anew, be it below or above the old one."""
        for key in keys:
            self._rows.pop(key, None)

    def lines(self, since: float) -> Iterable[tuple[str, list[str]]]:
        """(metric, text of each series); counters of series made after `since` are 0."""
        new = np.flatnonzero(self._made > since)
        shown = self._texts.copy()
        for at, texts in zip(new.tolist(), self._written(new, np.zeros_like(self._counters[new])), strict=True):
            shown[at] = texts
        for at, family in enumerate(self._families):
            yield family.name, [texts[at] for texts in shown]

    def _series_of(self, labels: Labels) -> int:
        at = self._series.setdefault(labels, len(self._series))
        if at == len(self._texts):
            text = self._labels_text(labels)
            self._prefixes.append([family.prefixes(family.name, text) for family in self._families])
            self._texts.append([])
        return at

    def _make_room(self, now: float) -> None:
        new = len(self._series) - len(self._left)
        if new:
            self._made = np.append(self._made, np.full(new, now))
            self._left, self._counters, self._gauges = (
                np.vstack([array, np.zeros((new, array.shape[1]), np.int64)])
                for array in (self._left, self._counters, self._gauges)
            )

    def _keep_what_left(self, before: np.ndarray, counters: np.ndarray) -> None:
        known = before >= 0
        left = np.ones(len(self._row_series), bool)
        left[before[known]] = False
        restarted = before[known][(counters[known] < self._row_counters[before[known]]).any(axis=1)]
        left[restarted] = True
        np.add.at(self._left, self._row_series[left], self._row_counters[left])

    def _drop_empty_series(self) -> None:
        used = np.zeros(len(self._series), bool)
        used[self._row_series] = True
        if used.all():
            return
        new_index = np.cumsum(used) - 1
        self._row_series = new_index[self._row_series]
        self._left, self._counters, self._gauges = self._left[used], self._counters[used], self._gauges[used]
        self._made = self._made[used]
        keep = np.flatnonzero(used).tolist()
        self._prefixes = [self._prefixes[at] for at in keep]
        self._texts = [self._texts[at] for at in keep]
        self._series = {labels: int(new_index[at]) for labels, at in self._series.items() if used[at]}

    def _written(self, which: np.ndarray, counters: np.ndarray) -> Iterable[list[str]]:
        """Texts of these series, with these counters."""
        columns = [family.values(counters, self._gauges[which]) for family in self._families]
        for at, values in zip(which.tolist(), zip(*columns, strict=True), strict=True):
            yield [
                "".join([f"{prefix}{value}\n" for prefix, value in zip(prefixes, numbers, strict=True) if value is not None])
                for prefixes, numbers in zip(self._prefixes[at], values, strict=True)
            ]
