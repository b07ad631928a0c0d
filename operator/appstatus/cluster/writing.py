"""What every write to the API server has in common: leave to write, a pace, retries that carry a deadline."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from appstatus.api.names import GROUP
from appstatus.kube import APPLY, ApiError, Kube, Unreachable

log = logging.getLogger(__name__)

FIELD_MANAGER = "appstatus-operator"
PACE = 20.0  # writes/s
REQUEST_TIMEOUT = 5.0


class NotLeading(Exception):
    """This replica may not write now."""


class OutOfTime(Exception):
    """The deadline came before a clear answer. Whether the last try had an effect is unknown."""


@dataclass(slots=True)
class Writer:
    """Not thread-safe: the audit's thread is the only writer.

    allowed  asked before every single request: a leader that cannot renew its lease stops here
    counts   requests by result, for the metrics: ok, conflict, refused, failed
    """

    kube: Kube
    allowed: Callable[[], bool]
    pace: float = PACE
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    counts: dict[str, int] = field(default_factory=dict)
    _next: float = 0.0

    def apply(self, path: str, body: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Server-side apply; the object as it is then. Raises as ``request`` does."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self.request("PATCH", path, deadline, query=query, body=body, content_type=APPLY)  # type: ignore[no-any-return]

    def request(self, method: str, path: str, deadline: float, **kwargs: Any) -> Any:
        """One write, repeated while the API server is overloaded, broken or silent, until the monotonic ``deadline``.

        The request must therefore be one that may be done twice. Raises ApiError (a clear refusal), OutOfTime, NotLeading.
        """
        pause = 0.5
        while True:
            if not self.allowed():
                raise NotLeading
            self._wait_turn()
            try:
                answer = self.kube.request(method, path, timeout=min(REQUEST_TIMEOUT, max(deadline - self.clock(), 0.5)), **kwargs)
                self._count("ok")
                return answer
            except ApiError as error:
                if not error.passing:
                    self._count("conflict" if error.status == 409 else "refused")
                    raise
                self._count("failed")
                reason: Exception = error
                pause = max(pause, min(error.retry_after or 0.0, 5.0))
            except Unreachable as error:
                self._count("failed")
                reason = error
            if self.clock() + pause >= deadline:
                raise OutOfTime(f"{method} {path}: {reason}") from reason
            self.sleep(pause)
            pause = min(pause * 2, 4.0)

    def _wait_turn(self) -> None:
        now = self.clock()
        if now < self._next:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + 1.0 / self.pace

    def _count(self, result: str) -> None:
        self.counts[result] = self.counts.get(result, 0) + 1


def label(name: str) -> str:
    return f"{GROUP}/{name}"
