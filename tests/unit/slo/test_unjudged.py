"""Who cannot judge SLOs says so, also while the agents are heard: an overloaded Prometheus still answers what is cheap."""

from typing import Any

import numpy as np
import pytest
from appstatus.api.conditions import Condition
from appstatus.api.policy import AppPolicy, resolve
from appstatus.api.project import parse_project
from appstatus.api.scope import Scope
from appstatus.cluster.agent import AgentSettings
from appstatus.cluster.status import Document, Key
from appstatus.config import Config
from appstatus.datalog import DataLog
from appstatus.documents import Cycle, Documents
from appstatus.incidents.datagap import BOUND
from appstatus.judge import Judgement
from appstatus.model.facts import Facts
from appstatus.model.world import Node
from appstatus.slo.sli import NEEDED
from timeline import CART, STEP, T0, application, world

PROJECT = Key("projects", "", "default")
SCOPE = Scope(
    [parse_project({"metadata": {"name": "default", "uid": "u", "generation": 1}, "spec": {"prometheus": {"url": "http://p"}}})], {}
)
AGENTS = Condition("AgentsReady", True, "Ready", "3/3")
OVERLOADED = dict.fromkeys(("container_cpu_usage", *NEEDED["availability"], *NEEDED["latency"]), "HTTP 503: timed out")


class Operator:
    """Cycles of 15 s of one Project, as far as missing data are concerned."""

    def __init__(self) -> None:
        self.now = T0
        self.log = DataLog(None, None)  # type: ignore[arg-type]
        self.run({}, 60)

    def run(self, missing: dict[str, str], seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            self.cycle = Cycle(self.now, Facts(), resolve(SCOPE, [], [], [], self.now))
            view = world(application(1), np.array([self.now]), missing)
            self.cycle.judgements["default"] = Judgement(view, {}, {})
            self.log.observe(self.cycle)

    @property
    def documents(self) -> Documents:
        config = Config("appstatus", "op-1", AgentSettings("", "appstatus"))
        return Documents(self.cycle, config, {}, self.log.gaps, {}, {}, lambda: self.now)

    def message(self) -> str:
        """Of the Event that is due, empty if none is."""
        gap = self.log.gaps.get(PROJECT)
        event = self.documents.data_event(PROJECT, gap, gap.due[0]) if gap is not None and gap.due else None
        return event["message"] if event is not None else ""


@pytest.mark.parametrize("query", sorted({*NEEDED["availability"], *NEEDED["latency"]}))
def test_without_a_query_that_slos_are_counted_from_data_are_lost(query: str) -> None:
    operator = Operator()
    operator.run({query: "HTTP 503: timed out"}, BOUND)
    assert operator.message() == "", "a restart of Prometheus is shorter"
    operator.run({query: "HTTP 503: timed out"}, 30)
    assert f"SLOs cannot be judged for 5m (since 08:01 UTC): query {query} failed: HTTP 503: timed out." in operator.message()


def test_a_query_that_no_slo_needs_loses_nothing() -> None:
    operator = Operator()
    operator.run({"container_cpu_usage": "HTTP 503: timed out"}, 3600)
    assert operator.message() == ""


class Posted:
    """In place of the API server."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def post(self, event: dict[str, Any], deadline: float) -> int:
        self.reasons.append(event["reason"])
        return 1

    def write_now(self, document: Document, deadline: float) -> None:
        pass


def test_the_log_knows_that_it_told_the_same_trouble_before() -> None:
    operator, api = Operator(), Posted()
    operator.log = DataLog(api, api)  # type: ignore[arg-type]
    operator.run({}, STEP)
    for _ in range(5):
        for missing, seconds in ((OVERLOADED, 330), ({}, 150)):
            for _ in range(round(seconds / STEP)):
                operator.run(missing, STEP)
                verdict, documents = operator.cycle.policy.projects["default"], operator.documents
                operator.log.settle(lambda _, d=documents, v=verdict: d.project(v, AGENTS, ""), documents.data_event, 0.0)
    assert api.reasons == ["DataLost", "DataRestored", "DataLost"]


def available(operator: Operator) -> tuple[str, str, str]:
    status = operator.documents.project(operator.cycle.policy.projects["default"], AGENTS, "").status
    found = next(each for each in status["conditions"] if each["type"] == "DataAvailable")
    return found["status"], found["reason"], found["message"]


def test_the_condition_names_the_query_that_slos_need() -> None:
    operator = Operator()
    operator.run(OVERLOADED, 30)
    assert available(operator) == (
        "False",
        "QueriesFailed",
        "8 queries have no full answer, SLOs cannot be judged: query requests_in failed: HTTP 503: timed out",
    )


@pytest.mark.parametrize(
    ("heard", "reason"), [([1.0] * 10, "Fresh"), ([1.0] * 6 + [np.nan] * 4, "AgentsSilent"), ([np.nan] * 10, "Fresh")]
)
def test_agents_that_fall_silent_on_nodes_of_judged_applications_are_named(heard: list[float], reason: str) -> None:
    """One that has never been heard may be still to come."""
    operator = Operator()
    view = world(application(10), operator.now + STEP * np.arange(-9, 1))
    view.nodes["n1"].cpu_usage = np.array(heard)
    view.nodes["n2"] = Node("n2", True, cpu_usage=np.array([1.0] * 6 + [np.nan] * 4))  # nobody's home
    operator.cycle.judgements["default"] = Judgement(view, {}, {})
    operator.cycle.policy.apps[CART] = AppPolicy(CART, "default", "application", ())
    assert available(operator)[1] == reason
    assert ("agents not heard any more: n1" in available(operator)[2]) == (reason == "AgentsSilent")
