"""The recent past of one query: a matrix (rows x time) that slides over a common grid.

The grid's columns are numbered by ``unix time / step``, so that every query of a source shares it.
"""

import numpy as np

from appstatus.model.series import F64, Key

# Columns beyond the window: the matrix is moved only once per this share of the window instead of in every cycle.
_SLACK = 0.1


class Ring:
    """``columns`` steps up to and including column ``end``. Not thread-safe."""

    def __init__(self, columns: int, end: int) -> None:
        self.columns = columns
        self.end = end
        self._row: dict[Key, int] = {}  # in the order of the rows
        self._words: dict[object, object] = {}  # each part of a key once: a container's id is in a dozen rows
        self._width = columns + max(int(columns * _SLACK), 1)
        self._first = 0  # physical column of the window's start
        self._data = np.full((0, self._width), np.nan)

    def __len__(self) -> int:
        return len(self._row)

    def keys(self) -> list[Key]:
        return list(self._row)

    def values(self) -> F64:
        """The window as it is now; a view that the next ``advance`` or ``merge`` may change."""
        return self._data[: len(self), self._first : self._first + self.columns]

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
        window = self._data[: len(self), self._first + self.columns - kept : self._first + self.columns]
        alive = ~np.isnan(window).all(axis=1) if kept else np.zeros(len(self), dtype=bool)
        data = np.full((int(alive.sum()), self._width), np.nan)
        data[:, :kept] = window[alive]
        self._keep(alive)
        self._data, self._first = data, 0

    def merge(self, keys: list[Key], block: F64, first: int) -> None:
        """Puts an answer in, from column ``first`` on: for the range it covers the answer is the truth, older values go."""
        start = self.end - self.columns + 1
        skip = max(start - first, 0)
        block, first = block[:, skip:], first + skip
        if block.shape[1] == 0 or first > self.end:
            return
        rows = np.fromiter((self._find(key) for key in keys), dtype=np.int64, count=len(keys))
        if len(self) > len(self._data):
            self._reserve(len(self) + len(self) // 8)
        at = self._first + first - start
        self._data[: len(self), at : at + block.shape[1]] = np.nan
        self._data[rows, at : at + block.shape[1]] = block

    def _find(self, key: Key) -> int:
        row = self._row.get(key)
        if row is None:
            key = tuple([self._words.setdefault(word, word) for word in key])
            row = self._row[key] = len(self._row)
        return row

    def _reserve(self, rows: int) -> None:
        larger = np.full((rows, self._width), np.nan)
        larger[: len(self._data)] = self._data
        self._data = larger

    def _keep(self, alive: np.ndarray) -> None:
        """Forgets rows without a sample in the window."""
        if alive.all():
            return
        kept = [key for key, lives in zip(self._row, alive, strict=True) if lives]
        self._words = {word: word for key in kept for word in key}
        self._row = {key: row for row, key in enumerate(kept)}
