from typing import Any

import pytest
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import Application
from worlds import NOW, application, connection, container, instance, key, last, series, world


def check(check_id: str, app: Application) -> CheckResult:
    return next(r for r in run(world([app]), None, NOW)[app.key] if r.id == check_id)


def unready(name: str, seconds: float, trouble: str = "") -> Any:
    return instance(name, ready=False, unready_since=NOW - seconds, trouble=trouble)


def test_too_few_instances_for_two_minutes_fails_and_says_why() -> None:
    app = application(key("cart"), [instance("cart-a"), unready("cart-b", 200, "CrashLoopBackOff")], desired=2, available=1)
    found = check("InstanceAvailability", app)
    assert (found.outcome, found.value, found.instances) == ("fail", 50.0, ("cart-b",))
    assert found.evidence == "1 of 2 available: CrashLoopBackOff"
    assert found.since == NOW - 200


def test_an_instance_that_is_not_ready_for_less_than_two_minutes_passes() -> None:
    app = application(key("cart"), [instance("cart-a"), unready("cart-b", 60)], desired=2, available=1)
    assert check("InstanceAvailability", app).outcome == "pass"


def test_three_of_four_meet_the_default_of_75_percent() -> None:
    app = application(key("cart"), [unready("cart-b", 900)], desired=4, available=3)
    assert check("InstanceAvailability", app).outcome == "pass"


def test_pods_that_do_not_exist_at_all_fail_at_once() -> None:
    assert check("InstanceAvailability", application(key("cart"), [], desired=2, available=0)).outcome == "fail"


@pytest.mark.parametrize("app", [application(key("cart"), [], 0, 0), application(key("nightly", "CronJob"), [], None, None)])
def test_what_is_meant_to_have_no_instance_is_not_judged(app: Application) -> None:
    assert check("InstanceAvailability", app).outcome == "skip"


@pytest.mark.parametrize(("failed", "outcome"), [(last(4, 1.0), "fail"), (last(1, 2 / 15), "skip"), (series(0.0), "skip")])
def test_what_is_scaled_to_zero_fails_while_others_ask_for_it(failed: F64, outcome: str) -> None:
    app = application(key("redis"), [], 0, 0)
    made = world([app, application(key("cart"))], [connection(key("cart"), app.key, failed_connects=failed)])
    found = next(r for r in run(made, None, NOW)[app.key] if r.id == "InstanceAvailability")
    assert found.outcome == outcome
    if outcome == "fail":
        assert (found.value, found.evidence) == (0.0, "scaled to 0, and still asked for by cart")
        assert found.since == made.times[-4]


def test_a_first_start_is_not_judged() -> None:
    app = application(key("cart"), [unready("cart-a", 100)], created=NOW - 100, available=0)
    assert check("InstanceAvailability", app).outcome == "skip"


def test_an_application_whose_availability_the_api_server_does_not_say_is_unknown() -> None:
    assert check("InstanceAvailability", application(key("cart"), available=None)).outcome == "unknown"


@pytest.mark.parametrize(("restarts", "outcome"), [((1, 1), "fail"), ((1, 0), "pass"), ((0, 0), "pass")])
def test_more_than_one_restart_within_the_hour_fails(restarts: tuple[int, int], outcome: str) -> None:
    counted = series(0.0)
    counted[-200], counted[-10] = restarts
    found = check("InstanceRestarts", application(key("cart"), [instance("cart-a", containers=[container(restarts=counted)])]))
    assert found.outcome == outcome
    assert found.value == sum(restarts)


def test_restarts_of_different_containers_are_not_added() -> None:
    containers = [container("a", restarts=last(1, 1.0)), container("b", restarts=last(1, 1.0))]
    assert check("InstanceRestarts", application(key("cart"), [instance("cart-a", containers=containers)])).outcome == "pass"


def test_without_restart_counters_restarts_are_skipped() -> None:
    assert check("InstanceRestarts", application(key("cart"))).outcome == "skip"


def rollout(seconds: float, in_progress: bool = True) -> Application:
    return application(
        key("cart"),
        [instance("cart-a"), unready("cart-b", seconds, "ImagePullBackOff")],
        changes=[Change(NOW - seconds, "rollout", "cart:v2")],
        rollout_in_progress=in_progress,
    )


def test_a_rollout_that_takes_longer_than_three_minutes_fails() -> None:
    found = check("DeploymentStatus", rollout(300))
    assert (found.outcome, found.value, found.since, found.evidence) == ("fail", 300.0, NOW - 300, "ImagePullBackOff")


@pytest.mark.parametrize("app", [rollout(100), rollout(300, in_progress=False)])
def test_a_rollout_that_is_young_or_done_passes(app: Application) -> None:
    assert check("DeploymentStatus", app).outcome == "pass"


def test_rollouts_of_jobs_are_skipped() -> None:
    assert check("DeploymentStatus", application(key("nightly", "CronJob"), desired=None)).outcome == "skip"
