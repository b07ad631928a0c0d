"""Simulated time against a real API server: an engine whose Prometheus tells of any moment and whose writes can be cut off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from appstatus.api.objective import Objective
from appstatus.cluster.agent import AgentSettings
from appstatus.cluster.writing import Writer
from appstatus.config import Config
from appstatus.engine import Engine
from appstatus.kube import Kube
from appstatus.metrics import OperatorMetrics
from appstatus.model.queries import BY_ID
from appstatus.model.world import BUCKETS
from appstatus.slo.ledger import Ledger
from appstatus.sources.kubernetes import Cache
from appstatus.sources.prometheus import Prometheus, _expr
from appstatus.sources.promhttp import Answer, Connection, Endpoint, QueryFailed
from appstatus.sources.promql import Rates
from appstatus.stores import Store, Stores
from synthetic import MACHINE, NODE

STEP = 30.0
# What changes while a simulation runs; the rest is listed once.
CHANGING = ("slos", "projects", "appstatuses")
COLUMNS = 120


@dataclass
class Edge:
    """Requests from ``client`` (None: outside) to ``server`` (pod names); ``bad``: share of failures by time."""

    client: str | None
    server: str
    rate: float = 20.0
    bad: Callable[[np.ndarray], np.ndarray] = lambda times: np.zeros(len(times))


@dataclass
class Script:
    """The metrics of a namespace as a function of time. ``ips`` by pod."""

    namespace: str
    ips: dict[str, str]
    edges: list[Edge]
    down: bool = False
    silent: bool = False  # the users' own queries find nothing
    failing: dict[str, str] = field(default_factory=dict)  # queries that are not answered in time, and what is said of them

    def rows(self, times: np.ndarray) -> dict[str, list[tuple[tuple[str, ...], np.ndarray]]]:
        """By query: labels and values of each series, with the zeros that the real query leaves out."""
        rows: dict[str, list[tuple[tuple[str, ...], np.ndarray]]] = {}

        def add(query: str, values: np.ndarray | float, **labels: str) -> None:
            row = np.full(len(times), values) if isinstance(values, float) else values
            rows.setdefault(query, []).append((tuple(labels.get(name, "") for name in BY_ID[query].by), row))

        add("agent_sample_time", times - 1.0, machine_id=MACHINE)
        add("node_info", 1.0, machine_id=MACHINE, hostname=NODE)
        add("node_memory_available", 8e9, machine_id=MACHINE)
        for pod, ip in self.ips.items():
            container = {"machine_id": MACHINE, "container_id": self._id(pod)}
            add("container_info", 1.0, **container, image="x:1")
            add("container_memory_rss", 5e7, **container)
            add("listen", 1.0, **container, listen_addr=f"{ip}:80")
        for edge in self.edges:
            bad = edge.rate * edge.bad(times)
            good = edge.rate - bad
            server = {"machine_id": MACHINE, "container_id": self._id(edge.server)}
            peer = "outside" if edge.client is None else "cluster"
            add("requests_in", good, **server, peer=peer, status="2xx")
            add("requests_in", bad, **server, peer=peer, status="5xx")
            for bound in (*BUCKETS, float("inf")):
                add(
                    "requests_in_buckets",
                    good if bound >= 0.01 else 0.0,
                    **server,
                    peer=peer,
                    le="+Inf" if bound == float("inf") else f"{bound:g}",
                )
            if edge.client is not None:
                there = f"{self.ips[edge.server]}:80"
                client = {
                    "machine_id": MACHINE,
                    "container_id": self._id(edge.client),
                    "destination": there,
                    "actual_destination": there,
                }
                add("requests_out", good, **client, status="2xx")
                add("requests_out", bad, **client, status="5xx")
                add("requests_out_timed", good + bad, **client)
                add("tcp_connects", edge.rate, **client)
        return rows

    def _id(self, pod: str) -> str:
        return f"/k8s/{self.namespace}/{pod}/app"


class Answers(Connection):
    """A server that knows the script; all else of the source of metrics is the real one."""

    QUERIES = {_expr(query, STEP): query for query in BY_ID.values()}

    def __init__(self, script: Script) -> None:
        super().__init__(Endpoint("http://unused"))
        self.script = script

    def query_range(self, expr: str, start: float, end: float, step: float, timeout: float) -> Iterator[Answer]:
        if self.script.down:
            raise QueryFailed("unreachable", "connection refused")
        query = self.QUERIES[expr]
        if query.id in self.script.failing:
            raise QueryFailed("timeout", self.script.failing[query.id])
        times = np.arange(start, end + step / 2, step)
        answer = []
        for labels, row in self.script.rows(times).get(query.id, ()):
            named = dict(zip(query.by, labels, strict=True))
            sparse = expr.endswith("> 0") or named.get("le", "+Inf") != "+Inf"
            samples = [[at, str(value)] for at, value in zip(times, row, strict=True) if value > 0 or not sparse]
            if samples:
                answer.append({"metric": named, "values": samples})
        return iter([answer])


@dataclass
class _PromQL:
    """Every promql objective has 20 good events/s, as long as the script lets it."""

    script: Script
    wanted: list[Objective] = field(default_factory=list)
    end: int = 0

    def want(self, objectives: list[Objective], now: float) -> None:
        self.wanted = [objective for objective in objectives if objective.indicator == "promql"]
        self.end = int(now // STEP)

    def take(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        if self.script.down or self.script.silent:
            return {}, {}
        rates = Rates(self.end - COLUMNS + 1, None, np.zeros(COLUMNS), np.full(COLUMNS, 20.0))
        return {(objective.app, objective.id): [rates] for objective in self.wanted}, {}

    def close(self) -> None:
        pass


class Crash(BaseException):
    """The process is gone: nothing of it runs any further."""


@dataclass
class CrashingKube:
    """The real API server, reached until the ``at``-th counted write (from 1); ``after``: that write still took effect."""

    kube: Kube
    at: int | None = None
    after: bool = False
    writes: list[str] = field(default_factory=list)
    counting: bool = False

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        if method == "GET" or not self.counting:
            return self.kube.request(method, path, **kwargs)
        self.writes.append(f"{method} {path.split('/namespaces/')[-1]}")
        crash = len(self.writes) == self.at
        if crash and not self.after:
            raise Crash
        answer = self.kube.request(method, path, **kwargs)
        if crash:
            raise Crash
        return answer

    def list(self, *args: Any, **kwargs: Any) -> Any:
        return self.kube.list(*args, **kwargs)


class Simulation:
    """A chain of engines over one simulated time; ``run`` starts a new one after each crash. Only the writes of incidents and of
    missing data are counted: their state, their Events, the marks."""

    def __init__(self, kube: Kube, script: Script, start: float) -> None:
        self.kube = kube
        self.script = script
        self.now = start
        self.crashing = CrashingKube(kube)
        self.crashes = 0
        self.engine: Engine | None = None
        self.cache: Cache | None = None
        self.allowed = True

    def start(self) -> Engine:
        """A new process: empty memory, caches listed anew."""
        self.cache = Cache()
        writer = Writer(self.crashing, allowed=lambda: self.allowed, pace=1e6)  # type: ignore[arg-type]
        stores = Stores(self.kube, "appstatus", opener=lambda endpoint, step, now: self._store(now))
        config = Config("appstatus", "test", AgentSettings("", "appstatus"))
        self.engine = Engine(config, self.cache, stores, writer, OperatorMetrics("test", ""))
        for told in (self.engine._incidents, self.engine._data):
            told.settle = self._counted(told.settle)  # type: ignore[method-assign,attr-defined]
        for plural in self.cache.resources:
            self.cache.fill(self.kube, plural)
        return self.engine

    def _counted(self, settle: Callable[..., int]) -> Callable[..., int]:
        def counted(*arguments: Any) -> int:
            self.crashing.counting = True
            try:
                return settle(*arguments)
            finally:
                self.crashing.counting = False

        return counted

    def _store(self, now: float) -> Store:
        ledger, promql = Ledger(STEP, now), _PromQL(self.script)
        prometheus = Prometheus(Endpoint("http://unused"), STEP)
        prometheus.connection = Answers(self.script)
        return Store(prometheus, promql, ledger, _NoBackfill())  # type: ignore[arg-type]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            engine = self.engine or self.start()
            assert self.cache is not None
            for plural in CHANGING:
                self.cache.fill(self.kube, plural)
            try:
                engine.cycle(self.now)
            except Crash:
                self.crashes += 1
                engine.close()
                self.engine = None
                self.crashing.at = None


class _NoBackfill:
    def tick(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


__all__ = ["Crash", "Edge", "Script", "Simulation"]
