"""Numbers and sentences at the precision in which they are shown.

What is shown is what is compared: a status is written only when its text changes, so figures that move all the time are shown
coarsely, or keep their last text while they stay close to it.
"""

import math
from collections.abc import Sequence

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# A figure keeps its last text while it is this close to it.
STEADY = 0.25


def percent(share: float) -> str:
    """A share of events: ``14%``, ``0.36%``."""
    value = 100 * share
    return f"{value:.0f}%" if value >= 9.95 or value == 0 else f"{value:.2g}%"


def sli(value: float | None, objective: float) -> str:
    """Two decimals, or one more than the objective has; rounded down, so that a missed objective never looks met."""
    if value is None:
        return "-"
    digits = max(2, len(f"{round(objective * 100, 9):.9f}".rstrip("0").partition(".")[2]) + 1)
    scale = 10**digits
    return f"{math.floor(value * 100 * scale + 1e-6) / scale:.{digits}f}%"


def budget(value: float | None, covered: float, window: float) -> str:
    """``42%``, ``-12%``, ``97% (4d)`` while there is data for only a part of the window; ``-`` without data."""
    if value is None:
        return "-"
    text = f"{math.floor(value * 100 + 1e-6)}%"
    return text if covered >= 0.99 * window else f"{text} ({coverage(covered)})"


def coverage(seconds: float) -> str:
    """``4d``, ``5h``, ``<1h``: rounded down, coarse enough to change rarely."""
    if seconds >= 2 * DAY:
        return f"{seconds // DAY:.0f}d"
    return f"{seconds // HOUR:.0f}h" if seconds >= HOUR else "<1h"


def burn(value: float | None) -> str:
    """``28``, ``1.4``; ``<1`` is sustainable and not worth a write each time it moves."""
    if value is None:
        return "-"
    if value < 1:
        return "<1"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def factor(value: float) -> str:
    """Of a tier: ``14.4``, ``6``."""
    return f"{value:.4g}"


def count(value: float) -> str:
    """Two significant digits: ``0``, ``870``, ``12k``, ``3.4M``."""
    if value < 0.5:
        return "0"
    rounded = round(value, 1 - math.floor(math.log10(value))) if value >= 1 else 1.0
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= limit:
            return f"{rounded / limit:.3g}{unit}"
    return f"{rounded:.0f}"


def significant(value: float, digits: int = 2) -> float:
    if value == 0 or not math.isfinite(value):
        return 0.0
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def steady(before: float | None, value: float) -> float:
    """``before`` while the value is close to it, else the value with two significant digits."""
    if before is not None and abs(value - before) <= STEADY * abs(before):
        return before
    return significant(value)


def latency(seconds: float) -> str:
    """``0.8ms``, ``340ms``, ``1.5s``."""
    return f"{seconds:.2g}s" if seconds >= 1 else f"{significant(1000 * seconds):g}ms"


def ago(seconds: float) -> str:
    """How long something lasted: ``40s``, ``12m``, ``3h``, ``2d``."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= (2 * size if unit != "m" else size):
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def names(found: Sequence[str], limit: int) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(found[:limit])
    return shown if len(found) <= limit else f"{shown} and {len(found) - limit} more"


def cut(text: str, size: int) -> str:
    """At most ``size`` bytes of UTF-8, never in the middle of a character; what was cut ends in ``…``."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    mark = "…".encode()
    if size < len(mark):
        return ""
    return raw[: size - len(mark)].decode(errors="ignore").rstrip() + "…"
