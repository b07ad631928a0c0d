"""Metric samples on one common time grid."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """The answer to one query of the table.

    labels  one dict per series; it has every label in the query's ``by``, empty where Prometheus has none
    values  (series, times); NaN where there is no sample
    """

    labels: list[dict[str, str]]
    values: F64


@dataclass(frozen=True, slots=True)
class Metrics:
    """All answers of one cycle.

    times    (T,) unix seconds, ascending, equidistant by ``step``
    series   by query id; a query that failed is absent and named in ``failed`` with the reason (a partial answer counts as failed)
    newest   unix seconds of the newest sample of any agent, None if there is none
    """

    times: F64
    step: float
    series: dict[str, Series]
    failed: dict[str, str]
    newest: float | None

    def get(self, query_id: str) -> Series:
        """The series of a query; empty (0, T) if it failed or has none."""
        found = self.series.get(query_id)
        return found if found is not None else Series([], np.empty((0, len(self.times))))
