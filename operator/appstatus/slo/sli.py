"""What counts: an application's traffic as good and total events per step.

A request counts once. Answers are counted where they are given (``Application.served``); requests that never got one where they
are asked for, at the clients, so that zero endpoints, a crash loop or a dead node show as failure and not as silence. An answer
that comes after its client gave up is the same request again, and is taken off. Peers outside the cluster have no client side:
their unanswered requests are taken from the server's side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appstatus.api.objective import Objective
from appstatus.api.slo import BAD_STATUSES
from appstatus.model.series import F64
from appstatus.model.world import BUCKETS, UNANSWERED, Application, Traffic, World, add

# Queries without which an SLI would be wrong rather than incomplete: without the answers only failures would be left, without the
# clients' side only answers. The last three of availability's tell whom the clients asked.
NEEDED: dict[str, tuple[str, ...]] = {
    "availability": ("requests_in", "requests_out", "tcp_failed_connects", "listen", "ip_to_fqdn", "node_info"),
    "latency": ("requests_in", "requests_in_buckets"),
    "promql": (),
}

# The clients' count of answers replaces the server's where it is this much higher: then the agent at the server is not reporting.
# Below that the two differ only because they are scraped at different moments. As much more in the histogram than was counted means
# that series are missing.
CLIENTS_KNOW_BETTER = 1.5


class Events(NamedTuple):
    """``good`` and ``total``: (T,) events in the step that ends at ``world.times``; NaN where nothing is known."""

    good: F64
    total: F64


def effective_threshold(threshold: float) -> float | None:
    """The agent's bucket bound that stands for a threshold: the next lower one, seconds; None below the lowest."""
    lower = [bound for bound in BUCKETS if bound <= threshold * (1 + 1e-9)]
    return lower[-1] if lower else None


def events(objective: Objective, application: Application, world: World, *, answered_before: bool = False) -> Events:
    """Events of an availability or latency objective.

    answered_before  the application is known to answer requests (from its history). Otherwise failed connects count only beside
                     requests: an application whose protocol cannot be read (a database) would consist of its failures alone.
    """
    if objective.indicator == "latency":
        good, total = _latency(objective, application, len(world.times))
        torn = np.zeros(len(world.times), dtype=bool)
    else:
        good, total, torn = _availability(objective, application, len(world.times), answered_before)
    # Nobody asked, but the agents there report: that is no traffic, not a lack of data.
    idle = np.isnan(total)
    if idle.any():
        idle &= observed(application, world)
        good, total = np.where(idle, 0.0, good), np.where(idle, 0.0, total)
    good, total = np.where(torn, np.nan, good), np.where(torn, np.nan, total)
    return Events(good * world.step, total * world.step)


def rates(good: F64 | None, bad: F64 | None, total: F64, step: float) -> Events:
    """Events of a promql objective from events/s; exactly one of ``good`` and ``bad`` is given. More good than all is all."""
    if good is None:
        assert bad is not None
        good = total - bad
    total = np.where(np.isnan(good), np.nan, np.maximum(total, 0.0))
    return Events(np.clip(good, 0.0, total) * step, total * step)


def observed(application: Application, world: World) -> NDArray[np.bool_]:
    """(T,) whether the agents would have seen this application's traffic in a step, had there been any."""
    seen = np.zeros(len(world.times), dtype=bool)
    for instance in application.instances.values():
        for container in instance.containers.values():
            # CPU use is a rate: unlike a gauge, which Prometheus repeats for 5 min, it ends with the agent's last scrape.
            if container.cpu_usage is not None:
                seen |= ~np.isnan(container.cpu_usage)
        if seen.all():
            return seen
    if not application.instances:  # scaled to zero: there is no place to look at but the whole cluster
        for node in world.nodes.values():
            if node.cpu_usage is not None:
                seen |= ~np.isnan(node.cpu_usage)
            if seen.all():
                break
    return seen


def watched(application: Application | None, world: World) -> bool:
    """Whether an agent reports from a node of this application, or from any node while it has no instance (a CronJob between runs).

    Other than ``observed``, it does not matter whether a container runs at the moment.
    """
    if application is None:
        return False
    homes = {instance.node for instance in application.instances.values()} or world.nodes.keys()
    rows = [node.cpu_usage for name, node in world.nodes.items() if name in homes]
    return any(row is not None and not np.isnan(row).all() for row in rows) or bool(observed(application, world).any())


def _latency(objective: Objective, application: Application, times: int) -> tuple[F64, F64]:
    unknown = np.full(times, np.nan)
    bound = effective_threshold(objective.threshold or 0.0)
    buckets = application.served.buckets
    if bound is None or buckets is None:
        return unknown, unknown
    total = buckets[-1]
    fast = buckets[BUCKETS.index(bound)]
    # rate() may round two rows of one histogram differently.
    return np.where(np.isnan(total), np.nan, np.fmin(np.nan_to_num(fast), total)), total


def _availability(
    objective: Objective, application: Application, times: int, answered_before: bool
) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Good, total, and where half of the truth is missing (``_torn``)."""
    served = _answers(application.served, objective.bad_statuses, times)
    clients = [connection.traffic for connection in application.downstreams]
    asked = _sum([_answers(traffic, objective.bad_statuses, times) for traffic in clients], times)
    blind = np.nan_to_num(asked.total) > CLIENTS_KNOW_BETTER * np.nan_to_num(served.total)
    given_up = [row for traffic in clients for row in _unanswered(traffic)]
    late = _late(served, _answers(application.outside, objective.bad_statuses, times), asked, add(given_up, times))
    good = np.where(blind, asked.good, served.good - late.good)
    total = np.where(blind, asked.total, served.total - late.total)

    unanswered = [*given_up, *_unanswered(application.outside)]
    speaks = answered_before or bool(unanswered) or not (np.isnan(total).all())
    if speaks:
        unanswered += [connection.failed_connects for connection in application.downstreams]
    lost = add(unanswered, times)
    total = add([total, lost], times)
    return np.where(np.isnan(total), np.nan, np.nan_to_num(good)), total, _torn(application, served, blind, times)


def _torn(application: Application, served: Events, blind: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """(T,) whether good answers are missing from those that count (the server's, or the clients' where it is ``blind``).

    Only good answers are timed, each of them at most once: where the histogram has many more, series of their statuses are not
    there, and what is left is mostly failures. A histogram of the clients says so where the server says nothing.
    """
    clients = [connection.traffic for connection in application.downstreams]
    counted = _answers(application.served, BAD_STATUSES, times).good
    counted = np.where(blind, _sum([_answers(traffic, BAD_STATUSES, times) for traffic in clients], times).good, counted)
    timed = np.zeros(times) if application.served.buckets is None else np.nan_to_num(np.fmax.reduce(application.served.buckets))
    elsewhere = np.nan_to_num(add([traffic.timed for traffic in clients if traffic.timed is not None], times))
    timed = np.where(blind | (np.nan_to_num(served.total) == 0), np.maximum(timed, elsewhere), timed)
    return timed > CLIENTS_KNOW_BETTER * np.nan_to_num(counted)


def _late(served: Events, outside: Events, asked: Events, given_up: F64) -> Events:
    """Answers to requests that their clients in the cluster had given up, and that are counted there as unanswered.

    They are among what the server answered to peers in the cluster beyond what clients saw answered; the rest of that went to
    clients without an agent. At most as many as were given up are taken for late ones, good ones first.
    """
    served, outside, asked = (Events(np.nan_to_num(each.good), np.nan_to_num(each.total)) for each in (served, outside, asked))
    unseen = np.maximum(served.total - outside.total - asked.total, 0.0)
    unseen_good = np.clip(served.good - outside.good - asked.good, 0.0, unseen)
    total = np.minimum(np.nan_to_num(given_up), unseen)
    return Events(np.minimum(total, unseen_good), total)


def _answers(traffic: Traffic, bad: frozenset[str], times: int) -> Events:
    answered = {status: row for status, row in traffic.requests.items() if status not in UNANSWERED}
    if not answered:
        return Events(np.full(times, np.nan), np.full(times, np.nan))
    total = add(list(answered.values()), times)
    good = add([row for status, row in answered.items() if status not in bad], times)
    return Events(np.where(np.isnan(total), np.nan, np.nan_to_num(good)), total)


def _unanswered(traffic: Traffic) -> list[F64]:
    return [row for status, row in traffic.requests.items() if status in UNANSWERED]


def _sum(parts: list[Events], times: int) -> Events:
    return Events(add([part.good for part in parts], times), add([part.total for part in parts], times))
