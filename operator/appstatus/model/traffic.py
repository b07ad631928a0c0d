"""Requests and TCP of whole applications, from the rows that ``who`` has summed up."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appstatus.api.names import AppKey
from appstatus.model.rows import fold
from appstatus.model.series import F64, Key, Metrics, Series
from appstatus.model.world import BUCKETS, Connection, Traffic

_TCP: tuple[tuple[str, str], ...] = (
    ("tcp_connects", "connects"),
    ("tcp_failed_connects", "failed_connects"),
    ("tcp_connect_time", "connect_time"),
    ("tcp_active", "active"),
    ("tcp_retransmits", "retransmits"),
    ("tcp_segments_sent", "segments_sent"),
    ("tcp_rtt", "rtt"),
    ("tcp_bytes_sent", "bytes_sent"),
)
# Answered without zeros (``queries._sparse``): where tcp_bytes_sent is known, a rate like these, nothing is 0.
_TCP_SPARSE = ("tcp_connects", "tcp_connect_time", "tcp_retransmits")
_HTTP = ("requests_out", "requests_out_timed", "requests_out_seconds")
_LE = {bound: i for i, bound in enumerate((*BUCKETS, np.inf))}
# Whose requests could be read but who was not asked for as long as the window reaches, has answered 0 of them well.
_IDLE = "2xx"


def connections(metrics: Metrics) -> list[Connection]:
    """One per (client, upstream)."""
    times = len(metrics.times)
    made: dict[Key, int] = {}
    for query in (*(query for query, _ in _TCP), *_HTTP):
        for key in metrics.get(query).keys:
            made.setdefault(key[:2], len(made))
    arrays = {query: _placed(metrics.get(query), made, times) for query, _ in _TCP}
    for query in _TCP_SPARSE:
        if query in metrics.series:
            _zero(arrays[query], arrays["tcp_bytes_sent"], metrics.get(query).since)
    result = [
        Connection(client, upstream, Traffic(), **{name: arrays[query][i] for query, name in _TCP})
        for (client, upstream), i in made.items()
    ]
    traffics = {key: result[i].traffic for key, i in made.items()}
    for name, query in (("timed", "requests_out_timed"), ("seconds", "requests_out_seconds")):
        series = metrics.get(query)
        for key, row in zip(series.keys, series.values.copy(), strict=True):
            setattr(traffics[key], name, row)
    series = metrics.get("requests_out")
    for key, row in zip(series.keys, series.values.copy(), strict=True):
        traffics[key[:2]].requests[str(key[2])] = row
    if "requests_out" in metrics.series:
        for traffic in traffics.values():
            _no_others(traffic, series.since)
    return result


def _placed(series: Series, numbers: dict[Key, int], times: int) -> F64:
    """(len(numbers), T): the rows of a series where their keys say; NaN elsewhere."""
    result = np.full((len(numbers), times), np.nan)
    result[[numbers[key] for key in series.keys]] = series.values
    return result


def _zero(rows: F64, beside: F64, since: int) -> None:
    """What a query without zeros was asked for and did not answer is 0 where what stands beside it is known."""
    rows[..., since:][np.isnan(rows[..., since:]) & ~np.isnan(beside[..., since:])] = 0.0


def _no_others(traffic: Traffic, since: int) -> None:
    """Statuses that did not occur, where the histogram says that requests are read."""
    if traffic.timed is None:
        return
    if not traffic.requests:
        traffic.requests[_IDLE] = np.full_like(traffic.timed, np.nan)
    for row in traffic.requests.values():
        _zero(row, traffic.timed, since)


def served(metrics: Metrics) -> dict[AppKey, tuple[Traffic, Traffic]]:
    """(what all peers got, what peers outside the cluster got) by application.

    Calls from within the same pod count only where nothing else calls: behind a proxy in the pod each request would count twice.
    """
    times = len(metrics.times)
    apps: dict[AppKey, int] = {}
    requests, seconds, buckets = (metrics.get(query) for query in ("requests_in", "requests_in_seconds", "requests_in_buckets"))
    if "requests_in" in metrics.series:
        for key in (*requests.keys, *buckets.keys):
            apps.setdefault(key[0], len(apps))
    called = _called(requests)

    def group(wanted: Callable[[str], bool]) -> Callable[[Series, int], NDArray[np.intp]]:
        def number(app: AppKey, peer: str) -> int:
            return -1 if not wanted(peer) or (peer == "local" and app in called) else apps.get(app, -1)

        return lambda series, peer: np.array([number(key[0], key[peer]) for key in series.keys], dtype=np.intp)

    sides: list[list[Traffic]] = []
    for groups in (group(lambda peer: True), group(lambda peer: peer == "outside")):
        targets = [Traffic() for _ in apps]
        _fill_seconds(targets, seconds, groups(seconds, 1))
        _fill_buckets(targets, buckets, groups(buckets, 1), times)
        _fill_requests(targets, requests, groups(requests, 2))
        for traffic in targets:
            traffic.timed = None if traffic.buckets is None else traffic.buckets[-1]
            _no_others(traffic, requests.since)
        sides.append(targets)
    return {app: (sides[0][i], sides[1][i]) for app, i in apps.items()}


def served_by_instance(metrics: Metrics) -> dict[tuple[AppKey, str], Traffic]:
    """Requests that each instance answered, by status, as far as it did; their latency is not kept apart."""
    requests = metrics.get("requests_in")
    called = _called(requests)
    numbers: dict[tuple[AppKey, str], int] = {}
    groups = [
        -1 if peer == "local" and app in called else numbers.setdefault((app, instance), len(numbers))
        for app, instance, peer, _ in requests.keys
    ]
    targets = [Traffic() for _ in numbers]
    _fill_requests(targets, requests, np.array(groups, dtype=np.intp))
    return dict(zip(numbers, targets, strict=True))


def _called(requests: Series) -> set[AppKey]:
    """Applications that others than containers of the same pod call."""
    return {key[0] for key, row in zip(requests.keys, requests.values, strict=True) if key[2] != "local" and np.nansum(row) > 0}


def _fill_requests(targets: list[Traffic], series: Series, groups: NDArray[np.intp]) -> None:
    seen: dict[tuple[int, str], int] = {}
    numbers = [
        -1 if group < 0 else seen.setdefault((int(group), str(key[3])), len(seen))
        for key, group in zip(series.keys, groups, strict=True)
    ]
    folded = fold(series.values, np.array(numbers, dtype=np.intp), len(seen))
    for (group, status), row in zip(seen, folded, strict=True):
        targets[group].requests[status] = row


def _fill_seconds(targets: list[Traffic], series: Series, groups: NDArray[np.intp]) -> None:
    folded = fold(series.values, groups, len(targets))
    for group in np.unique(groups[groups >= 0]):
        targets[group].seconds = folded[group]


def _fill_buckets(targets: list[Traffic], series: Series, groups: NDArray[np.intp], times: int) -> None:
    """Histograms. A bound that a source does not have (coroot-node-agent has 11) takes the value of the next lower one."""
    height = len(_LE)
    bounds = np.array([_LE.get(_bound(str(key[2])), -1) for key in series.keys], dtype=np.intp)
    wanted = (groups >= 0) & (bounds >= 0)
    used = np.unique(groups[wanted])
    dense = np.searchsorted(used, np.where(wanted, groups, used[0] if len(used) else 0))
    folded = fold(series.values, np.where(wanted, dense * height + bounds, -1), len(used) * height)
    folded = folded.reshape(len(used), height, times)
    for histogram, group in zip(folded, used, strict=True):
        _fill_down(histogram)
        targets[group].buckets = histogram


def _fill_down(histogram: F64) -> None:
    """Where all timed requests are known, a bound without a value is as high as the next lower one."""
    below = np.where(np.isnan(histogram[-1]), np.nan, 0.0)
    for row in histogram[:-1]:
        gaps = np.isnan(row)
        row[gaps] = below[gaps]
        below = row


def _bound(le: str) -> float:
    try:
        return float(le)
    except ValueError:
        return np.nan
