"""The judgement of one store's applications: the same in the operator and on the command line."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.api.override import InspectionOverride, parse_override
from appstatus.api.policy import Policy
from appstatus.api.project import Project, parse_project
from appstatus.api.slo import SLO, parse_slo
from appstatus.diagnosis.diagnose import diagnose
from appstatus.diagnosis.result import Diagnosis
from appstatus.inspections import runner
from appstatus.inspections.result import CheckResult
from appstatus.model.world import World
from appstatus.slo.ledger import Ledger
from appstatus.slo.status import SLOStatus

log = logging.getLogger(__name__)

Raw = Mapping[str, Any]


@dataclass(slots=True)
class Configured:
    """The custom resources, parsed. What is wrong with one of them is in its own ``problems``."""

    projects: list[Project] = field(default_factory=list)
    slos: list[SLO] = field(default_factory=list)
    overrides: list[InspectionOverride] = field(default_factory=list)


def parse(projects: Sequence[Raw], slos: Sequence[Raw], overrides: Sequence[Raw]) -> Configured:
    return Configured([parse_project(p) for p in projects], [parse_slo(s) for s in slos], [parse_override(o) for o in overrides])


@dataclass(slots=True)
class Judgement:
    """statuses and checks by application; diagnoses only of those that are violated."""

    world: World
    statuses: dict[AppKey, list[SLOStatus]]
    checks: dict[AppKey, list[CheckResult]]
    diagnoses: dict[AppKey, Diagnosis] = field(default_factory=dict)


def objectives_of(policy: Policy, apps: Collection[AppKey]) -> list[Objective]:
    """Every objective of these applications, in the order of the policy."""
    return [objective for key in apps if key in policy.apps for objective in policy.apps[key].objectives]


def judge(
    world: World, policy: Policy, ledger: Ledger, objectives: list[Objective], now: float, *, explain: bool = True
) -> Judgement:
    """From a world whose traffic is already in the ledger. ``explain`` False leaves the diagnoses out."""
    statuses = ledger.evaluate(objectives, now)
    checks = runner.run(world, policy, now, statuses)
    found = Judgement(world, statuses, checks)
    if explain:
        for app, mine in statuses.items():
            if any(status.violated for status in mine) and app in world.applications:
                try:
                    found.diagnoses[app] = diagnose(world, checks, app, mine, now)
                except Exception:  # the violation must be told even if its cause cannot be found
                    log.exception("The diagnosis of %s failed", app)
    return found
