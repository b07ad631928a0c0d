"""When it began, and which samples are compared with which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appstatus.model.series import F64

REFERENCE = 3600.0  # the hour before the onset
INCIDENT = 1800.0  # at most the last half hour
FALLBACK = 300.0  # where no change point is found
CALM = 120.0  # so long without trouble ends an earlier one
# A scrape interval ends after what it holds began: the sample at the onset and its neighbour are neither before nor during.
GUARD = 1


@dataclass(frozen=True, slots=True)
class Windows:
    """Boolean masks over the world's times, and the time from which on it is bad.

    hour  all of the hour before; ``reference`` is what of it is normal
    """

    onset: float
    reference: NDArray[np.bool_]
    incident: NDArray[np.bool_]
    hour: NDArray[np.bool_]


def change_point(values: F64) -> int | None:
    """Index of the first sample of the upper level of a single step up, None where there is none.

    Cumulative sums of the deviation from the mean, each over its own spread: the split that takes most of the variance (least
    squares; Hinkley 1970). Deviations are clipped at five scales, so that one spike does not outweigh a level. NaN is ignored.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 3:
        return None
    x = values[known]
    # The scale of what is not the step: half of the samples lie within.
    spread = float(np.subtract(*np.percentile(x, [75, 25])))
    scale = spread if spread > 0 else float(x.max() - x.min())
    if scale == 0:
        return None
    middle = (float(x.max()) + float(x.min())) / 2 if spread == 0 else float(np.median(x))
    x = np.clip((x - middle) / scale, -5.0, 5.0)
    left = np.arange(1, len(x))
    sums = np.cumsum(x - x.mean())[:-1]
    gain = -sums / np.sqrt(left * (len(x) - left))
    at = int(np.argmax(gain)) + 1
    return int(known[at]) if gain[at - 1] > 0 else None


def windows(times: F64, step: float, bad: F64, since: float | None = None) -> Windows:
    """``bad``: (T,) bad events/s of the violator; ``since``: the onset, if it is known.

    Only the trouble that lasts until now counts: an earlier one in the same hour, over for some minutes, is neither the incident
    nor what is normal.
    """
    bad = np.where(times >= times[-1] - REFERENCE, bad, np.nan)
    middle = _middle(bad, step)
    begin = _last_calm(bad, middle, max(2, round(CALM / step)))
    at = change_point(bad[begin:])
    start = begin + at if at is not None else max(0, len(times) - max(1, round(FALLBACK / step)))
    onset = since if since is not None else float(times[start]) - step  # the sample at ``start`` tells of the step that ends there
    # What a sample tells of began a step before: of the first one after a given onset it may be mostly the time before.
    incident = (times >= onset + step / 2) & (times > times[-1] - INCIDENT)
    hour = (times <= onset - GUARD * step) & (times > onset - REFERENCE)
    with np.errstate(invalid="ignore"):
        reference = hour & ~(bad > middle)
    return Windows(onset, reference, incident, hour)


def _middle(bad: F64, step: float) -> float:
    """Half way between what is usual in the hour and what the worst of the last minutes is; infinite where that is no worse."""
    known = bad[~np.isnan(bad)]
    recent = bad[-max(1, round(FALLBACK / step)) :]
    recent = np.sort(recent[~np.isnan(recent)])
    if not len(recent):
        return float("inf")
    usual = float(np.percentile(known, 25))
    worst = float(recent[-max(1, len(recent) // 4) :].mean())
    return (usual + worst) / 2 if worst > usual else float("inf")


def _last_calm(bad: F64, middle: float, length: int) -> int:
    """Index where the last row of ``length`` or more known samples below ``middle`` begins; 0 without such a row."""
    if middle == float("inf"):
        return 0
    begin, count, found = 0, 0, 0
    for i, value in enumerate(bad):
        if np.isnan(value):
            continue
        if value >= middle:
            count = 0
            continue
        if count == 0:
            begin = i
        count += 1
        if count >= length:
            found = begin
    return found
