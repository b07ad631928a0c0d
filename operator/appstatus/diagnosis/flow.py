"""Where the pain starts: the violator's excess, followed down the call graph.

At every application its excess is split over the calls it makes; what they do not explain is its own. Shares multiply along a path
and add up to 1 over everything found, so a share reads as "part of the users' extra failures (or waiting) that starts here".
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from appstatus.api.names import AppKey
from appstatus.diagnosis.excess import Accounts, Excess
from appstatus.model.series import F64
from appstatus.model.world import Application

Mode = Literal["failures", "seconds"]

LEAST_SHARE = 0.01  # paths that carry less are not followed
LEAST_GAP = 0.2  # share of the client's extra time that the server must not have seen, to be the network's
# A request that never got its answer may have waited as long as the agent waits before it calls it overdue (seconds).
LONGEST_WAIT = 30.0


@dataclass(slots=True)
class Source:
    """Where part of the excess starts. ``path``: violator first, this application last, along the strongest way."""

    app: AppKey
    kind: Literal["own", "network"]
    mode: Mode
    share: float
    path: tuple[AppKey, ...]
    strongest: float = 0.0


class Flow:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._applications = accounts.world.applications
        self._splits: dict[tuple[AppKey, Mode], list[tuple[AppKey, Mode, float]]] = {}
        self.sources: dict[tuple[AppKey, str, Mode], Source] = {}
        # (caller, callee, mode) -> part of the violator's excess that goes over the calls between the two
        self.edges: dict[tuple[AppKey, AppKey, Mode], float] = {}

    def follow(self, violator: AppKey, mode: Mode, share: float) -> None:
        """Adds what ``share`` of the violator's excess comes from."""
        self._visit(violator, mode, share, (violator,))

    def _visit(self, key: AppKey, mode: Mode, share: float, path: tuple[AppKey, ...]) -> None:
        rest = share
        for callee, callee_mode, part in self._split(key, mode):
            if callee in path or share * part < LEAST_SHARE:
                continue
            rest -= share * part
            edge = key, callee, callee_mode
            self.edges[edge] = self.edges.get(edge, 0.0) + share * part
            network = self._network(callee) if callee_mode == "seconds" else 0.0
            if network:
                self._add(callee, "network", callee_mode, share * part * network, (*path, callee))
            if network < 1.0:
                self._visit(callee, callee_mode, share * part * (1.0 - network), (*path, callee))
        self._add(key, "own", mode, rest, path)

    def _add(self, key: AppKey, kind: Literal["own", "network"], mode: Mode, share: float, path: tuple[AppKey, ...]) -> None:
        if share < LEAST_SHARE:
            return
        source = self.sources.setdefault((key, kind, mode), Source(key, kind, mode, 0.0, path))
        source.share += share
        if share > source.strongest:
            source.strongest, source.path = share, path

    def _split(self, key: AppKey, mode: Mode) -> list[tuple[AppKey, Mode, float]]:
        if (key, mode) not in self._splits:
            app = self._applications[key]
            self._splits[key, mode] = self._by_failures(app) if mode == "failures" else self._by_seconds(app)
        return self._splits[key, mode]

    def _edges(self, app: Application) -> dict[AppKey, Excess]:
        """Calls that it made before too: that it now calls somebody else, who may not even exist, is its own doing."""
        return {c.upstream: self._accounts.edge(c) for c in app.upstreams if not self._accounts.begun(c)}

    def _by_failures(self, app: Application) -> list[tuple[AppKey, Mode, float]]:
        own = self._accounts.node(app)
        edges = self._edges(app)
        # A client that finds nobody there tries again less often than it fails its own callers.
        refused = {c.upstream for c in app.upstreams if self._accounts.refused(c)}
        parts = _shares(own.failed, {key: own.failed if key in refused else edge.failed for key, edge in edges.items()})
        found: list[tuple[AppKey, Mode, float]] = [(k, "failures", p) for k, p in parts.items()]
        rest = 1.0 - sum(parts.values())
        # Callers that gave up waiting: what was slow below explains their failures as it explains its time.
        silent = min(rest, own.unanswered / own.failures) if own.failures > 0 else 0.0
        if silent > 0:
            spent = {k: e.spent for k, e in edges.items()}
            waited = np.maximum(own.spent, sum(np.maximum(s, 0.0) for s in spent.values()))
            found += [(k, "seconds", silent * p) for k, p in _shares(waited, spent).items()]
        return found

    def _by_seconds(self, app: Application) -> list[tuple[AppKey, Mode, float]]:
        own = self._accounts.node(app)
        edges = self._edges(app)
        parts = _shares(own.spent, {k: e.spent for k, e in edges.items()})
        found: list[tuple[AppKey, Mode, float]] = [(k, "seconds", p) for k, p in parts.items()]
        rest = 1.0 - sum(parts.values())
        # Failed calls are in no histogram (and may have been repeated): they may have taken what is left, but no longer than such a
        # call can take: without an answer as long as the agent waits for one, with a bad one about as long as with a good one.
        if rest > 0 and own.seconds > 0:
            unseen = _shares(
                own.spent,
                {
                    k: LONGEST_WAIT * e.silent + (e.failed - e.silent) * max(e.during or 0.0, e.before or 0.0)
                    for k, e in edges.items()
                },
            )
            spread = sum(unseen.values())
            found += [(k, "failures", rest * p / max(1.0, spread)) for k, p in unseen.items()]
        return found

    def _network(self, key: AppKey) -> float:
        """Part of the extra time that callers wait for ``key`` which its own containers do not spend, 0..1."""
        app = self._applications[key]
        served = self._accounts.served(app)
        waited = self._accounts.incoming(app).seconds
        if served is None or served.during is None or waited <= 0:
            return 0.0
        gap = 1.0 - served.seconds / waited
        return max(0.0, gap) if gap >= LEAST_GAP else 0.0


def _shares(own: F64, edges: dict[AppKey, F64]) -> dict[AppKey, float]:
    """Parts of ``own`` that each edge explains: its excess, in no part of the incident (P,) more than the parent's.

    Edges that overlap (parallel calls, several calls per request, retries) share what there is.
    """
    own = np.maximum(own, 0.0)
    explained = {key: float(np.minimum(np.maximum(value, 0.0), own).sum()) for key, value in edges.items()}
    whole = max(float(own.sum()), sum(explained.values()))
    return {key: value / whole for key, value in explained.items() if value > 0}
