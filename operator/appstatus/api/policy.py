"""What holds for each application, from Projects, SLOs, InspectionOverrides and annotations; and what to answer their owners."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from appstatus.api import annotations
from appstatus.api.called import display_names
from appstatus.api.conditions import Condition, accepted, invalid, refused
from appstatus.api.fields import Problem
from appstatus.api.names import AppKey
from appstatus.api.objective import Objective, Outage, Tier
from appstatus.api.override import InspectionOverride
from appstatus.api.overrides import OverrideVerdict, judge_overrides
from appstatus.api.project import DefaultSLO, EventScope, Project
from appstatus.api.scope import ProjectVerdict, Scope
from appstatus.api.selection import Directory, Workload, matches_any
from appstatus.api.settings import Settings
from appstatus.api.slo import BAD_STATUSES, SLO
from appstatus.api.tiers import default_tiers, usable

# Their normal latency depends on what is asked of them, or nobody waits for it.
WITHOUT_LATENCY_DEFAULT = frozenset({"database", "infrastructure", "batch"})


@dataclass(frozen=True, slots=True)
class AppPolicy:
    """What holds for one application.

    objectives  SLOs of its own, then defaults of the Project that none of them replaces
    settings    what the Project and InspectionOverrides say of its checks
    problems    annotations of the workload that cannot be understood (condition AnnotationsValid)
    called      its display name, empty if it has none of its own
    """

    key: AppKey
    project: str
    category: str
    objectives: tuple[Objective, ...]
    settings: Settings = field(default_factory=Settings)
    problems: tuple[Problem, ...] = ()
    called: str = ""


@dataclass(frozen=True, slots=True)
class SLOVerdict:
    """``app`` and ``objective`` are None while the SLO is not evaluated; the conditions say why."""

    slo: SLO
    app: AppKey | None
    objective: Objective | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """``apps`` has the applications that are judged; a workload that is not in it is only part of the model.

    projects by name, slos and overrides by (namespace, name).
    """

    scope: Scope
    apps: dict[AppKey, AppPolicy]
    slos: dict[tuple[str, str], SLOVerdict]
    overrides: dict[tuple[str, str], OverrideVerdict]

    def settings(self, app: AppKey) -> Settings:
        """What is configured for an application's checks; never fails."""
        found = self.apps.get(app)
        return found.settings if found is not None else Settings()

    @property
    def projects(self) -> dict[str, ProjectVerdict]:
        return self.scope.projects


def resolve(
    scope: Scope,
    slos: Iterable[SLO],
    overrides: Iterable[InspectionOverride],
    workloads: Iterable[Workload],
    now: float,
) -> Policy:
    """Never raises for what a user wrote: a wrong object is answered in its own conditions and leaves the others alone."""
    directory = Directory(workloads)
    slo_verdicts = {
        (slo.meta.namespace, slo.meta.name): _judge_slo(slo, scope.project_of(slo.meta.namespace), directory)
        for slo in sorted(slos, key=lambda s: s.meta.age_order)
    }
    override_verdicts, settings = judge_overrides(overrides, scope, directory, now)
    own: dict[AppKey, list[Objective]] = {}
    for verdict in slo_verdicts.values():
        if verdict.app is not None and verdict.objective is not None:
            own.setdefault(verdict.app, []).append(verdict.objective)
    called, wrong = display_names(directory.all)
    apps = {}
    for workload in directory.all:
        key = workload.key
        project = scope.project_of(key.namespace)
        if project is not None:
            found = _app_policy(workload, project, scope, own.get(key, []), settings[key])
            problems = (*found.problems, wrong[key]) if key in wrong else found.problems
            apps[key] = replace(found, problems=problems, called=called.get(key, ""))
    return Policy(scope, apps, slo_verdicts, override_verdicts)


def _app_policy(workload: Workload, project: Project, scope: Scope, own: list[Objective], settings: Settings) -> AppPolicy:
    key = workload.key
    category = scope.category(key, workload.annotations)
    availability, latency, problems = annotations.apply(workload.annotations, project.availability, project.latency)
    taken = {o.indicator for o in own}
    objectives = list(own)
    if availability.enabled and "availability" not in taken:
        objectives.append(_default_objective("availability", key, availability))
    wanted = category not in WITHOUT_LATENCY_DEFAULT or annotations.asks_for_latency(workload.annotations)
    if latency.enabled and wanted and "latency" not in taken:
        objectives.append(_default_objective("latency", key, latency))
    return AppPolicy(key, project.meta.name, category, tuple(objectives), settings, problems)


def _default_objective(indicator: str, key: AppKey, default: DefaultSLO) -> Objective:
    tiers, post = _events(default_tiers(default.window), default.events)
    return Objective(
        id=indicator,
        app=key,
        indicator=indicator,  # type: ignore[arg-type]
        ratio=default.ratio,
        window=default.window,
        tiers=tiers,
        outage=Outage(),
        threshold=default.threshold,
        bad_statuses=BAD_STATUSES,
        post=post,
    )


def _events(tiers: tuple[Tier, ...], events: EventScope) -> tuple[tuple[Tier, ...], bool]:
    """The tiers to evaluate, and whether they post. An SLO that never posts shows all of its tiers."""
    if events == "Page":
        return tuple(t for t in tiers if t.severity == "page"), True
    return tiers, events == "All"


def _judge_slo(slo: SLO, project: Project | None, directory: Directory) -> SLOVerdict:
    if slo.problems:
        return SLOVerdict(slo, None, None, invalid(slo.problems))
    namespace = slo.meta.namespace
    if slo.indicator == "promql" and project is not None and not matches_any(project.promql_namespaces, namespace):
        message = (
            f"spec.indicator.promql is not allowed in namespace {namespace}: add it to spec.promql.namespaces of "
            f"projects.appstatus.dev {project.meta.name}"
        )
        return SLOVerdict(slo, None, None, refused("PromQLNotAllowed", message))
    tiers, post = _events(slo.tiers, slo.events)
    conditions = [*accepted(), _reach(tiers, slo, project)]
    app, target = _find(slo, project, directory)
    conditions.append(target)
    if app is None:
        return SLOVerdict(slo, None, None, tuple(conditions))
    objective = Objective(
        id=slo.meta.name,
        app=app,
        indicator=slo.indicator,
        ratio=slo.ratio,
        window=slo.window,
        tiers=tiers,
        outage=slo.outage,
        min_bad_events=slo.min_bad_events,
        threshold=slo.threshold,
        bad_statuses=slo.bad_statuses,
        query_good=slo.query_good,
        query_bad=slo.query_bad,
        query_total=slo.query_total,
        post=post,
        runbook_url=slo.runbook_url,
        labels=slo.labels,
        source=slo.meta.ref,
    )
    return SLOVerdict(slo, app, objective, tuple(conditions))


def _find(slo: SLO, project: Project | None, directory: Directory) -> tuple[AppKey | None, Condition]:
    namespace = slo.meta.namespace
    if project is None:
        message = f"no Project (projects.appstatus.dev) judges namespace {namespace}"
        return None, Condition("TargetResolved", False, "NamespaceNotWatched", message)
    found = directory.find(slo.target)
    if not found:
        message = f"there is no application with {slo.target} in namespace {namespace} yet"
        return None, Condition("TargetResolved", False, "NotFound", message)
    if len(found) > 1:
        names = ", ".join(k.status_name for k in found[:5]) + (", ..." if len(found) > 5 else "")
        message = f"{slo.target} matches {len(found)} applications ({names}); an SLO is for one: use targetRef"
        return None, Condition("TargetResolved", False, "Ambiguous", message)
    return found[0], Condition("TargetResolved", True, "Found", f"{found[0].kind}/{found[0].name}")


def _reach(tiers: tuple[Tier, ...], slo: SLO, project: Project | None) -> Condition:
    step = project.prometheus.step if project is not None else 15.0
    kept, dropped = usable(tiers, slo.window, slo.ratio, step)
    if not dropped:
        return Condition("TiersReachable", True, "AllTiers", "every tier can be evaluated")
    message = "; ".join(f"tier {d.tier.name} is not evaluated: {d.reason}" for d in dropped)
    if not kept:
        message += "; no burn-rate tier is left" + ("" if slo.outage is None else ", only the outage check can open an incident")
    return Condition("TiersReachable", False, "TierDropped" if kept else "NoTierLeft", message)
