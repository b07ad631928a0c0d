"""Sums and means of many rows at once, ignoring what is not known."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from appstatus.model.series import F64

# Rows worked on at a time: keeps the copies small however many series there are.
_CHUNK = 16_384


def fold(values: F64, groups: NDArray[np.intp], count: int, how: Literal["sum", "mean", "max"] = "sum") -> F64:
    """(rows, T) and a group number per row -> (count, T).

    NaN parts are ignored; where all parts are NaN, or a group has no rows, the result is NaN. Rows of a negative group are skipped.
    """
    result = np.full((count, values.shape[1]), np.nan)
    order = np.argsort(groups, kind="stable")
    order = order[np.searchsorted(groups[order], 0) :]
    if not len(order) or not values.shape[1]:
        return result
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    begin = 0
    while begin < len(starts):
        last = int(np.searchsorted(starts, starts[begin] + _CHUNK))
        last = max(last, begin + 1)
        first_row = starts[begin]
        end_row = starts[last] if last < len(starts) else len(order)
        rows = order[first_row:end_row]
        part = values[rows]
        if len(rows) == last - begin:  # every group has one row: nothing to add
            result[groups[rows]] = part
        else:
            result[groups[order[starts[begin:last]]]] = _reduce(part, starts[begin:last] - first_row, how)
        begin = last
    return result


def _reduce(part: F64, starts: NDArray[np.intp], how: str) -> F64:
    if how == "max":
        return np.fmax.reduceat(part, starts, axis=0)
    known = ~np.isnan(part)
    numbers = np.add.reduceat(known, starts, axis=0, dtype=np.int32)
    np.copyto(part, 0.0, where=~known)
    folded: F64 = np.add.reduceat(part, starts, axis=0)
    if how == "mean":
        folded /= np.maximum(numbers, 1)
    folded[numbers == 0] = np.nan
    return folded


def increments(counter: F64, existed: NDArray[np.bool_] | None = None) -> F64:
    """(rows, T) counter -> increments per step, (rows, T); the first known value is no increment, a reset counts from zero.

    A gap is bridged: the increment is booked on the step at which the counter is seen again. ``existed`` (rows, T) says where the
    thing counted was there although the counter was not yet: the counter was 0 (agents that export it from the first event on).
    """
    result = np.full(counter.shape, np.nan)
    last = np.full(counter.shape[0], np.nan)
    for i in range(counter.shape[1]):
        now = counter[:, i]
        delta = np.where(now >= last, now - last, now)
        result[:, i] = np.where(np.isnan(now), np.nan, np.where(np.isnan(last), 0.0, delta))
        if existed is not None:
            now = np.where(np.isnan(now) & np.isnan(last) & existed[:, i], 0.0, now)
        last = np.where(np.isnan(now), last, now)
    return result
