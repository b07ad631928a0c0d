"""The recent past of one query: a matrix (series x time) that slides over a common grid.

The grid's columns are numbered by ``unix time / step``, so that every query of a source shares it.
"""

import numpy as np

from appstatus.model.series import F64, Series

# Columns beyond the window: the matrix is moved only once per this share of the window instead of in every cycle.
_SLACK = 0.1


class Ring:
    """``columns`` steps up to and including column ``end``. Not thread-safe."""

    def __init__(self, by: tuple[str, ...], columns: int, end: int) -> None:
        self.by = by
        self.columns = columns
        self.end = end
        self.labels: list[dict[str, str]] = []
        self._row: dict[tuple[str, ...], int] = {}
        self._words: dict[str, str] = {}  # each label value once: a container's id is in dozens of rows
        self._width = columns + max(int(columns * _SLACK), 1)
        self._first = 0  # physical column of the window's start
        self._data = np.full((0, self._width), np.nan)

    def __len__(self) -> int:
        return len(self.labels)

    def series(self) -> Series:
        """The window as it is now; a view that the next ``advance`` or ``merge`` may change."""
        return Series(list(self.labels), self._data[: len(self.labels), self._first : self._first + self.columns])

    def advance(self, end: int) -> None:
        """Slides the window forward to end at column ``end``; new columns hold nothing."""
        steps = end - self.end
        if steps <= 0:
            return
        self.end = end
        if self._first + steps + self.columns <= self._width:
            self._first += steps
            return
        kept = max(self.columns - steps, 0)
        used = self._data[: len(self.labels)]
        window = used[:, self._first + self.columns - kept : self._first + self.columns].copy()
        alive = ~np.isnan(window).all(axis=1) if kept else np.zeros(len(self.labels), dtype=bool)
        self._keep(alive)
        self._data[:] = np.nan
        self._data[: len(self.labels), :kept] = window[alive]
        self._first = 0

    def merge(self, keys: list[tuple[str, ...]], block: F64, first: int) -> None:
        """Puts an answer in, from column ``first`` on: for the range it covers the answer is the truth, older values go."""
        start = self.end - self.columns + 1
        skip = max(start - first, 0)
        block, first = block[:, skip:], first + skip
        if block.shape[1] == 0 or first > self.end:
            return
        new = sum(key not in self._row for key in keys)
        if len(self.labels) + new > len(self._data):
            self._reserve(len(self.labels) + new + new // 8)
        rows = np.fromiter((self._find(key) for key in keys), dtype=np.int64, count=len(keys))
        at = self._first + first - start
        self._data[: len(self.labels), at : at + block.shape[1]] = np.nan
        self._data[rows, at : at + block.shape[1]] = block

    def _find(self, key: tuple[str, ...]) -> int:
        row = self._row.get(key)
        if row is None:
            key = tuple([self._words.setdefault(word, word) for word in key])
            row = self._row[key] = len(self.labels)
            self.labels.append(dict(zip(self.by, key, strict=True)))
            if row >= len(self._data):
                self._reserve(row + max(row // 8, 16))
        return row

    def _reserve(self, rows: int) -> None:
        larger = np.full((rows, self._width), np.nan)
        larger[: len(self._data)] = self._data
        self._data = larger

    def _keep(self, alive: np.ndarray) -> None:
        """Forgets series without a sample in the window."""
        if alive.all():
            return
        self.labels = [labels for labels, lives in zip(self.labels, alive, strict=True) if lives]
        self._words = {word: word for labels in self.labels for word in labels.values()}
        self._row = {tuple([labels[name] for name in self.by]): row for row, labels in enumerate(self.labels)}
