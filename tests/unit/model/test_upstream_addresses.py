import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.api.scope import Scope
from appstatus.model.addresses import Addresses, Upstream, split
from appstatus.model.facts import Facts
from appstatus.model.identity import Identities
from clusters import deployment, facts, node, pod, service

CART, REDIS = deployment("cart", pod_labels={"app": "cart"}), deployment("redis", kind="StatefulSet")
CART_POD, REDIS_POD = pod("cart-5d4f8c7b9-xk2lp", CART, "10.1.0.1"), pod("redis-0", REDIS, "10.1.0.2")


def addresses(known: Facts, listens: list[tuple[str, str, bool, str]] = (), fqdns: list[tuple[str, str]] = ()) -> Addresses:  # type: ignore[assignment]
    identities = Identities(known, Scope((), {}))
    owners = [(identities.container(cid, node_name), node_name, host, address) for cid, node_name, host, address in listens]
    return Addresses(known, identities, owners, list(fqdns))


def resolve(known: Facts, destination: str, actual: str = "", **more: list) -> Upstream | None:  # type: ignore[type-arg]
    return addresses(known, **more).resolve(destination, actual)


ALL = facts([CART, REDIS], [CART_POD, REDIS_POD], [service("cart", "10.96.0.1", 80, [CART_POD])])


def test_a_service_address_is_the_application_and_the_pod_that_answered() -> None:
    assert resolve(ALL, "10.96.0.1:80", "10.1.0.1:8080") == (CART.key, "cart-5d4f8c7b9-xk2lp")


def test_a_service_address_without_an_answer_is_the_application() -> None:
    assert resolve(ALL, "10.96.0.1:80") == (CART.key, "")


def test_a_pod_address_is_the_pod() -> None:
    assert resolve(ALL, "10.1.0.2:6379", "10.1.0.2:6379") == (REDIS.key, "redis-0")


def test_the_service_decides_when_the_pod_that_answered_is_gone_or_its_address_has_a_new_holder() -> None:
    assert resolve(ALL, "10.96.0.1:80", "10.1.0.99:8080") == (CART.key, "")
    assert resolve(ALL, "10.96.0.1:80", "10.1.0.2:8080") == (CART.key, "")


def test_another_port_of_a_service_address_is_not_that_service() -> None:
    assert resolve(ALL, "10.96.0.1:81") == (AppKey("", EXTERNAL, "10.96.0.1:81"), "")


def test_a_service_of_an_application_scaled_to_zero_still_is_that_application() -> None:
    known = facts([CART], [], [service("web", "10.96.0.1", 80, selector={"app": "cart"})])
    assert resolve(known, "10.96.0.1:80") == (CART.key, "")


def test_a_service_with_nothing_behind_it_is_shown_by_its_name() -> None:
    known = facts([], [], [service("kubernetes", "10.96.0.1", 443)])
    assert resolve(known, "10.96.0.1:443") == (AppKey("", EXTERNAL, "kubernetes.shop.svc:443"), "")


def test_of_two_applications_behind_one_service_the_pod_that_answered_decides_else_the_larger() -> None:
    canary = deployment("cart-canary")
    canary_pod = pod("cart-canary-5d4f8c7b9-bbbbb", canary, "10.1.0.7")
    more = pod("cart-5d4f8c7b9-ccccc", CART, "10.1.0.8")
    known = facts([CART, canary], [CART_POD, canary_pod, more], [service("cart", "10.96.0.1", 80, [canary_pod, CART_POD, more])])
    assert resolve(known, "10.96.0.1:80", "10.1.0.7:8080") == (canary.key, canary_pod.name)
    assert resolve(known, "10.96.0.1:80") == (CART.key, "")


def test_a_pod_on_the_hosts_network_is_found_by_what_listens_there() -> None:
    exporter = deployment("exporter", kind="DaemonSet")
    known = facts([exporter], [pod("exporter-xk2lp", exporter, "10.0.0.1", host_network=True)])
    listens = [("/k8s/shop/exporter-xk2lp/main", "node-1", True, "0.0.0.0:9100")]
    assert resolve(known, "10.0.0.1:9100", listens=listens) == (exporter.key, "exporter-xk2lp")
    assert resolve(known, "10.0.0.1:9101", listens=listens) == (AppKey("", EXTERNAL, "10.0.0.1:9101"), "")


def test_the_same_port_on_another_node_is_somebody_else() -> None:
    known = facts(nodes=[node("node-1", "m1", "10.0.0.1"), node("node-2", "m2", "10.0.0.2")])
    listens = [("/system.slice/kubelet.service", "node-1", True, "[::]:10250")]
    assert resolve(known, "10.0.0.1:10250", listens=listens) == (
        AppKey("", "SystemdUnit", "kubelet.service"),
        "kubelet.service@node-1",
    )
    assert resolve(known, "10.0.0.2:10250", listens=listens) == (AppKey("", EXTERNAL, "10.0.0.2:10250"), "")


def test_without_the_api_server_listening_addresses_tell() -> None:
    listens = [("/k8s/shop/cart-5d4f8c7b9-xk2lp/main", "node-1", False, "10.1.0.1:8080")]
    assert resolve(Facts(), "10.96.0.1:80", "10.1.0.1:8080", listens=listens) == (CART.key, "cart-5d4f8c7b9-xk2lp")


def test_services_outside_are_named_by_dns_always_the_same_way() -> None:
    stripe = AppKey("", EXTERNAL, "api.stripe.com:443")
    names = [("3.3.3.3", "api.stripe.com"), ("3.3.3.4", "api.stripe.com"), ("3.3.3.3", "ec2-3-3-3-3.amazonaws.com")]
    for order in (names, names[::-1]):
        assert resolve(ALL, "3.3.3.3:443", "3.3.3.3:443", fqdns=order) == (stripe, "")
        assert resolve(ALL, "3.3.3.4:443", fqdns=order) == (stripe, "")
    assert resolve(ALL, "api.stripe.com:443") == (stripe, "")


def test_names_inside_the_cluster_are_its_services() -> None:
    known = facts([REDIS], [REDIS_POD], [service("redis", "", 6379, [REDIS_POD])])
    assert resolve(known, "10.1.0.77:6379", fqdns=[("10.1.0.77", "redis-0.redis.shop.svc.cluster.local")]) == (REDIS.key, "")
    assert resolve(known, "redis.shop.svc:6379") == (REDIS.key, "")


def test_a_name_that_a_pods_address_once_had_is_not_the_pods() -> None:
    known = facts([CART, REDIS], [CART_POD, REDIS_POD], [service("redis", "", 6379, [REDIS_POD])])
    old = [("10.1.0.1", "redis-0.redis.shop.svc.cluster.local")]
    assert resolve(known, "10.1.0.1:8080", "10.1.0.1:8080", fqdns=old) == (CART.key, CART_POD.name)


@pytest.mark.parametrize("destination", ["127.0.0.1:8080", "[::1]:8080"])
def test_loopback_is_nobody(destination: str) -> None:
    assert resolve(ALL, destination, destination) is None


def test_destinations_beyond_the_agents_limit_are_one_unknown() -> None:
    assert resolve(ALL, "~other") == (AppKey("", EXTERNAL, "~other"), "")


def test_finished_and_deleted_pods_do_not_hold_their_old_address() -> None:
    done = pod("report-1-xk2lp", deployment("report", kind="CronJob"), "10.1.0.1", phase="Succeeded", created=0.0)
    known = facts([CART], [CART_POD, done])
    assert resolve(known, "10.1.0.1:80") == (CART.key, CART_POD.name)


@pytest.mark.parametrize(
    ("address", "expected"), [("1.2.3.4:80", ("1.2.3.4", "80")), ("[fe80::1]:80", ("fe80::1", "80")), ("host", ("host", ""))]
)
def test_addresses_are_split(address: str, expected: tuple[str, str]) -> None:
    assert split(address) == expected
