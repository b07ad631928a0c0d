"""All PromQL that a cycle runs: one table, and nothing else in the operator queries the agents' metrics.

Placeholders: ``$RANGE``, the window of ``rate()``, see ``window``; ``$SECONDS``, the same as a number.

Labels: every expression aggregates to exactly the labels in ``by``, with ``max``: an agent that is scraped by two jobs (annotations
and a PodMonitor) must not count twice, and one agent's series are unique by these labels. Sums over a label that the model does
not want are taken after that ``max``.

The names are those of coroot-node-agent where it has the metric, so its data can be read too: it has no ``peer`` label (probes are
then counted as requests), and its statuses can be codes (``model.http.status_class`` folds them).
"""

from dataclasses import dataclass, replace
from typing import Literal

# Peers whose requests never count: the kubelet's probes and metric scrapes.
NOT_USERS = 'peer!~"kubelet|scrape"'


@dataclass(frozen=True, slots=True)
class Query:
    """``by``: the labels each series of the answer has; ``fills``: where in the world it ends up.

    backfill  also needed to rebuild the SLIs' long windows from raw data, at a coarser step
    rows      what is kept of the answer: its series as they are; or their sum (or mean) over all of them that are
              one connection's (client, upstream, further labels), one application's (application, peer, further labels), or one
              instance's (application, instance, peer, further labels). Pods times destinations times pods behind them are too many
              to keep, and come and go; applications are few and stay. Of answers by status there are few for each instance
    """

    id: str
    expr: str
    by: tuple[str, ...]
    fills: str
    backfill: bool = False
    rows: Literal["series", "connections", "applications", "instances"] = "series"
    how: Literal["sum", "mean"] = "sum"


def window(step: float) -> float:
    """Seconds to put for ``$RANGE``.

    The step of a cycle is normally the scrape interval, and ``rate()`` needs two samples: two steps hold exactly two, so that each
    rate is the difference of neighbouring samples and nothing is smeared over three as with the customary wider windows. Every
    event then counts in one step only, with two exceptions: ``rate()`` does not extrapolate a counter below zero, so that it
    undercounts (by up to a half) while the counter is smaller than its increase, such as at the first errors of a series (see
    ``_event_rate``); and a scrape that is missed leaves one sample, thus no rate, in the steps beside it. A coarse step (back-fill)
    holds many samples: one step.
    """
    return 2 * step if step < 120 else step


CONTAINER = ("machine_id", "container_id")
DIALLED = (*CONTAINER, "destination")
EDGE = (*DIALLED, "actual_destination")
PEER = (*CONTAINER, "peer")
_RETRANSMITS, _SPURIOUS = "container_net_tcp_retransmits_total", "container_net_tcp_spurious_retransmits_total"


def _gauge(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    return Query(qid, f"max by ({', '.join(by)}) ({metric})", by, fills)


def _rate(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    return Query(qid, f"max by ({', '.join(by)}) (rate({metric}[$RANGE]))", by, fills)


def _event_rate(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    """For what is counted event by event: exact from the first event on.

    ``delta()`` extrapolates like ``rate()`` but not only down to zero: with two samples in the window it is exactly their
    difference. It knows no resets; after one it is the smaller of the two, and ``rate()`` counts.
    """
    rate, delta = f"rate({metric}[$RANGE])", f"delta({metric}[$RANGE]) / $SECONDS"
    return Query(qid, f"max by ({', '.join(by)}) (({delta} > {rate}) or {rate})", by, fills, backfill=True)


def _sparse(query: Query) -> Query:
    """Without zeros. Of nine statuses of an edge one or two ever occur, and most connections are made once: what is not there is 0
    where another series of the same connection or application is there (``model.traffic``), and unknown where nothing is."""
    return replace(query, expr=f"({query.expr}) > 0")


def _buckets(qid: str, metric: str) -> Query:
    """Histograms. +Inf, all timed requests, also while it is zero; what is absent below it is as high as the next lower bound."""
    by = (*PEER, "le")
    some, every = (f"rate({metric}{{{NOT_USERS}{more}}}[$RANGE])" for more in (',le!="+Inf"', ',le="+Inf"'))
    expr = f"max by ({', '.join(by)}) (({some} > 0) or {every})"
    return Query(qid, expr, by, "Application.served, .outside: buckets", backfill=True)


def _of_connections(query: Query, how: Literal["sum", "mean"] = "sum") -> Query:
    return replace(query, rows="connections", how=how)


def _of_applications(query: Query) -> Query:
    return replace(query, rows="applications")


def _of_instances(query: Query) -> Query:
    return replace(query, rows="instances")


QUERIES: tuple[Query, ...] = (
    # Freshness: the time of the newest sample per agent.
    Query("agent_sample_time", "max by (machine_id) (timestamp(node_info))", ("machine_id",), "World.newest"),
    # Nodes.
    _gauge("node_info", "node_info", ("machine_id", "hostname"), "machine_id -> Node"),
    _gauge("node_cpu_cores", "node_resources_cpu_logical_cores", ("machine_id",), "Node.cpu_cores"),
    Query(
        "node_cpu_usage",
        "sum by (machine_id) (max by (machine_id, mode) "
        '(rate(node_resources_cpu_usage_seconds_total{mode!~"idle|iowait"}[$RANGE])))',
        ("machine_id",),
        "Node.cpu_usage",
    ),
    _gauge("node_memory_total", "node_resources_memory_total_bytes", ("machine_id",), "Node.memory_total"),
    _gauge("node_memory_available", "node_resources_memory_available_bytes", ("machine_id",), "Node.memory_available"),
    # Containers. Restarts and OOM kills are read as counters and subtracted by us: rate() extrapolates, and one kill must be one.
    _gauge("container_info", "container_info", (*CONTAINER, "image"), "Container exists"),
    _gauge("container_restarts", "container_restarts_total", CONTAINER, "Container.restarts"),
    _gauge("container_oom_kills", "container_oom_kills_total", CONTAINER, "Container.oom_kills"),
    _gauge("container_cpu_limit", "container_resources_cpu_limit_cores", CONTAINER, "Container.cpu_limit"),
    _rate("container_cpu_usage", "container_resources_cpu_usage_seconds_total", CONTAINER, "Container.cpu_usage"),
    _rate("container_cpu_delay", "container_resources_cpu_delay_seconds_total", CONTAINER, "Container.cpu_delay"),
    _rate("container_cpu_throttled", "container_resources_cpu_throttled_seconds_total", CONTAINER, "Container.cpu_throttled"),
    _gauge("container_memory_limit", "container_resources_memory_limit_bytes", CONTAINER, "Container.memory_limit"),
    _gauge("container_memory_rss", "container_resources_memory_rss_bytes", CONTAINER, "Container.memory_rss"),
    # Who is who.
    _gauge("listen", "container_net_tcp_listen_info", (*CONTAINER, "listen_addr"), "address -> instance"),
    _gauge("ip_to_fqdn", "ip_to_fqdn", ("ip", "fqdn"), "names of external services"),
    # TCP, from the client's side.
    _of_connections(_sparse(_rate("tcp_connects", "container_net_tcp_successful_connects_total", EDGE, "Connection.connects"))),
    _of_connections(
        _event_rate("tcp_failed_connects", "container_net_tcp_failed_connects_total", DIALLED, "Connection.failed_connects")
    ),
    _of_connections(
        _sparse(_rate("tcp_connect_time", "container_net_tcp_connection_time_seconds_total", EDGE, "Connection.connect_time"))
    ),
    _of_connections(_gauge("tcp_active", "container_net_tcp_active_connections", EDGE, "Connection.active")),
    # Without those that the receiver had already: a sound network has many of them wherever a server reads late. coroot-node-agent
    # does not tell them apart.
    _of_connections(
        _sparse(
            Query(
                "tcp_retransmits",
                f"max by ({', '.join(EDGE)}) "
                f"(rate({_RETRANSMITS}[$RANGE]) - rate({_SPURIOUS}[$RANGE]) or rate({_RETRANSMITS}[$RANGE]))",
                EDGE,
                "Connection.retransmits",
            )
        )
    ),
    _of_connections(_rate("tcp_segments_sent", "container_net_tcp_segments_sent_total", EDGE, "Connection.segments_sent")),
    _of_connections(_rate("tcp_bytes_sent", "container_net_tcp_bytes_sent_total", EDGE, "Connection.bytes_sent")),
    _of_connections(_gauge("tcp_rtt", "container_net_tcp_rtt_seconds", EDGE, "Connection.rtt"), "mean"),
    # HTTP, from the client's side.
    _of_connections(
        _sparse(_event_rate("http_out", "container_http_requests_total", (*EDGE, "status"), "Connection.traffic.requests"))
    ),
    replace(
        _of_connections(
            _rate("http_out_timed", "container_http_requests_duration_seconds_total_count", EDGE, "Connection.traffic.timed")
        ),
        backfill=True,
    ),
    _of_connections(
        _rate("http_out_seconds", "container_http_requests_duration_seconds_total_sum", EDGE, "Connection.traffic.seconds")
    ),
    # HTTP, from the server's side.
    _of_instances(
        _sparse(
            _event_rate(
                "http_in",
                f"container_http_inbound_requests_total{{{NOT_USERS}}}",
                (*PEER, "status"),
                "Application.served, .outside: requests; Instance.served",
            )
        )
    ),
    _of_applications(
        _rate(
            "http_in_seconds",
            f"container_http_inbound_requests_duration_seconds_total_sum{{{NOT_USERS}}}",
            PEER,
            "Application.served, .outside: seconds",
        )
    ),
    _of_applications(_buckets("http_in_buckets", "container_http_inbound_requests_duration_seconds_total_bucket")),
)

BY_ID: dict[str, Query] = {query.id: query for query in QUERIES}
BACKFILL: tuple[Query, ...] = tuple(query for query in QUERIES if query.backfill)
# Who is who: asked before the others, whose rows are told by it.
IDENTITY: tuple[str, ...] = ("node_info", "listen", "ip_to_fqdn")
