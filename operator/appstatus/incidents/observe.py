"""What the state machine needs to know of an application's SLOs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from appstatus.api.names import AppKey, ObjectRef
from appstatus.incidents.incident import NO_TRAFFIC, RECOVERED, SLO_REMOVED
from appstatus.slo.status import SLOStatus

# Of the last five minutes: the objective is met, is missed, nobody has asked for an hour, or nothing can be said.
Recent = Literal["met", "missed", "idle", "unknown"]


@dataclass(frozen=True, slots=True)
class Observed:
    """One application in one cycle; only SLOs that may post.

    firing  ids of SLOs of which a tier fires now
    page    one of these tiers is a page (or the outage check)
    recent  by SLO id
    """

    app: AppKey
    ref: ObjectRef
    firing: tuple[str, ...] = ()
    page: bool = False
    recent: Mapping[str, Recent] = field(default_factory=dict)

    @property
    def opens(self) -> bool:
        """A tier fires, and the incident would not be over at once: a slow tier still fires long after the trouble has ended."""
        return any(self.recent.get(slo) != "met" for slo in self.firing)

    def over(self, slos: Iterable[str]) -> str:
        """Why an incident in which these SLOs were violated is over now; empty while it goes on, or nobody knows."""
        found = {self.recent[slo] for slo in slos if slo in self.recent}
        if not found:
            return SLO_REMOVED
        if self.opens or not found <= {"met", "idle"}:
            return ""
        return RECOVERED if "met" in found else NO_TRAFFIC


def observe(app: AppKey, ref: ObjectRef, statuses: Iterable[SLOStatus]) -> Observed:
    """From the evaluation's results of one application."""
    posting = [status for status in statuses if status.objective.post]
    firing = [status for status in posting if status.violated]
    return Observed(
        app=app,
        ref=ref,
        firing=tuple(status.objective.id for status in firing),
        page=any(status.state != "SlowBurn" for status in firing),
        recent={status.objective.id: _recent(status) for status in posting},
    )


def _recent(status: SLOStatus) -> Recent:
    if status.state == "Outage":
        return "missed"
    met = status.meets_now
    if met is not None:
        return "met" if met else "missed"
    # Without data an incident stays open: unknown is never "met".
    if status.state == "NoData" or status.covered_5m <= 0 or status.total_1h > 0:
        return "unknown"
    return "idle"
