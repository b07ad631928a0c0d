"""CPU delay: how long a container's threads were runnable but had no processor.

From the second field of /proc/TID/schedstat (nanoseconds on the run queue), which every kernel keeps without being asked; delay
accounting (taskstats) reads the same kernel field but is off by default since 5.14. A process's own file is its leader
thread only, so all threads are summed. What a thread had when it was last seen is kept after it ended, so the sum never
decreases; what it waited between the last look and its end is lost (at most one sampling period).
"""

import os
from collections.abc import Iterable


class DelaySum:
    """CPU delay of one container, in seconds, over all threads it ever had while watched. Read from any thread."""

    __slots__ = ("_ended", "_running", "seconds")

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        self._ended = 0
        self.seconds = 0.0

    def update(self, delays: Iterable[tuple[int, int]]) -> None:
        """Take the delays (ns) of the threads that live now, as (thread id, ns). A lower value is a reused id."""
        before, now = self._running, dict(delays)
        self._ended += sum(delay for tid, delay in before.items() if now.get(tid, -1) < delay)
        self._running = now
        self.seconds = (self._ended + sum(now.values())) / 1e9


def thread_delays(tids: Iterable[int]) -> list[tuple[int, int]]:
    """(thread id, ns on the run queue) of those threads that still live."""
    found = []
    for tid in tids:
        try:
            fd = os.open(f"/proc/{tid}/schedstat", os.O_RDONLY)
        except OSError:
            continue
        try:
            fields = os.read(fd, 128).split()
            found.append((tid, int(fields[1])))
        except (OSError, IndexError, ValueError):
            continue
        finally:
            os.close(fd)
    return found
