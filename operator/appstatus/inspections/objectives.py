"""The two SLO checks: copied from what the SLO evaluation found, so that all inspections stand in one list."""

from collections.abc import Sequence
from typing import Protocol

from appstatus.api.objective import Objective
from appstatus.inspections.judge import Judge
from appstatus.inspections.result import CheckResult, Outcome
from appstatus.inspections.table import BY_ID

_CHECK = {"availability": "SLOAvailability", "promql": "SLOAvailability", "latency": "SLOLatency"}
_OUTCOMES: dict[str, Outcome] = {
    "Met": "pass",
    "Outage": "fail",
    "FastBurn": "fail",
    "SlowBurn": "fail",
    "Exhausted": "fail",
    "Pending": "skip",
    "NoData": "unknown",
}
_ORDER: tuple[Outcome, ...] = ("fail", "unknown", "pass", "skip")


class Status(Protocol):
    """What is read of ``slo.status.SLOStatus`` (a higher layer)."""

    @property
    def objective(self) -> Objective: ...
    @property
    def state(self) -> str: ...
    @property
    def sli(self) -> float | None: ...
    @property
    def violated(self) -> bool: ...
    @property
    def bad_ratio_5m(self) -> float | None: ...


def inspect(judge: Judge, statuses: Sequence[Status]) -> list[CheckResult]:
    """One result per SLO check that has an objective: of several objectives the worst. Its value is the share of good events, over
    the last five minutes while it is violated: over a window of days what happens now may not show."""
    results = []
    for check_id in ("SLOAvailability", "SLOLatency"):
        mine = [s for s in statuses if _CHECK[s.objective.indicator] == check_id]
        if not mine:
            continue
        worst = min(mine, key=lambda s: (_ORDER.index(_OUTCOMES[s.state]), s.sli if s.sli is not None else 1.0))
        results.append(
            CheckResult(
                check_id,
                BY_ID[check_id].area,
                _OUTCOMES[worst.state],
                _value(worst),
                100 * worst.objective.ratio,
                evidence=f"{worst.objective.id}: {worst.state}",
            )
        )
    return results


def _value(status: Status) -> float | None:
    if status.violated and status.bad_ratio_5m is not None:
        return 100 * (1 - status.bad_ratio_5m)
    return None if status.sli is None else 100 * status.sli
