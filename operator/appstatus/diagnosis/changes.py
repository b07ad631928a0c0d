"""Which change of an application may be to blame: one just before the onset, or an earlier one since which something is different.

Changes of one workload that follow each other faster than a rollout may take cannot be told apart: the new instances of the first
may have come up only with the second, or its fault may have needed requests to show. Then the first is named: going back to before
it undoes them all, going back to before the newest one may undo nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from appstatus.api.slo import BAD_STATUSES
from appstatus.diagnosis.onset import Windows
from appstatus.diagnosis.shift import LEAST_INCIDENT, LEAST_REFERENCE, THRESHOLD, shift
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import Application, Traffic, World, add

# A change shows within this time after its last new instance became ready, and not before it began (seconds). What the new
# instances answered well for longer than that is not the release's fault.
SHOWS = 90.0
CLOCKS_DIFFER = 30.0
# Kubernetes' default of progressDeadlineSeconds: so long a rollout may take.
ROLLOUT = 600.0
# Samples after a change in which a step must be there that comes from it.
STEP_WITHIN = 3
REFERENCE = 3600.0
# In this order: a configuration that no rollout carries takes effect late or never.
KINDS = ("rollout", "config")
# Less is no difference: cores, seconds, share, lines/s.
_FLOORS = {"CPU": 0.05, "latency": 0.002, "failing": 0.01}
LEAST_LINES = 0.01
LEAST_GAUGE = 1e-6


def change_before(app: Application, onset: float, step: float = 0.0) -> Change | None:
    """The release or configuration change that can have shown at ``onset``, which is known to within ``step`` seconds.

    The newest that began before; of changes in close order the first.
    """
    ready = [i.ready_since for i in app.instances.values() if i.ready_since is not None]
    for row in _rows(app, onset):
        end = row[-1].time
        for t in sorted(t for t in ready if row[0].time <= t <= onset + step):
            # Who became ready without the rollout's having gone on until then was moved later, or has recovered.
            end = max(end, t) if t - end <= ROLLOUT else end
        if onset <= end + SHOWS + step:
            return row[0]
    return None


def _rows(app: Application, onset: float) -> list[list[Change]]:
    """Changes that began before the onset, those in close order together; the newest row of each kind first."""
    rows: list[list[Change]] = []
    for kind in KINDS:
        mine: list[list[Change]] = []
        for change in sorted((c for c in app.changes if c.kind == kind and c.time - CLOCKS_DIFFER <= onset), key=lambda c: c.time):
            if mine and change.time - mine[-1][0].time <= ROLLOUT:
                mine[-1].append(change)
            else:
                mine.append([change])
        rows += mine[::-1]
    return rows


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is different since a change: ``name``, medians before the change and from it until the onset."""

    change: Change
    name: str
    before: float
    during: float
    score: float


def earlier(app: Application, world: World, windows: Windows) -> Step | None:
    """The newest row of changes with whose beginning something of the application became different and stayed so until the onset,
    if there is any; of what did, what moved most.

    A fault may show to users long after it began: a disk fills, a table grows. But what fills it or reads it has moved at once.
    """
    times = world.times
    for change, *_ in _rows(app, windows.onset):
        before = (times <= change.time) & (times > change.time - REFERENCE)
        # The sample that the change falls into is partly before.
        since = np.flatnonzero((times > change.time) & (times <= windows.onset))[1:]
        if before.sum() < LEAST_REFERENCE or len(since) <= STEP_WITHIN:
            continue
        at, until = np.zeros((2, len(times)), dtype=bool)
        at[since[:STEP_WITHIN]] = until[since] = True
        found = []
        for name, values, floor in signs(app, len(times)):
            first = shift(values, Windows(change.time, before, at, before), floor)
            lasting = shift(values, Windows(change.time, before, until, before), floor)
            if first is None or lasting is None or min(first.score, lasting.score) <= THRESHOLD or _moving(values[before], floor):
                continue
            found.append(Step(change, name, lasting.before, lasting.during, lasting.score))
        if found:
            return max(found, key=lambda s: s.score)
    return None


def first_sign(app: Application, world: World, windows: Windows) -> Step | None:
    """A change that fits not the onset but its first sign: when something of the application left its ordinary range for good.

    What rises for minutes has its onset, the single step that explains most, in the middle.
    """
    first: Step | None = None
    last = int(np.searchsorted(world.times, windows.onset, "right"))
    for name, values, floor in signs(app, len(world.times)):
        moved = shift(values, windows, floor)
        if moved is None or moved.score <= THRESHOLD:
            continue
        limit = moved.before + THRESHOLD * (moved.during - moved.before) / moved.score
        ordinary = np.flatnonzero(~(values[:last] > limit))
        if not len(ordinary) or ordinary[-1] == last - 1:
            continue
        began = float(world.times[ordinary[-1]])
        change = change_before(app, began, world.step)
        if change is not None and (first is None or change.time < first.change.time):
            first = Step(change, name, moved.before, moved.during, moved.score)
    return first


def _moving(before: F64, floor: float) -> bool:
    """Whether the last samples before a change were out of the ordinary as well; what rises already is not the change's doing."""
    known = before[~np.isnan(before)]
    early, late = known[:-LEAST_INCIDENT], known[-LEAST_INCIDENT:]
    if len(early) < LEAST_REFERENCE:
        return False
    low, median, high = np.percentile(early, [25, 50, 75])
    return bool(np.median(late) - median > THRESHOLD * max(high - low, floor))


def signs(app: Application, times: int) -> Iterator[tuple[str, F64, float]]:
    """(name, (T,) values, what is no difference) of everything an application itself tells of its work; more is suspicious.

    Not its memory, which differs from release to release for no harm, and not its traffic, which is its users' doing.
    """
    for name, gauge in app.gauges.items():
        yield name, gauge, LEAST_GAUGE
    usage = [c.cpu_usage for i in app.instances.values() for c in i.containers.values() if c.cpu_usage is not None]
    if usage:
        yield "CPU", add(usage, times), _FLOORS["CPU"]
    mean = app.served.mean()
    if mean is not None:
        yield "latency", mean, _FLOORS["latency"]
    if app.served.requests:
        yield "failing", _failing(app.served, times), _FLOORS["failing"]
    for pattern in app.logs:
        if pattern.severe:
            yield pattern.text, pattern.lines, LEAST_LINES


def _failing(served: Traffic, times: int) -> F64:
    """(T,) share of bad answers."""
    bad = add([v for status, v in served.requests.items() if status in BAD_STATUSES], times)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(bad) / served.total(times)
