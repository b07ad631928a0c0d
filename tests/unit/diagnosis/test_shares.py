"""Where the pain starts: the share of every injected cause, found again within 15 points."""

import numpy as np
import pytest
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.diagnosis.wording import share
from appstatus.model.facts import Change
from appstatus.model.world import World
from callgraph import Service as S
from callgraph import app_key, simulate
from worlds import NOW, ONSET, STEP, application, connection, key, last, series, traffic, world

POINTS = 0.15


def shop(**changed: S) -> dict[str, S]:
    """front -> checkout -> (cart, payment -> ledger); front -> search."""
    services = {
        "front": S(calls={"checkout": 1, "search": 1}),
        "checkout": S(calls={"cart": 1, "payment": 1}),
        "payment": S(calls={"ledger": 1}),
        "ledger": S(),
        "cart": S(),
        "search": S(),
    }
    return services | changed


def found(made: World, violator: str = "front") -> Diagnosis:
    return diagnose(made, {}, app_key(violator), [], NOW)


def shares(diagnosis: Diagnosis) -> dict[str, float]:
    return {cause.app.name: cause.share for cause in diagnosis.causes}


def first(diagnosis: Diagnosis) -> Cause:
    assert diagnosis.dominant, diagnosis
    return diagnosis.causes[0]


@pytest.mark.parametrize("changed", [{"ledger": S(slow=0.3)}, {"ledger": S(failing=0.3)}, {"ledger": S(failing=0.3, silent=True)}])
def test_a_cause_three_hops_away_is_named_with_its_path(changed: dict[str, S]) -> None:
    cause = first(found(simulate(shop(**changed), "front")))
    assert cause.app.name == "ledger"
    assert cause.share == pytest.approx(1.0, abs=POINTS)
    assert [k.name for k in cause.path] == ["front", "checkout", "payment", "ledger"]


@pytest.mark.parametrize("violator", ["front", "checkout", "payment", "ledger"])
def test_every_violator_on_the_way_names_the_same_cause(violator: str) -> None:
    cause = first(found(simulate(shop(ledger=S(slow=0.3)), "front"), violator))
    assert (cause.app.name, cause.path[0].name) == ("ledger", violator)


def test_callers_of_a_slow_service_share_its_time_and_do_not_double_it() -> None:
    diagnosis = found(simulate(shop(ledger=S(slow=0.3)), "front"))
    assert sum(shares(diagnosis).values()) <= 1.001
    assert list(shares(diagnosis)) == ["ledger"]


@pytest.mark.parametrize(("ledger", "cart", "share"), [(0.11, 0.07, 0.625), (0.05, 0.05, 0.5), (0.21, 0.035, 0.89)])
def test_two_slow_services_have_their_shares(ledger: float, cart: float, share: float) -> None:
    diagnosis = found(simulate(shop(ledger=S(slow=ledger), cart=S(slow=cart)), "front"))
    assert shares(diagnosis)["ledger"] == pytest.approx(share, abs=POINTS)
    assert shares(diagnosis)["cart"] == pytest.approx(1 - share, abs=POINTS)


def test_two_failing_services_have_their_shares() -> None:
    diagnosis = found(simulate(shop(ledger=S(failing=0.2), search=S(failing=0.1)), "front"))
    assert shares(diagnosis)["ledger"] == pytest.approx(0.67, abs=POINTS)
    assert shares(diagnosis)["search"] == pytest.approx(0.33, abs=POINTS)


def test_a_fan_out_of_many_calls_to_one_service_is_that_service() -> None:
    services = shop(cart=S(calls={"redis": 8}), redis=S(own=0.001, slow=0.02))
    assert first(found(simulate(services, "front"))).app.name == "redis"


def test_of_parallel_calls_the_slow_one_is_the_cause() -> None:
    services = shop(checkout=S(calls={"cart": 1, "payment": 1}, parallel=True), ledger=S(slow=0.3))
    cause = first(found(simulate(services, "front")))
    assert (cause.app.name, cause.share) == ("ledger", pytest.approx(1.0, abs=POINTS))


def test_where_several_ways_lead_no_single_call_is_said_to_carry_all() -> None:
    services = {
        "front": S(calls={"a": 1, "b": 1, "c": 1}),
        "a": S(calls={"db": 1}),
        "b": S(calls={"db": 1}),
        "c": S(calls={"db": 1}),
        "db": S(slow=0.3),
    }
    cause = first(found(simulate(services, "front")))
    assert cause.share == pytest.approx(1.0, abs=POINTS)
    assert share(cause).endswith("of the extra time is in db itself")


def test_two_parallel_calls_that_are_both_slow_share_what_there_is() -> None:
    services = shop(checkout=S(calls={"cart": 1, "payment": 1}, parallel=True), cart=S(slow=0.31), ledger=S(slow=0.3))
    measured = shares(found(simulate(services, "front")))
    assert measured == {"cart": pytest.approx(0.5, abs=POINTS), "ledger": pytest.approx(0.5, abs=POINTS)}
    assert sum(measured.values()) <= 1.001


def test_a_call_that_nobody_waits_for_explains_no_more_than_its_caller_lost() -> None:
    """front writes to audit without waiting, which takes 5 s now; what users feel are 0.1 s in search."""
    made = simulate(shop(search=S(slow=0.11)), "front")
    audit = application(key("audit"))
    audit.served = traffic({"2xx": series(20.0)}, series(0.01, 5.0))
    edge = connection(app_key("front"), audit.key, traffic({"2xx": series(20.0)}, series(0.0105, 5.0)))
    made.applications[audit.key] = audit
    made.applications[app_key("front")].upstreams.append(edge)
    audit.downstreams.append(edge)
    assert shares(found(made))["search"] >= 0.45


def test_what_has_always_failed_is_not_the_cause() -> None:
    services = shop(cart=S(fail=0.1), ledger=S(failing=0.1))
    diagnosis = found(simulate(services, "front"))
    assert shares(diagnosis) == {"ledger": pytest.approx(1.0, abs=POINTS)}


def test_connects_that_take_long_are_the_networks() -> None:
    """Each call opens a connection, for which the first packet is lost: a second each."""
    front, search = application(app_key("front")), application(app_key("search"))
    front.served = traffic({"2xx": series(20.0)}, series(0.02, 1.02))
    search.served = traffic({"2xx": series(20.0)}, series(0.01))
    calls = connection(
        front.key, search.key, traffic({"2xx": series(20.0)}, series(0.0105)),
        connects=series(20.0), failed_connects=series(0.0), connect_time=series(0.01, 20.0),
    )  # fmt: skip
    cause = first(found(world([front, search], [calls])))
    assert (cause.app, cause.klass) == (search.key, "network-latency")


def test_a_service_shared_by_two_callers_collects_both_ways() -> None:
    services = shop(cart=S(calls={"catalog": 1}), search=S(calls={"catalog": 1}), catalog=S(slow=0.1))
    cause = first(found(simulate(services, "front")))
    assert (cause.app.name, cause.share) == ("catalog", pytest.approx(1.0, abs=POINTS))


def test_failures_that_retries_hide_are_the_time_they_cost() -> None:
    """Half of the calls to ledger fail at once, callers repeat them: almost all users get an answer, later."""
    services = shop(ledger=S(own=0.05, failing=0.5, retries=6))
    assert first(found(simulate(services, "front"))).app.name == "ledger"


def test_a_cause_without_a_server_side_is_charged_by_its_callers() -> None:
    cause = first(found(simulate(shop(ledger=S(slow=0.3, seen=False)), "front")))
    assert (cause.app.name, cause.share) == ("ledger", pytest.approx(1.0, abs=POINTS))


def test_what_the_violator_does_itself_is_its_own() -> None:
    cause = first(found(simulate(shop(front=S(slow=0.2, calls={"checkout": 1})), "front")))
    assert (cause.app.name, cause.path) == ("front", (app_key("front"),))


def test_a_violator_in_the_middle_is_explained_by_its_own_callees_only() -> None:
    services = shop(search=S(slow=5.0), ledger=S(slow=0.1))
    assert first(found(simulate(services, "front"), "checkout")).app.name == "ledger"


def test_a_slow_network_is_told_from_a_slow_service() -> None:
    cause = first(found(simulate(shop(ledger=S(net_during=0.1)), "front")))
    assert (cause.app.name, cause.klass) == ("ledger", "network-latency")
    assert cause.evidence[1].before == pytest.approx(0.0005, rel=0.2)
    assert cause.evidence[1].during == pytest.approx(0.1, rel=0.2)


def test_half_network_half_service_are_two_causes() -> None:
    diagnosis = found(simulate(shop(ledger=S(net_during=0.1, slow=0.11)), "front"))
    assert [(c.app.name, c.klass) for c in diagnosis.causes] in (
        [("ledger", "network-latency"), ("ledger", "inside")],
        [("ledger", "inside"), ("ledger", "network-latency")],
    )
    assert [c.share for c in diagnosis.causes] == pytest.approx([0.5, 0.5], abs=POINTS)


def test_a_caller_that_gives_up_waiting_is_explained_by_what_was_slow_below() -> None:
    """payment -> ledger takes 3 s; checkout waits 1 s for payment, hangs up and answers 5xx."""
    front, checkout, payment, ledger = (key(n) for n in ("front", "checkout", "payment", "ledger"))
    apps = {n.name: application(n) for n in (front, checkout, payment, ledger)}
    apps["front"].served = traffic({"2xx": series(20, 10), "5xx": series(0, 10)}, mean=0.05)
    apps["checkout"].served = traffic({"2xx": series(20, 10), "5xx": series(0, 10)}, mean=0.04)
    apps["payment"].served = traffic({"2xx": series(20, 10), "closed": series(0, 10)}, mean=series(0.02, 0.8))
    apps["ledger"].served = traffic({"2xx": series(20.0)}, mean=series(0.01, 3.0))
    made = world(
        list(apps.values()),
        [
            connection(front, checkout, traffic({"2xx": series(20, 10), "5xx": series(0, 10)}, mean=0.041)),
            connection(checkout, payment, traffic({"2xx": series(20, 10), "closed": series(0, 10)}, mean=series(0.021, 0.8))),
            connection(payment, ledger, traffic({"2xx": series(20.0)}, mean=series(0.011, 3.0))),
        ],
    )
    cause = first(found(made))
    assert (cause.app.name, cause.share) == ("ledger", pytest.approx(1.0, abs=POINTS))


def refused(upstream_state: dict[str, object], seen: bool = False) -> World:
    """cart refuses all connections of checkout, which then answers 5xx."""
    checkout, cart = application(key("checkout")), application(key("cart"), [], **upstream_state)
    checkout.served = traffic({"2xx": series(20, 0), "5xx": series(0, 20)}, mean=0.01)
    if seen:
        cart.served = traffic({"2xx": series(20, 0)}, mean=0.01)
    before = connection(
        key("checkout"), key("cart"), traffic({"2xx": series(20, 0)}, mean=0.01),
        connects=series(1.0, 0.0), failed_connects=last(20, 20.0), connect_time=series(0.001, 0.0),
    )  # fmt: skip
    return world([checkout, cart], [before])


def test_an_application_scaled_to_zero_is_the_cause() -> None:
    scaled = {"desired": 0, "available": 0, "changes": [Change(ONSET - 5, "scale", "1 -> 0")]}
    cause = first(found(refused(scaled), "checkout"))
    assert (cause.app.name, cause.klass, cause.share) == ("cart", "instance-down", pytest.approx(1.0, abs=POINTS))


def test_an_application_scaled_to_zero_explains_its_own_violation() -> None:
    cause = first(found(refused({"desired": 0, "available": 0}), "cart"))
    assert (cause.app.name, cause.klass) == ("cart", "instance-down")


def test_connections_that_fail_to_an_application_that_runs_are_the_networks() -> None:
    cause = first(found(refused({"desired": 1, "available": 1}, seen=True), "checkout"))
    assert (cause.app.name, cause.klass) == ("cart", "network-unreachable")


def test_a_database_that_refuses_is_the_cause_even_if_its_client_tries_rarely() -> None:
    cart, redis = application(key("cart")), application(key("redis"), [], desired=0, available=0)
    cart.served = traffic({"2xx": series(20, 0), "5xx": series(0, 20)}, mean=0.01)
    opaque = connection(key("cart"), key("redis"), connects=series(0.01, 0.0), failed_connects=last(20, 0.3), active=series(5, 0))
    cause = first(found(world([cart, redis], [opaque]), "cart"))
    assert (cause.app.name, cause.klass, cause.share) == ("redis", "instance-down", pytest.approx(1.0, abs=POINTS))


def test_calls_in_a_circle_end() -> None:
    services = {"front": S(calls={"a": 1}), "a": S(slow=0.2)}
    made = simulate(services, "front")
    back = connection(app_key("a"), app_key("front"), made.connections[0].traffic)
    made.connections.append(back)
    made.applications[app_key("a")].upstreams.append(back)
    made.applications[app_key("front")].downstreams.append(back)
    assert found(made).causes[0].app.name in ("a", "front")


def test_nothing_wrong_has_no_cause() -> None:
    diagnosis = found(simulate(shop(), "front"))
    assert not diagnosis.dominant
    assert diagnosis.thin


def test_many_small_causes_are_no_dominant_one() -> None:
    services = {"front": S(calls={f"s{i}": 1 for i in range(6)})} | {f"s{i}": S(slow=0.03) for i in range(6)}
    diagnosis = found(simulate(services, "front"))
    assert not diagnosis.dominant
    assert len(diagnosis.causes) == 3
    assert [c.share for c in diagnosis.causes] == pytest.approx([1 / 6] * 3, abs=0.05)


def test_traffic_from_elsewhere_to_a_shared_service_does_not_grow_its_share() -> None:
    """batch sends most of the calls to catalog; catalog's extra time in the calls of search is what counts for front."""
    services = shop(search=S(calls={"catalog": 1}), catalog=S(slow=0.06), cart=S(slow=0.06))
    made = simulate(services, "front")
    batch = application(key("batch"))
    calls = connection(key("batch"), app_key("catalog"), traffic({"2xx": series(500.0)}, mean=series(0.0105, 0.06)))
    made.applications[batch.key] = batch
    batch.upstreams.append(calls)
    made.applications[app_key("catalog")].downstreams.append(calls)
    assert shares(found(made))["catalog"] == pytest.approx(0.5, abs=POINTS)


def test_an_application_that_is_gone_has_no_cause() -> None:
    diagnosis = found(simulate(shop(), "front"), "nobody")
    assert (diagnosis.causes, diagnosis.dominant) == ((), False)


@pytest.mark.parametrize("seed", range(20))
def test_shares_of_random_graphs(seed: int) -> None:
    """Trees of calls in a row; one to three services become slower: each is found with the share that was injected."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 14))
    services = {f"s{i}": S(own=float(rng.uniform(0.002, 0.02)), net=0.0003) for i in range(size)}
    weight = {"s0": 1.0}
    for i in range(1, size):
        parent = f"s{int(rng.integers(max(0, i - 3), i))}"
        calls = float(rng.integers(1, 3))
        services[parent].calls[f"s{i}"] = calls
        weight[f"s{i}"] = weight[parent] * calls
    slow = rng.choice(size, int(rng.integers(1, 4)), replace=False)
    extra = {f"s{i}": float(rng.uniform(0.02, 0.3)) for i in slow}
    for name, seconds in extra.items():
        services[name].slow = services[name].own + seconds
    whole = sum(seconds * weight[name] for name, seconds in extra.items())
    diagnosis = found(simulate(services, "s0", seed=seed), "s0")
    measured = shares(diagnosis)
    for name, seconds in extra.items():
        truth = seconds * weight[name] / whole
        if truth > 0.2:
            assert measured.get(name, 0.0) == pytest.approx(truth, abs=POINTS), (name, truth, measured)


@pytest.mark.parametrize("steps", [4, 5, 8])
def test_a_minute_of_a_total_outage_is_enough(steps: int) -> None:
    checkout, cart = application(key("checkout")), application(key("cart"))
    bad = last(steps, 20.0)
    checkout.served = traffic({"2xx": 20.0 - bad, "5xx": bad}, mean=0.01)
    cart.served = traffic({"2xx": 20.0 - bad, "5xx": bad}, mean=0.005)
    made = world([checkout, cart], [connection(key("checkout"), key("cart"), traffic({"2xx": 20.0 - bad, "5xx": bad}, mean=0.006))])
    diagnosis = found(made, "checkout")
    assert first(diagnosis).app.name == "cart"
    assert diagnosis.onset == NOW - steps * STEP
