import numpy as np
import pytest
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.model.world import Container, Node, World
from worlds import NOW, ONSET, T, application, container, instance, key, last, series, world


def check(check_id: str, made: World, app: str = "cart") -> CheckResult:
    return next(r for r in run(made, None, NOW)[key(app)] if r.id == check_id)


def cart(*containers: Container, nodes: tuple[Node, ...] = ()) -> World:
    return world([application(key("cart"), [instance("cart-0", containers=containers)])], nodes=nodes)


def test_usage_over_the_limit_for_five_minutes_fails_with_the_instance_and_the_time_it_began() -> None:
    found = check("CPUContainer", cart(container(cpu_usage=series(0.2, 0.9), cpu_limit=series(1.0))))
    assert (found.outcome, found.value, found.threshold) == ("fail", pytest.approx(90.0), 80)
    assert found.instances == ("cart-0",)
    assert found.since == ONSET + 15


def test_a_peak_shorter_than_the_sustained_window_passes() -> None:
    peak = series(0.2, 0.99)
    peak[-3] = 0.2
    assert check("CPUContainer", cart(container(cpu_usage=peak, cpu_limit=series(1.0)))).outcome == "pass"


def test_a_container_without_a_limit_is_not_judged() -> None:
    assert check("CPUContainer", cart(container(cpu_usage=series(3.0)))).outcome == "skip"


def test_usage_that_stopped_being_reported_is_unknown() -> None:
    assert check("CPUContainer", cart(container(cpu_usage=last(20, np.nan, 0.9), cpu_limit=series(1.0)))).outcome == "unknown"


def test_gaps_of_less_than_half_of_the_window_do_not_hide_a_failure() -> None:
    usage = series(0.2, 0.9)
    usage[-1] = usage[-5] = np.nan
    assert check("CPUContainer", cart(container(cpu_usage=usage, cpu_limit=series(1.0)))).outcome == "fail"


def test_in_a_pod_of_two_containers_the_failing_one_is_named() -> None:
    busy = container("app", cpu_usage=series(0.95), cpu_limit=series(1.0))
    idle = container("sidecar", cpu_usage=series(0.01), cpu_limit=series(1.0))
    assert check("CPUContainer", cart(busy, idle)).instances == ("cart-0/app",)


@pytest.mark.parametrize(("throttled", "outcome"), [(0.4, "fail"), (0.05, "pass"), (np.nan, "unknown")])
def test_throttling(throttled: float, outcome: str) -> None:
    assert check("CPUThrottling", cart(container(cpu_throttled=last(8, throttled)))).outcome == outcome


def test_throttling_is_skipped_where_the_metric_does_not_exist() -> None:
    assert check("CPUThrottling", cart(container(cpu_usage=series(1.0)))).outcome == "skip"


def test_waiting_for_cpu_fails_by_its_share_of_the_time_ready_to_run() -> None:
    found = check("CPUDelay", cart(container(cpu_usage=series(0.3), cpu_delay=last(8, 0.7))))
    assert (found.outcome, found.value) == ("fail", pytest.approx(70.0))


def test_a_tiny_container_that_waits_as_long_as_it_runs_passes() -> None:
    assert check("CPUDelay", cart(container(cpu_usage=series(0.005), cpu_delay=series(0.01)))).outcome == "pass"


def test_waits_that_the_own_limit_explains_are_not_counted_as_delay() -> None:
    made = cart(container(cpu_usage=series(0.3), cpu_delay=series(0.8), cpu_throttled=series(0.75)))
    assert check("CPUDelay", made).outcome == "pass"
    assert check("CPUThrottling", made).outcome == "fail"


def test_a_busy_node_fails_for_the_applications_on_it_and_for_no_other() -> None:
    busy, idle = (
        Node("node-1", True, cpu_cores=4, cpu_usage=series(0.3, 0.97)),
        Node("node-2", True, cpu_cores=4, cpu_usage=series(0.1)),
    )
    made = world(
        [application(key("cart"), [instance("cart-0", "node-1")]), application(key("web"), [instance("web-0", "node-2")])],
        nodes=[busy, idle],
    )
    assert check("CPUNode", made).outcome == "fail"
    assert check("CPUNode", made).instances == ("node-1",)
    assert check("CPUNode", made, "web").outcome == "pass"


def test_an_instance_that_is_being_replaced_is_not_judged() -> None:
    hot = container(cpu_usage=series(1.0), cpu_limit=series(1.0))
    made = world([application(key("cart"), [instance("cart-0", containers=[hot], obsolete=True)])])
    assert check("CPUContainer", made).outcome == "skip"


def test_a_query_that_failed_makes_its_checks_unknown_not_skipped() -> None:
    made = world([application(key("cart"))], missing={"container_cpu_throttled": "timeout"})
    found = check("CPUThrottling", made)
    assert (found.outcome, found.evidence) == ("unknown", "query container_cpu_throttled failed: timeout")


def test_without_fresh_data_of_any_agent_metric_checks_are_unknown() -> None:
    made = cart(container(cpu_usage=series(0.2), cpu_limit=series(1.0)))
    made.newest = NOW - 600
    assert check("CPUContainer", made).outcome == "unknown"
    made.newest = None
    assert check("CPUContainer", made).outcome == "unknown"


def test_no_value_is_known_in_an_empty_history() -> None:
    assert check("CPUContainer", cart(container(cpu_usage=np.full(T, np.nan), cpu_limit=series(1.0)))).outcome == "unknown"
