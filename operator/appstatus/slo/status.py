"""What is known of one objective at one moment."""

from dataclasses import dataclass
from typing import Literal

from appstatus.api.objective import Objective

# Outage, FastBurn, SlowBurn: a tier fires now. Exhausted: no budget left, nothing fires. Pending: younger than 2 min.
State = Literal["Met", "Outage", "FastBurn", "SlowBurn", "Exhausted", "Pending", "NoData"]


@dataclass(frozen=True, slots=True)
class TierStatus:
    """Burn rates (1 = the budget lasts exactly the window); ``dropped`` says why a tier is not evaluated."""

    name: str
    short_burn: float | None
    long_burn: float | None
    factor: float
    bad_events: float
    firing: bool
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class SLOStatus:
    """sli: good/total over the window; budget: share of the error budget left (may be negative), None without data.

    covered    seconds of the window that have data
    bad_ratio_5m / total_5m: the last five minutes, for closing
    threshold  the effective latency threshold (next lower bound), seconds
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

    @property
    def violated(self) -> bool:
        return self.state in ("Outage", "FastBurn", "SlowBurn")
