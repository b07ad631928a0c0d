"""All PromQL that a cycle runs: one table, and nothing else in the operator queries the agents' metrics.

Placeholders: ``$RANGE``, the window of ``rate()``, see ``window``; ``$SECONDS``, the same as a number.

Labels: every expression aggregates to exactly the labels in ``by``, with ``max``: an agent that is scraped by two jobs (annotations
and a PodMonitor) must not count twice, and one agent's series are unique by these labels. Sums over a label that the model does
not want are taken after that ``max``.

The names are those of coroot-node-agent where it has the metric, so its data can be read too: it has no ``peer`` label (probes are
then counted as requests), and its statuses can be codes (``model.http.status_class`` folds them).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

# Peers whose requests never count: the kubelet's probes and metric scrapes.
NOT_USERS = 'peer!~"kubelet|scrape"'


@dataclass(frozen=True, slots=True)
class Query:
    """``by``: the labels each series of the answer has; ``fills``: where in the world it ends up.

    backfill  also needed to rebuild the SLIs' long windows from raw data, at a coarser step
    short     the expression for readers, with <protocol> for what is the union over all; "": it is expr
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
    short: str = ""
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
# Whose requests have answers: protocol -> what its metrics' names call them. Series of one container may differ by nothing else.
PROTOCOLS = {
    "http": "requests", "grpc": "requests", "dubbo": "requests", "kafka": "requests", "zookeeper": "requests",
    "postgres": "queries", "mysql": "queries", "redis": "queries", "memcached": "queries", "mongo": "queries",
    "cassandra": "queries", "clickhouse": "queries",
}  # fmt: skip
_RETRANSMITS, _SPURIOUS = "container_net_tcp_retransmits_total", "container_net_tcp_spurious_retransmits_total"


def _gauge(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    return Query(qid, f"max by ({', '.join(by)}) ({metric})", by, fills)


def _rate(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    return Query(qid, f"max by ({', '.join(by)}) (rate({metric}[$RANGE]))", by, fills)


def _events(metric: str) -> str:
    """For what is counted event by event: exact from the first event on.

    ``delta()`` extrapolates like ``rate()`` but not only down to zero: with two samples in the window it is exactly their
    difference. It knows no resets; after one it is the smaller of the two, and ``rate()`` counts.
    """
    rate, delta = f"rate({metric}[$RANGE])", f"delta({metric}[$RANGE]) / $SECONDS"
    return f"({delta} > {rate}) or {rate}"


def _event_rate(qid: str, metric: str, by: tuple[str, ...], fills: str) -> Query:
    return Query(qid, f"max by ({', '.join(by)}) ({_events(metric)})", by, fills, backfill=True)


def _each_protocol(qid: str, expr: Callable[[str], str], direction: str, by: tuple[str, ...], fills: str) -> Query:
    """The sum of an expression over all protocols; ``expr`` of the begin of a metric's name.

    The label keeps apart what one container says in two protocols to the same peer: ``or`` takes the first of equals.
    """
    union = " or ".join(
        f'label_replace({expr(f"container_{protocol}_{direction}{noun}")}, "appstatus_protocol", "{protocol}", "", "")'
        for protocol, noun in PROTOCOLS.items()
    )
    names = ", ".join(by)
    short = f"sum by ({names}) (max by ({names}, appstatus_protocol) ({expr(f'container_<protocol>_{direction}requests')}))"
    return Query(qid, f"sum by ({names}) (max by ({names}, appstatus_protocol) ({union}))", by, fills, short=short)


def _for_backfill(query: Query) -> Query:
    return replace(query, backfill=True)


def _sparse(query: Query) -> Query:
    """Without zeros. Of nine statuses of an edge one or two ever occur, and most connections are made once: what is not there is 0
    where another series of the same connection or application is there (``model.traffic``), and unknown where nothing is."""
    return replace(query, expr=f"({query.expr}) > 0", short=query.short and f"({query.short}) > 0")


def _buckets(metric: str) -> str:
    """Histograms. +Inf, all timed requests, also while it is zero; what is absent below it is as high as the next lower bound."""
    some, every = (f"rate({metric}{{{NOT_USERS}{more}}}[$RANGE])" for more in (',le!="+Inf"', ',le="+Inf"'))
    return f"({some} > 0) or {every}"


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
    # Requests, from the client's side.
    _of_connections(
        _sparse(
            _for_backfill(
                _each_protocol(
                    "requests_out",
                    lambda name: _events(f"{name}_total"),
                    "",
                    (*EDGE, "status"),
                    "Connection.traffic.requests",
                )
            )
        )
    ),
    _of_connections(
        _for_backfill(
            _each_protocol(
                "requests_out_timed",
                lambda name: f"rate({name}_duration_seconds_total_count[$RANGE])",
                "",
                EDGE,
                "Connection.traffic.timed",
            )
        )
    ),
    _of_connections(
        _each_protocol(
            "requests_out_seconds",
            lambda name: f"rate({name}_duration_seconds_total_sum[$RANGE])",
            "",
            EDGE,
            "Connection.traffic.seconds",
        )
    ),
    # Requests, from the server's side.
    _of_instances(
        _sparse(
            _for_backfill(
                _each_protocol(
                    "requests_in",
                    lambda name: _events(f"{name}_total{{{NOT_USERS}}}"),
                    "inbound_",
                    (*PEER, "status"),
                    "Application.served, .outside: requests; Instance.served",
                )
            )
        )
    ),
    _of_applications(
        _each_protocol(
            "requests_in_seconds",
            lambda name: f"rate({name}_duration_seconds_total_sum{{{NOT_USERS}}}[$RANGE])",
            "inbound_",
            PEER,
            "Application.served, .outside: seconds",
        )
    ),
    _of_applications(
        _for_backfill(
            _each_protocol(
                "requests_in_buckets",
                lambda name: _buckets(f"{name}_duration_seconds_total_bucket"),
                "inbound_",
                (*PEER, "le"),
                "Application.served, .outside: buckets",
            )
        )
    ),
)

BY_ID: dict[str, Query] = {query.id: query for query in QUERIES}
BACKFILL: tuple[Query, ...] = tuple(query for query in QUERIES if query.backfill)
# Who is who: asked before the others, whose rows are told by it.
IDENTITY: tuple[str, ...] = ("node_info", "listen", "ip_to_fqdn")
