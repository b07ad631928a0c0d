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
    result = np.empty((count, values.shape[1]))
    order = np.argsort(groups, kind="stable")
    order = order[np.searchsorted(groups, 0, sorter=order) :]
    present = groups[order]
    starts = np.flatnonzero(np.diff(present, prepend=-1))
    missing = np.ones(count, dtype=bool)
    missing[present[starts]] = False
    result[missing] = np.nan
    begin = 0
    while begin < len(starts):
        last = max(int(np.searchsorted(starts, starts[begin] + _CHUNK)), begin + 1)
        end_row = starts[last] if last < len(starts) else len(order)
        rows = order[starts[begin] : end_row]
        result[present[starts[begin:last]]] = _reduce(values[rows], starts[begin:last] - starts[begin], how)
        begin = last
    return result


def _reduce(part: F64, starts: NDArray[np.intp], how: str) -> F64:
    """Rows of consecutive groups, of which ``starts`` are the first ones -> one row per group."""
    if len(starts) == len(part):
        return part
    if how == "max":
        return np.fmax.reduceat(part, starts, axis=0)
    folded: F64 = np.add.reduceat(part, starts, axis=0)
    sizes = np.diff(starts, append=len(part))[:, None]
    # Most groups know everything: only the others are worth a second look.
    gaps = np.isnan(folded).any(axis=1)
    if not gaps.any():
        return folded / sizes if how == "mean" else folded
    again = part[np.repeat(gaps, sizes[:, 0])]
    known = ~np.isnan(again)
    begins = np.cumsum(sizes[gaps, 0]) - sizes[gaps, 0]
    numbers = np.add.reduceat(known, begins, axis=0, dtype=np.int32)
    sums = np.add.reduceat(np.where(known, again, 0.0), begins, axis=0)
    sums[numbers == 0] = np.nan
    if how == "mean":
        folded /= sizes
        sums /= np.maximum(numbers, 1)
    folded[gaps] = sums
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
