"""Posts core/v1 Events. kopf's and client-go's recorders fold, delay or drop Events, and neither can be told the name."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

from appstatus.cluster.writing import Writer
from appstatus.kube import ApiError, path

log = logging.getLogger(__name__)

Posted = Literal["posted", "exists"]


def post(writer: Writer, event: dict[str, Any], deadline: float) -> Posted:
    """Posts one Event. Its name tells incident and reason: "already exists" means that it has been posted before.

    Raises ApiError (refused for good), OutOfTime, NotLeading.
    """
    try:
        writer.request("POST", path("v1", "events", event["metadata"]["namespace"]), deadline, body=event)
    except ApiError as error:
        if error.status == 409:
            return "exists"
        raise
    return "posted"


class Recorder:
    """Posts Events, and logs and counts what became of each. ``count``: reason, result (posted, exists, refused)."""

    def __init__(self, writer: Writer, count: Callable[[str, str], None]) -> None:
        self._writer = writer
        self._count = count

    def post(self, event: dict[str, Any], deadline: float) -> int:
        """How many Events are new: 0 if it was there already, or is refused for good. Raises OutOfTime, NotLeading."""
        name, reason = f"{event['metadata']['namespace']}/{event['metadata']['name']}", event["reason"]
        try:
            result = post(self._writer, event, deadline)
        except ApiError as error:
            log.error("Event %s (%s) was refused: %s", name, reason, error)
            self._count(reason, "refused")
            return 0
        self._count(reason, result)
        log.info("Event %s (%s) %s: %s", name, reason, "posted" if result == "posted" else "was there already", event["message"])
        return 1 if result == "posted" else 0


def find(writer: Writer, namespace: str, labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Events with these labels. Raises ApiError or Unreachable."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    yield from writer.kube.list(path("v1", "events", namespace), query={"labelSelector": selector}, timeout=5.0)
