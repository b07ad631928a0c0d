"""31 days of an agent's counters as an OpenMetrics file: every 60 s, the last 8 h every 15 s as a scrape brings them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

HOUR, DAY = 3600.0, 86400.0
DAYS = 31 * DAY
# A scrape does not fall on the grid of the queries: the newest one is this old when it is first seen.
OFFSET = 4


class Rate:
    """Events/s that are ``base``, and something else in episodes: (begin, end, events/s), seconds before the end."""

    def __init__(self, base: float, *episodes: tuple[float, float, float]) -> None:
        self.base = base
        self.episodes = episodes

    def count(self, ago: np.ndarray | float) -> np.ndarray:
        """Events until ``ago`` seconds before the end, counted from 31 days before."""
        total = self.base * (DAYS - np.asarray(ago, dtype=float))
        for begin, end, rate in self.episodes:
            total = total + (rate - self.base) * np.clip(begin - np.asarray(ago, dtype=float), 0, begin - end)
        return total

    def __sub__(self, other: "Rate") -> "Rate":
        """The difference; episodes must not overlap."""
        mine = tuple((begin, end, rate - other.base) for begin, end, rate in self.episodes)
        theirs = tuple((begin, end, self.base - rate) for begin, end, rate in other.episodes)
        return Rate(self.base - other.base, *mine, *theirs)

    def between(self, length: float) -> float:
        """Events in the last ``length`` seconds."""
        return float(self.count(0.0) - self.count(length))


def write(path: Path, end: float, series: Mapping[tuple[str, str], Rate]) -> None:
    """``series``: (name, labels) -> rate."""
    ago = np.concatenate([np.arange(DAYS, 8 * HOUR, -60.0), np.arange(8 * HOUR, -1.0, -15.0)])
    times = (end - OFFSET - ago).astype(np.int64)
    with path.open("w") as out:
        for (name, labels), rate in series.items():
            out.writelines(_lines(f"{name}{{{labels}}}", rate.count(ago), times))
        out.write("# EOF\n")


def _lines(head: str, values: np.ndarray, times: np.ndarray) -> Iterator[str]:
    for value, time in zip(values.tolist(), times.tolist(), strict=True):
        yield f"{head} {value!r} {time}\n"
