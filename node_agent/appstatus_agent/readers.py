"""Who read the page when: a series must begin at 0 for each reader, as two replicas of Prometheus are, and never fall for any.

An address is not a Prometheus: a pod that is replaced comes back with its data and another address, and behind NAT one Prometheus
has several. So what anybody was shown in full is not shown as 0 to anybody from then on.
"""

NEW_SECONDS = 120.0
MOST = 64


class Readers:
    """Of the last `MOST` addresses that read. Not thread-safe."""

    def __init__(self) -> None:
        self._read: dict[str, float] = {}  # longest ago first
        self._shown = 0.0  # series made until then were shown in full to somebody

    def since(self, reader: str, now: float) -> float:
        """`reader` asks now; series made later than the answer (monotonic seconds, as `now`) are new to it. Never goes back.

        Nothing older than `NEW_SECONDS` is new to anybody: a reader that comes for the first time, or again after a long gap, would
        otherwise take all that happened meanwhile for the increase between two of its samples.
        """
        self._shown = max(self._shown, self._read.get(reader, 0.0), now - NEW_SECONDS)
        return self._shown

    def has_read(self, reader: str, when: float) -> None:
        """The page of `when` has reached `reader`."""
        self._read[reader] = max(when, self._read.pop(reader, when))
        if len(self._read) > MOST:
            del self._read[next(iter(self._read))]
