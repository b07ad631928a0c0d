"""Metric samples on one common time grid."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
# What a row is told by: see ``queries.Query.rows``.
Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """The answer to one query of the table.

    keys    one per row, all different
    values  (rows, times); NaN where there is no sample
    since   column from which on the query has been answered: before it NaN says nothing, not even that there was no sample
    """

    keys: list[Key]
    values: F64
    since: int = 0


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
        return found if found is not None else Series([], np.empty((0, len(self.times))), len(self.times))
