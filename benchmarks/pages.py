#!/usr/bin/env python3
"""False pages: healthy hours and thin traffic through the operator's own evaluation of SLOs, with a Project's defaults.

    benchmarks/pages.py                       everything, one table
    benchmarks/pages.py --data FOLDER         where the recorded sets are

Recorded: what was recorded without a fault, every 15 s in the ledger, evaluated every minute: the default availability objective
of the application that users see, and the default latency objective as if it could page, with a threshold that the first quarter of
the recording keeps (a system that is slow by nature says nothing of alerts). A page is false unless at least one request in ten
was bad in the five minutes before.
Thin traffic: Poisson requests and errors over 30 days at a rate that the objective allows; beside it how often the plain rule of
the SRE workbook, without a minimum of bad events, would have paged.
Outages: after which time one of known size is found, against the closed form; what finds nothing sends no page either.
"""

import sys

sys.path.append(sys.path.pop(0))  # beside this file lies one with the name of a module of the standard library

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from appstatus.api.names import AppKey
from appstatus.api.objective import Objective, Outage
from appstatus.api.project import Project, parse_project
from appstatus.api.tiers import default_tiers
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, Traffic, World
from appstatus.slo.burn import Subject, evaluate
from appstatus.slo.history import History
from appstatus.slo.ledger import Ledger
from appstatus.slo.status import SLOStatus
from machine import describe
from recorded import nezha, petshop

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "rca"
HEALTHY = {"petshop": petshop.healthy, "nezha": nezha.healthy}
STEP = 15.0
EVERY = 60.0  # between evaluations
DAY = 86400.0
MONTH = 30 * DAY
THIN = 0.02  # requests/s
PAGE = frozenset({"Outage", "FastBurn"})
HURT = 0.1  # share of requests


def objective(app: AppKey, indicator: str, project: Project, ratio: float | None = None) -> Objective:
    """As a Project asks for by default, but able to page."""
    given = project.availability if indicator == "availability" else project.latency
    tiers = default_tiers(given.window)
    ratio = given.ratio if ratio is None else ratio
    return Objective(indicator, app, indicator, ratio, given.window, tiers, Outage(), threshold=given.threshold)  # type: ignore[arg-type]


class Counter:
    """Pages and tickets: each time that an objective begins to be violated so."""

    def __init__(self) -> None:
        self.pages: list[tuple[float, SLOStatus]] = []
        self.tickets = 0
        self._last: dict[tuple[AppKey, str], str] = {}

    def see(self, at: float, statuses: Sequence[SLOStatus]) -> None:
        for status in statuses:
            key = status.objective.app, status.objective.id
            before, self._last[key] = self._last.get(key, ""), status.state
            if status.state in PAGE and before not in PAGE:
                self.pages.append((at, status))
            elif status.state == "SlowBurn" and before not in (*PAGE, "SlowBurn"):
                self.tickets += 1

    @property
    def false(self) -> int:
        return sum((status.bad_ratio_5m or 0.0) < HURT for _, status in self.pages)


def replay(made: World, app: AppKey, project: Project) -> tuple[Counter, float]:
    """(what fired, hours)."""
    repeat = max(1, round(made.step / STEP))
    began = float(np.ceil(made.times[0] / STEP) * STEP)
    count = len(made.times) * repeat
    latency = replace(objective(app, "latency", project), threshold=kept(made, app, project))
    objectives = [objective(app, "availability", project), latency]
    ledger, counter = Ledger(STEP, began), Counter()
    per = round(EVERY / STEP)
    for low in range(0, count, per):
        at = np.arange(low, min(low + per, count))
        view = _part(made, app, began + STEP * (at + 1), at // repeat)
        ledger.update(view, objectives)
        for statuses in ledger.evaluate(objectives, view.now).values():
            counter.see(view.now, statuses)
    return counter, count * STEP / 3600


def _part(made: World, key: AppKey, times: F64, columns: np.ndarray) -> World:
    """Some steps of one application: of it what SLOs need where users are outside."""
    app = made.applications[key]
    requests = {status: values[columns] for status, values in app.served.requests.items()}
    buckets, timed = (None if v is None else v[..., columns] for v in (app.served.buckets, app.served.timed))
    part = replace(app, served=Traffic(requests, buckets, None, timed), outside=Traffic(), instances={}, downstreams=[])
    return World(float(times[-1]), STEP, times, {key: part}, {}, [], float(times[-1]))


def kept(made: World, app: AppKey, project: Project) -> float:
    """The threshold for latency, seconds: the default, or the lowest bound that holds as many answers as the objective asks for."""
    found = made.applications[app].served.buckets
    assert found is not None
    known = found[:, : len(made.times) // 4]
    within = np.nansum(known, axis=1)[:-1] / np.nansum(known[-1])
    fits = [bound for bound, share in zip(BUCKETS, within, strict=True) if share >= project.latency.ratio]
    assert project.latency.threshold is not None
    return max(project.latency.threshold, min(fits, default=BUCKETS[-1]))


class Counts:
    """(rows, steps) of requests and bad ones, entered into a history as time goes on. ``subjects``: one per row."""

    def __init__(self, total: F64, bad: F64, ratios: Sequence[float], project: Project) -> None:
        self.total, self.bad = total, bad
        self.history = History(STEP, MONTH, 0.0, len(ratios))
        self.subjects = []
        for row, ratio in enumerate(ratios):
            app = AppKey("thin", "Deployment", f"{row} {ratio}")
            self.subjects.append(Subject(objective(app, "availability", project, ratio), row, 0.0))
        self._entered = 0

    def until(self, step: int) -> None:
        rows, chunk = np.arange(len(self.subjects)), 1000  # well within what is kept at the finest resolution
        while self._entered < step:
            to = min(self._entered + chunk, step)
            total, bad = self.total[:, self._entered : to], self.bad[:, self._entered : to]
            self.history.advance(to * STEP)
            self.history.put(rows, STEP * np.arange(self._entered + 1, to + 1), total - bad, total)
            self._entered = to

    def statuses(self, step: int) -> list[SLOStatus]:
        self.until(step)
        return evaluate(self.subjects, self.history, step * STEP)


def thin(shares: Sequence[float], ratios: Sequence[float], seeds: int, project: Project) -> Iterator[tuple[str, int, Counter]]:
    """(what, pages of the plain rule, what fired): ``seeds`` times 30 days each.

    Evaluated every minute while the plain rule fires or is near it, ten minutes around, and else every two hours: the minimum of
    bad events only ever takes away from the plain rule.
    """
    steps = round(MONTH / STEP)
    kinds = [(share, ratio) for share in shares for ratio in ratios if share <= (1 - ratio) * 1.001]
    for share, ratio in kinds:
        random = np.random.default_rng([round(1e6 * share), round(1e6 * ratio)])
        total = random.poisson(THIN * STEP, (seeds, steps)).astype(float)
        bad = random.binomial(total.astype(int), share).astype(float)
        counts, counter = Counts(total, bad, [ratio] * seeds, project), Counter()
        fires, close = (np.zeros((seeds, steps), dtype=bool) for _ in range(2))
        for tier in counts.subjects[0].objective.tiers:
            if tier.severity == "page":
                shares = (_ratio(bad, total, window) for window in (tier.short, tier.long))
                least = np.minimum(*shares) / (tier.factor(MONTH) * (1 - ratio))
                fires |= least > 1.0
                close |= least > 0.8
        margin, per = round(600 / STEP), round(EVERY / STEP)
        near = np.convolve(close.any(axis=0), np.ones(2 * margin + 1), "same") > 0
        for step in range(per, steps + 1, per):
            if near[step - 1] or step % round(7200 / STEP) == 0:
                counter.see(step * STEP, counts.statuses(step))
        plain = int((np.diff(fires.astype(int), axis=1) == 1).sum())
        yield f"{100 * share:.2f}% errors, objective {100 * ratio:g}%", plain, counter


def _ratio(bad: F64, total: F64, seconds: float) -> F64:
    """(rows, steps) share of bad events over the last ``seconds``."""
    steps = round(seconds / STEP)
    sums = []
    for values in (bad, total):
        whole = np.cumsum(values, axis=1)
        sums.append(whole - np.pad(whole, ((0, 0), (steps, 0)))[:, :-steps])
    return np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)


def outages(project: Project, ratio: float = 0.999, seeds: int = 10) -> Iterator[tuple[float, float, float, float, int]]:
    """(requests/s, share that fails, seconds until a page: median found, closed form, how many of ``seeds`` were found in 4 h)."""
    before, length = round(3 * 3600 / STEP), round(4 * 3600 / STEP)
    for rate in (0.02, 0.2, 5.0):
        for share in (0.05, 0.2, 1.0):
            random = np.random.default_rng([round(1000 * rate), round(1000 * share)])
            total = random.poisson(rate * STEP, (seeds, before + length)).astype(float)
            bad = random.binomial(total.astype(int), share).astype(float)
            bad[:, :before] = 0.0
            counts = Counts(total, bad, [ratio] * seeds, project)
            found = np.full(seeds, np.inf)
            for step in range(before, before + length + 1):
                if np.isfinite(found).all():
                    break
                for row, status in enumerate(counts.statuses(step)):
                    if status.state in PAGE and found[row] == np.inf:
                        found[row] = (step - before) * STEP
            yield rate, share, float(np.median(found)), closed_form(counts.subjects[0].objective, rate, share, 3), int(
                np.isfinite(found).sum()
            )


def closed_form(of: Objective, rate: float, share: float, hours_before: float) -> float:
    """Seconds until the first page at a constant share of failures: long x factor x (1 - objective) / share for a tier, and as long
    as the minimum of bad events takes. A window that is longer than what is known counts as filled at the mean rate."""
    least = of.min_bad_events / (rate * share)
    found = [float("inf")]
    for tier in of.tiers:
        if tier.severity == "page":
            needed = tier.factor(of.window) * (1 - of.ratio) / share
            known = hours_before * 3600
            # Of the window ``length`` only ``known + t`` is there, and its mean stands for the rest: share * t / (known + t).
            for_long = needed * tier.long if tier.long <= known else needed * known / (1 - needed)
            found.append(max(for_long, needed * tier.short, least))
    if of.outage is not None and share >= of.outage.share and rate * share * of.outage.window >= of.min_bad_events:
        enough = max(of.outage.window * of.outage.share / share, least)
        found.append(enough + (of.outage.evaluations - 1) * STEP)
    return min(found)


def report(data: Path) -> dict[str, object]:
    """Prints all three tables."""
    project = parse_project({"metadata": {"name": "default"}})
    figures: dict[str, object] = {}
    print(f"\n{'healthy hours':44} hours  pages  false tickets")
    for name, healthy in HEALTHY.items():
        for part, made, app in healthy(data / name):
            counter, hours = replay(made, app, project)
            figures[f"{name} {part}"] = {"hours": hours, **_counts(counter)}
            print(f"  {name + ' ' + part:42} {hours:5.1f} {_line(counter)}")
            for at, status in counter.pages:
                bad, whole = 100 * (status.bad_ratio_5m or 0.0), status.total_5m
                print(f"      {app.name} {status.objective.id}: {bad:.0f}% of {whole:.0f} requests were bad in 5 min, ", end="")
                print(f"{(at - float(made.times[0])) / 3600:.1f} h after the begin")
    seeds = 5
    print(f"\n{f'{THIN} requests/s, {seeds} x 30 days':44} plain  pages  false tickets")
    for what, plain, counter in thin((0.0005, 0.001), (0.999, 0.99), seeds, project):
        figures[what] = {"plain": plain, **_counts(counter)}
        print(f"  {what:42} {plain:5} {_line(counter)}")
    print("\nan outage, objective 99.9%: requests/s  failing  found  median s  closed form s")
    for rate, share, median, closed, found in outages(project):
        figures[f"outage {rate}/s {share}"] = {"found": found, "median": median, "closed form": closed}
        print(f"{rate:39} {100 * share:7.0f}% {found:6} {median:9.0f} {closed:14.0f}")
    return figures


def _counts(counter: Counter) -> dict[str, int]:
    return {"pages": len(counter.pages), "false": counter.false, "tickets": counter.tickets}


def _line(counter: Counter) -> str:
    return " ".join(f"{count:{width}}" for count, width in zip(_counts(counter).values(), (6, 6, 7), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of all sets")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    print(describe())
    began = time.process_time()
    figures = report(given.data)
    print(f"\n{time.process_time() - began:.0f} s of CPU")
    if given.json:
        given.json.write_text(json.dumps({"machine": describe(), "pages": figures}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
