"""What is known of one objective at one moment."""

from dataclasses import dataclass
from typing import Literal

from appstatus.api.objective import Objective

# Outage, FastBurn, SlowBurn: a tier fires now. Exhausted: no budget left, nothing fires. Pending: younger than 2 min.
State = Literal["Met", "Outage", "FastBurn", "SlowBurn", "Exhausted", "Pending", "NoData"]

OUTAGE = "outage"  # name of the outage check among the tiers


@dataclass(frozen=True, slots=True)
class TierStatus:
    """Burn rates (1 = the budget lasts exactly the window); ``dropped`` says why a tier is not evaluated.

    For the outage check, ``short`` is its length, the burns are those of the newest minute and of the one an evaluation earlier.
    """

    name: str
    short_burn: float | None
    long_burn: float | None
    factor: float
    bad_events: float
    firing: bool
    dropped: str = ""
    short: float = 0.0
    long: float = 0.0
    severity: Literal["page", "ticket"] = "page"


@dataclass(frozen=True, slots=True)
class SLOStatus:
    """sli: good/total over the window; budget: share of the error budget left (may be negative), None without data.

    The part of the window without data counts as good traffic at the mean rate of the rest, in ``sli`` and ``budget`` too;
    ``good`` and ``total`` are what was counted.

    covered    seconds of the window that have data
    bad_ratio_5m / total_5m / covered_5m: the last five minutes, for closing; the ratio is None without requests
    total_1h   requests in the last hour
    threshold  the effective latency threshold (next lower bound), seconds
    idle       NoData although its data are fresh: there was nothing to count in the whole window
    """

    objective: Objective
    state: State
    sli: float | None
    budget: float | None
    covered: float
    burn: float | None  # the highest burn of a firing tier's long window, else of the shortest tier's long window
    tiers: tuple[TierStatus, ...]
    good: float
    total: float
    bad_ratio_5m: float | None
    total_5m: float
    threshold: float | None = None
    reason: str = ""
    covered_5m: float = 0.0
    total_1h: float = 0.0
    idle: bool = False

    @property
    def violated(self) -> bool:
        return self.state in ("Outage", "FastBurn", "SlowBurn")

    @property
    def firing(self) -> tuple[TierStatus, ...]:
        return tuple(tier for tier in self.tiers if tier.firing)

    @property
    def meets_now(self) -> bool | None:
        """Whether the last five minutes meet the objective; None where they do not say: no data, or nobody asked."""
        if self.state == "NoData" or self.covered_5m < CLOSING_COVERAGE * CLOSING_WINDOW or self.bad_ratio_5m is None:
            return None
        return self.bad_ratio_5m <= 1 - self.objective.ratio + 1e-9


CLOSING_WINDOW = 300.0
# Part of the closing window that must have data: two late scrapes must not keep an incident open, half a gap must.
CLOSING_COVERAGE = 0.8
