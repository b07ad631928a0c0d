"""What one cycle found, and the documents that follow from it: statuses of all kinds, Events."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from appstatus.api import conditions
from appstatus.api.conditions import Condition
from appstatus.api.names import GROUP, AppKey
from appstatus.api.policy import Policy, SLOVerdict
from appstatus.api.scope import ProjectVerdict
from appstatus.cluster.agent import owner_reference
from appstatus.cluster.status import Document, Key
from appstatus.config import Config
from appstatus.incidents.datagap import DataGap, GapReason
from appstatus.incidents.incident import Participation, Reason
from appstatus.judge import Judgement
from appstatus.model.facts import Facts
from appstatus.model.world import Application, World
from appstatus.report import appstatus, datagap, event, text
from appstatus.report.incident import incident as incident_document
from appstatus.report.incident import with_history
from appstatus.report.objectives import slo_status
from appstatus.slo.sli import NEEDED
from appstatus.slo.status import SLOStatus
from appstatus.sources.prometheus import FRESHNESS

# Data older than this many seconds (or steps, if that is longer) is not fresh.
STALE_SECONDS, STALE_STEPS = 60.0, 4.0
_URGENT_INCIDENT, _URGENT_VIOLATED, _URGENT_OWN = 3, 2, 1

Status = dict[str, Any]


@dataclass(slots=True)
class Cycle:
    """judgements by Project; problems: by Project, why its Prometheus cannot be asked; notes: by Project, why it is asked with
    credentials that may be old; refusals: promql objectives that cannot be
    evaluated, with reason and message; parts: incidents as they stand now; health: of every judged application."""

    now: float
    facts: Facts
    policy: Policy
    judgements: dict[str, Judgement] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    refusals: dict[tuple[AppKey, str], tuple[str, str]] = field(default_factory=dict)
    health: dict[AppKey, str] = field(default_factory=dict)

    def judgement(self, app: AppKey) -> Judgement | None:
        policy = self.policy.apps.get(app)
        return self.judgements.get(policy.project) if policy is not None else None

    def application(self, app: AppKey) -> Application | None:
        judgement = self.judgement(app)
        return judgement.world.applications.get(app) if judgement is not None else None

    def statuses(self, app: AppKey) -> list[SLOStatus]:
        judgement = self.judgement(app)
        return judgement.statuses.get(app, []) if judgement is not None else []

    def status(self, verdict: SLOVerdict) -> SLOStatus | None:
        """Of an SLO; None while it is not evaluated."""
        objective = verdict.objective
        if objective is None or (objective.app, objective.id) in self.refusals:
            return None
        return next((each for each in self.statuses(objective.app) if each.objective.id == objective.id), None)

    def judge_health(self) -> None:
        for app in self.policy.apps:
            judgement, application = self.judgement(app), self.application(app)
            if judgement is None or application is None:
                self.health[app] = "Unknown"
            else:
                checks = judgement.checks.get(app, [])
                self.health[app] = appstatus.health(application, self.statuses(app), checks, missing(judgement.world))


def missing(world: World) -> str:
    """Why there is no fresh data of any node agent; empty if there is."""
    if world.newest is None:
        return world.missing.get(FRESHNESS) or "Prometheus has no data of any node agent"
    if world.now - world.newest > _stale(world):
        return f"the newest data of any node agent is of {conditions.format_time(world.newest)}"
    return ""


def unjudged(world: World) -> str:
    """Why SLOs of availability or latency cannot be judged now, empty if they can: no fresh data, or no answer to a query that they
    are counted from. Agents can be fresh then: an overloaded Prometheus still answers what is cheap."""
    failed = next((query for needed in NEEDED.values() for query in needed if query in world.missing), None)
    return missing(world) or (f"query {failed} failed: {world.missing[failed]}" if failed is not None else "")


class Documents:
    """Of one cycle. ``parts`` and ``gaps`` are the live memory of incidents and missing data; ``previous`` and ``stored`` are what
    is stored."""

    def __init__(
        self,
        cycle: Cycle,
        config: Config,
        parts: Mapping[AppKey, Participation],
        gaps: Mapping[Key, DataGap],
        previous: dict[AppKey, Status],
        stored: Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]],
        clock: Callable[[], float],
    ) -> None:
        """``clock``: unix seconds now. An Event tells when it is posted, not when the cycle began: exporters drop old ones."""
        self._cycle = cycle
        self._config = config
        self._parts = parts
        self._gaps = gaps
        self._previous = previous
        self._stored = stored
        self._clock = clock

    def appstatus(self, app: AppKey) -> Document | None:
        """None for an application of which nothing is known any more and nothing was."""
        cycle = self._cycle
        part = self._parts.get(app)
        before = self._previous.get(app, {})
        policy, application, judgement = cycle.policy.apps.get(app), cycle.application(app), cycle.judgement(app)
        key = Key("appstatuses", app.namespace, app.status_name)
        if policy is None or application is None or judgement is None:
            if part is None or not before:
                return None
            # The workload or its Project is gone: the last picture stays, with the incident's end.
            status = {**before, "history": with_history(before.get("history", ()), part)}
            status.pop("incident", None)
            if not part.done:
                status["incident"] = incident_document(part, self._others(part))
            self._previous[app] = status
            return Document(key, status, urgent=_URGENT_INCIDENT)
        status = appstatus.appstatus(
            appstatus.Findings(
                application=application,
                project=policy.project,
                category=policy.category,
                checks=judgement.checks.get(app, ()),
                statuses=cycle.statuses(app),
                participation=part,
                affected=self._others(part) if part is not None else (),
                diagnosis=judgement.diagnoses.get(app),
                problems=policy.problems,
                called=policy.called,
                missing=missing(judgement.world),
            ),
            cycle.health,
            judgement.world.step,
            before,
            1,
            cycle.now,
        )
        self._previous[app] = status
        project = cycle.policy.projects[policy.project].project
        metadata = {"labels": {f"{GROUP}/project": policy.project}, "ownerReferences": [owner_reference(project.meta.ref)]}
        urgent = _URGENT_INCIDENT if part is not None else _URGENT_VIOLATED if status["health"] == "Violated" else 0
        return Document(key, status, metadata, urgent)

    def event(self, part: Participation, reason: Reason) -> dict[str, Any]:
        cycle = self._cycle
        policy, judgement = cycle.policy.apps.get(part.app), cycle.judgement(part.app)
        opener = self._parts.get(part.opener_app)
        project = policy.project if policy is not None else str(self._previous.get(part.app, {}).get("project", ""))
        body = event.event(
            part,
            reason,
            event.Context(
                project=project,
                checks=judgement.checks.get(part.app, ()) if judgement is not None else (),
                statuses=cycle.statuses(part.app),
                others=self._others(part),
                opener_diagnosis=opener.diagnosis if opener is not None and opener.incident_id == part.incident_id else None,
                cluster=self._config.cluster,
                instance=self._config.identity,
                called=policy.called if policy is not None else "",
            ),
            self._clock(),
        )
        verdict = cycle.policy.projects.get(project)
        if reason == "SLOAffected" and verdict is not None and verdict.project.affected_events == "Warning":
            body["type"] = "Warning"
        return body

    def data_event(self, key: Key, gap: DataGap, reason: GapReason) -> dict[str, Any] | None:
        """That data of a Project or an SLO are missing, or back. None while there is no workload on which to tell it."""
        cycle, cluster, instance = self._cycle, self._config.cluster, self._config.identity
        if key.plural == "projects":
            ref = cycle.policy.projects[key.name].project.meta.ref
            return datagap.project_event(
                gap, reason, ref, datagap.Context(key.name, self._lost(key.name), cluster, instance), self._clock()
            )
        verdict = cycle.policy.slos[key.namespace, key.name]
        application = cycle.application(verdict.app) if verdict.app is not None else None
        if application is None or application.ref is None:
            return None
        status = cycle.status(verdict)
        why = status.reason if status is not None and status.state == "NoData" else ""
        policy = cycle.policy.apps[application.key]
        context = datagap.Context(policy.project, why, cluster, instance, policy.called)
        return datagap.slo_event(gap, reason, verdict.slo, application.key, application.ref, context, self._clock())

    def slo(self, key: tuple[str, str]) -> Document:
        cycle = self._cycle
        verdict = cycle.policy.slos[key]
        before = self._before("slos", key)
        objective = verdict.objective
        given = verdict.conditions
        if objective is not None and (objective.app, objective.id) in cycle.refusals:
            given = conditions.with_refusal(given, *cycle.refusals[objective.app, objective.id])
        part = self._parts.get(verdict.app) if verdict.app is not None else None
        incident = part.incident_id if part is not None and part.closed is None and key[1] in part.slos else ""
        status = slo_status(verdict.slo, cycle.status(verdict), verdict.app, given, before, cycle.now, incident)
        return self._with_gap(Document(Key("slos", *key), status, uid=verdict.slo.meta.ref.uid, urgent=_URGENT_OWN))

    def override(self, key: tuple[str, str]) -> Document:
        verdict = self._cycle.policy.overrides[key]
        meta = verdict.override.meta
        status: Status = {
            "observedGeneration": meta.generation,
            "applications": len(verdict.apps),
            "changes": verdict.override.changes,
            "conditions": self._conditions("inspectionoverrides", key, verdict.conditions, meta.generation),
        }
        return Document(Key("inspectionoverrides", *key), status, uid=meta.ref.uid, urgent=_URGENT_OWN)

    def project(self, verdict: ProjectVerdict, agents: Condition, agent_count: str) -> Document:
        """``agents``: the condition AgentsReady; ``agent_count``: ready / nodes, empty if this Project does not own them."""
        cycle, meta = self._cycle, verdict.project.meta
        mine = [app for app, policy in cycle.policy.apps.items() if policy.project == meta.name]
        found = [*verdict.conditions, agents]
        judgement = cycle.judgements.get(meta.name)
        if judgement is not None:
            world = judgement.world
            reachable = conditions.prometheus_reachable(_unreachable(world))
            if meta.name in cycle.notes:
                reachable = replace(reachable, message=f"{reachable.message}; {cycle.notes[meta.name]}"[:1024])
            found.append(reachable)
            found.append(conditions.data_available(world.newest, cycle.now, _stale(world)))
            if world.missing and not _unreachable(world):
                found[-1] = _partly(world)
            elif found[-1].status and (silent := _silent(world, mine)):
                found[-1] = Condition("DataAvailable", False, "AgentsSilent", f"agents not heard any more: {text.names(silent, 3)}")
        elif meta.name in cycle.problems:
            found.append(conditions.prometheus_reachable(cycle.problems[meta.name]))
            found.append(Condition("DataAvailable", None, "NotConnected", "Prometheus has not been asked yet"))
        status: Status = {
            "observedGeneration": meta.generation,
            "namespaces": len(verdict.namespaces),
            "applications": len(mine),
            "violated": sum(cycle.health.get(app) == "Violated" for app in mine),
            "conditions": self._conditions("projects", ("", meta.name), tuple(found), meta.generation),
        }
        if agent_count:
            status["agents"] = agent_count
        return self._with_gap(Document(Key("projects", "", meta.name), status, uid=meta.ref.uid, urgent=_URGENT_OWN))

    def _lost(self, project: str) -> str:
        """Why SLOs of a Project cannot be judged; empty if they can."""
        judgement = self._cycle.judgements.get(project)
        if judgement is None:
            return self._cycle.problems.get(project, "")
        lost = unjudged(judgement.world)
        return (_unreachable(judgement.world) or lost) if lost else ""

    def _with_gap(self, document: Document) -> Document:
        gap = self._gaps.get(document.key)
        if gap is not None:
            document.status["dataLoss"] = datagap.gap_document(gap)
        return document

    def _others(self, part: Participation) -> list[AppKey]:
        return sorted(p.app for p in self._parts.values() if p.incident_id == part.incident_id and p.app != part.app)

    def _before(self, plural: str, key: tuple[str, str]) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self._stored.get(plural, {}).get(key, {}).get("status") or {}
        return status

    def _conditions(self, plural: str, key: tuple[str, str], found: tuple[Condition, ...], generation: int) -> list[dict[str, Any]]:
        return conditions.merge(self._before(plural, key).get("conditions") or (), found, generation, self._cycle.now)


def _stale(world: World) -> float:
    """Seconds after which data are not fresh."""
    return max(STALE_SECONDS, STALE_STEPS * world.step)


def _unreachable(world: World) -> str:
    return world.missing.get(FRESHNESS, "")


def _silent(world: World, apps: Iterable[AppKey]) -> list[str]:
    """Nodes of these applications whose agents were heard within the hour and are not now."""
    instances = [i for app in apps if app in world.applications for i in world.applications[app].instances.values()]
    homes = {i.node for i in instances if not i.obsolete}
    return sorted(name for name in homes if world.heard(name) and not world.heard(name, _stale(world)))


def _partly(world: World) -> Condition:
    """Some queries were answered, others not."""
    lost = unjudged(world)
    first = sorted(world.missing)[0]
    example = f"SLOs cannot be judged: {lost}" if lost else f"such as {first}: {world.missing[first]}"
    return Condition("DataAvailable", False, "QueriesFailed", f"{len(world.missing)} queries have no full answer, {example}"[:1024])
