"""One service level objective of one application, as the evaluation takes it: every default already filled in."""

from dataclasses import dataclass, field
from typing import Literal

from appstatus.api.names import AppKey, ObjectRef

Indicator = Literal["availability", "latency", "promql"]


@dataclass(frozen=True, slots=True)
class Tier:
    """A burn-rate tier. It fires when the bad share exceeds ``factor * (1 - ratio)`` in both windows.

    name      ``fast``, ``medium``, ``slow``, ``long``; any name in a custom table
    short     seconds
    long      seconds
    budget    fraction of the error budget that is gone when the tier fires at a constant rate
    severity  ``page`` (reason SLOFastBurn) or ``ticket`` (reason SLOSlowBurn)
    """

    name: str
    short: float
    long: float
    budget: float
    severity: Literal["page", "ticket"]

    def factor(self, window: float) -> float:
        """Burn rate at which the tier fires: budget * window / long (SRE workbook, chapter 5)."""
        return self.budget * window / self.long


@dataclass(frozen=True, slots=True)
class Outage:
    """The fifth tier: at least ``share`` bad over ``window`` seconds in ``evaluations`` evaluations in a row."""

    share: float = 0.5
    window: float = 60.0
    evaluations: int = 2


@dataclass(frozen=True, slots=True)
class Objective:
    """``ratio`` is the objective as a fraction (0.995); ``window``, ``threshold`` and tier lengths are seconds.

    id            ``<slo name>`` of the CR, or ``availability`` / ``latency`` for a default
    bad_statuses  statuses that count as bad answers (``5xx``, ``failed``, ``grpc:...``); unanswered requests always count as bad
    query_bad     PromQL giving bad (or good, see query_good) events/s; one of the two for ``promql``
    source        the SLO object, None for a default of the Project
    post          False: judged and shown, never an Event (the default latency SLO)
    """

    id: str
    app: AppKey
    indicator: Indicator
    ratio: float
    window: float
    tiers: tuple[Tier, ...]
    outage: Outage | None
    min_bad_events: int = 10
    threshold: float | None = None
    bad_statuses: frozenset[str] = frozenset({"5xx", "failed"})
    query_good: str | None = None
    query_bad: str | None = None
    query_total: str | None = None
    post: bool = True
    runbook_url: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    source: ObjectRef | None = None
