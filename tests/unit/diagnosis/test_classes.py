"""What a cause is: each class by its evidence, and what looks like it but is not."""

import numpy as np
import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.classes import CLASSES, RULES, classify
from appstatus.diagnosis.result import Cause
from appstatus.diagnosis.signals import SIGNALS
from appstatus.inspections.result import CheckResult
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import Application, Connection, Container, Node, World
from callgraph import Service as S
from callgraph import simulate
from worlds import NOW, ONSET, T, application, connection, container, instance, key, last, series, traffic, world

WEB, CART = key("web"), key("cart")


def shop(
    cart: Application,
    others: tuple[Application, ...] = (),
    connections: tuple[Connection, ...] = (),
    nodes: tuple[Node, ...] = (),
    slow: float | None = 0.3,
    failing: float = 0.0,
    rate: F64 | None = None,
    **edge: F64,
) -> World:
    """web calls cart, which becomes slow or fails."""
    rate = series(20.0) if rate is None else rate
    bad = rate * series(0.0, failing)
    statuses = {"2xx": rate - bad, "5xx": bad}
    mean = series(0.01, slow if slow is not None else 0.01)
    web = application(WEB)
    web.served = traffic(statuses, mean + 0.005)
    if cart.instances:
        cart.served = traffic(statuses, mean)
    return world([web, cart, *others], [connection(WEB, cart.key, traffic(statuses, mean + 0.0005), **edge), *connections], nodes)


def cause(made: World, violator: AppKey = WEB) -> Cause:
    diagnosis = diagnose(made, {}, violator, [], NOW)
    assert diagnosis.dominant, diagnosis
    return diagnosis.causes[0]


def cart(*containers: Container, **more: object) -> Application:
    return application(CART, [instance("cart-0", containers=containers)], **more)  # type: ignore[arg-type]


def evidence(found: Cause, signal: str) -> tuple[float | None, float | None]:
    return next((e.before, e.during) for e in found.evidence if e.signal == signal)


def test_throttled() -> None:
    limited = container(cpu_usage=series(0.3, 0.5), cpu_throttled=series(0.0, 0.6), cpu_delay=series(0.01, 0.7))
    found = cause(shop(cart(limited)))
    assert (found.app, found.klass, found.instance) == (CART, "cpu-throttled", "cart-0")
    assert evidence(found, "throttled") == (0.0, 0.6)


def test_a_new_release_is_compared_with_the_old_one() -> None:
    """The old instance ended with the rollout, the new one is throttled from its first sample on."""
    made = shop(cart(**rollout(20)))
    old = instance(
        "cart-old", obsolete=True, containers=[container(cpu_usage=series(0.3, np.nan), cpu_throttled=series(0.0, np.nan))]
    )
    new = instance("cart-new", containers=[container(cpu_usage=series(np.nan, 0.5), cpu_throttled=series(np.nan, 0.6))])
    made.applications[CART].instances = {i.name: i for i in (old, new)}
    found = cause(made)
    assert (found.klass, found.instance, evidence(found, "throttled")) == ("cpu-throttled", "cart-new", (0.0, 0.6))
    assert evidence(found, "rollout") == (None, ONSET - 20)


@pytest.mark.parametrize(("since", "klass"), [(ONSET + 15, "cpu-throttled"), (ONSET - 3000, "inside")])
def test_a_check_that_began_to_fail_with_the_incident_tells(since: float, klass: str) -> None:
    failing = CheckResult("CPUThrottling", "cpu", "fail", 0.5, 0.1, since, ("cart-0",))
    diagnosis = diagnose(shop(cart()), {CART: [failing]}, WEB, [], NOW)
    assert (diagnosis.causes[0].app, diagnosis.causes[0].klass) == (CART, klass)


def neighbour(name: str, usage: F64, node: str = "node-1") -> Application:
    return application(key(name), [instance(f"{name}-0", node, containers=[container(cpu_usage=usage)])])


BUSY = Node("node-1", True, cpu_cores=4, cpu_usage=series(0.3, 0.98))


def test_a_noisy_neighbour_is_named_with_its_node() -> None:
    waiting = container(cpu_usage=series(0.3), cpu_throttled=series(0.0), cpu_delay=series(0.01, 0.8))
    far = neighbour("far", series(0.1, 9.0), "node-2")
    others = (neighbour("thumbnailer", series(0.1, 3.0)), neighbour("quiet", series(0.5)), far)
    found = cause(shop(cart(waiting), others, nodes=(BUSY,)))
    assert (found.klass, found.neighbour, found.node) == ("noisy-neighbour", "shop/thumbnailer.deployment", "node-1")
    assert [k.name for k in found.path] == ["web", "cart", "thumbnailer"]
    assert found.app.name == "thumbnailer"
    assert evidence(found, "neighbour") == (0.1, 3.0)


def test_all_that_one_neighbour_slows_down_is_one_cause() -> None:
    """Three services of one node, none of which has most of the extra time."""
    names = ("a", "b", "c")
    services = {"web": S(calls=dict.fromkeys(names, 1))} | {name: S(slow=0.11) for name in names}
    made = simulate(services, "web")
    for name in names:
        held = container(cpu_usage=series(0.3), cpu_delay=series(0.01, 0.8))
        made.applications[key(name)].instances = {"pod": instance(f"{name}-0", containers=[held])}
    noisy = neighbour("thumbnailer", series(0.1, 3.0))
    made.applications[noisy.key] = noisy
    found = cause(made)
    assert (found.app, found.klass) == (noisy.key, "noisy-neighbour")
    assert found.share > 0.9


def test_a_neighbour_that_was_not_there_before_is_one_too() -> None:
    waiting = container(cpu_usage=series(0.3), cpu_delay=series(0.01, 0.8))
    others = (neighbour("batch", series(np.nan, 2.0)),)
    assert cause(shop(cart(waiting), others)).neighbour == "shop/batch.deployment"


def test_waiting_for_cpu_on_a_busy_node_without_a_neighbour_to_name() -> None:
    waiting = container(cpu_usage=series(0.3), cpu_delay=series(0.01, 0.8))
    found = cause(shop(cart(waiting), nodes=(BUSY,)))
    assert (found.app, found.klass, found.neighbour) == (CART, "cpu-contention", "")


def test_more_cpu_for_the_same_traffic_is_its_own_demand() -> None:
    hungry = container(cpu_usage=series(0.3, 1.8), cpu_throttled=series(0.0), cpu_delay=series(0.01, 0.02))
    assert cause(shop(cart(hungry))).klass == "cpu-demand"


def test_an_oom_kill_outweighs_everything_inside() -> None:
    killed = container(cpu_usage=series(0.3, 1.0), oom_kills=last(3, 1.0), restarts=last(3, 1.0), cpu_throttled=series(0.0, 0.5))
    found = cause(shop(cart(killed), slow=None, failing=0.4))
    assert found.klass == "memory-oom"


def test_restarts_without_a_known_reason_are_instances_down() -> None:
    assert cause(shop(cart(container(restarts=last(3, 1.0))), slow=None, failing=0.4)).klass == "instance-down"


def rollout(seconds_before_onset: float) -> dict[str, object]:
    return {"changes": [Change(ONSET - seconds_before_onset, "rollout", "cart:v2")]}


def test_errors_after_a_rollout_are_a_bad_release() -> None:
    found = cause(shop(cart(**rollout(20)), slow=None, failing=0.5))
    assert found.klass == "bad-release"
    assert evidence(found, "rollout") == (None, ONSET - 20)


def test_slowness_after_a_rollout_is_a_bad_release() -> None:
    assert cause(shop(cart(container(cpu_usage=series(0.2, 1.5)), **rollout(60)))).klass == "bad-release"


@pytest.mark.parametrize("before", [-120, 150, 700])
def test_a_rollout_after_the_onset_or_long_before_is_none(before: float) -> None:
    assert cause(shop(cart(**rollout(before)), slow=None, failing=0.5)).klass == "error-burst"


def test_a_slow_rollout_counts_from_its_last_new_instance_on() -> None:
    slow = cart(**rollout(500))
    slow.instances["cart-0"].ready_since = ONSET - 60
    assert cause(shop(slow, slow=None, failing=0.5)).klass == "bad-release"


@pytest.mark.parametrize("ready", [ONSET - 60, ONSET + 120])
def test_a_pod_that_is_moved_days_after_a_rollout_makes_no_bad_release(ready: float) -> None:
    old = cart(**rollout(5 * 86400))
    old.instances["cart-0"].ready_since = ready
    assert cause(shop(old, slow=None, failing=0.5)).klass == "error-burst"


def test_a_rollout_elsewhere_is_a_decoy_and_dismissed() -> None:
    decoy = application(key("thumbnailer"), changes=[Change(ONSET - 30, "rollout", "thumbnailer:v2")])
    made = shop(cart(), (decoy,), slow=None, failing=0.5)
    diagnosis = diagnose(made, {}, WEB, [], NOW)
    assert [(c.app, c.klass) for c in diagnosis.causes] == [(CART, "error-burst")]
    assert len(diagnosis.dismissed) == 1
    assert "thumbnailer" in diagnosis.dismissed[0]


def test_a_rollout_of_the_violator_is_a_decoy_when_its_callee_fails() -> None:
    made = shop(cart(), slow=None, failing=0.5)
    made.applications[WEB].changes = (Change(ONSET - 30, "rollout", "web:v2"),)
    assert cause(made).app == CART


def test_errors_without_any_other_sign() -> None:
    assert cause(shop(cart(), slow=None, failing=0.5)).klass == "error-burst"


def test_slowness_without_any_other_sign() -> None:
    assert cause(shop(cart(container(cpu_usage=series(0.3), cpu_delay=series(0.01))))).klass == "inside"


def test_five_times_the_traffic_explains_throttling() -> None:
    limited = container(cpu_usage=series(0.2, 0.5), cpu_throttled=series(0.0, 0.6))
    found = cause(shop(cart(limited), rate=series(20.0, 100.0)))
    assert found.klass == "traffic-surge"


def test_a_surge_from_outside_is_charged_where_it_enters() -> None:
    found = cause(shop(cart(), rate=series(20.0, 100.0)))
    assert (found.app, found.klass, found.path) == (WEB, "traffic-surge", (WEB,))


def test_a_surge_of_a_client_in_the_cluster_is_that_clients() -> None:
    load, logger = application(key("load")), application(key("logger"))
    made = shop(cart(), (load, logger), rate=series(20.0, 100.0))
    for client, rate in ((load, series(19.0, 99.0)), (logger, series(1.0))):
        edge = connection(client.key, WEB, traffic({"2xx": rate}, series(0.02, 0.31)))
        made.applications[WEB].downstreams.append(edge)
        client.upstreams.append(edge)
    found = cause(made)
    assert (found.app, found.klass, found.path) == (load.key, "traffic-surge", (WEB, load.key))
    assert found.evidence[0].subject == "web->cart"


def test_more_calls_of_an_unchanged_number_of_users_are_no_surge() -> None:
    """A retry storm: cart gets five times the requests, the users' rate is what it was."""
    made = shop(cart(container(cpu_usage=series(0.2, 0.9))), rate=series(20.0, 100.0))
    made.applications[WEB].served = traffic({"2xx": series(20.0)}, series(0.02, 1.6))
    assert cause(made).klass == "cpu-demand"


def test_memory_at_its_limit() -> None:
    full = container(memory_rss=series(0.5e9, 0.97e9), memory_limit=series(1e9))
    assert cause(shop(cart(full))).klass == "memory-pressure"


def test_a_service_outside() -> None:
    stripe = application(AppKey("", EXTERNAL, "api.stripe.com:443"), [], ref=None)
    assert cause(shop(stripe)).klass == "external"


def test_a_node_that_lost_its_instances() -> None:
    down = application(CART, [instance("cart-0"), instance("cart-1", ready=False, unready_since=ONSET)], desired=2, available=1)
    found = cause(shop(down, slow=None, failing=0.5))
    assert (found.klass, found.instance) == ("instance-down", "cart-1")


def test_an_instance_that_was_never_ready_did_not_begin_now() -> None:
    stuck = instance("cart-1", ready=False, unready_since=ONSET - 9000)
    old = application(CART, [instance("cart-0"), stuck], desired=2, available=1)
    assert cause(shop(old, slow=None, failing=0.5)).klass == "error-burst"


POSTGRES, LEDGER = key("postgres", "StatefulSet"), key("ledger")


def database(own: Container | None = None, ledger: bool = False, **edge: F64) -> World:
    """cart, and ledger if asked for, call postgres over a protocol that nobody reads; ledger becomes slow too."""
    postgres = application(POSTGRES, [instance("postgres-0", containers=[own] if own else [])])
    others, connections = [postgres], [connection(CART, POSTGRES, **edge)]
    if ledger:
        slow = application(LEDGER)
        slow.served = traffic({"2xx": series(5.0)}, series(0.01, 0.4))
        others.append(slow)
        connections.append(connection(LEDGER, POSTGRES))
    return shop(cart(container(cpu_usage=series(0.3))), tuple(others), tuple(connections))


def test_a_dependency_with_troubles_of_its_own_is_blamed_for_waiting_callers() -> None:
    found = cause(database(container(cpu_throttled=series(0.0, 0.9))))
    assert (found.app, found.klass, [k.name for k in found.path]) == (POSTGRES, "cpu-throttled", ["web", "cart", "postgres"])


def test_connections_that_stay_busy_point_to_the_dependency() -> None:
    found = cause(database(active=series(2.0, 9.0), bytes_sent=series(1e4)))
    assert (found.app, found.klass) == (POSTGRES, "inside")
    assert evidence(found, "opaque") == (2.0, 9.0)


def test_busy_connections_over_which_nothing_goes_are_held_by_the_caller() -> None:
    found = cause(database(active=series(2.0, 8.0), bytes_sent=series(1e4, 100.0)))
    assert (found.app, found.klass) == (CART, "pool-saturation")


def test_errors_at_once_are_the_callers_own_however_busy_its_database_is() -> None:
    made = database(active=series(2.0, 9.0), bytes_sent=series(1e4))
    answers = {"2xx": series(20.0, 8.0), "5xx": series(0.0, 12.0)}
    made.applications[CART].served = traffic(answers, series(0.01))
    made.applications[WEB].served = traffic(answers, series(0.015))
    made.connections[0].traffic = traffic(answers, series(0.0105))
    assert (cause(made).app, cause(made).klass) == (CART, "error-burst")


def test_another_caller_that_has_its_own_reason_to_be_late_proves_nothing() -> None:
    made = database(ledger=True)
    made.applications[LEDGER].instances["ledger-0"].containers["main"] = container(cpu_throttled=series(0.0, 0.9))
    assert cause(made).app == CART


def test_two_callers_that_became_slow_point_to_what_they_share() -> None:
    found = cause(database(ledger=True))
    assert (found.app, found.klass) == (POSTGRES, "inside")


def test_without_evidence_the_caller_keeps_its_share() -> None:
    found = cause(database(active=series(3.0), bytes_sent=series(1e4)))
    assert (found.app, found.klass) == (CART, "inside")


def test_a_caller_that_is_throttled_itself_does_not_blame_its_database() -> None:
    made = database(active=series(2.0, 9.0))
    made.applications[CART].instances["cart-0"].containers["main"].cpu_throttled = series(0.0, 0.9)
    assert cause(made).app == CART


def test_a_proxy_in_between_is_passed() -> None:
    """cart -> pgproxy -> postgres, both connections busy: the deepest one."""
    proxy = application(key("pgproxy"))
    made = shop(
        cart(container(cpu_usage=series(0.3))),
        (proxy, application(POSTGRES)),
        (connection(CART, proxy.key, active=series(2.0, 9.0)), connection(proxy.key, POSTGRES, active=series(2.0, 9.0))),
    )
    assert cause(made).app == POSTGRES


def test_round_trips_and_retransmits_are_told_with_a_slow_network() -> None:
    made = shop(cart(), slow=None, rtt=series(0.001, 0.1), retransmits=series(0.0, 5.0))
    edge = made.connections[0]
    edge.traffic = traffic({"2xx": series(20.0)}, series(0.011, 0.3))
    made.applications[WEB].served = traffic({"2xx": series(20.0)}, series(0.02, 0.31))
    found = cause(made)
    assert found.klass == "network-latency"
    assert {e.signal for e in found.evidence} >= {"network-gap", "rtt", "retransmits"}


def test_the_tables_fit_together() -> None:
    assert {rule.klass for rule in RULES} == set(CLASSES)
    for rule in RULES:
        assert {*rule.every, *rule.some, *rule.none} <= set(SIGNALS), rule
    assert classify(()).klass == "unknown"


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.klass}-{'-'.join(r.every)}")
def test_no_rule_is_hidden_behind_an_earlier_one(rule: object) -> None:
    own = {*rule.every, *rule.some[:1]}  # type: ignore[attr-defined]
    assert classify(own) == rule


def test_nothing_known_of_the_time_before_is_thin() -> None:
    made = shop(cart())
    for thing in (*(a.served for a in made.applications.values()), *(c.traffic for c in made.connections)):
        thing.requests = {s: np.where(np.arange(T) < T - 22, np.nan, v) for s, v in thing.requests.items()}
        assert thing.seconds is not None and thing.timed is not None and thing.buckets is not None
        for values in (thing.seconds, thing.timed):
            values[: T - 22] = np.nan
        thing.buckets[:, : T - 22] = np.nan
    diagnosis = diagnose(made, {}, WEB, [], NOW)
    assert not diagnosis.dominant
