"""Who read the page when: a series must begin at 0 for each reader, as two replicas of Prometheus are."""

NEW_SECONDS = 120.0
MOST = 64


class Readers:
    """Of the last `MOST` addresses that asked. Not thread-safe."""

    def __init__(self) -> None:
        self._read: dict[str, float] = {}  # longest ago first

    def since(self, reader: str, now: float) -> float:
        """`reader` reads now; series made later than the answer (monotonic seconds, as `now`) are new to it.

        Nothing older than `NEW_SECONDS` is new to anybody: a reader that comes for the first time, or again after a long gap, would
        otherwise take all that happened meanwhile for the increase between two of its samples.
        """
        before = self._read.pop(reader, now - NEW_SECONDS)
        self._read[reader] = now
        if len(self._read) > MOST:
            del self._read[next(iter(self._read))]
        return max(before, now - NEW_SECONDS)
