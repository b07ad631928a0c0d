"""Metrics of requests and of TCP: which column of the kernel's rows becomes which metric."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .exposition import Page, escape
from .kernel import rows
from .series import Family, Labels, Table

_LE = [f"{bound / 1e9:g}" for bound in rows.LATENCY_BOUNDS_NS] + ["+Inf"]
_STATUSES = len(rows.STATUSES)
_BUCKETS = len(_LE)
_NS_PER_SECOND = 1e9
_US_PER_SECOND = 1e6


def _one(name: str, labels: str) -> list[str]:
    return [f"{name}{{{labels}}} "]


def _by_status(name: str, labels: str) -> list[str]:
    return [f'{name}{{{labels},status="{status}"}} ' for status in rows.STATUSES]


def _histogram(name: str, labels: str) -> list[str]:
    buckets = [f'{name}_bucket{{{labels},le="{le}"}} ' for le in _LE]
    return [*buckets, f"{name}_sum{{{labels}}} ", f"{name}_count{{{labels}}} "]


def _column(at: int) -> Callable:
    return lambda counters, gauges: counters[:, at : at + 1].tolist()


def _seconds(at: int) -> Callable:
    return lambda counters, gauges: (counters[:, at : at + 1] / _NS_PER_SECOND).tolist()


def _gauge(at: int) -> Callable:
    return lambda counters, gauges: gauges[:, at : at + 1].tolist()


def _status_values(counters: np.ndarray, gauges: np.ndarray) -> list[list[int]]:
    return counters[:, :_STATUSES].tolist()


def _histogram_values(counters: np.ndarray, gauges: np.ndarray) -> list[list[float]]:
    cumulated = np.cumsum(counters[:, _STATUSES : _STATUSES + _BUCKETS], axis=1).tolist()
    sums = (counters[:, _STATUSES + _BUCKETS] / _NS_PER_SECOND).tolist()
    return [[*buckets, total, buckets[-1]] for buckets, total in zip(cumulated, sums, strict=True)]


def _mean_rtt(counters: np.ndarray, gauges: np.ndarray) -> list[list[float | None]]:
    """Gauges 1 and 2: sum (us) and number of smoothed round-trip times; no line without an open connection."""
    return [[total / count / _US_PER_SECOND if count else None] for _, total, count in gauges.tolist()]


_FURTHER_STATUSES = [rows.STATUSES.index(status) for status in rows.OK_OR_FAILED]


def _ok_or_failed(name: str, labels: str) -> list[str]:
    return [f'{name}{{{labels},status="{status}"}} ' for status in rows.OK_OR_FAILED.values()]


def _ok_or_failed_values(counters: np.ndarray, gauges: np.ndarray) -> list[list[int]]:
    return counters[:, _FURTHER_STATUSES].tolist()


def _requests(name: str, http: bool) -> list[Family]:
    return [
        Family(f"{name}_total", _by_status, _status_values) if http else
        Family(f"{name}_total", _ok_or_failed, _ok_or_failed_values),
        Family(f"{name}_duration_seconds_total", _histogram, _histogram_values),
        Family(f"{name}_in_flight", _one, _gauge(0)),
    ]


def _request_metric(protocol: str, direction: int) -> str:
    """As coroot-node-agent names them."""
    what = rows.noun(protocol)
    return f"container_{protocol}_{what}" if direction == rows.OUTBOUND else f"container_{protocol}_inbound_{what}"


_TCP_COUNTERS = ("connects", "connect_time", "bytes_sent", "bytes_received", "segments", "retransmits", "spurious")
_TCP = [
    Family("container_net_tcp_successful_connects_total", _one, _column(0)),
    Family("container_net_tcp_connection_time_seconds_total", _one, _seconds(1)),
    Family("container_net_tcp_bytes_sent_total", _one, _column(2)),
    Family("container_net_tcp_bytes_received_total", _one, _column(3)),
    Family("container_net_tcp_segments_sent_total", _one, _column(4)),
    Family("container_net_tcp_retransmits_total", _one, _column(5)),
    Family("container_net_tcp_spurious_retransmits_total", _one, _column(6)),
    Family("container_net_tcp_active_connections", _one, _gauge(0)),
    Family("container_net_tcp_rtt_seconds", _one, _mean_rtt),
]


class Traffic:
    """All series that come from the kernel's maps. `label_of(owner)` is the registry's; None = not known yet."""

    def __init__(self, common: Sequence[tuple[str, str]], label_of: Callable[[int], str | None]) -> None:
        self._label_of = label_of
        machine = ",".join(f'{name}="{escape(value)}"' for name, value in common)

        def text(labels: Labels) -> str:
            return ",".join((machine, *(f'{name}="{escape(value)}"' for name, value in labels)))

        request_columns = _STATUSES + _BUCKETS + 1
        self._requests = {
            (protocol, direction): Table(_requests(_request_metric(name, direction), name == "http"), request_columns, 1, text)
            for protocol, name in enumerate(rows.PROTOCOLS) if name
            for direction in (rows.OUTBOUND, rows.INBOUND)
        }
        self._tcp = Table(_TCP, len(_TCP_COUNTERS), 3, text)
        self._failed = Table([Family("container_net_tcp_failed_connects_total", _one, _column(0))], 1, 0, text)
        self._accepted = Table([Family("container_net_tcp_accepted_connects_total", _one, _column(0))], 1, 0, text)
        self._tables = (*self._requests.values(), self._tcp, self._failed, self._accepted)

    def update_requests(self, requests: np.ndarray, now: float) -> None:
        """Take all request rows (rows.REQUEST) of now (monotonic seconds)."""
        kind = requests["key"]
        for (protocol, direction), table in self._requests.items():
            part = requests[(kind["protocol"] == protocol) & (kind["direction"] == direction)]
            key, value = part["key"], part["value"]
            labels = self._destination_labels if direction == rows.OUTBOUND else self._peer_labels
            counters = np.column_stack([value["ended"], value["latency"], value["latency_sum"]])
            self._feed(table, key, now, labels, counters, value["in_flight"][:, None])

    def update_tcp(self, tcp: np.ndarray, now: float) -> None:
        """Take all TCP rows (rows.TCP) of now (monotonic seconds)."""
        inbound = tcp["key"]["direction"] == rows.INBOUND
        part = tcp[inbound]
        self._feed(self._accepted, part["key"], now, self._listen_labels, part["value"]["accepted"][:, None])
        part = tcp[~inbound]
        self._feed(self._failed, part["key"], now, self._dialled_labels, part["value"]["failed"][:, None])
        value = part["value"]
        # A row that only ever saw failed attempts has no connection to tell of.
        part = part[(value["connects"] > 0) | (value["active"] > 0) | (value["bytes_sent"] + value["bytes_received"] > 0)]
        value = part["value"]
        self._feed(
            self._tcp, part["key"], now, self._destination_labels,
            np.column_stack([value[name] for name in _TCP_COUNTERS]),
            np.column_stack([value["active"], value["rtt_sum"], value["rtt_count"]]),
        )

    def forget(self, keys: Iterable[bytes]) -> None:
        """Rows that Kernel.expire() dropped."""
        keys = list(keys)
        for table in self._tables:
            table.forget(keys)

    def add(self, page: Page, since: float) -> None:
        """For a reader that last read then."""
        for table in self._tables:
            for metric, lines in table.lines(since):
                page.add_lines(metric, lines)

    def _feed(self, table: Table, key: np.ndarray, now: float, labels: Callable[[np.void, str], Labels],
              counters: np.ndarray, gauges: np.ndarray | None = None) -> None:
        data, size = key.tobytes(), key.dtype.itemsize
        keys = [data[at : at + size] for at in range(0, len(data), size)]

        def resolve(row: int) -> Labels | None:
            container = self._label_of(int(key[row]["owner"]))
            return None if container is None else labels(key[row], container)

        table.update(keys, resolve, counters.astype(np.int64),
                     np.zeros((len(key), 0), np.int64) if gauges is None else gauges.astype(np.int64), now)

    @staticmethod
    def _destination_labels(key: np.void, container: str) -> Labels:
        destination, actual = destinations(key)
        return (("container_id", container), ("destination", destination), ("actual_destination", actual))

    @staticmethod
    def _dialled_labels(key: np.void, container: str) -> Labels:
        return (("container_id", container), ("destination", destinations(key)[0]))

    @staticmethod
    def _listen_labels(key: np.void, container: str) -> Labels:
        return (("container_id", container), ("listen_addr", destinations(key)[0]))

    @staticmethod
    def _peer_labels(key: np.void, container: str) -> Labels:
        return (("container_id", container), ("peer", rows.PEERS[key["peer"]]))


def destinations(key: np.void) -> tuple[str, str]:
    """(destination, actual destination) of a row's key as `ip:port`; "" where not known, `~other` when folded."""
    if key["folded"]:
        return "~other", ""
    return endpoint(key["destination"], key["destination_port"]), endpoint(key["actual"], key["actual_port"])


def endpoint(address: np.ndarray, port: int) -> str:
    if not address.any():
        return ""
    return host_port(rows.address(address), int(port))


def host_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
