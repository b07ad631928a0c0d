"""Burn rates, tiers and budget of many objectives at once.

A tier fires when the share of bad events exceeds factor x (1 - objective) in both of its windows and the long one has enough bad
events, with factor = budget x window / long (Google SRE workbook, chapter 5). At a constant share of bad events e that began at
once, it fires after long x factor x (1 - objective) / e.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from appstatus.api.objective import Objective, Outage, Tier
from appstatus.api.tiers import MIN_STEPS, usable
from appstatus.api.values import format_duration
from appstatus.model.series import F64
from appstatus.slo.history import History, Rows
from appstatus.slo.sli import effective_threshold
from appstatus.slo.status import CLOSING_WINDOW, OUTAGE, SLOStatus, State, TierStatus

# Older than this (and than 4 steps) is not fresh: Unknown, never "met". Users' own queries run at half the pace or less.
STALE = 60.0
STALE_PROMQL = 120.0
HOUR = 3600.0


@dataclass(slots=True)
class Subject:
    """One objective, its row, and what else decides: judged_from and forgiven are unix seconds.

    judged_from  None: no instance has ever been available
    forgiven     bad events up to here belong to a closed incident: they count in the budget, but fire nothing
    """

    objective: Objective
    row: int
    judged_from: float | None
    forgiven: float = 0.0


@dataclass(frozen=True, slots=True)
class _Window:
    """(subjects,) over one length: bad events (since forgiven), burnable ratio, coverage in seconds and counts as measured."""

    bad: F64
    ratio: F64
    covered: F64
    all_bad: F64
    all_ratio: F64
    total: F64


def evaluate(subjects: Sequence[Subject], history: History, now: float) -> list[SLOStatus]:
    """The status of each subject, in their order."""
    if not subjects:
        return []
    lengths = {CLOSING_WINDOW, HOUR}
    plans = []
    cache: dict[tuple[tuple[Tier, ...], float, float], tuple[set[str], dict[str, str]]] = {}
    by_length: dict[float, list[int]] = {}
    for i, subject in enumerate(subjects):
        objective = subject.objective
        key = (objective.tiers, objective.window, objective.ratio)
        plan = cache.get(key)
        if plan is None:
            kept, dropped = usable(objective.tiers, objective.window, objective.ratio, history.step)
            plan = cache[key] = ({tier.name for tier in kept}, {drop.tier.name: drop.reason for drop in dropped})
        plans.append(plan)
        wanted = {objective.window, *lengths}
        for tier in objective.tiers:
            if tier.name in plan[0]:
                wanted |= {tier.short, tier.long}
        for length in wanted:
            by_length.setdefault(length, []).append(i)
    windows = {length: _window(subjects, numbers, history, length) for length, numbers in by_length.items()}
    rows = np.array([subject.row for subject in subjects], dtype=np.intp)
    lag = history.fine.last_known(max(int(np.ceil(STALE_PROMQL / history.step)), MIN_STEPS) + 1)[rows]
    stale = np.array([STALE_PROMQL if subject.objective.indicator == "promql" else STALE for subject in subjects])
    fresh = now - history.now + lag * history.step <= np.maximum(stale, MIN_STEPS * history.step)
    outages = _outages(subjects, rows, lag, history)
    return [_status(subject, i, windows, plans[i], outages[i], bool(fresh[i]), history, now) for i, subject in enumerate(subjects)]


def _window(subjects: Sequence[Subject], numbers: list[int], history: History, length: float) -> _Window:
    rows: Rows = np.array([subjects[i].row for i in numbers], dtype=np.intp)
    sums = history.sums(rows, length)
    total = sums.total
    with np.errstate(divide="ignore", invalid="ignore"):
        # What is not covered counts as good traffic at the mean rate of what is.
        filled = np.where(sums.covered > 0, total * np.maximum(length / sums.covered, 1.0), 0.0)
        bad = np.clip(sums.bad, 0.0, total)
        live = bad.copy()
        for at, i in enumerate(numbers):
            forgiven = subjects[i].forgiven
            if forgiven > history.now - length:
                live[at] = np.clip(history.sums(rows[at : at + 1], length, start=forgiven).bad[0], 0.0, bad[at])
        ratio = np.where(filled > 0, live / filled, np.nan)
        all_ratio = np.where(filled > 0, bad / filled, np.nan)
    found = _Window(live, ratio, sums.covered, bad, all_ratio, total)
    if len(numbers) == len(subjects):
        return found
    return _Window(*(_spread(array, numbers, len(subjects)) for array in (live, ratio, sums.covered, bad, all_ratio, total)))


def _spread(values: F64, numbers: list[int], count: int) -> F64:
    result = np.full(count, np.nan)
    result[numbers] = values
    return result


def _outages(subjects: Sequence[Subject], rows: Rows, lag: F64, history: History) -> list[TierStatus | None]:
    """The outage check. Its evaluations in a row end at the newest step with data and at the ones before it: so they do not
    depend on when cycles ran, and a restart in between loses nothing."""
    result: list[TierStatus | None] = [None] * len(subjects)
    kinds: dict[Outage, list[int]] = {}
    for i, subject in enumerate(subjects):
        if subject.objective.outage is not None:
            kinds.setdefault(subject.objective.outage, []).append(i)
    fine = history.fine
    for kind, numbers in kinds.items():
        steps = round(kind.window / history.step)
        if steps < MIN_STEPS:
            needed = format_duration(MIN_STEPS * history.step)
            why = f"its window of {format_duration(kind.window)} is less than {MIN_STEPS} steps ({needed})"
            for i in numbers:
                result[i] = _outage_status(subjects[i].objective, kind, None, None, 0.0, False, why)
            continue
        mine = rows[numbers]
        offset = lag[numbers].astype(np.intp)
        depth = min(steps + kind.evaluations - 1 + int(offset.max()), fine.columns)
        ends = (fine.end - np.arange(depth)) * fine.step
        newest_first = [array[mine, -depth:][:, ::-1].astype(np.float64) for array in fine.arrays]
        forgiven = np.array([subjects[i].forgiven for i in numbers])
        newest_first[0] = np.where(ends[None, :] <= forgiven[:, None], 0.0, newest_first[0])
        prefixes = [np.hstack([np.zeros((len(mine), 1)), np.cumsum(array, axis=1)]) for array in newest_first]
        needed_bad = np.array([subjects[i].objective.min_bad_events for i in numbers]) - 1e-6
        firing = np.ones(len(mine), dtype=bool)
        shares, bads = [], []
        for evaluation in range(kind.evaluations):
            low = np.minimum(offset + evaluation, depth)[:, None]
            high = np.minimum(low + steps, depth)
            bad, total, covered = (
                (np.take_along_axis(prefix, high, 1) - np.take_along_axis(prefix, low, 1))[:, 0] for prefix in prefixes
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                filled = total * np.maximum(kind.window / covered, 1.0)
                share = np.where(filled > 0, bad / filled, np.nan)
            firing &= (share >= kind.share - 1e-6) & (bad >= needed_bad)
            shares.append(share)
            bads.append(bad)
        for at, i in enumerate(numbers):
            objective = subjects[i].objective
            newest, before = (_number(share[at] / (1 - objective.ratio)) for share in (shares[0], shares[-1]))
            result[i] = _outage_status(objective, kind, newest, before, float(bads[0][at]), bool(firing[at]), "")
    return result


def _outage_status(
    objective: Objective, kind: Outage, newest: float | None, before: float | None, bad: float, firing: bool, dropped: str
) -> TierStatus:
    factor = kind.share / (1 - objective.ratio)
    return TierStatus(OUTAGE, newest, before, factor, bad, firing, dropped, kind.window, kind.window, "page")


def _status(
    subject: Subject,
    i: int,
    windows: dict[float, _Window],
    plan: tuple[set[str], dict[str, str]],
    outage: TierStatus | None,
    fresh: bool,
    history: History,
    now: float,
) -> SLOStatus:
    objective = subject.objective
    whole, five, hour = windows[objective.window], windows[CLOSING_WINDOW], windows[HOUR]
    total = float(whole.total[i])
    threshold = effective_threshold(objective.threshold) if objective.threshold is not None else None
    pending = subject.judged_from is None or now < subject.judged_from
    state: State = "Met"
    reason = ""
    if pending:
        state = "Pending"
        reason = "no instance has been available yet" if subject.judged_from is None else "its first instance is younger than 2 min"
    elif not fresh and now < (subject.judged_from or 0.0) + STALE:
        state, reason = "Pending", "its first two minutes are over, the first data are on their way"
    elif not fresh:
        state, reason = "NoData", _no_data(total, objective)
    elif total <= 0:
        state, reason = "NoData", "no requests in the window"
    judged = state == "Met"
    tiers = [_tier(tier, objective, i, windows, plan[1], judged) for tier in objective.tiers]
    if outage is not None:
        tiers.append(outage if judged else _silent(outage))
    has_data = total > 0
    sli = 1 - float(whole.all_ratio[i]) if has_data else None
    budget = 1 - float(whole.all_ratio[i]) / (1 - objective.ratio) if has_data else None
    firing = [tier for tier in tiers if tier.firing]
    if any(tier.name == OUTAGE for tier in firing):
        state = "Outage"
    elif any(tier.severity == "page" for tier in firing):
        state = "FastBurn"
    elif firing:
        state = "SlowBurn"
    elif judged and budget is not None and budget <= 0:
        state = "Exhausted"
    return SLOStatus(
        objective=objective,
        state=state,
        sli=sli,
        budget=budget,
        covered=min(float(whole.covered[i]), objective.window),
        burn=_burn(tiers, firing),
        tiers=tuple(tiers),
        good=total - float(whole.all_bad[i]),
        total=total,
        bad_ratio_5m=float(five.all_bad[i] / five.total[i]) if five.total[i] > 0 else None,
        total_5m=float(five.total[i]),
        threshold=threshold,
        reason=reason,
        covered_5m=float(five.covered[i]),
        total_1h=float(hour.total[i]),
        idle=state == "NoData" and fresh,
    )


def _no_data(total: float, objective: Objective) -> str:
    return "no fresh data" if total > 0 else f"no data for its {objective.indicator} indicator"


def _tier(
    tier: Tier, objective: Objective, i: int, windows: dict[float, _Window], dropped: dict[str, str], judged: bool
) -> TierStatus:
    factor = tier.factor(objective.window)
    why = dropped.get(tier.name, "")
    if why:
        return TierStatus(tier.name, None, None, factor, 0.0, False, why, tier.short, tier.long, tier.severity)
    short, long = windows[tier.short], windows[tier.long]
    limit = factor * (1 - objective.ratio)
    bad = float(long.bad[i])
    firing = judged and bool(short.ratio[i] > limit and long.ratio[i] > limit and bad >= objective.min_bad_events - 1e-6)
    short_burn, long_burn = (_number(window.ratio[i] / (1 - objective.ratio)) for window in (short, long))
    return TierStatus(tier.name, short_burn, long_burn, factor, bad, firing, "", tier.short, tier.long, tier.severity)


def _silent(tier: TierStatus) -> TierStatus:
    return replace(tier, firing=False)


def _burn(tiers: list[TierStatus], firing: list[TierStatus]) -> float | None:
    burns = [tier.long_burn for tier in firing if tier.long_burn is not None]
    if burns:
        return max(burns)
    steady = [tier for tier in tiers if tier.name != OUTAGE and tier.long_burn is not None]
    return min(steady, key=lambda tier: tier.short).long_burn if steady else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
