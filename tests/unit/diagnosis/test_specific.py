"""What the failures of an application have in common, told by its instances."""

import numpy as np
import pytest
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.wording import line
from appstatus.model.world import Instance, World
from worlds import NOW, application, connection, instance, key, series, traffic, world


def pod(name: str, failing: float, version: str = "v1", node: str = "node-1", rate: float = 5.0) -> Instance:
    bad = series(0.0, failing * rate)
    return instance(name, node, version=version, served=traffic({"2xx": series(rate) - bad, "5xx": bad}))


def shop(*pods: Instance) -> World:
    """web calls cart, of which some instances fail."""
    statuses = {s: np.sum([p.served.requests[s] for p in pods if p.served is not None], axis=0) for s in ("2xx", "5xx")}
    cart = application(key("cart"), pods, served=traffic(statuses, 0.01))
    web = application(key("web"), served=traffic(statuses, 0.02))
    return world([web, cart], [connection(key("web"), key("cart"), traffic(statuses, 0.011))])


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([pod("cart-0", 0.0), pod("cart-1", 0.8), pod("cart-2", 0.0)], "all failures are on instance=cart-1"),
        (
            [pod("cart-0", 0.5, "v2"), pod("cart-1", 0.5, "v2"), pod("cart-2", 0.0), pod("cart-3", 0.0)],
            "all failures are on version=v2",
        ),
        (
            [pod("cart-0", 0.5, node="node-3"), pod("cart-1", 0.0), pod("cart-2", 0.5, node="node-3"), pod("cart-3", 0.0)],
            "all failures are on node=node-3",
        ),
        ([pod("cart-0", 0.5), pod("cart-1", 0.5), pod("cart-2", 0.5)], ""),
        ([pod("cart-0", 0.5)], ""),
    ],
)
def test_what_failures_have_in_common_is_said(pods: list[Instance], said: str) -> None:
    diagnosis = diagnose(shop(*pods), {}, key("web"), [], NOW)
    assert diagnosis.causes[0].app == key("cart")
    assert diagnosis.causes[0].attribution.startswith(said) and bool(diagnosis.causes[0].attribution) == bool(said)
    assert said in line(diagnosis)


def test_where_nothing_is_kept_by_instance_nothing_is_said() -> None:
    made = shop(pod("cart-0", 0.0), pod("cart-1", 0.8))
    for each in made.applications[key("cart")].instances.values():
        each.served = None
    assert diagnose(made, {}, key("web"), [], NOW).causes[0].attribution == ""


def test_an_instance_that_only_gets_more_traffic_is_not_to_blame() -> None:
    pods = [pod("cart-0", 0.2), pod("cart-1", 0.2, rate=50.0)]
    assert diagnose(shop(*pods), {}, key("web"), [], NOW).causes[0].attribution == ""
