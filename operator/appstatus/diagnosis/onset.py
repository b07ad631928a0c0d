"""When it began, and which samples are compared with which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appstatus.model.series import F64

REFERENCE = 3600.0  # the hour before the onset
INCIDENT = 1800.0  # at most the last half hour
FALLBACK = 300.0  # where no change point is found
# A scrape interval ends after what it holds began: the sample at the onset and its neighbour are neither before nor during.
GUARD = 1


@dataclass(frozen=True, slots=True)
class Windows:
    """Boolean masks over the world's times, and the time from which on it is bad."""

    onset: float
    reference: NDArray[np.bool_]
    incident: NDArray[np.bool_]


def change_point(values: F64) -> int | None:
    """Index of the first sample of the upper level of a single step up, None where there is none.

    Cumulative sums of the deviation from the mean: their minimum lies where a step up begins (Taylor, "Change-point
    analysis", 2000). Deviations are clipped at five scales, so that one spike does not outweigh a level. NaN is ignored.
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
    sums = np.cumsum(x - x.mean())[:-1]
    at = int(np.argmin(sums)) + 1
    if x[at:].mean() <= x[:at].mean():
        return None
    return int(known[at])


def windows(times: F64, step: float, bad: F64) -> Windows:
    """``bad``: (T,) bad events/s of the violator."""
    hour = times >= times[-1] - REFERENCE
    at = change_point(np.where(hour, bad, np.nan))
    start = at if at is not None else max(0, len(times) - max(1, round(FALLBACK / step)))
    onset = float(times[start]) - step  # the sample at ``start`` tells of the step that ends there
    incident = (times > onset) & (times > times[-1] - INCIDENT)
    reference = (times <= onset - GUARD * step) & (times > onset - REFERENCE)
    return Windows(onset, reference, incident)
