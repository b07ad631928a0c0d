"""All checks on all applications."""

from collections.abc import Callable, Mapping, Sequence

from appstatus.api.names import AppKey
from appstatus.api.policy import Policy
from appstatus.api.settings import Settings
from appstatus.inspections import cpu, dependencies, instances, memory, network, objectives
from appstatus.inspections.judge import Judge
from appstatus.inspections.result import CheckResult
from appstatus.model.world import World

_AREAS: tuple[Callable[[Judge], list[CheckResult]], ...] = (
    instances.inspect,
    cpu.inspect,
    memory.inspect,
    network.inspect,
    dependencies.inspect,
)


def run(
    world: World,
    policy: Policy | None,
    now: float,
    statuses: Mapping[AppKey, Sequence[objectives.Status]] | None = None,
) -> dict[AppKey, list[CheckResult]]:
    """Results by application, external services left out. ``now`` is the world's; without a policy every check has its default.

    ``statuses``: the SLO evaluation's findings, which become the two SLO checks; without them these checks are not in the list.
    """
    found: dict[AppKey, list[CheckResult]] = {}
    for key, app in world.applications.items():
        if key.is_external:
            continue
        judge = Judge(world, app, policy.settings(key) if policy is not None else Settings())
        results = objectives.inspect(judge, (statuses or {}).get(key, ()))
        for inspect in _AREAS:
            results += inspect(judge)
        found[key] = results
    return found
