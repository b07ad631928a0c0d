"""Worlds to be explained: front calls checkout, checkout calls cart and postgres; postgres is throttled from the onset on."""

from dataclasses import replace

from appstatus.diagnosis import diagnose
from appstatus.inspections import runner
from appstatus.inspections.result import CheckResult
from appstatus.model.facts import Change
from appstatus.model.world import World
from appstatus.report.explanation import Explanation, Findings, explain
from appstatus.slo.status import SLOStatus
from callgraph import Service, simulate
from cases import met, objective, status
from worlds import ONSET, container, instance, key, series

FRONT, CHECKOUT, POSTGRES = key("front"), key("checkout"), key("postgres")


def shop(slow: float | None = 0.31, **changed: Service) -> World:
    throttled, restarts = series(0.002, 0.62, noise=0.1), series(0.0)
    restarts[-15] = 1.0
    limited = container(cpu_usage=series(0.3, 0.5), cpu_throttled=throttled, cpu_delay=series(0.01, 0.7), restarts=restarts)
    pod = instance("postgres-0", "node-3", containers=[limited])
    services = {
        "front": Service(calls={"checkout": 1}),
        "checkout": Service(calls={"postgres": 2, "cart": 1}),
        "postgres": Service(own=0.004, slow=slow, more={"instances": {"postgres-0": pod}} if slow else {}),
        "cart": Service(slow=0.06 if slow else None, more={"changes": (Change(ONSET - 900, "scale", "replicas 2 -> 4"),)}),
    }
    made = simulate(services | changed, "front")
    decoy = simulate({"mail": Service(more={"changes": (Change(ONSET - 60, "rollout", "mail:1.4 -> mail:1.5"),)})}, "mail")
    made.applications |= decoy.applications
    return made


def violated(app=FRONT) -> list[SLOStatus]:
    wanted = objective(id=f"{app.name}-latency", app=app, runbook_url="")
    return [status(objective=wanted), met(objective=replace(met().objective, app=app))]


def explained(made: World | None = None, app=FRONT, statuses: list[SLOStatus] | None = None, health="Violated") -> Explanation:
    made = made or shop()
    statuses = violated(app) if statuses is None else statuses
    checks: dict[object, list[CheckResult]] = dict(runner.run(made, None, made.now, {app: statuses}))
    found = diagnose(made, checks, app, statuses, made.now) if health == "Violated" else None
    return explain(Findings(app, health, made, statuses, checks, found, "default"))
