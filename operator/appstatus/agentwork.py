"""Keeps the node agent's DaemonSet as the Project that owns it wants it, and tells how its roll-out goes."""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from appstatus.api.conditions import Condition, agents_elsewhere, agents_ready
from appstatus.api.names import AppKey
from appstatus.api.project import Project
from appstatus.api.scope import ProjectVerdict
from appstatus.cluster import agent
from appstatus.cluster.agent import AgentSettings
from appstatus.cluster.writing import NotLeading, OutOfTime, Writer
from appstatus.kube import ApiError
from appstatus.model.facts import Facts, WorkloadFact

log = logging.getLogger(__name__)

# An unchanged DaemonSet is applied again after this long, seconds: undoes what others changed on it.
REAPPLY = 600.0
# How often the reason for missing pods is asked for, seconds.
ASK_REFUSALS = 60.0


@dataclass(slots=True)
class AgentState:
    """The condition AgentsReady of each Project, by name, and ``ready / nodes`` of the owner."""

    conditions: dict[str, Condition]
    counts: dict[str, str]


class AgentWork:
    """Not thread-safe: belongs to the audit."""

    def __init__(self, settings: AgentSettings, writer: Writer) -> None:
        self._settings = settings
        self._writer = writer
        self._digest = b""
        self._applied_at = float("-inf")
        self._asked_at = float("-inf")
        self._refused: list[str] = []
        self._problem = ""

    def run(self, projects: Iterable[ProjectVerdict], facts: Facts, deadline: float) -> AgentState:
        """Applies or deletes what is to be; never raises for what the API server refuses: that is in the condition."""
        state = AgentState({}, {})
        live = facts.workloads.get(AppKey(self._settings.namespace, "DaemonSet", agent.NAME))
        owner: Project | None = None
        for verdict in projects:
            if verdict.owns_agent:
                owner = verdict.project
            else:
                state.conditions[verdict.project.meta.name] = agents_elsewhere(
                    verdict.agent_owner if verdict.project.node_agent.enabled else ""
                )
        if owner is not None:
            name = owner.meta.name
            self._apply(owner, live, deadline)
            state.conditions[name], state.counts[name] = self._told(live)
        elif live is not None and agent.PROJECT_LABEL in live.labels:
            self._delete(deadline)
        return state

    def _apply(self, project: Project, live: WorkloadFact | None, deadline: float) -> None:
        if not self._settings.image:
            self._problem = "the operator does not know the agent's image: set APPSTATUS_AGENT_IMAGE"
            return
        body = agent.daemonset(self._settings, project.node_agent, project.meta.ref)
        now = self._writer.clock()
        digest = hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
        fresh = now - self._applied_at < (REAPPLY if live is not None else 60.0)
        if digest == self._digest and fresh:
            return
        try:
            agent.apply(self._writer, body, deadline)
        except ApiError as error:
            self._problem = f"the DaemonSet was refused: {error.message}"
            log.error("The node agent's DaemonSet was refused: %s", error)
        except (NotLeading, OutOfTime) as error:
            log.warning("The node agent's DaemonSet could not be applied: %s", error)
            return
        else:
            self._problem = ""
        self._digest, self._applied_at = digest, now

    def _delete(self, deadline: float) -> None:
        try:
            agent.delete(self._writer, self._settings.namespace, deadline)
        except (ApiError, NotLeading, OutOfTime) as error:
            log.warning("The node agent's DaemonSet could not be deleted: %s", error)
            return
        log.info("No Project enables the node agents any more: their DaemonSet was deleted")
        self._digest = b""

    def _told(self, live: WorkloadFact | None) -> tuple[Condition, str]:
        if self._problem:
            return Condition("AgentsReady", False, "NotApplied", self._problem), ""
        if live is None or live.desired is None or live.observed_generation < live.generation:
            return Condition("AgentsReady", None, "RollingOut", "the DaemonSet is being taken up by its controller"), ""
        ready = live.available or 0
        refusal = self._refusal() if ready < live.desired else ""
        if refusal:
            refusal = f"{ready} of {live.desired} node agents are ready; pods are refused: {refusal}"
            if "PodSecurity" in refusal:
                refusal += f" (label namespace {self._settings.namespace} pod-security.kubernetes.io/enforce=privileged)"
        return agents_ready(live.desired, ready, refusal), f"{ready}/{live.desired}"

    def _refusal(self) -> str:
        now = self._writer.clock()
        if now - self._asked_at > ASK_REFUSALS:
            self._asked_at = now
            self._refused = agent.refusals(self._writer, self._settings.namespace)
        return self._refused[0][:600] if self._refused else ""
