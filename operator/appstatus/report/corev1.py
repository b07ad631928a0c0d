"""The form of every Event that the operator posts: core/v1 with an eventTime.

Times are those of posting, since exporters drop what is older than 5 s; ``source`` and ``count`` are what kubectl, Datadog and the
exporters read. Source: kubernetes/kubernetes pkg/apis/core/validation/events.go.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from appstatus.api.conditions import format_time
from appstatus.api.names import GROUP, ObjectRef

Document = dict[str, Any]

COMPONENT = "appstatus"
MAX_MESSAGE = 1024  # bytes, with an eventTime; the API server refuses more
# The API server takes Events of cluster-scoped objects only here (and in kube-system).
CLUSTER_SCOPED = "default"
LABEL_APPLICATION = f"{GROUP}/application"
LABEL_NAME = f"{GROUP}/name"


def core_event(
    name: str,
    about: ObjectRef,
    related: ObjectRef | None,
    kind: Literal["Warning", "Normal"],
    reason: str,
    message: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    instance: str,
    now: float,
) -> Document:
    """One Event, complete: it is never changed afterwards. ``instance``: the operator's pod. A label without value is left out."""
    at = format_time(now)
    document: Document = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": name,
            "namespace": about.namespace or CLUSTER_SCOPED,
            "labels": {key: value for key, value in ((key, label_value(value)) for key, value in labels.items()) if value},
            "annotations": dict(annotations),
        },
        "involvedObject": reference(about),
        "type": kind,
        "reason": reason,
        "action": "Inspect",
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance or COMPONENT,
        "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
    if related is not None:
        document["related"] = reference(related)
    return document


def event_name(prefix: str, *identity: str) -> str:
    """``checkout.1f0c…``: the same for every try, so that posting it again answers 409."""
    digest = hashlib.sha256("/".join(identity).encode()).hexdigest()[:16]
    return f"{prefix[:236]}.{digest}"


def label_value(value: str) -> str:
    """What a label takes: at most 63 letters, digits, dots, dashes; a longer one ends in a digest, so that it stays unique."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", value)
    if len(clean) > 63:
        clean = f"{clean[:52]}-{hashlib.sha256(value.encode()).hexdigest()[:10]}"
    return clean.strip("-._")


def reference(ref: ObjectRef) -> Document:
    fields = {"apiVersion": ref.api_version, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
    return {name: value for name, value in fields.items() if value}
