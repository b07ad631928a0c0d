"""Posts core/v1 Events. kopf's and client-go's recorders fold, delay or drop Events, and neither can be told the name."""

import logging
from collections.abc import Iterator
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


def find(writer: Writer, namespace: str, labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Events with these labels. Raises ApiError or Unreachable."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    yield from writer.kube.list(path("v1", "events", namespace), query={"labelSelector": selector}, timeout=5.0)
