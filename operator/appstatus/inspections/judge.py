"""What all checks have in common: settings applied, sustained windows, missing data, one result."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appstatus.api.conditions import format_time
from appstatus.api.settings import Override, Settings
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID, Check
from appstatus.model.series import F64
from appstatus.model.world import Application, Instance, World

# Seconds without a sample of any agent after which nothing can be said.
STALE = 90.0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be judged (a container, a peer, a node): (T,) values in the check's unit.

    ``fact`` is told if it fails, ``unknown`` if too little is known, ``lost`` if that is because data are missing that were there.
    """

    name: str
    values: F64
    fact: str = ""
    unknown: str = ""
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing already judged. ``value`` None: not enough data; ``lost``: because data that were there are missing, which ``fact``
    says."""

    name: str
    failed: bool
    value: float | None
    since: float | None = None
    fact: str = ""
    lost: bool = False


class Judge:
    """Judges one application. Every method gives exactly one result for the check named."""

    def __init__(self, world: World, app: Application, settings: Settings) -> None:
        self.world = world
        self.app = app
        self.settings = settings

    def threshold(self, check: Check) -> float:
        override = self.settings.checks.get(check.id)
        return check.threshold if override is None or override.threshold is None else override.threshold

    def steps(self, seconds: float) -> int:
        return self.world.steps(seconds)

    def recent(self, values: F64, seconds: float) -> F64:
        return values[-self.steps(seconds) :]

    def counts(self, rates: F64, seconds: float) -> F64:
        """For each step, how many events there were within the `seconds` that end there; what is not known is none."""
        total = np.cumsum(np.nan_to_num(rates)) * self.world.step
        before = np.concatenate([np.zeros(min(self.steps(seconds), len(total))), total])[: len(total)]
        return np.asarray(total - before, dtype=np.float64)

    def row_since(self, failing: NDArray[np.bool_], unknown: NDArray[np.bool_] | None = None) -> float:
        """Time of the first failing step of the row that reaches until now; `unknown` steps and the last do not end it."""
        good = np.flatnonzero(~(failing if unknown is None else failing | unknown)[:-1])
        start = int(good[-1]) + 1 if len(good) else 0
        return float(self.world.times[start + int(failing[start:].argmax())])

    def gauge(self, check_id: str, items: Iterable[Item]) -> CheckResult:
        """Fails if all known samples of the last ``sustained_for`` seconds are beyond the threshold, at least half being known.

        ``value`` is their mean.
        """
        check = BY_ID[check_id]
        return self.findings(check_id, [self._sustained(check, item) for item in items])

    def _sustained(self, check: Check, item: Item) -> Finding:
        threshold = self.threshold(check)
        window = self.recent(item.values, check.sustained_for)
        known = window[~np.isnan(window)]
        if 2 * len(known) < self.steps(check.sustained_for):
            minutes = check.sustained_for / 60
            young = f"measured for less than {minutes / 2:g} of {minutes:g} min"
            return Finding(item.name, False, None, fact=item.lost or item.unknown or young, lost=bool(item.lost))
        value = float(known.sum()) / len(known)
        if not _beyond(check, known, threshold).all():
            return Finding(item.name, False, value)
        since = self.row_since(_beyond(check, item.values, threshold), np.isnan(item.values))
        return Finding(item.name, True, value, since, item.fact)

    def value(self, check_id: str, name: str, value: float | None, since: float | None = None, fact: str = "") -> Finding:
        """A finding from one number."""
        check = BY_ID[check_id]
        failed = value is not None and bool(_beyond(check, np.array([value]), self.threshold(check))[0])
        return Finding(name, failed, value, since if failed else None, fact if failed else "")

    def findings(self, check_id: str, findings: list[Finding]) -> CheckResult:
        """One result: skip without anything to judge; fail if anything fails; unknown if nothing has data."""
        check = BY_ID[check_id]
        override = self.settings.checks.get(check_id, Override())
        threshold = self.threshold(check)
        by = override.by
        if override.disabled:
            return CheckResult(check_id, check.area, "skip", evidence="disabled", overridden_by=by)
        gap = self._gap(check)
        if gap and not any(f.failed for f in findings):
            return CheckResult(check_id, check.area, "unknown", threshold=threshold, evidence=gap, overridden_by=by)
        if not findings:
            return CheckResult(check_id, check.area, "skip", threshold=threshold, overridden_by=by)
        known = [f for f in findings if f.value is not None]
        worst = (max if check.direction == "above" else min)(known, key=lambda f: f.value or 0.0, default=None)
        failed = sorted((f for f in known if f.failed), key=lambda f: f.value or 0.0, reverse=check.direction == "above")
        if failed:
            since = [f.since for f in failed if f.since is not None]
            return CheckResult(
                check_id,
                check.area,
                "fail",
                failed[0].value,
                threshold,
                min(since) if since else None,
                tuple(f.name for f in failed),
                failed[0].fact,
                by,
            )
        if worst is None:
            silent = self._silent_nodes() if check.needs else []
            ended = next((f.fact for f in findings if f.lost), "")
            lost = f"no fresh data of {', '.join(silent[:3])}" if silent else ended
            reason = lost or next((f.fact for f in findings if f.fact), "not measured lately")
            return CheckResult(
                check_id, check.area, "unknown", threshold=threshold, evidence=reason, overridden_by=by, waiting=not lost
            )
        return CheckResult(check_id, check.area, "pass", worst.value, threshold, overridden_by=by)

    def _gap(self, check: Check) -> str:
        """Why nothing can be said, empty if it can: a query that failed, or agents of which nothing is heard."""
        failed = next((q for q in check.needs if q in self.world.missing), None)
        if failed is not None:
            return f"query {failed} failed: {self.world.missing[failed]}"
        if check.needs and (self.world.newest is None or self.world.now - self.world.newest > STALE):
            return "no fresh data of any agent"
        return ""

    def lost(self, instance: Instance, row: F64) -> str:
        """Why what is measured all the time of a running instance is missing, empty if it is not. Samples from before it was ready
        may be of a container that had its end then."""
        known = np.flatnonzero(~np.isnan(row))
        if not len(known) or not instance.ready or instance.ready_since is None:
            return ""
        last = float(self.world.times[known[-1]])
        ended = last > instance.ready_since and self.world.now - last > STALE
        return f"no sample of {instance.name} since {format_time(last)}" if ended else ""

    def _silent_nodes(self) -> list[str]:
        """Nodes of the application whose agents are not heard. Where all are, what is not known has not been measured yet."""
        homes = {i.node for i in self.app.instances.values() if i.node and not i.obsolete}
        return sorted(name for name in homes if not self.world.heard(name, STALE))


def _beyond(check: Check, values: F64, threshold: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """NaN is never beyond."""
    return values > threshold if check.direction == "above" else values < threshold


def ratio(part: F64, whole: F64) -> F64:
    """Elementwise part / whole; NaN where the whole is not above 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
