import numpy as np
import pytest
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.model.world import Traffic
from worlds import NOW, T, application, connection, key, last, series, traffic, world


def check(check_id: str, requests: Traffic | None) -> CheckResult:
    made = world([application(key("cart")), application(key("redis"))], [connection(key("cart"), key("redis"), requests)])
    return next(r for r in run(made, None, NOW)[key("cart")] if r.id == check_id)


@pytest.mark.parametrize("status", ["5xx", "failed", "reset", "closed", "overdue"])
def test_a_tenth_of_failing_calls_fails(status: str) -> None:
    found = check("DependencyErrors", traffic({"2xx": series(9.0), status: last(4, 1.0)}))
    assert (found.outcome, found.value) == ("fail", pytest.approx(10.0))
    assert found.evidence == f"60 of 600, most {status}"
    assert found.instances == ("shop/redis.deployment",)


@pytest.mark.parametrize("status", ["4xx", "3xx", "unknown"])
def test_other_statuses_are_no_failure(status: str) -> None:
    assert check("DependencyErrors", traffic({"2xx": series(1.0), status: last(4, 5.0)})).outcome == "pass"


@pytest.mark.parametrize("before", [0.0, 0.05])
def test_since_is_the_row_of_failing_minutes_however_long_and_a_few_errors_before_are_not_of_it(before: float) -> None:
    errors = last(40, 5.0, before)
    assert check("DependencyErrors", traffic({"2xx": series(5.0), "5xx": errors})).since == NOW - 39 * 15
    errors[-9:-4] = before  # longer than the minute that is judged
    assert check("DependencyErrors", traffic({"2xx": series(5.0), "5xx": errors})).since == NOW - 3 * 15


def test_four_failures_are_too_few_to_judge() -> None:
    assert check("DependencyErrors", traffic({"5xx": last(1, 4 / 15)})).outcome == "pass"


def test_calls_of_which_nothing_is_known_now_are_unknown() -> None:
    assert check("DependencyErrors", traffic({"2xx": last(6, np.nan, 5.0)})).outcome == "unknown"


def test_connections_without_requests_are_skipped() -> None:
    assert check("DependencyErrors", None).outcome == "skip"
    assert check("DependencyLatency", None).outcome == "skip"


def test_a_dependency_five_times_slower_than_its_own_median_fails() -> None:
    found = check("DependencyLatency", traffic({"2xx": series(10.0)}, mean=series(0.02, 0.1)))
    assert (found.outcome, found.value) == ("fail", pytest.approx(5.0))
    assert found.evidence == "20 ms -> 100 ms"


def test_a_few_added_milliseconds_pass_however_many_times_it_is() -> None:
    assert check("DependencyLatency", traffic({"2xx": series(10.0)}, mean=series(0.001, 0.008))).outcome == "pass"


def test_always_slow_is_not_slower() -> None:
    assert check("DependencyLatency", traffic({"2xx": series(10.0)}, mean=series(2.0))).outcome == "pass"


def test_without_a_time_to_compare_with_it_is_unknown() -> None:
    mean = np.full(T, 0.5)
    requests = traffic({"2xx": last(20, 10.0, np.nan)}, mean=mean)
    assert check("DependencyLatency", requests).outcome == "unknown"
