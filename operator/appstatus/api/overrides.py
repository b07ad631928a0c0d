"""Which InspectionOverrides are in force, and what they and the Projects set for each application's checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from appstatus.api.conditions import Condition, accepted, format_time, invalid, refused
from appstatus.api.names import AppKey
from appstatus.api.override import InspectionOverride
from appstatus.api.project import Project
from appstatus.api.scope import Scope
from appstatus.api.selection import Directory
from appstatus.api.settings import Exclusion, Override, Settings


@dataclass(frozen=True, slots=True)
class OverrideVerdict:
    """``apps``: the applications that it changes now (none while it is not in force)."""

    override: InspectionOverride
    apps: tuple[AppKey, ...]
    conditions: tuple[Condition, ...]


def judge_overrides(
    overrides: Iterable[InspectionOverride],
    scope: Scope,
    directory: Directory,
    now: float,
) -> tuple[dict[tuple[str, str], OverrideVerdict], dict[AppKey, Settings]]:
    """Verdicts by (namespace, name), and the settings of every workload.

    The more specific override wins: targetRef before selector before a whole namespace, all before the Project. Two of the same
    rank that want different things for one check contradict: the older one holds, the newer one is refused.
    """
    settings = {w.key: _of_project(scope.project_of(w.key.namespace)) for w in directory.all}
    ranked: dict[tuple[AppKey, str, int], InspectionOverride] = {}
    applied: list[tuple[InspectionOverride, tuple[AppKey, ...]]] = []
    verdicts: dict[tuple[str, str], OverrideVerdict] = {}
    for override in sorted(overrides, key=lambda o: o.meta.age_order):
        verdict = _judge(override, scope.project_of(override.meta.namespace), directory, ranked, now)
        verdicts[override.meta.namespace, override.meta.name] = verdict
        if verdict.apps:
            applied.append((override, verdict.apps))
            for app in verdict.apps:
                for check in override.checks:
                    ranked.setdefault((app, check.id, _rank(override)), override)
    for override, apps in sorted(applied, key=lambda a: _rank(a[0])):
        for app in apps:
            settings[app] = _changed(settings[app], override)
    return verdicts, settings


def _rank(override: InspectionOverride) -> int:
    """Higher is more specific."""
    return 2 if override.target.ref is not None else 1 if override.target.selector is not None else 0


def _judge(
    override: InspectionOverride,
    project: Project | None,
    directory: Directory,
    ranked: Mapping[tuple[AppKey, str, int], InspectionOverride],
    now: float,
) -> OverrideVerdict:
    if override.problems:
        return _refusal(override, invalid(override.problems))
    if override.expired(now):
        message = f"expired at {format_time(override.expires_at or 0)}; the usual checks hold again"
        return OverrideVerdict(override, (), (*accepted(), Condition("Active", False, "Expired", message)))
    namespace = override.meta.namespace
    if project is None:
        message = f"no Project (projects.appstatus.dev) judges namespace {namespace}"
        return OverrideVerdict(override, (), (*accepted(), Condition("Active", False, "NamespaceNotWatched", message)))
    locked = sorted({c.id for c in override.checks} & {c.id for c in project.inspections if c.locked})
    if locked:
        message = f"projects.appstatus.dev {project.meta.name} locks {', '.join(locked)}: nothing of this override is used"
        return _refusal(override, refused("Locked", message))
    apps = tuple(directory.find(override.target))
    contradiction = _contradiction(override, apps, ranked)
    if contradiction:
        return _refusal(override, refused("Contradiction", contradiction))
    if not apps:
        message = f"there is no application with {override.target} in namespace {namespace} yet"
        target = Condition("TargetResolved", False, "NotFound", message)
        return OverrideVerdict(override, (), (*accepted(), target, Condition("Active", False, "NoTarget", message)))
    target = Condition("TargetResolved", True, "Found", f"{len(apps)} application{'s' if len(apps) > 1 else ''}")
    until = f"until {format_time(override.expires_at)}" if override.expires_at is not None else "without end"
    return OverrideVerdict(override, apps, (*accepted(), target, Condition("Active", True, "InForce", f"in force {until}")))


def _refusal(override: InspectionOverride, conditions: tuple[Condition, ...]) -> OverrideVerdict:
    return OverrideVerdict(override, (), (*conditions, Condition("Active", False, "NotAccepted", "the override is not accepted")))


def _contradiction(
    override: InspectionOverride, apps: tuple[AppKey, ...], ranked: Mapping[tuple[AppKey, str, int], InspectionOverride]
) -> str:
    for app in apps:
        for check in override.checks:
            older = ranked.get((app, check.id, _rank(override)))
            if older is None:
                continue
            theirs = next(c for c in older.checks if c.id == check.id)
            if (theirs.threshold, theirs.disabled) != (check.threshold, check.disabled):
                return (
                    f"{check.id} of {app.status_name} is {check.wish} here but {theirs.wish} in the older InspectionOverride "
                    f"{older.meta.name}: nothing of this override is used"
                )
    return ""


def _of_project(project: Project | None) -> Settings:
    if project is None:
        return Settings()
    return Settings({c.id: Override(c.threshold, c.disabled) for c in project.inspections if c.disabled or c.threshold is not None})


def _changed(settings: Settings, override: InspectionOverride) -> Settings:
    by = f"{override.meta.namespace}/{override.meta.name}"
    # A threshold also turns a check on again that something less specific has disabled.
    checks = {**settings.checks, **{c.id: Override(c.threshold, c.disabled, by) for c in override.checks}}
    peers = tuple(Exclusion(pattern, by) for pattern in override.peers)
    nodes = tuple(Exclusion(pattern, by) for pattern in override.nodes)
    return Settings(checks, settings.peers + peers, settings.nodes + nodes)
