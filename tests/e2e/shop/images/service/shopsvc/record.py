"""What users saw, second by second: the load generator's own truth."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

SLOW_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)


@dataclass
class Second:
    """All requests whose time to be sent lay in one second; `open` ones have not ended yet."""

    start: int
    rate: float
    sent: int = 0
    ended: int = 0
    ok: int = 0
    slow: Counter[float] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    routes: dict[str, Counter[str]] = field(default_factory=dict)
    longest: float = 0.0
    first_failure: float | None = None  # when the first request that failed was due


class Book:
    """Requests by the second in which they were due; a second is told once all of its requests have ended.

    Latency counts from the due time: a generator that falls behind must not hide what users would have waited.
    """

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque()

    def sent(self, due: float, route: str, rate: float) -> Second:
        """Count a request due at `due` (epoch seconds, never going back); hand the answer to `ended` for the same request."""
        start = int(due)
        if not self._seconds or self._seconds[-1].start != start:
            self._seconds.append(Second(start, rate))
        second = self._seconds[-1]
        second.sent += 1
        second.routes.setdefault(route, Counter())["sent"] += 1
        return second

    @staticmethod
    def ended(second: Second, route: str, due: float, latency: float, failure: str) -> None:
        """The request ended `latency` seconds after `due`; `failure`: "" for a good answer, else its status or how it ended."""
        counts = second.routes[route]
        second.ended += 1
        second.longest = max(second.longest, latency)
        if failure:
            second.failures[failure] += 1
            counts["failed"] += 1
            second.first_failure = min(due, second.first_failure or due)
            return
        second.ok += 1
        counts["ok"] += 1
        for bound in SLOW_SECONDS:
            if latency > bound:
                second.slow[bound] += 1
                counts[f"slow_{bound:g}"] += 1

    def complete(self, now: float) -> list[dict]:
        """The seconds that are over with nothing open, oldest first, each told once; see `as_record` for the shape.

        A second is over a second late: a busy loop may send a little after the due time.
        """
        told = []
        while self._seconds and self._seconds[0].start + 2 <= now and self._seconds[0].ended == self._seconds[0].sent:
            told.append(as_record(self._seconds.popleft()))
        return told


def as_record(second: Second) -> dict:
    """`slow` counts good answers that took longer than each bound; `failed` have no latency that would mean anything."""
    return {
        "t": second.start,
        "rate": second.rate,
        "sent": second.sent,
        "ok": second.ok,
        "failed": second.sent - second.ok,
        "slow": {f"{bound:g}": second.slow[bound] for bound in SLOW_SECONDS},
        "failures": dict(second.failures),
        "longest": round(second.longest, 4),
        "first_failure": second.first_failure,
        "routes": {route: dict(counts) for route, counts in second.routes.items()},
    }
