"""One audit cycle: read, judge, write. Everything that decides is in the core; here it is called in its order."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from appstatus.agentwork import AgentWork
from appstatus.api.names import AppKey
from appstatus.api.policy import Policy, resolve
from appstatus.api.scope import Scope
from appstatus.api.selection import Workload
from appstatus.cluster import events
from appstatus.cluster.status import Document, Key, StatusWriter
from appstatus.cluster.writing import NotLeading, OutOfTime, Writer
from appstatus.config import Config
from appstatus.datalog import DataLog
from appstatus.diagnosis.result import Diagnosis
from appstatus.documents import Cycle, Documents, unjudged
from appstatus.incidentlog import IncidentLog
from appstatus.incidents import machine
from appstatus.incidents.incident import Participation
from appstatus.incidents.observe import Observed, observe
from appstatus.judge import Configured, judge, objectives_of, parse
from appstatus.kube import ApiError, Unreachable, own_path
from appstatus.metrics import Findings, OperatorMetrics
from appstatus.model.build import build
from appstatus.model.facts import Facts
from appstatus.model.identity import CUSTOM, is_former
from appstatus.model.series import Metrics
from appstatus.model.who import Who
from appstatus.report.corev1 import LABEL_APPLICATION, label_value
from appstatus.report.event import still_open
from appstatus.report.incident import read_incident, read_latest
from appstatus.sources.kubernetes import Cache
from appstatus.stores import Store, Stores

log = logging.getLogger(__name__)

# Part of a step that writing may take, at most.
WRITING = 0.8
# An AppStatus without an application is deleted when that has been so for this many cycles in a row.
GONE_CYCLES = 3


@dataclass(slots=True)
class _Stages:
    """How long each stage of a cycle took, and how much CPU the process used meanwhile (all of its threads), seconds."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        begin, used = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            self.wall[name] = self.wall.get(name, 0.0) + time.monotonic() - begin
            self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - used

    def __str__(self) -> str:
        return ", ".join(f"{name} {1000 * spent:.0f} ms ({1000 * self.cpu[name]:.0f} CPU)" for name, spent in self.wall.items())


class Engine:
    """Not thread-safe: one audit thread. ``step`` is the shortest of the Projects' steps, None while there is no Project."""

    def __init__(self, config: Config, cache: Cache, stores: Stores, writer: Writer, metrics: OperatorMetrics) -> None:
        self.step: float | None = None
        self._config = config
        self._cache = cache
        self._stores = stores
        self._writer = writer
        self._metrics = metrics
        self._statuses = StatusWriter(writer)
        recorder = events.Recorder(writer, lambda reason, result: metrics.events.labels(reason, result).inc())
        self._incidents = IncidentLog(recorder, self._statuses)
        self._data = DataLog(recorder, self._statuses)
        self._agent = AgentWork(config.agent, writer)
        self._loaded = False
        self._previous: dict[AppKey, dict[str, Any]] = {}  # by application: AppStatus.status as last made or read
        self._known: set[AppKey] = set()  # applications whose AppStatus or Events have been looked at
        self._closed: dict[AppKey, float] = {}  # when each application's latest incident ended
        self._absent: Counter[Key] = Counter()
        self._reported: Counter[str] = Counter()

    def close(self) -> None:
        self._stores.close()

    def cycle(self, now: float) -> str:
        """Runs one cycle; the sentence for the log. A standby judges too, so that its history is warm, but writes nothing."""
        stages = _Stages()
        began = self._writer.clock()
        deadline = began + WRITING * (self.step or 15.0)
        leading = self._writer.allowed() and self._load()
        with stages.time("facts"):
            facts = self._cache.snapshot()
            stored = {plural: self._stored(plural) for plural in ("projects", "slos", "inspectionoverrides")}
            configured = parse(*(list(objects.values()) for objects in stored.values()))
            scope = Scope(configured.projects, dict(self._cache.values("namespaces")))
        found = self._judge(facts, configured, scope, now, leading, stages)
        found.judge_health()
        done = "standing by"
        if self._loaded:
            with stages.time("writes"):
                done = self._settle(found, stored, leading, deadline, lambda: now + self._writer.clock() - began)
        self._publish(found, leading)
        return f"{_sentence(found)}; {done}; {stages}"

    def _stored(self, plural: str) -> dict[tuple[str, str], dict[str, Any]]:
        return {(raw["metadata"].get("namespace") or "", raw["metadata"]["name"]): raw for raw in self._cache.values(plural)}

    # -- judging -------------------------------------------------------------------------------------------------------------------

    def _judge(self, facts: Facts, configured: Configured, scope: Scope, now: float, leading: bool, stages: _Stages) -> Cycle:
        accepted = [verdict.project for verdict in scope.projects.values() if verdict.accepted]
        self.step = min((project.prometheus.step for project in accepted), default=None)
        assigned = self._stores.assign(accepted, now)
        worlds = []

        def identify(known: Metrics) -> Who:
            return Who(facts, known, scope)

        for store in assigned.stores:
            with stages.time("metrics"):
                metrics = store.prometheus.update(now, identify)
            for query in metrics.failed:
                for project in store.projects:
                    self._metrics.query_failures.labels(project.meta.name, query).inc()
            with stages.time("model"):
                worlds.append((store, build(store.prometheus.who, metrics, now)))
        with stages.time("policy"):
            workloads: dict[AppKey, Workload] = {} if worlds else dict(facts.workloads)
            for _, world in worlds:
                workloads |= {
                    key: app
                    for key, app in world.applications.items()
                    if app.ref is not None or (key.kind == CUSTOM and not is_former(key, scope))
                }
            policy = resolve(scope, configured.slos, configured.overrides, workloads.values(), now)
        found = Cycle(now, facts, policy, problems=assigned.problems, notes=assigned.notes)
        with stages.time("judgement"):
            for store, world in worlds:
                apps = _members(store, policy)
                objectives = objectives_of(policy, apps)
                refused = store.enter(world, objectives)
                found.refusals |= refused
                # What its owner must correct says nothing of the application.
                objectives = [objective for objective in objectives if (objective.app, objective.id) not in refused]
                for app in apps:
                    if app in self._closed:
                        store.ledger.forgive(app, self._closed[app])
                judgement = judge(world, policy, store.ledger, objectives, now, explain=leading)
                found.judgements |= {project.meta.name: judgement for project in store.projects}
        return found

    # -- incidents and writing -----------------------------------------------------------------------------------------------------

    def _load(self) -> bool:
        """Reads what the former leader wrote, once, consistently. False: not possible now, so nothing may be written yet."""
        if self._loaded:
            return True
        parts: list[Participation] = []
        try:
            for raw in self._writer.kube.list(own_path("appstatuses")):
                self._learn(raw, parts)
            for plural in ("projects", "slos"):
                self._data.load(plural, self._writer.kube.list(own_path(plural)))
        except (ApiError, Unreachable) as error:
            log.warning("Leading, but what was written before cannot be read yet: %s", error)
            return False
        self._incidents.load(parts)
        self._known.update(self._previous)
        self._loaded = True
        open_now = len({part.incident_id for part in parts if part.closed is None})
        log.info("Took over %d AppStatus objects with %d open incidents", len(self._previous), open_now)
        return True

    def _learn(self, raw: dict[str, Any], parts: list[Participation]) -> None:
        metadata, status = raw["metadata"], raw.get("status") or {}
        self._statuses.learn(Key("appstatuses", metadata["namespace"], metadata["name"]), metadata["resourceVersion"])
        named = status.get("application")
        if not named:
            return
        app = AppKey(metadata["namespace"], named["kind"], named["name"])
        self._previous[app] = status
        try:
            found = [read_incident(status["incident"], app)] if "incident" in status else []
            parts.extend(found)
            latest = read_latest(status.get("history") or (), app)
            ends = [part.closed for part in (*found, latest) if part is not None and part.closed is not None]
            if ends:
                self._closed[app] = max(ends)
        except (KeyError, ValueError, TypeError) as error:
            log.error("The incident in AppStatus %s/%s cannot be read: %r", metadata["namespace"], metadata["name"], error)

    def _settle(self, found: Cycle, stored: dict[str, Any], leading: bool, deadline: float, clock: Callable[[], float]) -> str:
        """A leader that cannot renew its lease goes on in memory: what it could not write stays due."""
        outcome = self._step(found, leading)
        self._closed |= {part.app: part.closed for part in outcome.closed if part.closed is not None}
        self._data.observe(found)
        documents = Documents(found, self._config, self._incidents.parts, self._data.gaps, self._previous, stored, clock)
        if not leading:
            self._incidents.remember(outcome)
            return "not leading now: nothing written"
        self._notice_others(stored)
        posted = self._incidents.settle(outcome, documents, deadline)
        agents = self._agent.run(found.policy.projects.values(), found.facts, deadline)

        def project(name: str) -> Document:
            return documents.project(found.policy.projects[name], agents.conditions[name], agents.counts.get(name, ""))

        posted += self._data.settle(
            lambda key: project(key.name) if key.plural == "projects" else documents.slo((key.namespace, key.name)),
            documents.data_event,
            deadline,
        )
        made = [self._made(app, documents.appstatus, app) for app in sorted({*found.policy.apps, *self._incidents.parts})]
        self._incidents.forget_done()
        made += [self._made(f"SLO {key[0]}/{key[1]}", documents.slo, key) for key in found.policy.slos]
        made += [self._made(f"InspectionOverride {key[0]}/{key[1]}", documents.override, key) for key in found.policy.overrides]
        made += [self._made(f"Project {name}", project, name) for name in found.policy.projects]
        self._statuses.submit(document for document in made if document is not None)
        written = self._statuses.flush(deadline)
        deleted = self._delete_gone(found, deadline)
        waiting = f" ({len(self._statuses)} wait)" if len(self._statuses) else ""
        return f"wrote {written} statuses{waiting}, deleted {deleted}, posted {posted} Events"

    def _made(self, what: object, make: Callable[..., Document | None], *about: Any) -> Document | None:
        try:
            return make(*about)
        except Exception:  # one object that cannot be told must not keep the others from being told
            log.exception("The status of %s could not be made", what)
            self._metrics.failures.inc()
            return None

    def _step(self, found: Cycle, leading: bool) -> machine.Outcome:
        # Without any world (no Project, no store) nothing is known of anybody, which is no reason to close an incident.
        if not found.judgements:
            return machine.Outcome(tuple(self._incidents.parts.values()), (), ())
        observed: dict[AppKey, Observed] = {}
        for app in found.policy.apps:
            application = found.application(app)
            if application is not None and application.ref is not None:
                observed[app] = observe(app, application.ref, found.statuses(app))
        diagnoses: dict[AppKey, Diagnosis] = {}
        calls: dict[AppKey, set[AppKey]] = {}
        for judgement in found.judgements.values():
            diagnoses |= judgement.diagnoses
            for connection in judgement.world.connections:
                calls.setdefault(connection.client, set()).add(connection.upstream)
        if leading:
            self._adopt(observed)
        # A custom application that was taken out of its Project has no SLO any more; its workloads may well be there.
        former = {app for app in self._incidents.parts if is_former(app, found.policy.scope)}
        present = {*found.facts.workloads, *observed, *former}
        unjudged = found.policy.apps.keys() - observed.keys()
        return machine.step(self._incidents.parts.values(), observed, diagnoses, present, found.now, calls, unjudged)

    def _adopt(self, observed: dict[AppKey, Observed]) -> None:
        """Before an application opens an incident for the first time: somebody may have deleted the AppStatus of an open one."""
        for app, seen in observed.items():
            if not seen.opens or app in self._incidents.parts or app in self._known:
                continue
            try:
                labels = {LABEL_APPLICATION: label_value(app.status_name)}
                part = still_open(list(events.find(self._writer, app.namespace, labels)), app)
            except (ApiError, Unreachable) as error:
                log.warning("The Events of %s could not be read: %s", app, error)
                continue
            self._known.add(app)
            if part is not None and part.ref.uid == seen.ref.uid:
                log.info("The open incident %s of %s was found by its Events", part.incident_id, app)
                self._incidents.parts[app] = part

    def _notice_others(self, stored: dict[str, Any]) -> None:
        """Somebody else changed or deleted what this operator wrote: it is written again, and Events are asked before another."""
        while self._cache.gone:
            plural, namespace, name = self._cache.gone.popleft()
            self._statuses.seen(Key(plural, namespace, name), None)
        for written in self._cache.values("appstatuses"):
            self._statuses.seen(Key("appstatuses", written.namespace, written.name), written.resource_version)
        for plural, objects in stored.items():
            for key, raw in objects.items():
                self._statuses.seen(Key(plural, *key), raw["metadata"].get("resourceVersion", ""))

    def _delete_gone(self, found: Cycle, deadline: float) -> int:
        """AppStatus objects whose application is no longer judged. Never on the strength of a single cycle."""
        judged = {*found.policy.apps, *self._incidents.parts}
        wanted = {Key("appstatuses", app.namespace, app.status_name) for app in judged}
        absent = Counter[Key]()
        deleted = 0
        # Without a Project the objects go with their owner, by garbage collection; with a Project in trouble they stay.
        if found.judgements and not found.problems:
            for written in self._cache.values("appstatuses"):
                key = Key("appstatuses", written.namespace, written.name)
                if key not in wanted:
                    absent[key] = self._absent[key] + 1
        for key, cycles in absent.items():
            if cycles >= GONE_CYCLES and self._writer.clock() < deadline:
                try:
                    deleted += self._statuses.delete(key, deadline)
                except (OutOfTime, NotLeading) as error:
                    log.warning("%s could not be deleted yet: %s", key, error)
                    break
        self._absent = absent
        for app in [
            app for app in self._previous if app not in judged and Key("appstatuses", app.namespace, app.status_name) not in absent
        ]:
            del self._previous[app]
        return deleted

    # -- metrics -------------------------------------------------------------------------------------------------------------------

    def _publish(self, found: Cycle, leading: bool) -> None:
        show = Findings()
        if leading:
            show.health = dict(found.health)
            for app in found.policy.apps:
                for status in found.statuses(app):
                    show.violated[app, status.objective.id] = status.violated
                    if status.budget is not None:
                        show.budget[app, status.objective.id] = status.budget
            for store in self._stores.open:
                objectives = objectives_of(found.policy, _members(store, found.policy))
                for counted in store.ledger.cumulative(objectives):
                    show.totals[counted.objective.app, counted.objective.id] = (counted.good, counted.total)
            show.incidents = [
                _incident_labels(part) for part in self._incidents.parts.values() if part.closed is None and part.posted
            ]
        self._metrics.show(show)
        self._metrics.leader.set(1 if leading else 0)
        self._metrics.objects.set(self._cache.count())
        self._metrics.unreadable.set(len(self._cache.unreadable))
        self._metrics.pending.set(len(self._statuses))
        for result, count in self._writer.counts.items():
            self._metrics.writes.labels(result).inc(count - self._reported[result])
            self._reported[result] = count
        if found.judgements and not found.problems and not any(unjudged(j.world) for j in found.judgements.values()):
            self._metrics.last_success.set(found.now)


def _members(store: Store, policy: Policy) -> list[AppKey]:
    names = {project.meta.name for project in store.projects}
    return [app for app, mine in policy.apps.items() if mine.project in names]


def _sentence(found: Cycle) -> str:
    """What was read and found, for the log."""
    if not found.policy.projects:
        return "There is no Project, so nothing is judged"
    counts = Counter(found.health.values())
    healths = ", ".join(f"{counts[health]} {health}" for health in ("Violated", "Warning", "Unknown", "Healthy") if counts[health])
    worlds = {id(judgement.world): judgement.world for judgement in found.judgements.values()}
    read = f"{len(found.facts.pods)} pods on {len(found.facts.nodes)} nodes"
    failed = sum(len(world.missing) for world in worlds.values())
    troubles = [f"{failed} queries failed"] if failed else []
    troubles += [f"Project {name}: {problem}" for name, problem in found.problems.items()]
    trouble = f"; {', '.join(troubles)}" if troubles else ""
    return f"Judged {len(found.health)} applications ({healths or 'none'}) from {read}{trouble}"


def _incident_labels(part: Participation) -> dict[str, str]:
    causes = part.diagnosis.causes if part.diagnosis is not None and part.diagnosis.dominant else ()
    return {
        "namespace": part.app.namespace,
        "application": part.app.status_name,
        "incident": part.incident_id,
        "role": "Opener" if part.opener else "Affected",
        "cause": str(causes[0].app) if causes else "",
        "class": causes[0].klass if causes else "",
    }
