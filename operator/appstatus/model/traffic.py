"""Requests and TCP of whole applications, folded from the series of single containers."""

from collections.abc import Callable, Hashable
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from appstatus.api.names import AppKey
from appstatus.model.addresses import Addresses
from appstatus.model.http import status_class
from appstatus.model.identity import Owner
from appstatus.model.probes import Probes
from appstatus.model.queries import BY_ID
from appstatus.model.rows import fold
from appstatus.model.series import F64, Metrics, Series
from appstatus.model.world import BUCKETS, Connection, Traffic

ContainerId = tuple[str, str]
EdgeId = tuple[str, str, str, str]

_TCP: tuple[tuple[str, str, Literal["sum", "mean"]], ...] = (
    ("tcp_connects", "connects", "sum"),
    ("tcp_failed_connects", "failed_connects", "sum"),
    ("tcp_connect_time", "connect_time", "sum"),
    ("tcp_active", "active", "sum"),
    ("tcp_retransmits", "retransmits", "sum"),
    ("tcp_segments_sent", "segments_sent", "sum"),
    ("tcp_rtt", "rtt", "mean"),
    ("tcp_bytes_sent", "bytes_sent", "sum"),
    ("tcp_bytes_received", "bytes_received", "sum"),
)
_LE = {bound: i for i, bound in enumerate((*BUCKETS, np.inf))}


_container: Callable[[dict[str, str]], ContainerId] = itemgetter("machine_id", "container_id")
_edge: Callable[[dict[str, str]], EdgeId] = itemgetter("machine_id", "container_id", "destination", "actual_destination")
_dialled: Callable[[dict[str, str]], tuple[str, str, str]] = itemgetter("machine_id", "container_id", "destination")


def connections(
    metrics: Metrics, owners: dict[ContainerId, Owner], machines: dict[str, str], addresses: Addresses, probes: Probes
) -> list[Connection]:
    """One per (client, upstream); probes, scrapes and calls of an application to itself are left out."""
    times = len(metrics.times)
    made: dict[tuple[AppKey, AppKey], int] = {}
    edges: dict[EdgeId, int] = {}

    def place(key: EdgeId) -> int:
        """Number of the connection, -1 for what is left out."""
        owner = owners.get(key[:2])
        upstream = addresses.resolve(key[2], key[3]) if owner else None
        if owner is None or upstream is None or owner.app == upstream.app:
            return -1
        if probes.is_probe(owner, machines.get(key[0], key[0]), key[2]):
            return -1
        return made.setdefault((owner.app, upstream.app), len(made))

    def groups(query: str) -> NDArray[np.intp]:
        numbers = []
        exact = "actual_destination" in BY_ID[query].by
        for labels in metrics.get(query).labels:
            key = _edge(labels) if exact else (*_dialled(labels), "")
            number = edges.get(key)
            if number is None:
                number = edges[key] = place(key)
            numbers.append(number)
        return np.array(numbers, dtype=np.intp)

    # All series are placed before anything is folded: the number of connections must be known.
    tcp = {query: groups(query) for query, _, _ in _TCP}
    http = {query: groups(query) for query in ("http_out", "http_out_timed", "http_out_seconds", "http_out_buckets")}

    arrays = {name: fold(metrics.get(query).values, tcp[query], len(made), how) for query, name, how in _TCP}
    result = [
        Connection(client, upstream, Traffic(), **{name: arrays[name][i] for _, name, _ in _TCP})
        for (client, upstream), i in made.items()
    ]
    traffics = [c.traffic for c in result]
    _fill_requests(traffics, metrics.get("http_out"), http["http_out"])
    _fill(traffics, "timed", metrics.get("http_out_timed"), http["http_out_timed"])
    _fill(traffics, "seconds", metrics.get("http_out_seconds"), http["http_out_seconds"])
    _fill_buckets(traffics, metrics.get("http_out_buckets"), http["http_out_buckets"], times)
    return result


def served(metrics: Metrics, owners: dict[ContainerId, Owner]) -> dict[AppKey, tuple[Traffic, Traffic]]:
    """(what all peers got, what peers outside the cluster got) by application.

    Calls from within the same pod count only where nothing else calls: behind a proxy in the pod each request would count twice.
    """
    times = len(metrics.times)
    apps: dict[AppKey, int] = {}
    called: set[AppKey] = set()
    requests = metrics.get("http_in")
    for labels, row in zip(requests.labels, requests.values, strict=True):
        owner = owners.get(_container(labels))
        if owner is not None:
            apps.setdefault(owner.app, len(apps))
            if labels["peer"] != "local" and owner.app not in called and np.nansum(row) > 0:
                called.add(owner.app)

    def group(wanted: Callable[[str], bool]) -> Callable[[Series], NDArray[np.intp]]:
        def number(labels: dict[str, str]) -> int:
            owner = owners.get(_container(labels))
            peer = labels["peer"]
            if owner is None or not wanted(peer) or (peer == "local" and owner.app in called):
                return -1
            return apps.get(owner.app, -1)

        return lambda series: np.array([number(labels) for labels in series.labels], dtype=np.intp)

    sides: list[list[Traffic]] = []
    for groups in (group(lambda peer: True), group(lambda peer: peer == "outside")):
        targets = [Traffic() for _ in apps]
        _fill_requests(targets, requests, groups(requests))
        seconds, buckets = metrics.get("http_in_seconds"), metrics.get("http_in_buckets")
        _fill(targets, "seconds", seconds, groups(seconds))
        _fill_buckets(targets, buckets, groups(buckets), times)
        for traffic in targets:
            traffic.timed = None if traffic.buckets is None else traffic.buckets[-1]
        sides.append(targets)
    return {app: (sides[0][i], sides[1][i]) for app, i in apps.items()}


def _numbers(keys: list[Hashable | None]) -> tuple[NDArray[np.intp], list[Any]]:
    """Keys -> dense group numbers (-1 for None) and the key of each group."""
    seen: dict[Hashable, int] = {}
    numbers = [-1 if key is None else seen.setdefault(key, len(seen)) for key in keys]
    return np.array(numbers, dtype=np.intp), list(seen)


def _fill_requests(targets: list[Traffic], series: Series, groups: NDArray[np.intp]) -> None:
    numbers, keys = _numbers(
        [
            None if group < 0 else (int(group), status_class(labels["status"]))
            for labels, group in zip(series.labels, groups, strict=True)
        ]
    )
    for (group, status), row in zip(keys, fold(series.values, numbers, len(keys)), strict=True):
        targets[group].requests[status] = row


def _fill(targets: list[Traffic], name: str, series: Series, groups: NDArray[np.intp]) -> None:
    folded = fold(series.values, groups, len(targets))
    for group in np.unique(groups[groups >= 0]):
        setattr(targets[group], name, folded[group])


def _fill_buckets(targets: list[Traffic], series: Series, groups: NDArray[np.intp], times: int) -> None:
    """Histograms. A bound that a source does not have (coroot-node-agent has 11) takes the value of the next lower one."""
    height = len(_LE)
    bounds = np.array([_LE.get(_bound(labels["le"]), -1) for labels in series.labels], dtype=np.intp)
    wanted = (groups >= 0) & (bounds >= 0)
    used = np.unique(groups[wanted])
    dense = np.searchsorted(used, np.where(wanted, groups, used[0] if len(used) else 0))
    folded = fold(series.values, np.where(wanted, dense * height + bounds, -1), len(used) * height)
    folded = folded.reshape(len(used), height, times)
    has = np.zeros((len(used), height), dtype=bool)
    has[dense[wanted], bounds[wanted]] = True
    for i, group in enumerate(used):
        histogram = folded[i]
        if not has[i].all():
            _fill_down(histogram, has[i])
        targets[group].buckets = histogram


def _fill_down(histogram: F64, has: NDArray[np.bool_]) -> None:
    if not has[-1]:
        return
    below = np.where(np.isnan(histogram[-1]), np.nan, 0.0)
    for row, known in enumerate(has):
        if known:
            below = histogram[row]
        else:
            histogram[row] = below


def _bound(le: str) -> float:
    try:
        return float(le)
    except ValueError:
        return np.nan
