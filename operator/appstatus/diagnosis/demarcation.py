"""Which end of a slow edge is to blame, when the time is lost between client and server.

An application whose own network is slow is slow on all its edges, a bad link only between its two ends. So of the two ends it is
the one of whose edges the larger part has a gap (latency as the client sees it less latency as the server does) that grew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from appstatus.api.names import AppKey
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.shift import RELATIVE_FLOOR, THRESHOLD, Shift, shift
from appstatus.model.world import Connection

LEAST_GAP = 0.002  # seconds


@dataclass(slots=True)
class _End:
    edges: int = 0
    slow: int = 0

    def key(self) -> tuple[float, int]:
        return self.slow / self.edges if self.edges else 0.0, self.slow


@dataclass(slots=True)
class Gaps:
    """``slow``: edges whose gap grew."""

    slow: dict[tuple[AppKey, AppKey], Shift] = field(default_factory=dict)
    _ends: dict[AppKey, _End] = field(default_factory=dict)

    def end(self, client: AppKey, upstream: AppKey) -> AppKey:
        """The end to blame for an edge, the upstream if nothing speaks for either."""
        empty = _End()
        mine, theirs = self._ends.get(client, empty).key(), self._ends.get(upstream, empty).key()
        return client if mine > theirs else upstream


def gaps(accounts: Accounts, connections: Iterable[Connection]) -> Gaps:
    """What is known of these edges; those without latency at either end say nothing."""
    found = Gaps()
    for connection in connections:
        moved = _moved(accounts, connection)
        if moved is None:
            continue
        ends = [found._ends.setdefault(key, _End()) for key in (connection.client, connection.upstream)]
        for end in ends:
            end.edges += 1
        if moved.score > THRESHOLD:
            found.slow[connection.client, connection.upstream] = moved
            for end in ends:
                end.slow += 1
    return found


def _moved(accounts: Accounts, connection: Connection) -> Shift | None:
    served, seen = accounts.world.applications[connection.upstream].served.mean(), connection.traffic.mean()
    if served is None or seen is None:
        return None
    # The two ends are measured apart: their difference is no better known than the larger one is steady.
    usual = seen[accounts.windows.reference]
    floor = RELATIVE_FLOOR * float(np.nanmedian(usual)) if not np.isnan(usual).all() else 0.0
    return shift(np.maximum(seen - served, 0.0), accounts.windows, max(LEAST_GAP, floor))
