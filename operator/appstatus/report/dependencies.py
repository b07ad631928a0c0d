"""What an application calls, as AppStatus.status.dependencies shows it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.slo import BAD_STATUSES
from appstatus.model.series import F64
from appstatus.model.world import UNANSWERED, Application, Connection, add
from appstatus.report import text

Document = dict[str, Any]

SPAN = 300.0
MAX_DEPENDENCIES = 50
_RANK = {"Violated": 0, "Warning": 1, "Unknown": 2, "Healthy": 3, "": 4}
_BAD = UNANSWERED | BAD_STATUSES


def dependencies(app: Application, health: Mapping[AppKey, str], step: float, previous: Mapping[str, Any]) -> list[Document]:
    """Worst health first, then by name; at most 50. ``health``: of the applications that are judged.

    Figures are means over the last five minutes and keep their text while they are close to it.
    """
    before = {(each.get("namespace", ""), each["kind"], each["name"]): each for each in previous.get("dependencies", ())}
    upstreams = sorted(app.upstreams, key=lambda each: (_RANK.get(health.get(each.upstream, ""), 4), each.upstream))
    return [
        _document(
            each,
            health.get(each.upstream, ""),
            step,
            before.get((each.upstream.namespace, each.upstream.kind, each.upstream.name), {}),
        )
        for each in upstreams[:MAX_DEPENDENCIES]
    ]


def _document(connection: Connection, health: str, step: float, before: Mapping[str, Any]) -> Document:
    upstream, traffic = connection.upstream, connection.traffic
    document: Document = {"kind": upstream.kind, "name": upstream.name}
    if upstream.namespace:
        document["namespace"] = upstream.namespace
    if health:
        document["health"] = health
    recent = slice(-max(int(SPAN / step), 1), None)
    refused = connection.failed_connects[recent]
    total = _mean(add([*(row[recent] for row in traffic.requests.values()), refused], len(refused)))
    bad = [row[recent] for status, row in traffic.requests.items() if status in _BAD]
    failed = _mean(add([*bad, refused], len(refused)))
    if total > 0:
        document["requests"] = _keep(before.get("requests"), total, "/s")
        document["errors"] = _keep(before.get("errors"), 100 * min(failed / total, 1.0), "%")
    if traffic.seconds is not None and traffic.timed is not None:
        timed = _mean(traffic.timed[recent])
        if timed > 0:
            document["latency"] = _keep(before.get("latency"), 1000 * _mean(traffic.seconds[recent]) / timed, "ms")
    return document


def _mean(values: F64) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _keep(before: str | None, value: float, unit: str) -> str:
    old = float(before.removesuffix(unit)) if before is not None and before.endswith(unit) else None
    return f"{text.steady(old, value):g}{unit}"
