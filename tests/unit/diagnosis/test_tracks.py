"""The series behind a fact says the same as the fact, and the way of the pain what each call carries."""

import numpy as np
import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.propagation import propagation
from appstatus.diagnosis.result import Cause, Evidence
from appstatus.diagnosis.timeline import MOST, timeline
from appstatus.diagnosis.tracks import track
from appstatus.model.facts import Change
from appstatus.model.world import Application, Node, World
from callgraph import Service, simulate
from worlds import BAD_STEPS, NOW, ONSET, application, connection, container, instance, key, last, series, traffic, world

FRONT, CART, DB = key("front"), key("cart"), key("db")


def shop(*containers: object, slow: float | None = None, failing: float | None = None, **edge: object) -> World:
    """front calls cart."""
    more = {"instances": {"cart-0": instance("cart-0", containers=containers)}} if containers else {}  # type: ignore[arg-type]
    cart = Service(slow=slow, failing=failing, more=more, **edge)  # type: ignore[arg-type]
    return simulate({"front": Service(calls={"cart": 1}), "cart": cart}, "front")


def neighbour() -> World:
    held = container(cpu_usage=series(0.3), cpu_throttled=series(0.0), cpu_delay=series(0.01, 0.8))
    made = shop(held, slow=0.3)
    batch = application(key("batch", "Job"), [instance("batch-0", containers=[container(cpu_usage=series(0.1, 3.0))])])
    made.applications[batch.key] = batch
    made.nodes["node-1"] = Node("node-1", True, cpu_cores=4, cpu_usage=series(0.3, 0.98))
    return made


def unread() -> World:
    """cart waits for a database whose requests cannot be read."""
    made = shop(slow=0.3)
    made.applications[DB] = application(DB)
    edge = connection(CART, DB, active=series(2.0, 18.0))
    made.applications[CART].upstreams.append(edge)
    made.applications[DB].downstreams.append(edge)
    made.connections.append(edge)
    return made


WORLDS = {
    "throttled": shop(container(cpu_usage=series(0.3, 0.5), cpu_throttled=series(0.0, 0.6)), slow=0.3),
    "errors": shop(failing=0.4),
    "memory": shop(container(memory_rss=series(50.0, 97.0), memory_limit=series(100.0)), slow=0.3),
    "network": shop(net_during=0.3, arrays={"rtt": series(0.0005, 0.15), "retransmits": series(0.0, 8.0)}),
    "refused": shop(failing=0.9, silent=True, arrays={"failed_connects": series(0.0, 15.0), "connects": series(20.0, 5.0)}),
    "surge": simulate({"front": Service(slow=0.2), "web": Service(calls={"front": 1})}, "web", surge=4.0),
    "neighbour": neighbour(),
    "unread": unread(),
}
# Facts without a series: a moment, or what is known now only.
MOMENTS = {"rollout", "external", "network", "no-instances", "fewer-instances"}


def causes(made: World) -> list[Cause]:
    found = diagnose(made, {}, FRONT, [], NOW)
    assert found.causes
    return list(found.causes)


@pytest.mark.parametrize("name", WORLDS)
def test_the_series_of_every_fact_has_its_values_before_and_during(name: str) -> None:
    facts = [(cause, fact) for cause in causes(WORLDS[name]) for fact in cause.evidence if fact.signal not in MOMENTS]
    assert facts
    for cause, fact in facts:
        values = track(WORLDS[name], cause, fact)
        assert values is not None, fact
        during = float(np.nanmedian(values[-BAD_STEPS:]))
        assert during == pytest.approx(fact.during, rel=0.15, abs=0.002), fact
        if fact.before is not None:
            assert float(np.nanmedian(values[:-BAD_STEPS])) == pytest.approx(fact.before, rel=0.15, abs=0.002), fact


@pytest.mark.parametrize(
    "fact",
    [
        Evidence("rollout", "cart:2", None, ONSET, "time"),
        Evidence("a-signal-of-tomorrow", "cart", 1.0, 2.0, "s"),
        Evidence("a-signal-of-tomorrow", "front->cart", 1.0, 2.0, "s"),
        Evidence("throttled", "a-pod-that-is-gone", 0.0, 1.0, "s/s"),
        Evidence("latency", "nobody->nowhere", 0.0, 1.0, "s"),
        Evidence("node-cpu", "no-such-node", 0.0, 1.0, "%"),
    ],
)
def test_a_fact_that_is_not_in_the_world_has_no_series(fact: Evidence) -> None:
    assert track(WORLDS["throttled"], causes(WORLDS["throttled"])[0], fact) is None


def links(made: World) -> dict[tuple[str, str], tuple[float, str]]:
    found = propagation(made, diagnose(made, {}, FRONT, [], NOW), [])
    return {(link.start.name, link.end.name): (round(link.share, 1), link.how) for link in found}


def test_every_call_has_its_part_of_the_whole() -> None:
    services = {
        "front": Service(calls={"cart": 1, "mail": 1}),
        "cart": Service(calls={"db": 1}),
        "db": Service(slow=0.24),
        "mail": Service(slow=0.07),
    }
    expected = {("front", "cart"): (0.8, "calls"), ("cart", "db"): (0.8, "calls"), ("front", "mail"): (0.2, "calls")}
    assert links(simulate(services, "front")) == expected


def test_steps_that_are_no_calls_say_what_they_are() -> None:
    assert links(WORLDS["neighbour"])["cart", "batch"] == (1.0, "beside")
    assert links(WORLDS["unread"])["cart", "db"] == (1.0, "unread")
    client = application(key("web"))
    client.upstreams = []
    surge = traffic({"2xx": series(20.0, 100.0)}, series(0.01, 0.3))
    front = application(FRONT)
    front.served = surge
    made = world([front, client], [connection(key("web"), FRONT, surge)])
    assert links(made) == {("front", "web"): (1.0, "sends")}


def test_a_violator_that_is_gone_has_no_way() -> None:
    gone = diagnose(WORLDS["errors"], {}, key("gone"), [], NOW)
    assert propagation(WORLDS["errors"], gone, []) == ()


def changed(name: str, *changes: Change, **more: object) -> Application:
    return application(key(name), changes=changes, **more)  # type: ignore[arg-type]


def test_the_timeline_has_what_happened_near_the_onset_in_its_order() -> None:
    crashing = container(restarts=last(4, 1.0), oom_kills=last(1, 1.0))
    pods = [instance("cart-0", containers=[crashing], ready=False, unready_since=ONSET + 30, trouble="CrashLoopBackOff")]
    cart = application(CART, pods, changes=[Change(ONSET - 20, "rollout", "cart:1 -> cart:2"), Change(ONSET - 9000, "scale", "")])
    node = Node("node-1", True, changes=(Change(ONSET - 60, "node", "is cordoned"),))
    made = world([cart, changed("mail", Change(ONSET - 40, "config", "mail-settings"))], nodes=[node])
    found = [(each.what, each.on_path) for each in timeline(made, {CART}, ONSET)]
    assert found == [
        ("is cordoned", True),
        ("config mail-settings", False),
        ("rollout cart:1 -> cart:2", True),
        ("cart-0 is not ready since then (CrashLoopBackOff)", True),
        ("cart-0 (main) began to restart: 4 times until now", True),
        ("cart-0 (main) was killed for want of memory", True),
    ]


def test_of_many_changes_those_on_the_way_stay() -> None:
    others = [changed(f"other-{i}", Change(ONSET - i, "rollout", "")) for i in range(40)]
    made = world([*others, changed("cart", Change(ONSET - 600, "rollout", "cart:2"))])
    found = timeline(made, {CART, AppKey("", EXTERNAL, "api.example.com:443")}, ONSET)
    assert len(found) == MOST
    assert found[0].where == CART


def test_where_nobodys_calls_are_known_the_way_says_so() -> None:
    front = application(FRONT, served=traffic({"2xx": series(20.0)}, series(0.01, 0.4)))
    busy = instance("cart-0", containers=[container(cpu_usage=series(0.1, 0.9))])
    assert links(world([front, application(CART, [busy])])) == {("front", "cart"): (0.0, "unknown")}


def test_calls_that_are_not_made_any_more_have_a_series() -> None:
    front = application(FRONT, served=traffic({"2xx": series(20.0, 0.0), "5xx": series(0.0, 20.0)}, 0.01))
    cart = application(CART, served=traffic({"2xx": series(20.0, 0.0)}, 0.01))
    made = world([front, cart], [connection(FRONT, CART, traffic({"2xx": series(20.0, 0.0)}))])
    cause = causes(made)[0]
    gone = next(fact for fact in cause.evidence if fact.signal == "calls-gone")
    values = track(made, cause, gone)
    assert values is not None
    assert (values[0], values[-1]) == (20.0, 0.0)
