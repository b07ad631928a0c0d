"""How far a metric has moved between the windows, in units of what it moves by anyway.

Score = (median during - median before) / max(IQR before, 15 % of the median before, a floor in the metric's own unit). Over 3 it
counts: on healthy data that happens for .1-.2 % of series (the floors make it independent of units).
"""

from typing import NamedTuple

import numpy as np

from appstatus.diagnosis.onset import Windows
from appstatus.model.series import F64

THRESHOLD = 3.0
RELATIVE_FLOOR = 0.15
LEAST_REFERENCE = 5  # samples
LEAST_INCIDENT = 2


class Shift(NamedTuple):
    before: float
    during: float
    score: float


def shift(values: F64 | None, windows: Windows, floor: float) -> Shift | None:
    """``values``: (T,); None where too little is known on either side."""
    if values is None:
        return None
    before, during = values[windows.reference], values[windows.incident]
    before, during = before[~np.isnan(before)], during[~np.isnan(during)]
    if len(before) < LEAST_REFERENCE or len(during) < LEAST_INCIDENT:
        return None
    low, median, high = np.percentile(before, [25, 50, 75])
    now = float(np.median(during))
    return Shift(float(median), now, float((now - median) / max(high - low, RELATIVE_FLOOR * abs(median), floor)))


def surprise(values: F64, windows: Windows) -> float:
    """By how many standard errors the mean during exceeds that of the hour before; infinite where nothing ever happened before.

    Of means, not of medians as in `shift`: bad events are few, and half of the samples may well have none.
    """
    before, during = values[windows.hour], values[windows.incident]
    before, during = before[~np.isnan(before)], during[~np.isnan(during)]
    if not len(during) or not during.any():
        return 0.0
    if len(before) < LEAST_REFERENCE or not before.any():
        return float("inf")
    error = float(np.sqrt(before.var() * (1 / len(before) + 1 / len(during))))
    return float(during.mean() - before.mean()) / error if error > 0 else float("inf")
