"""One application's traffic over a long time, seen cycle by cycle as the operator sees it. Fake time, literal rates."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.objective import Objective, Outage
from appstatus.api.tiers import default_tiers
from appstatus.model.world import BUCKETS, Application, Connection, Container, Instance, Node, Traffic, World
from appstatus.slo.ledger import Ledger
from appstatus.slo.status import SLOStatus

T0 = 1_800_000_000.0  # a multiple of an hour
STEP = 15.0
DAY = 86400.0
CART = AppKey("shop", "Deployment", "cart")
FRONTEND = AppKey("shop", "Deployment", "frontend")


def objective(indicator: str = "availability", ratio: float = 0.99, window: float = 30 * DAY, **changes) -> Objective:
    values = {
        "id": indicator,
        "app": CART,
        "indicator": indicator,
        "ratio": ratio,
        "window": window,
        "tiers": default_tiers(window),
        "outage": Outage(),
        "threshold": 0.25 if indicator == "latency" else None,
    }
    return Objective(**(values | changes))


def own(**changes) -> Objective:
    """One that an SLO object asks for: shown even without traffic."""
    return objective(source=ObjectRef("appstatus.dev/v1alpha1", "SLO", "shop", "cart", "u"), **changes)


def connection(times: int, **changes) -> Connection:
    """From frontend to cart; nothing is known unless given."""
    unknown = {
        name: np.full(times, np.nan)
        for name in (
            "connects",
            "failed_connects",
            "connect_time",
            "active",
            "retransmits",
            "segments_sent",
            "rtt",
            "bytes_sent",
        )
    }
    return Connection(**({"client": FRONTEND, "upstream": CART, "traffic": Traffic()} | unknown | changes))


def application(times: int, available_since: float | None = T0 - DAY, **changes) -> Application:
    """cart with one instance whose agent reports all the time."""
    app = Application(CART, None, {}, {}, "application", T0 - DAY, 1, 1, False, ())
    container = Container("cart", cpu_usage=np.ones(times))
    app.instances["cart-1"] = Instance("cart-1", "n1", "v1", True, False, available_since, {"cart": container})
    for name, value in changes.items():
        setattr(app, name, value)
    return app


def world(app: Application, times: np.ndarray, missing: dict[str, str] | None = None, step: float = STEP) -> World:
    nodes = {"n1": Node("n1", True, cpu_usage=np.full(len(times), 0.1))}
    now = float(times[-1])
    return World(now, step, times, {CART: app}, nodes, list(app.downstreams), now, missing or {})


def _drop(app: Application, failed: Iterable[str]) -> None:
    """Takes out of the world what failed queries fill: all of it, as ``sources.prometheus`` leaves the whole series out."""
    for query in failed:
        if query == "requests_in":
            app.served, app.outside = Traffic(), Traffic()
        elif query == "requests_in_buckets":
            app.served.buckets = None
        elif query == "requests_out":
            for each in app.downstreams:
                each.traffic.requests = {}
        elif query == "tcp_failed_connects":
            for each in app.downstreams:
                each.failed_connects = np.full_like(each.failed_connects, np.nan)
        else:
            raise ValueError(query)


@dataclass
class Timeline:
    """Rates per second, one value per step from T0 on, when the agent starts; a missing array is unknown.

    asked: good answers as the clients in the cluster see them
    outside: the part of ``good`` that goes to peers outside the cluster
    ready: first instance available at
    silent: step from which on the agent reports nothing at all
    """

    good: np.ndarray
    bad: np.ndarray | None = None
    unanswered: np.ndarray | None = None
    asked: np.ndarray | None = None
    outside: np.ndarray | None = None
    slow: np.ndarray | None = None  # good answers slower than 250 ms
    ready: float | None = T0 - DAY
    objective: Objective = field(default_factory=objective)
    window: int = 240
    missing: dict[int, tuple[str, ...]] = field(default_factory=dict)  # cycle -> failed queries, of which nothing is there then
    uid: str = "cart"
    created: float = T0 - DAY
    silent: int = 1 << 40

    def __post_init__(self) -> None:
        self.ledger = Ledger(STEP, T0)
        self.at = 0

    @property
    def now(self) -> float:
        return T0 + self.at * STEP

    def _slice(self, values: np.ndarray | None) -> np.ndarray:
        steps = np.arange(self.at - self.window, self.at)
        known = steps >= 0
        if values is None:
            return np.full(self.window, np.nan)
        return np.where(known, values[np.clip(steps, 0, len(values) - 1)], np.nan)

    def cycle(self, steps: int = 1) -> SLOStatus:
        """Lets ``steps`` steps pass, then reads and evaluates once."""
        self.at += steps
        times = self.now - STEP * np.arange(self.window)[::-1]
        good = self._slice(self.good)
        requests = {"2xx": good}
        if self.bad is not None:
            requests["5xx"] = self._slice(self.bad)
        buckets = np.repeat(good[None, :], len(BUCKETS) + 1, axis=0)
        if self.slow is not None:
            buckets[: BUCKETS.index(0.25) + 1] -= self._slice(self.slow)
        served = Traffic(requests, buckets, good, good)
        ref = ObjectRef("apps/v1", "Deployment", "shop", "cart", self.uid)
        app = application(self.window, self.ready, served=served, ref=ref, created=self.created)
        steps = np.arange(self.at - self.window, self.at)
        reports = (steps >= 0) & (steps < self.silent)
        app.instances["cart-1"].containers["cart"].cpu_usage = np.where(reports, 0.1, np.nan)
        if self.ready is not None and self.ready > self.now:
            app.instances.clear()
        if self.outside is not None:
            app.outside = Traffic({"2xx": self._slice(self.outside)})
        calls = {"2xx": self.asked, "overdue": self.unanswered}
        if any(rates is not None for rates in calls.values()):
            sent = {status: self._slice(rates) for status, rates in calls.items() if rates is not None}
            app.downstreams = [connection(self.window, traffic=Traffic(sent))]
        failed = dict.fromkeys(self.missing.get(self.at, ()), "time-out")
        _drop(app, failed)
        view = world(app, times, failed)
        self.ledger.update(view, [self.objective])
        found = self.ledger.evaluate([self.objective], self.now).get(CART, [])
        return found[0] if found else None

    def until(self, wanted, limit: int) -> float:
        """Seconds from now until a status for which ``wanted`` holds; fails after ``limit`` cycles."""
        start = self.now
        for _ in range(limit):
            status = self.cycle()
            if wanted(status):
                return self.now - start
        raise AssertionError(f"not within {limit} cycles; last: {status}")


def rate(*parts: tuple[float, float]) -> np.ndarray:
    """(duration in seconds, events/s) one after the other -> one value per step."""
    return np.concatenate([np.full(round(seconds / STEP), value) for seconds, value in parts])
