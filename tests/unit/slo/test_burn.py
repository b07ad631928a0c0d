"""When tiers fire: against the closed form, and never where they must not."""

from itertools import pairwise

import numpy as np
import pytest
from appstatus.api.objective import Outage, Tier
from appstatus.api.tiers import default_tiers
from appstatus.slo.ledger import Ledger
from appstatus.slo.sli import Events
from timeline import CART, DAY, STEP, T0, Timeline, application, objective, own, rate, world

HOUR = 3600.0
SLACK = 45.0  # scrape, query grid and cycle, on top of the closed form


def violated(status) -> bool:
    return status is not None and status.violated


def closed_form(tier: Tier, ratio: float, share: float, window: float = 30 * DAY) -> float:
    """Seconds after which a tier fires at a constant share of bad events (SRE workbook, chapter 5)."""
    return tier.long * tier.factor(window) * (1 - ratio) / share


@pytest.mark.parametrize(
    ("ratio", "share"),
    [
        (0.999, 0.02),
        (0.999, 0.05),
        (0.999, 0.10),
        (0.999, 0.50),
        (0.999, 1.0),
        (0.99, 0.2),
        (0.99, 0.5),
        (0.99, 1.0),
        (0.995, 0.14),
    ],
)
def test_detection_takes_as_long_as_the_closed_form_says(ratio, share):
    wanted = objective(ratio=ratio, outage=None)
    line = Timeline(rate((DAY, 10.0), (DAY, 10 * (1 - share))), rate((DAY, 0.0), (DAY, 10 * share)), objective=wanted)
    for _ in range(24):
        line.cycle(240)
    expected = min(closed_form(tier, ratio, share) for tier in wanted.tiers if tier.factor(30 * DAY) * (1 - ratio) < share)
    taken = line.until(violated, 2000)
    assert expected <= taken <= expected + SLACK


def test_slow_answers_are_detected_in_the_same_time():
    """14 % slower than 250 ms against 99.5 %."""
    line = Timeline(
        rate((DAY, 50.0), (DAY, 50.0)),
        slow=rate((DAY, 0.0), (DAY, 7.0)),
        objective=objective("latency", ratio=0.995, outage=None),
    )
    for _ in range(24):
        line.cycle(240)
    expected = closed_form(default_tiers(30 * DAY)[0], 0.995, 0.14)
    assert expected == pytest.approx(1851, abs=1)
    assert expected <= line.until(violated, 200) <= expected + SLACK


def test_a_total_outage_is_seen_by_the_second_evaluation_that_is_half_bad():
    line = Timeline(rate((HOUR, 10.0), (HOUR, 0.0)), rate((HOUR, 0.0), (HOUR, 10.0)))
    line.cycle(240)
    taken = line.until(lambda status: status.state == "Outage", 10)
    assert taken == 45, "30 s until half of the minute is bad, 15 s for the second evaluation"
    assert taken + 2 * STEP <= 75, "with the wait for the scrape and for the cycle"


def test_an_outage_that_begins_in_the_middle_of_a_step_is_seen_within_75_seconds():
    for before in range(1, 15):  # seconds of the first step that are still good
        good = np.concatenate([np.full(240, 10.0), [10 * before / 15], np.zeros(20)])
        line = Timeline(good, 10 - good)
        line.cycle(240)
        taken = line.until(violated, 10) - before
        assert taken + STEP <= 75


def test_one_bad_step_is_no_outage():
    line = Timeline(rate((HOUR, 10.0), (15, 0.0), (HOUR, 10.0)), rate((HOUR, 0.0), (15, 10.0), (HOUR, 0.0)))
    line.cycle(240)
    states = {line.cycle().state for _ in range(40)}
    assert states == {"Met"}


def test_few_requests_are_no_outage():
    """0.15 rps: nine bad events in a minute are less than minBadEvents."""
    line = Timeline(rate((HOUR, 0.15), (HOUR, 0.0)), rate((HOUR, 0.0), (HOUR, 0.15)))
    line.cycle(240)
    assert all(line.cycle().state != "Outage" for _ in range(30))


def test_an_outage_needs_no_data_in_its_newest_step():
    """The newest scrape may not be there yet: the minute ends where the data ends."""
    bad = rate((HOUR, 0.0), (HOUR, 10.0))
    line = Timeline(10 - bad, bad)
    line.good[243:] = line.bad[243:] = np.nan
    line.silent = 243
    line.cycle(240)
    states = [line.cycle().state for _ in range(7)]
    assert states == ["Met", "Met", "Outage", "Outage", "Outage", "Outage", "Outage"]
    assert line.cycle().state == "NoData", "for more than a minute nothing is known"


def test_two_bad_steps_right_after_the_installation_are_not_yet_an_outage():
    """The part of the minute without data counts as good, as everywhere."""
    line = Timeline(rate((DAY, 0.0)), rate((DAY, 10.0)), ready=T0 - DAY)
    assert [line.cycle().state for _ in range(3)] == ["Met", "Met", "Outage"]


def test_slow_tiers_do_not_open_after_the_installation():
    """With the naive ratio a few errors in the first minutes of data would be a burn of days."""
    line = Timeline(rate((DAY, 10.0)), rate((60, 0.3), (DAY, 0.0)), objective=objective(ratio=0.999))
    statuses = [line.cycle() for _ in range(240)]
    assert {status.state for status in statuses} == {"Met"}
    assert statuses[10].budget > 0.99


def test_a_first_start_with_errors_does_not_page():
    """100 % errors until 90 s after the first instance became available."""
    line = Timeline(rate((90, 0.0), (DAY, 10.0)), rate((90, 10.0), (DAY, 0.0)), ready=T0 + 5, objective=objective(ratio=0.999))
    states = [status.state for status in (line.cycle() for _ in range(240)) if status is not None]
    assert set(states) == {"Met"}, "the default SLO is not shown before there is something to judge"


def test_an_slo_of_its_own_is_pending_until_two_minutes_after_the_first_instance():
    line = Timeline(rate((30, 0.0), (DAY, 10.0)), ready=T0 + 30, objective=own())
    states = [line.cycle().state for _ in range(13)]
    assert states == ["Pending"] * 10 + ["Met"] * 3


def test_after_a_first_start_it_is_judged():
    line = Timeline(rate((DAY, 0.0)), rate((DAY, 10.0)), ready=T0)
    assert line.until(violated, 20) <= 120 + 75


def test_an_application_whose_pods_were_all_replaced_a_minute_ago_is_still_judged():
    """It answered before the operator started, so this is not its first start."""
    line = Timeline(rate((600, 10.0), (HOUR, 0.0)), rate((600, 0.0), (HOUR, 10.0)))
    line.ready = T0 + 600
    line.cycle(40)
    assert line.until(violated, 10) <= 60


def test_a_workload_created_anew_under_the_same_name_starts_with_a_clean_record():
    """Deleted under load, so that its clients fail; created again an hour later, with errors while it starts."""
    good = rate((HOUR, 10.0), (HOUR, 0.0), (60, 0.0), (DAY, 10.0))
    line = Timeline(good, 10 - good)
    line.uid = "first"
    line.cycle(240)
    line.cycle(200)
    line.uid, line.created, line.ready = "second", T0 + 2 * HOUR, T0 + 2 * HOUR + 5
    line.cycle(40)
    states = [status.state for status in (line.cycle() for _ in range(100)) if status is not None]
    assert set(states) == {"Met"}
    assert line.cycle().budget == 1.0
    line.ledger.backfill_events(line.objective, T0 + HOUR * np.arange(-10, 3), HOUR, Events(np.zeros(13), np.full(13, 36000.0)))
    assert line.cycle().budget == 1.0, "nor does what was counted before come back"


def test_budget_and_coverage():
    line = Timeline(rate((30 * DAY, 9.95)), rate((30 * DAY, 0.05)))
    for _ in range(48):
        status = line.cycle(240)
    assert status.sli == pytest.approx(1 - 0.005 * 2 / 30, rel=1e-6), "two days of 0.5 %, the rest counts as good"
    assert status.budget == pytest.approx(1 - 0.5 * 2 / 30, rel=1e-4)
    assert status.covered == pytest.approx(2 * DAY, rel=0.01)


def test_an_empty_budget_alone_is_exhausted_not_violated():
    line = Timeline(rate((40 * DAY, 9.88)), rate((40 * DAY, 0.12)), objective=objective(tiers=default_tiers(30 * DAY)[:2]))
    for _ in range(30 * 24):
        status = line.cycle(240)
    assert status.state == "Exhausted" and status.budget == pytest.approx(-0.2, abs=0.01)


@pytest.mark.parametrize("errors", [0.0001, 0.001])
def test_low_traffic_pages_nobody_in_30_days(errors):
    """0.02 rps with errors up to what 99.9 % allows, looked at around each error and every 30 min.

    At exactly the allowed rate the slowest tier (a ticket) may fire: that is a budget being used up."""
    random = np.random.default_rng(7)
    wanted = objective(ratio=0.999)
    ledger = Ledger(STEP, T0)
    steps = int(30 * DAY / STEP)
    total = random.poisson(0.02 * STEP, steps).astype(float)
    bad = random.binomial(total.astype(int), errors).astype(float)
    ledger.backfill_events(wanted, np.array([T0]), STEP, Events(np.array([1.0]), np.array([1.0])))
    looks = sorted({*range(120, steps, 120), *(step + k for step in np.flatnonzero(bad) for k in (1, 4, 8) if step + k < steps)})
    at, row = 0, np.array([0])
    fired = []
    for look in looks:
        times = T0 + STEP * np.arange(at + 1, look + 1)
        ledger.history.advance(float(times[-1]))
        ledger.history.put(row, times, (total - bad)[None, at:look], total[None, at:look])
        status = ledger.evaluate([wanted], float(times[-1]))[CART][0]
        fired += [tier.name for tier in status.firing if tier.severity == "page" or errors < 0.001]
        at = look
    assert bad.sum() > 0 and fired == []


def test_without_min_bad_events_low_traffic_would_page():
    """The guard is what keeps the test above quiet: three errors among 0.02 rps."""
    good, bad = rate((HOUR, 0.02)), np.zeros(240)
    bad[[200, 210, 220]] = 1 / STEP
    quiet = Timeline(good, bad, objective=objective(ratio=0.999))
    assert not quiet.cycle(221).violated
    loud = Timeline(good, bad, objective=objective(ratio=0.999, min_bad_events=1))
    assert loud.cycle(221).violated


def test_bad_events_of_a_closed_incident_cost_budget_but_open_nothing():
    line = Timeline(rate((DAY, 10.0), (1800, 0.0), (DAY, 10.0)), rate((DAY, 0.0), (1800, 10.0), (DAY, 0.0)))
    for _ in range(24):
        line.cycle(240)
    line.until(violated, 10)
    line.until(lambda status: status.meets_now is True and status.state != "Outage", 200)
    closed = line.now
    still = line.cycle()
    assert still.violated, "the burn tiers still see the half hour of failures"
    line.ledger.forgive(CART, closed)
    after = line.cycle()
    assert after.state == "Met"
    assert after.budget == pytest.approx(still.budget, abs=1e-3)
    assert after.budget == pytest.approx(1 - 1800 / (30 * DAY * 0.01), abs=1e-3)


def test_new_bad_events_after_a_closed_incident_open_the_next_one():
    bad = rate((DAY, 0.0), (600, 10.0), (HOUR, 0.0), (600, 10.0))
    line = Timeline(10 - bad, bad)
    for _ in range(24):
        line.cycle(240)
    line.cycle(40 + 20)
    line.ledger.forgive(CART, line.now)
    line.cycle(160)
    assert line.cycle(60).state == "Met"
    assert line.until(violated, 10) <= 60


def test_recovery_is_seen_within_six_minutes():
    for share in (1.0, 0.5, 0.15):
        bad = rate((HOUR, 0.0), (HOUR, 10 * share), (HOUR, 0.0))
        line = Timeline(10 - bad, bad)
        line.cycle(240)
        line.cycle(240)
        assert line.until(lambda status: status.meets_now is True, 60) <= 330, "and 30 s for scrape and cycle"


def test_no_fresh_data_is_never_met():
    good = rate((HOUR, 10.0), (HOUR, np.nan))
    line = Timeline(good, objective=objective())
    line.cycle(240)
    line.at += 40
    status = line.ledger.evaluate([line.objective], line.now)[CART][0]
    assert status.state == "NoData" and status.meets_now is None and status.reason


def test_while_prometheus_does_not_answer_nothing_is_judged_and_afterwards_nothing_is_left():
    """Only half of the queries come back: what is lost would look like an outage without what was answered."""
    good, lost = rate((3 * HOUR, 10.0)), rate((3 * HOUR, 0.05))
    line = Timeline(good.copy(), unanswered=lost, asked=good)
    line.cycle(240)
    line.missing = dict.fromkeys(range(241, 281), ("requests_in",))
    line.good[240:280] = np.nan
    states = [line.cycle().state for _ in range(40)]
    assert set(states[:3]) <= {"Met", "NoData"} and set(states[6:]) == {"NoData"}
    line.good[240:280] = 10.0
    assert line.cycle(2).state == "Met"
    assert line.cycle(2).covered == pytest.approx(284 * STEP), "the gap was filled in"


def test_without_the_api_server_an_application_that_never_answered_is_judged_too():
    line = Timeline(rate((DAY, 0.0)), rate((DAY, 10.0)), ready=None)
    assert line.cycle(240).state == "Outage", "its agent has seen it for an hour"


def test_a_users_own_query_may_lag_behind():
    wanted = own(indicator="promql", threshold=None, query_bad="x", query_total="y")
    ledger = Ledger(STEP, T0)
    times = T0 + STEP * np.arange(1, 241)
    known = np.where(times <= times[-1] - 90, 150.0, np.nan)
    app = application(240)
    ledger.update(world(app, times), [wanted], {(CART, wanted.id): Events(known * 0.999, known)})
    assert ledger.evaluate([wanted], float(times[-1]))[CART][0].state == "Met"
    assert ledger.evaluate([wanted], float(times[-1]) + 60)[CART][0].state == "NoData"


def test_tiers_that_cannot_work_are_dropped_with_the_reason():
    line = Timeline(rate((DAY, 10.0)), objective=objective(ratio=0.9, window=DAY, outage=Outage(window=30)))
    status = line.cycle(240)
    dropped = {tier.name: tier.dropped for tier in status.tiers if tier.dropped}
    assert set(dropped) == {"fast", "outage"} | {tier.name for tier in status.tiers if tier.factor * 0.1 >= 1}
    assert "short window of 10s" in dropped["fast"] and "window of 30s" in dropped["outage"]


def test_counters_for_the_next_leader_never_decrease_and_lose_nothing():
    line = Timeline(rate((2 * HOUR, 9.0)), rate((2 * HOUR, 1.0)))
    line.cycle(100)
    before = line.ledger.cumulative([line.objective])[0]
    seen = [before]
    for _ in range(50):
        line.cycle(2)
        seen.append(line.ledger.cumulative([line.objective])[0])
    assert all(later.total >= earlier.total for earlier, later in pairwise(seen))
    assert seen[-1].total - before.total == pytest.approx(100 * STEP * 10, rel=1e-5)
    assert seen[-1].good - before.good == pytest.approx(100 * STEP * 9, rel=1e-5)


def test_another_threshold_begins_a_new_record_another_objective_does_not():
    line = Timeline(rate((DAY, 10.0)), objective=objective("latency", threshold=0.25))
    line.cycle(240)
    line.objective = objective("latency", threshold=0.25, ratio=0.9)
    assert line.cycle().covered == pytest.approx(241 * STEP)
    line.window = 4
    line.objective = objective("latency", threshold=0.5)
    assert line.cycle().covered == pytest.approx(4 * STEP)


def test_an_application_without_requests_has_no_default_slo():
    line = Timeline(rate((DAY, 0.0)))
    assert line.cycle(240) is None
    line = Timeline(rate((DAY, 0.0)), objective=own())
    status = line.cycle(240)
    assert status.state == "NoData" and status.idle and "no requests" in status.reason
    (later,) = line.ledger.evaluate([line.objective], line.now + 600)[CART]
    assert later.state == "NoData" and not later.idle, "stale by then"


def cronjob(wanted, *, kept=True, agent=True, failed=(), runs=6):
    """What is shown of a CronJob that nobody calls: a pod runs for 30 s every 5 min; ``kept``: it stays as completed."""
    ledger, shown = Ledger(STEP, T0), []
    for at in range(1, runs * 20 + 1):
        times = T0 + STEP * np.arange(at - 239, at + 1)
        app = application(240, None)
        second = at % 20 * STEP
        container = app.instances["cart-1"].containers["cart"]
        ran = (times > T0) & ((times - T0) % 300 > 0) & ((times - T0) % 300 <= 30)
        container.cpu_usage = np.where(ran, 0.1, np.nan) if agent else None
        app.instances["cart-1"].ready = 0 < second <= 30
        app.instances["cart-1"].ready_since = float(times[-1]) - second if 0 < second <= 30 else None
        if second > 30 and not kept:
            app.instances.clear()
        view = world(app, times, dict.fromkeys(failed, "time-out"))
        if not agent:
            view.nodes["n1"].cpu_usage = None
        ledger.update(view, [wanted])
        shown += [status.state for status in ledger.evaluate([wanted], float(times[-1])).get(CART, [])]
    return shown


@pytest.mark.parametrize("kept", [True, False])
def test_a_cronjob_that_nobody_calls_never_has_a_default_slo(kept):
    assert cronjob(objective(), kept=kept) == []
    assert set(cronjob(own(), kept=kept)) == {"Pending", "NoData"}, "one that an SLO object asks for is shown"


def test_where_no_agent_looks_or_its_queries_fail_the_default_slo_says_so():
    assert "NoData" in cronjob(objective(), agent=False)
    assert "NoData" in cronjob(objective(), failed=["requests_in"])


def test_once_requests_were_seen_the_default_slo_stays():
    line = Timeline(rate((600, 10.0), (HOUR, np.nan)))
    assert line.cycle(40).state == "Met"
    line.silent = 41
    assert [line.cycle().state for _ in range(10)][-1] == "NoData"
