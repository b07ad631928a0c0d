from dataclasses import replace

import numpy as np
import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.api.project import parse_project
from appstatus.api.scope import Scope
from appstatus.model.build import build
from appstatus.model.facts import ContainerFact, Facts
from appstatus.model.identity import is_former
from appstatus.model.queries import BACKFILL, BY_ID, QUERIES, window
from appstatus.model.series import Series
from appstatus.model.who import Who
from appstatus.model.world import BUCKETS, World
from clusters import MACHINE, NOW, Rows, T, built, deployment, facts, k8s, metrics, node, pod, service

N = np.nan
CART, REDIS = deployment("cart"), deployment("redis", kind="StatefulSet")
CART_A, CART_B = pod("cart-5d4f8c7b9-aaaaa", CART, "10.1.0.1"), pod("cart-5d4f8c7b9-bbbbb", CART, "10.1.0.3", "node-2")
REDIS_POD = pod("redis-0", REDIS, "10.1.0.2")
ALL = facts([CART, REDIS], [CART_A, CART_B, REDIS_POD], [service("redis", "10.96.0.2", 6379, [REDIS_POD])])
TO_REDIS = {"destination": "10.96.0.2:6379", "actual_destination": "10.1.0.2:6379"}


def made(known: Facts = ALL, failed: dict[str, str] | None = None, **answers: Rows) -> World:
    return built(known, metrics(answers, failed))


def test_an_application_without_any_metric_is_there() -> None:
    world = made()
    cart = world.applications[CART.key]
    assert (cart.desired, cart.available, cart.ref) == (1, 1, CART.ref)
    assert set(cart.instances) == {CART_A.name, CART_B.name}
    assert cart.instances[CART_B.name].node == "node-2"
    assert np.isnan(cart.served.total(T)).all()


def test_an_empty_cluster_without_metrics_is_an_empty_world() -> None:
    world = built(Facts(), metrics({}))
    assert (world.applications, world.connections, world.nodes) == ({}, [], {})


def test_failed_queries_are_named() -> None:
    assert made(failed={"requests_in": "timeout"}).missing == {"requests_in": "timeout"}


def test_container_arrays_are_those_of_the_container_and_none_where_the_metric_does_not_exist() -> None:
    world = made(
        container_cpu_usage=[(k8s(CART_A.name), 0.5), (k8s(CART_A.name, "sidecar"), 0.1), (k8s(CART_B.name), 0.7)],
        container_oom_kills=[(k8s(CART_A.name), [0, 0, 0, 1, 1, 1, 1, 3])],
    )
    instances = world.applications[CART.key].instances
    assert instances[CART_A.name].containers["main"].cpu_usage == pytest.approx(0.5)
    assert instances[CART_A.name].containers["sidecar"].cpu_usage == pytest.approx(0.1)
    assert instances[CART_B.name].containers["main"].cpu_throttled is None
    assert instances[CART_A.name].containers["main"].oom_kills == pytest.approx([0, 0, 0, 1, 0, 0, 0, 2])


def test_a_pod_that_moved_between_machines_is_one_instance() -> None:
    halves = [
        (k8s(REDIS_POD.name, machine="m1"), [1.0] * 4 + [N] * 4),
        (k8s(REDIS_POD.name, machine="m2"), [N] * 4 + [2.0] * 4),
    ]
    container = made(container_memory_rss=halves).applications[REDIS.key].instances["redis-0"].containers["main"]
    assert container.memory_rss == pytest.approx([1.0] * 4 + [2.0] * 4)


def test_limits_of_the_pod_stand_in_where_the_agent_does_not_say() -> None:
    limited = pod(
        "cart-5d4f8c7b9-aaaaa", CART, "10.1.0.1", containers=(ContainerFact("main", "i", cpu_limit=0.5, memory_limit=1e8),)
    )
    world = made(facts([CART], [limited]), container_cpu_limit=[(k8s(limited.name), 0.25)])
    container = world.applications[CART.key].instances[limited.name].containers["main"]
    assert container.cpu_limit == pytest.approx(0.25)
    assert container.memory_limit == pytest.approx(1e8)


def test_instances_that_are_gone_stay_as_obsolete_while_their_series_are_there() -> None:
    world = made(container_memory_rss=[(k8s("cart-5d4f8c7b9-ccccc"), [1.0] * 4 + [N] * 4)])
    gone = world.applications[CART.key].instances["cart-5d4f8c7b9-ccccc"]
    assert (gone.obsolete, gone.ready) == (True, False)


def test_an_older_version_is_obsolete_once_it_is_not_ready_or_deleted() -> None:
    """While a rollout is stuck the old version serves, and is judged."""
    serving = pod("cart-1-bbbbb", CART, "10.1.0.1", version="1", created=1.0)
    stopped = pod("cart-1-ccccc", CART, "10.1.0.2", version="1", created=1.0, ready=False)
    leaving = pod("cart-1-ddddd", CART, "10.1.0.3", version="1", created=1.0, deleted=True)
    starting = pod("cart-2-bbbbb", CART, "10.1.0.4", version="2", ready=False)
    instances = made(facts([CART], [serving, stopped, leaving, starting])).applications[CART.key].instances
    assert [instances[p.name].obsolete for p in (serving, stopped, leaving, starting)] == [False, True, True, False]


def test_why_a_pod_is_not_ready_is_told() -> None:
    crashing = pod(
        "cart-1-aaaaa", CART, "10.1.0.1", ready=False, containers=(ContainerFact("main", "i", waiting_reason="CrashLoopBackOff"),)
    )
    pending = pod(
        "cart-1-bbbbb", CART, "", ready=False, scheduled=False, unschedulable_message="0/3 nodes available", unready_since=5.0
    )
    instances = made(facts([CART], [crashing, pending])).applications[CART.key].instances
    assert (instances[crashing.name].trouble, instances[crashing.name].unready_since) == ("CrashLoopBackOff", crashing.created)
    assert (instances[pending.name].trouble, instances[pending.name].unready_since) == ("Unschedulable: 0/3 nodes available", 5.0)


def test_without_the_api_server_applications_come_from_the_metrics() -> None:
    world = made(
        Facts(),
        container_memory_rss=[(k8s("cart-5d4f8c7b9-xk2lp"), 1e8), (k8s("cart-5d4f8c7b9-bbbbb"), [1e8] * 4 + [N] * 4)],
        node_info=[({"machine_id": MACHINE, "hostname": "worker-1"}, 1)],
    )
    cart = world.applications[CART.key]
    assert (cart.desired, cart.ref) == (None, None)
    states = [(i.node, i.ready, i.obsolete) for i in cart.instances.values()]
    assert states == [("worker-1", True, False), ("worker-1", False, False)]


GONE, HERE = [1.0, 1, 1, N, N, N, N, N], [N, N, N, 1.0, 1, 1, 1, 1]


@pytest.mark.parametrize("gone", [GONE, [1.0] * 6 + [N, N]])
def test_who_listened_at_an_address_last_is_asked_there(gone: list[float]) -> None:
    old, new, client = k8s("cart-6c8d9f7b5-bcdfg"), k8s("billing-6c8d9f7b5-xxxxx"), k8s("frontend-6c8d9f7b5-bbbbb")
    there = {"listen_addr": "10.1.0.5:8080"}
    called = {"requests_out": [(client | {"destination": "10.1.0.5:8080", "status": "5xx"}, 3.0)]}
    listens = [(old | there, gone), (new | there, HERE)]
    [connection] = built(Facts(), metrics(called | {"listen": listens})).connections
    assert connection.upstream == AppKey("shop", "Deployment", "billing")
    [connection] = built(Facts(), metrics(called | {"listen": listens[:1]})).connections
    assert connection.upstream == AppKey("shop", "Deployment", "cart"), "nobody newer claims it"


def test_a_name_that_is_still_seen_counts_more_than_one_that_is_not() -> None:
    names = [({"ip": "3.3.3.3", "fqdn": "old.io"}, GONE), ({"ip": "3.3.3.3", "fqdn": "much.newer.io"}, HERE)]
    called = {"requests_out": [(k8s(CART_A.name) | {"destination": "3.3.3.3:443", "status": "2xx"}, 3.0)]}
    [connection] = built(ALL, metrics(called | {"ip_to_fqdn": names})).connections
    assert connection.upstream.name == "much.newer.io:443"
    [connection] = built(ALL, metrics(called | {"ip_to_fqdn": names[:1]})).connections
    assert connection.upstream.name == "old.io:443"


def grouping(*names: str) -> Scope:
    custom = [{"name": name, "namespace": "shop", "instances": ["cart-*"]} for name in names]
    spec = {"prometheus": {"url": "http://x"}, "customApplications": custom}
    metadata = {"name": "default", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    project = parse_project({"apiVersion": "appstatus.dev/v1alpha1", "kind": "Project", "metadata": metadata, "spec": spec})
    assert not project.problems
    return Scope([project], {"shop": {}})


def test_a_custom_application_is_gone_with_its_name_in_the_project() -> None:
    to_cart = {"destination": "10.1.0.1:80", "actual_destination": "10.1.0.1:80", "status": "5xx"}
    answers = metrics(
        {
            "requests_in": [(k8s(CART_A.name) | {"peer": "outside", "status": "2xx"}, 5.0)],
            "requests_out": [(k8s(REDIS_POD.name) | to_cart, 3.0), (k8s(CART_A.name) | TO_REDIS | {"status": "overdue"}, 2.0)],
        }
    )
    before = Who(ALL, answers, grouping("basket"))
    kept = {
        query: Series(*before.fold(BY_ID[query], [(series.keys, series.values)], T)[:2]) for query, series in answers.series.items()
    }
    basket = AppKey("shop", "CustomApplication", "basket")
    rings = replace(answers, series=kept)
    then = build(before, rings, NOW)
    assert then.applications[basket].served.requests and {c.client for c in then.connections} == {basket, REDIS.key}
    for names in ((), ("renamed",)):
        now = build(Who(ALL, answers, grouping(*names)), rings, NOW)
        assert [(c.client, c.upstream) for c in now.connections] == [(basket, REDIS.key)], "what redis was asked it was asked"
        assert not now.applications[basket].served.requests and not now.applications[REDIS.key].upstreams
        assert is_former(basket, grouping(*names)) and not is_former(basket, grouping("basket"))


def test_nodes_are_found_by_machine_id_else_by_host_name() -> None:
    known = facts(nodes=[node("node-1", MACHINE), node("node-2", "")])
    world = made(
        known,
        node_info=[({"machine_id": MACHINE, "hostname": "whatever"}, 1), ({"machine_id": "m2", "hostname": "node-2"}, 1)],
        node_cpu_cores=[({"machine_id": MACHINE}, 2), ({"machine_id": "m2"}, 8)],
        node_cpu_usage=[({"machine_id": MACHINE}, 1.0), ({"machine_id": "m2"}, 2.0)],
    )
    assert set(world.nodes) == {"node-1", "node-2"}
    assert world.nodes["node-1"].cpu_usage == pytest.approx(0.5)
    assert world.nodes["node-2"].cpu_usage == pytest.approx(0.25)


def test_a_connection_adds_up_all_instances_of_both_sides() -> None:
    world = made(
        tcp_connects=[(k8s(CART_A.name) | TO_REDIS, 1.0), (k8s(CART_B.name) | TO_REDIS, 2.0)],
        tcp_failed_connects=[(k8s(CART_B.name) | {"destination": "10.96.0.2:6379"}, 0.5)],
        tcp_rtt=[(k8s(CART_A.name) | TO_REDIS, 0.001), (k8s(CART_B.name) | TO_REDIS, 0.003)],
        requests_out=[
            (k8s(CART_A.name) | TO_REDIS | {"status": "2xx"}, 5.0),
            (k8s(CART_B.name) | TO_REDIS | {"status": "200"}, 7.0),
        ],
        requests_out_seconds=[(k8s(CART_A.name) | TO_REDIS, 0.5)],
        requests_out_timed=[(k8s(CART_A.name) | TO_REDIS, 5.0)],
    )
    [connection] = world.connections
    assert (connection.client, connection.upstream) == (CART.key, REDIS.key)
    assert connection.connects == pytest.approx(3.0)
    assert connection.failed_connects == pytest.approx(0.5)
    assert connection.rtt == pytest.approx(0.002)
    assert np.isnan(connection.bytes_sent).all()
    assert connection.traffic.requests["2xx"] == pytest.approx(12.0)
    assert connection.traffic.seconds == pytest.approx(0.5)
    assert world.applications[CART.key].upstreams == [connection] == world.applications[REDIS.key].downstreams


KUBELET = {"machine_id": MACHINE, "container_id": "/system.slice/kubelet.service"}


def clients(destination: str, client: dict[str, str], known: Facts = ALL) -> list[str]:
    world = made(known, tcp_failed_connects=[(client | {"destination": destination}, 1.0)])
    return [connection.client.name for connection in world.connections]


def test_probes_of_the_kubelet_are_nobodys_requests() -> None:
    assert clients("10.1.0.2:6379", KUBELET) == []


def test_what_a_node_sends_to_services_or_to_other_nodes_is_kept() -> None:
    assert clients("10.96.0.2:6379", KUBELET) == ["kubelet.service"]
    assert clients("10.1.0.3:80", KUBELET) == ["kubelet.service"]


def test_scrapes_are_nobodys_requests_but_other_calls_of_the_scraper_are() -> None:
    scraper = deployment("metrics", kind="StatefulSet")
    image = ContainerFact("main", "quay.io/prometheus/prometheus:v3")
    known = facts(
        [CART, REDIS, scraper],
        [CART_A, REDIS_POD, pod("metrics-0", scraper, "10.1.0.9", containers=(image,))],
        [service("redis", "10.96.0.2", 6379, [REDIS_POD])],
    )
    assert clients("10.1.0.2:6379", k8s("metrics-0"), known) == []
    assert clients("10.96.0.2:6379", k8s("metrics-0"), known) == ["metrics"]
    assert clients("10.1.0.2:6379", k8s(CART_A.name), known) == ["cart"]


def test_calls_of_an_application_to_itself_are_left_out() -> None:
    world = made(tcp_connects=[(k8s(CART_A.name) | {"destination": "10.1.0.3:80", "actual_destination": "10.1.0.3:80"}, 1.0)])
    assert world.connections == []


def test_failed_connects_to_an_application_scaled_to_zero_are_a_connection_to_it() -> None:
    payment = deployment("payment", desired=0, available=0, pod_labels={"app": "payment"})
    known = facts([CART, payment], [CART_A], [service("payment", "10.96.0.9", 80, selector={"app": "payment"})])
    world = made(known, tcp_failed_connects=[(k8s(CART_A.name) | {"destination": "10.96.0.9:80"}, 4.0)])
    [connection] = world.applications[payment.key].downstreams
    assert connection.failed_connects == pytest.approx(4.0)
    assert np.isnan(connection.connects).all()


def test_a_peer_outside_becomes_an_application() -> None:
    destination = {"destination": "3.3.3.3:443", "actual_destination": "3.3.3.3:443"}
    world = made(
        tcp_connects=[(k8s(CART_A.name) | destination, 1.0)], ip_to_fqdn=[({"ip": "3.3.3.3", "fqdn": "api.stripe.com"}, 1)]
    )
    stripe = world.applications[AppKey("", EXTERNAL, "api.stripe.com:443")]
    assert stripe.ref is None
    assert stripe.downstreams[0].client == CART.key


def answers(*rows: tuple[str, str, float]) -> Rows:
    return [(k8s(CART_A.name) | {"peer": peer, "status": status}, value) for peer, status, value in rows]


def test_answers_add_up_over_peers_and_codes_become_classes() -> None:
    given = answers(("cluster", "2xx", 5.0), ("outside", "200", 2.0), ("outside", "503", 1.0))
    cart = made(requests_in=given).applications[CART.key]
    assert {s: float(v[0]) for s, v in cart.served.requests.items()} == {"2xx": 7.0, "5xx": 1.0}
    assert {s: float(v[0]) for s, v in cart.outside.requests.items()} == {"2xx": 2.0, "5xx": 1.0}


def test_of_each_instance_it_is_known_what_it_answered() -> None:
    other = [(k8s(CART_B.name) | {"peer": "cluster", "status": "503"}, 3.0)]
    answered = [*answers(("cluster", "2xx", 5.0), ("outside", "200", 2.0), ("local", "2xx", 9.0)), *other]
    cart = made(requests_in=answered).applications[CART.key]
    known = {i.name: i.served for i in cart.instances.values() if i.served is not None}
    found = {name: {status: float(v[0]) for status, v in served.requests.items()} for name, served in known.items()}
    assert found == {CART_A.name: {"2xx": 7.0}, CART_B.name: {"5xx": 3.0}}
    assert float(cart.served.total(T)[0]) == pytest.approx(10.0)


def test_calls_within_the_pod_count_only_where_nobody_else_calls() -> None:
    behind_proxy = made(requests_in=answers(("cluster", "2xx", 5.0), ("local", "2xx", 5.0))).applications[CART.key]
    assert behind_proxy.served.total(T) == pytest.approx(5.0)
    only_local = made(requests_in=answers(("cluster", "2xx", 0.0), ("local", "2xx", 5.0))).applications[CART.key]
    assert only_local.served.total(T) == pytest.approx(5.0)


def test_an_agent_without_peer_classes_is_counted_too() -> None:
    assert made(requests_in=answers(("", "200", 3.0))).applications[CART.key].served.total(T) == pytest.approx(3.0)


def histogram(bounds: dict[str, float], name: str = CART_A.name) -> Rows:
    return [(k8s(name) | {"peer": "cluster", "le": le}, value) for le, value in bounds.items()]


def test_histograms_add_up_over_instances() -> None:
    mine = {f"{b:g}": float(i) for i, b in enumerate(BUCKETS)} | {"+Inf": 24.0}
    world = made(
        requests_in=answers(("cluster", "2xx", 24.0)),
        requests_in_buckets=[*histogram(mine), *histogram(mine, CART_B.name)],
        requests_in_seconds=[(k8s(CART_A.name) | {"peer": "cluster"}, 3.0)],
    )
    served = world.applications[CART.key].served
    assert served.buckets is not None and served.timed is not None
    assert served.buckets[:, 0] == pytest.approx(2.0 * np.arange(25))
    assert served.timed == pytest.approx(48.0)
    assert served.seconds == pytest.approx(3.0)


def test_a_bound_that_the_agent_does_not_have_takes_the_next_lower_one() -> None:
    world = made(
        requests_in=answers(("cluster", "2xx", 9.0)),
        requests_in_buckets=histogram({"0.005": 2.0, "0.1": 6.0, "+Inf": 9.0, "bad": 1.0}),
    )
    buckets = world.applications[CART.key].served.buckets
    assert buckets is not None
    at = [float(buckets[BUCKETS.index(b), 0]) for b in (0.001, 0.005, 0.01, 0.075, 0.1, 0.5, 30.0)]
    assert at == [0.0, 2.0, 2.0, 2.0, 6.0, 6.0, 6.0]


def test_zeros_that_are_not_answered_are_zero_where_the_histogram_is_known() -> None:
    known = [N, 5.0, 5.0, 0.0, N, N, 0.0, 0.0]
    world = made(
        requests_in=answers(("cluster", "2xx", [N, 5.0, 5.0, N, N, N, N, N]), ("cluster", "5xx", [N, 1.0, N, N, N, N, N, N])),  # type: ignore[arg-type]
        requests_in_buckets=histogram({"+Inf": known}),  # type: ignore[dict-item]
        requests_out=[(k8s(CART_A.name) | TO_REDIS | {"status": "overdue"}, [N, N, 3.0, N, N, N, N, N])],
        requests_out_timed=[(k8s(CART_A.name) | TO_REDIS, known)],
    )
    served, [connection] = world.applications[CART.key].served, world.connections
    np.testing.assert_array_equal(served.requests["2xx"], [N, 5, 5, 0, N, N, 0, 0])
    np.testing.assert_array_equal(served.requests["5xx"], [N, 1, 0, 0, N, N, 0, 0])
    np.testing.assert_array_equal(connection.traffic.requests["overdue"], [N, 0, 3, 0, N, N, 0, 0])


def test_an_application_that_nobody_asks_has_answered_none_not_an_unknown_number() -> None:
    world = made(requests_in=[], requests_in_buckets=histogram({"+Inf": 0.0}))
    assert world.applications[CART.key].served.total(T) == pytest.approx(0.0)
    unread = made(requests_in_buckets=histogram({"+Inf": 0.0}))
    assert np.isnan(unread.applications[CART.key].served.total(T)).all(), "the query was not answered"


def test_where_a_query_has_not_been_asked_yet_absence_says_nothing() -> None:
    who = Who(ALL, metrics({}))
    requests, timed = np.full((1, T), N), np.zeros((1, T))
    requests[0, -1] = 2.0
    edge = (CART.key, REDIS.key)
    series = {"requests_out": Series([(*edge, "2xx")], requests, since=5), "requests_out_timed": Series([edge], timed)}
    [connection] = build(who, replace(metrics({}), series=series), NOW).connections
    np.testing.assert_array_equal(connection.traffic.requests["2xx"], [N, N, N, N, N, 0, 0, 2])


def test_an_answer_in_parts_is_one_sum_by_connection() -> None:
    who, query = Who(ALL, metrics({})), BY_ID["requests_out"]
    labels = [k8s(pod.name) | TO_REDIS | {"status": status} for pod, status in ((CART_A, "200"), (CART_B, "204"), (CART_B, "500"))]
    keys = [tuple(each[label] for label in query.by) for each in labels]
    block = np.array([[1.0, N], [2.0, N], [4.0, 8.0]])
    rows, values, count = who.fold(query, [(keys[:1], block[:1]), (keys[1:], block[1:])], 2)
    edge = (CART.key, REDIS.key)
    assert (rows, count) == ([(*edge, "2xx"), (*edge, "5xx")], 3)
    np.testing.assert_array_equal(values, [[3.0, N], [4.0, 8.0]])
    assert who.fold(query, [], 2)[0] == []


def test_the_table_of_queries_is_within_its_limits() -> None:
    assert len(QUERIES) <= 60
    assert len({q.id for q in QUERIES}) == len(QUERIES)
    requests = {"requests_in", "requests_in_buckets", "requests_out", "requests_out_timed"}
    assert {q.id for q in BACKFILL} == {*requests, "tcp_failed_connects"}


@pytest.mark.parametrize(("step", "expected"), [(15.0, 30.0), (60.0, 120.0), (300.0, 300.0), (3600.0, 3600.0)])
def test_a_rate_looks_back_over_two_samples_or_one_coarse_step(step: float, expected: float) -> None:
    assert window(step) == expected
