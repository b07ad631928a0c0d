"""How many more failures, and how much more time, than before: of applications and of the edges between them.

Two quantities, both additive over edges: failed requests, and seconds of latency (mean latency is not additive, percentiles even
less). Both are what the incident has beyond what its own traffic would have had at the reference's rate and mean.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from appstatus.api.names import AppKey
from appstatus.diagnosis.onset import Windows
from appstatus.diagnosis.shift import LEAST_REFERENCE, middle
from appstatus.model.series import F64
from appstatus.model.world import UNANSWERED, Application, Connection, Traffic, World, add

MOST = 0.5
# A long incident is looked at in parts: what is worse at other times than the violator explains nothing of it.
MOST_PARTS = 5
LEAST_PART = 60.0  # seconds
# Less is noise: seconds of mean latency, and part of the mean before.
LEAST_ADDED = 0.002
LEAST_RELATIVE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """failed, silent, spent: excess by part of the incident, (P,): requests that failed, requests that got no answer (which failed
    too), seconds of latency; a part may have less than before. requests: in the whole incident

    before, during: mean latency of good answers, seconds, None where not known
    failing_before, failing: share of requests that failed
    """

    failed: F64
    silent: F64
    spent: F64
    requests: float = 0.0
    before: float | None = None
    during: float | None = None
    failing_before: float = 0.0
    failing: float = 0.0

    @property
    def failures(self) -> float:
        return max(0.0, float(self.failed.sum()))

    @property
    def unanswered(self) -> float:
        return max(0.0, float(self.silent.sum()))

    @property
    def seconds(self) -> float:
        return max(0.0, float(self.spent.sum()))


class Grown(NamedTuple):
    """CPU usage of a container, cores."""

    app: AppKey
    before: float
    during: float


class Accounts:
    """Excesses in one pair of windows, each computed once."""

    def __init__(self, world: World, windows: Windows, bad: frozenset[str]) -> None:
        self.world = world
        self.windows = windows
        self.bad = bad | UNANSWERED
        self._edges: dict[tuple[AppKey, AppKey], Excess] = {}
        self._nodes: dict[AppKey, Excess] = {}
        self._served: dict[AppKey, Excess | None] = {}
        self._grown: dict[str, list[tuple[AppKey, F64]]] = {}
        samples = np.flatnonzero(windows.incident)
        parts = np.array_split(samples, min(MOST_PARTS, max(1, round(len(samples) * world.step / LEAST_PART))))
        self._lengths = np.array([len(part) for part in parts])
        # The incident is one stretch of samples up to now.
        self._during = slice(samples[0], samples[-1] + 1) if len(samples) else slice(0, 0)
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._nothing = np.zeros(len(parts))

    def edge(self, connection: Connection) -> Excess:
        """What the client sees; connects that failed, and time spent connecting, included."""
        key = connection.client, connection.upstream
        if key not in self._edges:
            own = self._traffic([connection.traffic])
            connecting = self._timed([connection.connect_time], [connection.connects])
            refused, tried, before = self._counts([connection.failed_connects], [connection.connects, connection.failed_connects])
            extra = np.maximum(0.0, refused - before * tried)
            self._edges[key] = replace(
                own,
                failed=own.failed + extra,
                silent=own.silent + extra,
                spent=own.spent + connecting[0],
                requests=own.requests or float(tried.sum()),
            )
        return self._edges[key]

    def refused(self, connection: Connection) -> bool:
        """Whether most attempts to connect fail now and did not before, on an edge whose requests cannot be read."""
        if connection.traffic.requests:
            return False
        counted, attempts, before = self._counts([connection.failed_connects], [connection.connects, connection.failed_connects])
        failed, tried = float(counted.sum()), float(attempts.sum())
        return failed > 0 and failed / tried > MOST > before

    def begun(self, connection: Connection) -> bool:
        """Whether the client surely did not call it before the incident, and nothing is known against the callee itself."""
        times = len(self.world.times)
        before = connection.traffic.total(times)[self.windows.reference]
        if int((~np.isnan(before)).sum()) < LEAST_REFERENCE:
            return False
        for used in (before, connection.connects[self.windows.reference], connection.active[self.windows.reference]):
            if np.nansum(used) > 0:
                return False
        served = self.served(self.world.applications[connection.upstream])
        return served is None or (served.failures == 0 and served.seconds == 0)

    def served(self, app: Application) -> Excess | None:
        """What its own containers answered; None where nothing is known of the server's side."""
        if app.key not in self._served:
            known = bool(app.served.requests) and not np.isnan(self._of(app.served.total(len(self.world.times)))).all()
            self._served[app.key] = self._traffic([app.served]) if known else None
        return self._served[app.key]

    def incoming(self, app: Application) -> Excess:
        """What all its clients see together."""
        nothing = Excess(self._nothing, self._nothing, self._nothing)
        return total([nothing, *(self.edge(connection) for connection in app.downstreams)])

    def node(self, app: Application) -> Excess:
        """What the application costs its users: answers as its containers sent them, and requests its clients got no answer to.

        Without a server's side the clients alone tell.
        """
        if app.key not in self._nodes:
            served, incoming = self.served(app), self.incoming(app)
            if served is None:
                self._nodes[app.key] = incoming
            else:
                silent = incoming.silent + self._traffic([app.outside]).silent
                self._nodes[app.key] = replace(served, failed=served.failed - served.silent + silent, silent=silent)
        return self._nodes[app.key]

    def grown_on(self, node: str) -> list[Grown]:
        """CPU usage before and during of every container on a node."""
        if not self._grown:
            for app in self.world.applications.values():
                for instance in app.instances.values():
                    for container in instance.containers.values():
                        if container.cpu_usage is not None:
                            self._grown.setdefault(instance.node, []).append((app.key, container.cpu_usage))
        return [Grown(app, *self.levels(usage)) for app, usage in self._grown.get(node, ())]

    def levels(self, values: F64 | None) -> tuple[float, float]:
        """Medians before and during; what was not there used nothing."""
        if values is None:
            return 0.0, 0.0
        before, during = values[self.windows.reference], values[self.windows.incident]
        before, during = before[~np.isnan(before)], during[~np.isnan(during)]
        return (middle(before) if len(before) else 0.0), (middle(during) if len(during) else 0.0)

    def _of(self, values: F64) -> F64:
        return values[self.windows.incident]

    def _by_part(self, values: F64) -> F64:
        """(P,) events of (T,) events/s; of what is known of a part, as much again for the samples that are missing."""
        during = values[self._during]
        if not len(during):
            return self._nothing
        known = ~np.isnan(during)
        sums = np.add.reduceat(np.where(known, during, 0.0), self._begins)
        counts = np.add.reduceat(known.astype(np.float64), self._begins)
        return np.asarray(sums / np.maximum(counts, 1.0) * self._lengths * self.world.step)

    def _counts(self, part: list[F64], whole: list[F64]) -> tuple[F64, F64, float]:
        """((P,) part during, (P,) whole during, share before), events."""
        if not part or not whole:
            return self._nothing, self._nothing, 0.0
        times = len(self.world.times)
        parts, wholes = _both(add(part, times), add(whole, times))
        reference = self.windows.reference
        before = float(np.nansum(wholes[reference]))
        share = float(np.nansum(parts[reference])) / before if before > 0 else 0.0
        return self._by_part(parts), self._by_part(wholes), share

    def _timed(self, seconds: list[F64], counts: list[F64]) -> tuple[F64, float | None, float | None]:
        """((P,) excess seconds, mean before, mean during)."""
        if not seconds or not counts:
            return self._nothing, None, None
        times = len(self.world.times)
        spent, number = _both(add(seconds, times), add(counts, times))
        reference = self.windows.reference
        spent_in, number_in = self._by_part(spent), self._by_part(number)
        during = float(spent_in.sum() / number_in.sum()) if number_in.sum() > 0 else None
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(number > 0, spent / number, np.nan)[reference]
        means = means[~np.isnan(means)]
        before = middle(means) if len(means) >= LEAST_REFERENCE else None
        if during is None or before is None or during - before < max(LEAST_ADDED, LEAST_RELATIVE * before):
            return self._nothing, before, during
        return spent_in - before * number_in, before, during

    def _traffic(self, traffics: list[Traffic]) -> Excess:
        bad = [v for t in traffics for s, v in t.requests.items() if s in self.bad]
        silent = [v for t in traffics for s, v in t.requests.items() if s in UNANSWERED]
        every = [v for t in traffics for v in t.requests.values()]
        failed, requests, before = self._counts(bad, every)
        silent_in, _, silent_before = self._counts(silent, every)
        spent, mean_before, mean_during = self._timed(
            [t.seconds for t in traffics if t.seconds is not None], [t.timed for t in traffics if t.timed is not None]
        )
        made = float(requests.sum())
        return Excess(
            failed - before * requests,
            silent_in - silent_before * requests,
            spent,
            made,
            mean_before,
            mean_during,
            before,
            float(failed.sum()) / made if made else 0.0,
        )


def _both(a: F64, b: F64) -> tuple[F64, F64]:
    """Samples of which only one is known would move their ratio."""
    known = ~(np.isnan(a) | np.isnan(b))
    return np.where(known, a, np.nan), np.where(known, b, np.nan)


def total(parts: Iterable[Excess]) -> Excess:
    """Sums, of at least one; mean latencies weighted by requests."""
    found = list(parts)
    requests = sum(p.requests for p in found)

    def mean(name: str) -> float | None:
        known = [(getattr(p, name), p.requests) for p in found if getattr(p, name) is not None]
        weight = sum(w for _, w in known)
        return sum(v * w for v, w in known) / weight if weight else None

    return Excess(
        failed=np.sum([p.failed for p in found], axis=0),
        silent=np.sum([p.silent for p in found], axis=0),
        spent=np.sum([p.spent for p in found], axis=0),
        requests=requests,
        before=mean("before"),
        during=mean("during"),
        failing_before=mean("failing_before") or 0.0,
        failing=mean("failing") or 0.0,
    )
