"""What holds for every check: settings, the SLO checks, and that no input makes it crash or accuse anybody."""

from dataclasses import replace

import numpy as np
import pytest
from appstatus.api.conditions import format_time
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.api.objective import Objective
from appstatus.api.policy import AppPolicy, Policy
from appstatus.api.scope import Scope
from appstatus.api.settings import Exclusion, Override, Settings
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import AREAS, BY_ID, CHECKS
from appstatus.model.queries import BY_ID as QUERIES
from appstatus.model.series import F64
from appstatus.model.world import Node, World
from appstatus.report.appstatus import Findings, appstatus
from appstatus.slo.status import SLOStatus
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import NOW, T, application, connection, container, instance, key, series, traffic, world

CART = key("cart")


def policy(settings_of_cart: Settings) -> Policy:
    return Policy(Scope((), {}), {CART: AppPolicy(CART, "default", "application", (), settings_of_cart)}, {}, {})


def hot(values: float = 0.9) -> World:
    made = container(cpu_usage=series(values), cpu_limit=series(1.0))
    return world([application(CART, [instance("cart-a", containers=[made])])])


def cpu(made: World, settings_of_cart: Settings) -> tuple[str, float | None, str]:
    found = next(r for r in run(made, policy(settings_of_cart), NOW)[CART] if r.id == "CPUContainer")
    return found.outcome, found.threshold, found.overridden_by


def test_another_threshold_holds_and_its_owner_is_named() -> None:
    overridden = Settings({"CPUContainer": Override(95.0, False, "shop/runs-hot")})
    assert cpu(hot(), overridden) == ("pass", 95.0, "shop/runs-hot")


def test_a_disabled_check_is_skipped_and_its_owner_named() -> None:
    outcome, _, by = cpu(hot(), Settings({"CPUContainer": Override(disabled=True, by="shop/runs-hot")}))
    assert (outcome, by) == ("skip", "shop/runs-hot")


def test_a_threshold_of_a_project_has_no_override_to_name() -> None:
    assert cpu(hot(), Settings({"CPUContainer": Override(95.0)})) == ("pass", 95.0, "")


def test_an_excluded_node_is_not_judged() -> None:
    made = hot()
    made.nodes["node-1"] = Node("node-1", True, cpu_cores=4, cpu_usage=series(0.99))
    excluded = Settings(nodes=(Exclusion("node-*", "shop/quiet"),))
    found = {r.id: r for r in run(made, policy(excluded), NOW)[CART]}
    assert found["CPUNode"].outcome == "skip"


def test_external_services_are_not_inspected() -> None:
    outside = AppKey("", EXTERNAL, "example.org:443")
    made = world([application(CART), application(outside)], [connection(CART, outside)])
    assert set(run(made, None, NOW)) == {CART}


def status(indicator: str, state: str, sli: float | None) -> SLOStatus:
    objective = Objective(id=indicator, app=CART, indicator=indicator, ratio=0.99, window=86400.0, tiers=(), outage=None)  # type: ignore[arg-type]
    return SLOStatus(objective, state, sli, None, 0.0, None, (), 0.0, 0.0, None, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("Met", "pass"), ("Outage", "fail"), ("FastBurn", "fail"), ("SlowBurn", "fail"), ("Exhausted", "fail"), ("Pending", "skip"),
        ("NoData", "unknown"),
    ],
)  # fmt: skip
def test_slo_checks_say_what_the_evaluation_says(state: str, outcome: str) -> None:
    found = run(world([application(CART)]), None, NOW, {CART: [status("availability", state, 0.97)]})[CART]
    slo = [r for r in found if r.area == "slo"]
    assert [(r.id, r.outcome, r.value, r.threshold) for r in slo] == [("SLOAvailability", outcome, 97.0, 99.0)]


def test_while_it_is_violated_the_value_is_that_of_now_not_of_the_window() -> None:
    burning = replace(status("availability", "Outage", 0.9999), bad_ratio_5m=0.8)
    found = run(world([application(CART)]), None, NOW, {CART: [burning]})[CART]
    assert [(r.value, r.threshold) for r in found if r.area == "slo"] == [(pytest.approx(20.0), 99.0)]


def test_of_several_objectives_the_worst_is_shown() -> None:
    statuses = [status("latency", "Met", 0.999), status("latency", "FastBurn", 0.95), status("latency", "NoData", None)]
    found = run(world([application(CART)]), None, NOW, {CART: statuses})[CART]
    assert [(r.id, r.value) for r in found if r.area == "slo"] == [("SLOLatency", 95.0)]


def test_the_table_is_consistent() -> None:
    assert len(BY_ID) == len(CHECKS)
    for check in CHECKS:
        assert check.area in AREAS
        assert all(query in QUERIES for query in check.needs), check.id


def test_every_check_gives_one_result_per_application() -> None:
    found = run(world([application(CART)]), None, NOW)[CART]
    assert sorted(r.id for r in found) == sorted(c.id for c in CHECKS if c.kind != "slo")
    assert all(r.area == BY_ID[r.id].area for r in found)


def healthy() -> World:
    made = container(
        cpu_usage=series(0.3), cpu_limit=series(1.0), cpu_delay=series(0.01), cpu_throttled=series(0.0),
        memory_rss=series(1e8), memory_limit=series(2e8), oom_kills=series(0.0), restarts=series(0.0),
    )  # fmt: skip
    calls = connection(
        CART, key("redis"), traffic({"2xx": series(10.0), "5xx": series(0.0)}, mean=series(0.01)),
        connects=series(1.0), failed_connects=series(0.0), connect_time=series(0.001), active=series(3.0),
        retransmits=series(0.0), segments_sent=series(20.0), rtt=series(0.0005), bytes_sent=series(1e4),
    )  # fmt: skip
    return world([application(CART, [instance("cart-a", containers=[made])]), application(key("redis"))], [calls])


def test_nothing_fails_in_a_healthy_world() -> None:
    assert {r.outcome for r in run(healthy(), None, NOW)[CART]} <= {"pass", "skip"}


@settings(max_examples=60)
@given(st.data())
def test_missing_samples_never_crash_and_never_accuse(data: st.DataObject) -> None:
    made = healthy()
    gaps = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))

    def punch(thing: object) -> None:
        for name in getattr(thing, "__slots__", ()):
            value = getattr(thing, name)
            if isinstance(value, np.ndarray) and value.shape[-1] == T:
                setattr(thing, name, np.where(gaps.random(T) < share, np.nan, value))

    for app in made.applications.values():
        for pod in app.instances.values():
            for held in pod.containers.values():
                punch(held)
    for edge in made.connections:
        punch(edge)
        punch(edge.traffic)
        edge.traffic.requests = {s: np.where(gaps.random(T) < share, np.nan, v) for s, v in edge.traffic.requests.items()}
    outcomes = {r.outcome for results in run(made, None, NOW).values() for r in results}
    assert "fail" not in outcomes


# -- too young, or lost ---------------------------------------------------------------------------------------------------------


def since(steps: int, value: float = 1e8) -> F64:
    """Known for the last ``steps`` steps only."""
    return np.where(np.arange(T) >= T - steps, value, np.nan)


def until(steps_ago: int, value: float = 1e8) -> F64:
    return np.where(np.arange(T) < T - steps_ago, value, np.nan)


def judged(arrays: F64, heard: F64 | None, node: str = "node-1") -> dict[str, CheckResult]:
    """Memory of one container, and what its node's agent tells."""
    made = world(
        [application(CART, [instance("cart-a", node, containers=[container(memory_rss=arrays, memory_limit=series(2e8))])])]
    )
    made.nodes["node-1"] = Node("node-1", True, cpu_cores=4, cpu_usage=heard)
    return {r.id: r for r in run(made, None, NOW)[CART]}


def test_a_young_container_lacks_nothing_and_says_what_it_waits_for() -> None:
    found = judged(since(8), heard=series(0.3))  # two minutes
    assert (found["MemoryContainer"].outcome, found["MemoryContainer"].waiting) == ("unknown", True)
    assert found["MemoryContainer"].evidence == "measured for less than 2.5 of 5 min"
    assert (found["MemoryLeakPercent"].waiting, found["MemoryLeakPercent"].evidence) == (
        True,
        "less than 20 min of its life are known",
    )
    grown = judged(since(60), heard=series(0.3))
    assert (grown["MemoryContainer"].outcome, grown["MemoryLeakPercent"].waiting) == ("pass", True)


def test_where_the_nodes_agent_is_not_heard_data_are_lost() -> None:
    for heard in (until(8, 0.3), None):
        found = judged(until(12), heard)["MemoryContainer"]
        assert (found.outcome, found.waiting, found.evidence) == ("unknown", False, "no fresh data of node-1")
    assert judged(since(8), series(0.3), node="node-2")["MemoryContainer"].evidence == "no fresh data of node-2"


def running(ready_since: float = NOW - 86400, ready: bool = True) -> World:
    """A container whose samples all ended 15 min ago; its agent is heard."""
    gone = container(
        cpu_usage=until(60, 0.1), cpu_limit=series(1.0), cpu_delay=until(60, 0.0), cpu_throttled=until(60, 0.0),
        memory_rss=until(60), memory_limit=series(2e8),
    )  # fmt: skip
    return world([application(CART, [instance("cart-a", ready=ready, ready_since=ready_since, containers=[gone])])])


OF_CONTAINERS = ("CPUContainer", "CPUThrottling", "CPUDelay", "MemoryContainer", "MemoryLeakPercent")


def test_samples_of_a_running_container_that_end_are_lost_data() -> None:
    made = running()
    found = run(made, None, NOW)[CART]
    lost = {r.id: r.evidence for r in found if r.outcome == "unknown" and not r.waiting}
    assert lost == dict.fromkeys(OF_CONTAINERS, f"no sample of cart-a since {format_time(made.times[-61])}")
    document = appstatus(Findings(made.applications[CART], "default", "application", found), {}, 15.0, {}, 1, NOW)
    available = next(c for c in document["conditions"] if c["type"] == "DataAvailable")
    assert (available["status"], available["reason"]) == ("False", "Incomplete")
    assert available["message"].startswith("checks without data: CPUContainer")


@pytest.mark.parametrize("made", [running(ready=False), running(ready_since=NOW - 300)])
def test_samples_that_end_with_their_container_are_not(made: World) -> None:
    """It crashed; or it only prepared what then became ready."""
    assert all(r.waiting for r in run(made, None, NOW)[CART] if r.outcome == "unknown")


def test_a_failed_query_is_lost_data_whatever_the_age() -> None:
    made = world([application(CART, [instance("cart-a", containers=[container(memory_rss=since(8))])])])
    made.nodes["node-1"] = Node("node-1", True, cpu_cores=4, cpu_usage=series(0.3))
    made.missing["container_memory_rss"] = "time-out"
    found = {r.id: r for r in run(made, None, NOW)[CART]}["MemoryLeakPercent"]
    assert (found.outcome, found.waiting, found.evidence) == ("unknown", False, "query container_memory_rss failed: time-out")


def test_a_dependency_that_is_rarely_called_lacks_no_data() -> None:
    rare = series(0.0)
    rare[::80] = 0.1
    made = world(
        [application(CART), application(key("redis"))], [connection(CART, key("redis"), traffic({"2xx": rare}, mean=series(0.01)))]
    )
    made.nodes["node-1"] = Node("node-1", True, cpu_cores=4, cpu_usage=series(0.3))
    found = {r.id: r for r in run(made, None, NOW)[CART]}["DependencyLatency"]
    assert (found.outcome, found.waiting, found.evidence) == ("unknown", True, "less than 10 min to compare with")
