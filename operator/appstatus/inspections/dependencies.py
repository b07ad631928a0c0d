"""Dependencies: do the applications that this one calls answer, well and in time."""

import numpy as np

from appstatus.api.slo import BAD_STATUSES
from appstatus.inspections.judge import Finding, Item, Judge, ratio
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID
from appstatus.model.series import F64
from appstatus.model.world import UNANSWERED, Connection

FAILED = UNANSWERED | BAD_STATUSES
LEAST_FAILURES = 5
LEAST_ADDED = 0.010  # seconds
REFERENCE = 3600.0
LEAST_REFERENCE = 600.0


def inspect(judge: Judge) -> list[CheckResult]:
    called = [c for c in judge.app.upstreams if c.traffic.requests and judge.settings.excludes_peer(c.upstream) is None]
    return [
        judge.findings("DependencyErrors", [_errors(judge, c) for c in called]),
        judge.gauge("DependencyLatency", [_latency(judge, c) for c in called if c.traffic.seconds is not None]),
    ]


def _errors(judge: Judge, connection: Connection) -> Finding:
    check = BY_ID["DependencyErrors"]
    name = str(connection.upstream)
    step = judge.world.step
    total = connection.traffic.total(len(judge.world.times))
    if np.isnan(judge.recent(total, check.sustained_for)).all():
        return Finding(name, False, None)
    by_status = {s: float(np.nansum(judge.recent(v, check.sustained_for))) * step for s, v in connection.traffic.requests.items()}
    failed = {status: count for status, count in by_status.items() if status in FAILED and count > 0}
    failures, requests = sum(failed.values()), sum(by_status.values())
    if failures < LEAST_FAILURES:
        return Finding(name, False, 0.0)
    bad = np.nansum([v for s, v in connection.traffic.requests.items() if s in FAILED], axis=0)
    counts, of = judge.counts(bad, check.sustained_for), judge.counts(total, check.sustained_for)
    failing = (counts >= LEAST_FAILURES) & (100 * counts > judge.threshold(check) * of)
    worst = max(failed, key=lambda status: failed[status])
    return judge.value(
        check.id, name, 100 * failures / requests, judge.row_since(failing), f"{failures:.0f} of {requests:.0f}, most {worst}"
    )


def _latency(judge: Judge, connection: Connection) -> Item:
    """Mean latency over the median of the time before the sustained window."""
    traffic = connection.traffic
    nothing = np.full(len(judge.world.times), np.nan)
    if traffic.seconds is None or traffic.timed is None:
        return Item(str(connection.upstream), nothing)
    mean: F64 = ratio(traffic.seconds, traffic.timed)
    recent = judge.steps(BY_ID["DependencyLatency"].sustained_for)
    before = mean[-judge.steps(REFERENCE) : -recent]
    before = before[~np.isnan(before)]
    if len(before) < judge.steps(LEAST_REFERENCE):
        return Item(str(connection.upstream), nothing, unknown="less than 10 min to compare with")
    median = float(np.median(before))
    multiple = np.where(mean - median < LEAST_ADDED, np.minimum(1.0, mean / max(median, 1e-9)), mean / max(median, 1e-9))
    now = mean[~np.isnan(mean)][-1]
    return Item(str(connection.upstream), multiple, f"{1000 * median:.0f} ms -> {1000 * now:.0f} ms")
