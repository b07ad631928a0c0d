"""Network: what the client's side of each connection tells."""

import numpy as np

from appstatus.inspections.judge import Finding, Item, Judge
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID
from appstatus.model.series import F64
from appstatus.model.world import Connection

LEAST_FAILED_CONNECTS = 3
LEAST_RETRANSMITS = 10
SEGMENT = 1448  # bytes of payload in a full segment


def inspect(judge: Judge) -> list[CheckResult]:
    used = [c for c in judge.app.upstreams if judge.settings.excludes_peer(c.upstream) is None]
    inside = [Item(str(c.upstream), 1000 * c.rtt) for c in used if not c.upstream.is_external and _known(c.rtt)]
    outside = [Item(str(c.upstream), 1000 * c.rtt) for c in used if c.upstream.is_external and _known(c.rtt)]
    return [
        judge.gauge("NetworkRTT", inside),
        judge.gauge("NetworkRTTExternal", outside),
        judge.findings("NetworkTCPConnections", [_failed(judge, c) for c in used]),
        judge.findings("NetworkRetransmits", [_retransmits(judge, c) for c in used]),
    ]


def _known(values: F64) -> bool:
    return not bool(np.isnan(values).all())


def _events(judge: Judge, rates: F64) -> float:
    """How many there were; what is not known is none."""
    return float(np.nansum(rates)) * judge.world.step


def dialled_in_vain(judge: Judge, connection: Connection) -> tuple[float, float | None]:
    """Failed connection attempts within the check's window, and since when; since never if they are too few to judge."""
    window = BY_ID["NetworkTCPConnections"].sustained_for
    failures = _events(judge, judge.recent(connection.failed_connects, window))
    if failures < LEAST_FAILED_CONNECTS:
        return failures, None
    return failures, judge.row_since(judge.counts(connection.failed_connects, window) >= LEAST_FAILED_CONNECTS)


def _failed(judge: Judge, connection: Connection) -> Finding:
    check = BY_ID["NetworkTCPConnections"]
    name = str(connection.upstream)
    failed, made = (judge.recent(v, check.sustained_for) for v in (connection.failed_connects, connection.connects))
    if not _known(failed) and not _known(made):
        return Finding(name, False, None)
    failures, since = dialled_in_vain(judge, connection)
    if since is None:
        return Finding(name, False, 0.0)
    attempts = failures + _events(judge, made)
    return judge.value(check.id, name, 100 * failures / attempts, since, f"{failures:.0f} of {attempts:.0f} attempts")


def _retransmits(judge: Judge, connection: Connection) -> Finding:
    check = BY_ID["NetworkRetransmits"]
    name = str(connection.upstream)
    again = judge.recent(connection.retransmits, check.sustained_for)
    if not _known(again):
        return Finding(name, False, None)
    repeated = _events(judge, again)
    if repeated < LEAST_RETRANSMITS:
        return Finding(name, False, 0.0)
    counted = judge.recent(connection.segments_sent, check.sustained_for)
    if _known(counted):
        sent = max(_events(judge, counted), repeated)  # a SYN is a segment without payload
    else:  # coroot-node-agent does not count them: at least the bytes fill so many, and each request needs one
        asked = connection.traffic.total(len(judge.world.times))
        size, requests = (_events(judge, judge.recent(row, check.sustained_for)) for row in (connection.bytes_sent, asked))
        sent = repeated + size / SEGMENT + requests
    times = judge.world.times[-len(again) :][again > 0]
    return judge.value(check.id, name, 100 * repeated / sent, float(times[0]), f"{repeated:.0f} of {sent:.0f} segments")
