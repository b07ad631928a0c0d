"""The newest samples, for whoever asks."""

import json
import threading
from collections import deque
from dataclasses import asdict, dataclass

KEPT = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """`time`: seconds since the epoch; `latency`: seconds, None where it has none; `peer`: who was asked, or what class asked."""

    time: float
    container_id: str
    direction: str
    peer: str
    protocol: str
    status: str
    latency: float | None
    request: str


class Samples:
    """Written by one thread, read by others."""

    def __init__(self) -> None:
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self.total = 0

    def add(self, sample: Sample) -> None:
        with self._lock:
            self._kept.append(sample)
            self.total += 1

    def text(self) -> str:
        """A line of JSON for each, oldest first."""
        with self._lock:
            kept = list(self._kept)
        return "".join(json.dumps(asdict(sample)) + "\n" for sample in kept)
