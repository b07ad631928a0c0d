"""The usual burn-rate tiers for any window and objective, and which of them can be evaluated at all.

Source: Google SRE workbook, chapter 5 (multiwindow, multi-burn-rate alerts). For 30 days its factors are 14.4, 6, 3 and 1; written
as a fraction of the budget the same tiers fit any window: factor = budget * window / long.
"""

from typing import NamedTuple

from appstatus.api.objective import Tier
from appstatus.api.values import format_duration

_DAY = 86400.0
REFERENCE_WINDOW = 30 * _DAY
REFERENCE_TIERS: tuple[Tier, ...] = (
    Tier("fast", 300.0, 3600.0, 0.02, "page"),
    Tier("medium", 1800.0, 6 * 3600.0, 0.05, "page"),
    Tier("slow", 2 * 3600.0, _DAY, 0.10, "ticket"),
    Tier("long", 6 * 3600.0, 3 * _DAY, 0.10, "ticket"),
)
# A rate over fewer samples than this is noise.
MIN_STEPS = 4


class Dropped(NamedTuple):
    """A tier that is not evaluated, and why."""

    tier: Tier
    reason: str


def default_tiers(window: float) -> tuple[Tier, ...]:
    """The reference tiers with all lengths scaled to ``window`` seconds."""
    scale = window / REFERENCE_WINDOW
    return tuple(Tier(t.name, t.short * scale, t.long * scale, t.budget, t.severity) for t in REFERENCE_TIERS)


def usable(tiers: tuple[Tier, ...], window: float, ratio: float, step: float) -> tuple[tuple[Tier, ...], tuple[Dropped, ...]]:
    """Splits into tiers that can be evaluated and those that cannot, with the reason; lengths in seconds."""
    kept: list[Tier] = []
    dropped: list[Dropped] = []
    for tier in tiers:
        factor = tier.factor(window)
        if tier.short < MIN_STEPS * step:
            short, needed = format_duration(tier.short), format_duration(MIN_STEPS * step)
            dropped.append(Dropped(tier, f"its short window of {short} is less than {MIN_STEPS} steps ({needed})"))
        elif tier.long > window:
            dropped.append(Dropped(tier, f"its long window is longer than the SLO's window of {format_duration(window)}"))
        elif factor * (1 - ratio) >= 1:
            share = f"{factor:.4g} x {(1 - ratio) * 100:.4g}% = {factor * (1 - ratio) * 100:.4g}%"
            dropped.append(Dropped(tier, f"it would fire at {share} bad events, which no failure can exceed"))
        else:
            kept.append(tier)
    return tuple(kept), tuple(dropped)
