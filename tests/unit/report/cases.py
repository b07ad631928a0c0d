"""One outage as the documents tell it: postgres is throttled, checkout is slow, cart suffers with it."""

import numpy as np
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.objective import Objective, Outage
from appstatus.api.tiers import default_tiers
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence
from appstatus.incidents.incident import Participation
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import CHECKS
from appstatus.model.world import Application, Connection, Traffic
from appstatus.slo.status import SLOStatus, TierStatus

DAY = 86400.0
NOW = 1_795_257_900.0  # 2026-11-21T10:45:00Z
CHECKOUT = AppKey("shop", "Deployment", "checkout")
CART = AppKey("shop", "Deployment", "cart")
POSTGRES = AppKey("shop", "StatefulSet", "postgres")
REF = ObjectRef("apps/v1", "Deployment", "shop", "checkout", "11111111-2222-3333-4444-555555555555")
SLO = ObjectRef("appstatus.dev/v1alpha1", "SLO", "shop", "checkout-latency", "slo-uid")


def objective(**changes) -> Objective:
    values = {
        "id": "checkout-latency",
        "app": CHECKOUT,
        "indicator": "latency",
        "ratio": 0.995,
        "window": 30 * DAY,
        "tiers": default_tiers(30 * DAY),
        "outage": Outage(),
        "threshold": 0.25,
        "source": SLO,
        "labels": {"team": "shop"},
    }
    return Objective(**(values | changes))


def status(state: str = "FastBurn", short_burn: float = 28.0, **changes) -> SLOStatus:
    wanted = changes.pop("objective", None) or objective()
    firing = state in ("Outage", "FastBurn", "SlowBurn")
    tiers = (
        TierStatus("fast", short_burn, short_burn * 0.6, 14.4, 4200, firing, "", 300, 3600, "page"),
        TierStatus("medium", 3.2, 1.1, 6, 4200, False, "", 1800, 21600, "page"),
    )
    values = {
        "objective": wanted,
        "state": state,
        "sli": 0.99714,
        "budget": 0.4249,
        "covered": 30 * DAY,
        "burn": short_burn * 0.6,
        "tiers": tiers,
        "good": 4_361_200.0,
        "total": 4_373_700.0,
        "bad_ratio_5m": 0.14,
        "total_5m": 15_000.0,
        "threshold": wanted.threshold,
        "covered_5m": 300.0,
        "total_1h": 180_000.0,
    }
    return SLOStatus(**(values | changes))


def met(**changes) -> SLOStatus:
    wanted = objective(id="availability", indicator="availability", ratio=0.99, threshold=None, source=None, labels={})
    return status("Met", 0.1, **({"objective": wanted, "sli": 0.99991, "budget": 0.991} | changes))


def diagnosis(violator: AppKey = CHECKOUT, dominant: bool = True) -> Diagnosis:
    evidence = (
        Evidence("latency", "checkout->postgres", 0.004, 0.31, "s"),
        Evidence("throttled", "postgres-0", 0.0, 0.62, "s/s"),
    )
    path = (violator, POSTGRES)
    cause = Cause(POSTGRES, "cpu-throttled", 0.81 if dominant else 0.2, path, evidence, instance="postgres-0", node="node-3")
    return Diagnosis(violator, NOW - 240, NOW, (cause,), dominant)


def opener(**changes) -> Participation:
    values = {
        "incident_id": "9f2c41",
        "app": CHECKOUT,
        "ref": REF,
        "opener": True,
        "opener_app": CHECKOUT,
        "opened": NOW - 15,
        "slos": ("checkout-latency",),
        "due": ("SLOFastBurn",),
        "diagnosis": diagnosis(),
    }
    return Participation(**(values | changes))


def checks(**outcomes: str) -> list[CheckResult]:
    """All checks pass but those given."""
    found = []
    for check in CHECKS:
        outcome = outcomes.get(check.id, "fail" if check.id == "SLOLatency" else "pass")
        if outcome == "fail" and check.id != "SLOLatency":
            found.append(
                CheckResult(check.id, check.area, "fail", 0.4231, check.threshold, NOW - 240, ("checkout-7d4f-x2x1p",), "too much")
            )
        else:
            found.append(CheckResult(check.id, check.area, outcome))
    return found


def application(upstreams: int = 1, rate: float = 50.0) -> Application:
    app = Application(CHECKOUT, REF, {"app": "checkout"}, {}, "application", NOW - DAY, 3, 3, False, ())
    for number in range(upstreams):
        upstream = POSTGRES if number == 0 else AppKey("shop", "Deployment", f"dependency-with-a-long-name-{number}")
        unknown = np.full(40, np.nan)
        traffic = Traffic(
            {"2xx": np.full(40, rate), "5xx": np.full(40, rate / 100)}, None, np.full(40, rate * 0.31), np.full(40, rate)
        )
        app.upstreams.append(
            Connection(CHECKOUT, upstream, traffic, unknown, np.zeros(40), *[unknown] * 6)
        )
    return app
