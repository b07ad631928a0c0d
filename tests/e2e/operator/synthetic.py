"""A node agent's metrics without a node: a small shop whose traffic follows settings that a test changes while it runs.

Counters are integrals of the current rates over real time, so that a real Prometheus scrapes them as it would scrape an agent.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from appstatus.model.world import BUCKETS

MACHINE = "0123456789abcdef0123456789abcdef"
NODE = "node-1"


@dataclass
class Service:
    """One pod with one container. ``ip`` is the pod's address; it listens on port 80."""

    namespace: str
    pod: str
    ip: str
    container: str = "app"

    @property
    def id(self) -> str:
        return f"/k8s/{self.namespace}/{self.pod}/{self.container}"


@dataclass
class Flow:
    """Requests/s from ``client`` (None: from outside the cluster) to ``server``; shares of them are bad, slow or refused."""

    client: Service | None
    server: Service
    rate: float
    bad: float = 0.0
    slow: float = 0.0
    refused: float = 0.0
    good_total: float = 0.0
    bad_total: float = 0.0
    slow_total: float = 0.0
    refused_total: float = 0.0

    def run(self, seconds: float) -> None:
        served = self.rate * (1 - self.refused) * seconds
        self.refused_total += self.rate * self.refused * seconds
        self.bad_total += served * self.bad
        self.good_total += served * (1 - self.bad)
        self.slow_total += served * (1 - self.bad) * self.slow


@dataclass
class Shop:
    services: list[Service] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: float = field(default_factory=time.monotonic)

    def text(self) -> str:
        with self.lock:
            now = time.monotonic()
            for flow in self.flows:
                flow.run(now - self.last)
            self.last = now
            return "\n".join(self._lines()) + "\n"

    def write_past(self, target: Path, start: float, end: float, step: float, at: Callable[[float], None]) -> None:
        """OpenMetrics of a past; ``at`` is called with each time and sets the flows."""
        samples: dict[str, list[str]] = {}
        for moment in np.arange(start, end, step):
            at(float(moment))
            for flow in self.flows:
                flow.run(step)
            for line in self._lines():
                series, _, value = line.rpartition(" ")
                samples.setdefault(series, []).append(f"{series} {value} {moment:.3f}")
        # A metric's lines must stand together.
        with target.open("w") as out:
            for series in sorted(samples, key=lambda each: each.partition("{")[0]):
                out.writelines(f"{line}\n" for line in samples[series])
            out.write("# EOF\n")

    def _lines(self) -> list[str]:
        return [*self._node(), *self._containers(), *self._traffic()]

    def _node(self) -> list[str]:
        m = f'machine_id="{MACHINE}"'
        return [
            f'node_info{{{m},hostname="{NODE}",kernel_version="6.1"}} 1',
            f"node_resources_cpu_logical_cores{{{m}}} 4",
            f'node_resources_cpu_usage_seconds_total{{{m},mode="user"}} {0.5 * time.monotonic():.3f}',
            f"node_resources_memory_total_bytes{{{m}}} 16e9",
            f"node_resources_memory_available_bytes{{{m}}} 8e9",
        ]

    def _containers(self) -> list[str]:
        lines = []
        for service in self.services:
            c = f'machine_id="{MACHINE}",container_id="{service.id}"'
            lines += [
                f'container_info{{{c},image="shop:1"}} 1',
                f"container_restarts_total{{{c}}} 0",
                f"container_oom_kills_total{{{c}}} 0",
                f"container_resources_cpu_usage_seconds_total{{{c}}} {0.05 * time.monotonic():.3f}",
                f"container_resources_memory_rss_bytes{{{c}}} 5e7",
                f'container_net_tcp_listen_info{{{c},listen_addr="{service.ip}:80",proxy=""}} 1',
            ]
        return lines

    def _traffic(self) -> list[str]:
        lines = []
        for flow in self.flows:
            peer = "outside" if flow.client is None else "cluster"
            server = f'machine_id="{MACHINE}",container_id="{flow.server.id}",peer="{peer}"'
            lines += self._side("container_http_inbound_requests", server, flow)
            if flow.client is not None:
                there = f"{flow.server.ip}:80"
                client = f'machine_id="{MACHINE}",container_id="{flow.client.id}",destination="{there}"'
                edge = f'{client},actual_destination="{there}"'
                lines += self._side("container_http_requests", edge, flow)
                connects = flow.good_total + flow.bad_total
                lines += [
                    f"container_net_tcp_successful_connects_total{{{edge}}} {connects:.3f}",
                    f"container_net_tcp_failed_connects_total{{{client}}} {flow.refused_total:.3f}",
                    f"container_net_tcp_active_connections{{{edge}}} 2",
                    f"container_net_tcp_rtt_seconds{{{edge}}} 0.0005",
                ]
        return lines

    def _side(self, name: str, labels: str, flow: Flow) -> list[str]:
        lines = [
            f'{name}_total{{{labels},status="2xx"}} {flow.good_total:.3f}',
            f'{name}_total{{{labels},status="5xx"}} {flow.bad_total:.3f}',
            *(f'{name}_total{{{labels},status="{status}"}} 0' for status in ("reset", "closed", "overdue")),
        ]
        fast = flow.good_total - flow.slow_total
        for bound in BUCKETS:
            count = 0.0 if bound < 0.01 else fast if bound < 2.0 else flow.good_total
            lines.append(f'{name}_duration_seconds_total_bucket{{{labels},le="{bound:g}"}} {count:.3f}')
        lines += [
            f'{name}_duration_seconds_total_bucket{{{labels},le="+Inf"}} {flow.good_total:.3f}',
            f"{name}_duration_seconds_total_count{{{labels}}} {flow.good_total:.3f}",
            f"{name}_duration_seconds_total_sum{{{labels}}} {fast * 0.01 + flow.slow_total * 1.5:.3f}",
        ]
        return lines


def serve(text: Callable[[], bytes]) -> ThreadingHTTPServer:
    """An agent's page, as ``text`` gives it for each scrape, on a free port of 127.0.0.1; ``server_address`` tells which."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
