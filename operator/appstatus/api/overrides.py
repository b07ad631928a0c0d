"""Which InspectionOverrides are in force, and what they and the Projects change on each application's checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from appstatus.api.conditions import Condition, accepted, format_time, invalid, refused
from appstatus.api.names import AppKey
from appstatus.api.override import InspectionOverride
from appstatus.api.project import CheckSetting, Project
from appstatus.api.scope import Scope
from appstatus.api.selection import Workload, matches_any


@dataclass(frozen=True, slots=True)
class Changes:
    """Differences from the table of checks for one application.

    thresholds  other thresholds, by check id
    off         checks that are not made, by check id, with who says so
    by          who set the threshold, by check id: an InspectionOverride's name, or ``Project NAME``
    nodes, peers  patterns of what to leave out
    """

    thresholds: dict[str, float] = field(default_factory=dict)
    off: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()

    def threshold(self, check: str, default: float) -> float:
        return self.thresholds.get(check, default)

    def disabled(self, check: str) -> bool:
        return check in self.off

    def overridden_by(self, check: str) -> str:
        """Who turned the check off or changed its threshold; empty for the default."""
        return self.off.get(check) or self.by.get(check, "")

    def excludes_node(self, node: str) -> bool:
        return matches_any(self.nodes, node)

    def excludes_peer(self, peer: AppKey) -> bool:
        """Patterns are for ``namespace/name`` of an application, or ``host:port`` of an external service."""
        return matches_any(self.peers, peer.name if peer.is_external else f"{peer.namespace}/{peer.name}")


@dataclass(frozen=True, slots=True)
class OverrideVerdict:
    """``apps``: the applications that it changes now (none while it is not in force)."""

    override: InspectionOverride
    apps: tuple[AppKey, ...]
    conditions: tuple[Condition, ...]


def judge_overrides(
    overrides: Iterable[InspectionOverride],
    scope: Scope,
    workloads: Mapping[str, list[Workload]],
    now: float,
) -> tuple[dict[tuple[str, str], OverrideVerdict], dict[AppKey, Changes]]:
    """Verdicts by (namespace, name), and the changes of every workload.

    The more specific override wins: targetRef before selector before a whole namespace, all before the Project. Two of the same
    rank that want different things for one check contradict: the older one holds, the newer one is refused.
    """
    changes = {w.key: _of_project(scope.project_of(w.key.namespace)) for found in workloads.values() for w in found}
    ranked: dict[tuple[AppKey, str, int], InspectionOverride] = {}
    applied: list[tuple[InspectionOverride, tuple[AppKey, ...]]] = []
    verdicts: dict[tuple[str, str], OverrideVerdict] = {}
    for override in sorted(overrides, key=lambda o: o.meta.age_order):
        verdict = _judge(override, scope.project_of(override.meta.namespace), workloads, ranked, now)
        verdicts[override.meta.namespace, override.meta.name] = verdict
        if verdict.apps:
            applied.append((override, verdict.apps))
            for app in verdict.apps:
                for check in override.checks:
                    ranked.setdefault((app, check.id, _rank(override)), override)
    for override, apps in sorted(applied, key=lambda a: _rank(a[0])):
        for app in apps:
            changes[app] = _changed(changes[app], override.checks, override.meta.name, override)
    return verdicts, changes


def _rank(override: InspectionOverride) -> int:
    """Higher is more specific."""
    return 2 if override.target.ref is not None else 1 if override.target.selector is not None else 0


def _judge(
    override: InspectionOverride,
    project: Project | None,
    workloads: Mapping[str, list[Workload]],
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
    apps = tuple(sorted(w.key for w in workloads.get(namespace, []) if override.target.matches(w)))
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


def _of_project(project: Project | None) -> Changes:
    if project is None:
        return Changes()
    return _changed(Changes(), project.inspections, f"Project {project.meta.name}", None)


def _changed(changes: Changes, checks: Iterable[CheckSetting], who: str, override: InspectionOverride | None) -> Changes:
    thresholds, off, by = dict(changes.thresholds), dict(changes.off), dict(changes.by)
    for check in checks:
        if check.disabled:
            off[check.id] = who
        elif check.threshold is not None:
            off.pop(check.id, None)  # a threshold of a more specific override turns a disabled check on again
            thresholds[check.id] = check.threshold
            by[check.id] = who
    nodes, peers = (override.nodes, override.peers) if override is not None else ((), ())
    return Changes(thresholds, off, by, (*changes.nodes, *nodes), (*changes.peers, *peers))
