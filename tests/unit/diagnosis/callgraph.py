"""A call graph that is simulated from what each service does, so that the share of every cause is known.

Latency of a service = its own time + its calls (in a row, or the longest of them where they are parallel); it fails if itself fails
or a call fails. The numbers are means over many requests, with noise.
"""

from dataclasses import dataclass, field

import numpy as np
from appstatus.api.names import AppKey
from appstatus.model.series import F64
from appstatus.model.world import Application, Connection, World
from worlds import BAD_STEPS, T, application, connection, instance, key, series, traffic, world


@dataclass
class Service:
    """``own``, ``fail``: seconds and share before; ``slow``, ``failing``: during (None: as before). ``calls``: per request.

    net, net_during: seconds on the way to it. seen: its server side is known. silent: its failures get no answer.
    """

    own: float = 0.010
    slow: float | None = None
    fail: float = 0.0
    failing: float | None = None
    calls: dict[str, float] = field(default_factory=dict)
    net: float = 0.0005
    net_during: float | None = None
    seen: bool = True
    silent: bool = False
    parallel: bool = False
    retries: int = 0  # of a caller of this service: further attempts after a failed one
    more: dict[str, object] = field(default_factory=dict)  # of the Application
    arrays: dict[str, F64] = field(default_factory=dict)  # of the edges into it


def simulate(
    services: dict[str, Service], entry: str, rate: float = 20.0, surge: float = 1.0, noise: float = 0.05, seed: int = 1
) -> World:
    """World in which users send ``rate`` requests/s to ``entry``."""
    rng = np.random.default_rng(seed)

    def jitter() -> F64:
        return np.maximum(0.0, 1.0 + noise * rng.standard_normal(T))

    own = {n: series(s.own, s.own if s.slow is None else s.slow) * jitter() for n, s in services.items()}
    fail = {n: np.clip(series(s.fail, s.fail if s.failing is None else s.failing), 0.0, 1.0) for n, s in services.items()}
    net = {n: series(s.net, s.net if s.net_during is None else s.net_during) * jitter() for n, s in services.items()}
    latency: dict[str, F64] = {}
    bad: dict[str, F64] = {}

    def attempts(name: str) -> F64:
        """Mean attempts per call of a service that callers retry."""
        return sum((bad[name] ** i for i in range(services[name].retries + 1)), np.zeros(T))

    def compute(name: str) -> None:
        if name in latency:
            return
        s = services[name]
        below, survived = [np.zeros(T)], 1.0 - fail[name]
        for callee, times in s.calls.items():
            compute(callee)
            below.append(times * (latency[callee] + net[callee]) * attempts(callee))
            survived = survived * (1.0 - bad[callee] ** (services[callee].retries + 1)) ** times
        latency[name] = own[name] + (np.max(below, axis=0) if s.parallel else np.sum(below, axis=0))
        bad[name] = 1.0 - survived

    compute(entry)
    rates: dict[str, F64] = {entry: series(rate, rate * surge) * jitter()}
    edges: dict[tuple[str, str], F64] = {}
    for name in _topological(services, entry):
        for callee, times in services[name].calls.items():
            edges[name, callee] = rates[name] * times * attempts(callee)
            rates[callee] = rates.get(callee, np.zeros(T)) + edges[name, callee]

    apps: list[Application] = []
    for name in rates:
        s = services[name]
        app = application(key(name), [instance(f"{name}-0")])
        for attribute, value in s.more.items():
            setattr(app, attribute, value)
        if s.seen:
            answered = rates[name] * bad[name]
            statuses = {"2xx": rates[name] * (1 - bad[name]), "5xx": np.zeros(T) if s.silent else answered}
            app.served = traffic(statuses, latency[name])
        apps.append(app)
    connections: list[Connection] = []
    for (client, callee), calls in edges.items():
        s = services[callee]
        status = "closed" if s.silent else "5xx"
        seen = traffic({"2xx": calls * (1 - bad[callee]), status: calls * bad[callee]}, latency[callee] + net[callee])
        connections.append(connection(key(client), key(callee), seen, **s.arrays))
    return world(apps, connections)


def _topological(services: dict[str, Service], entry: str) -> list[str]:
    seen: list[str] = []

    def visit(name: str) -> None:
        if name not in seen:
            for callee in services[name].calls:
                visit(callee)
            seen.append(name)

    visit(entry)
    return seen[::-1]


def app_key(name: str) -> AppKey:
    return key(name)


__all__ = ["BAD_STEPS", "Service", "app_key", "simulate"]
