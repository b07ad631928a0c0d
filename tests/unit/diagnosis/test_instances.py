"""Which instance is named, and when it goes before what has a share."""

import pytest
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.result import Diagnosis
from appstatus.model.series import F64
from appstatus.model.world import Instance, World
from callgraph import Service as S
from callgraph import app_key, simulate
from worlds import BAD_STEPS, NOW, ONSET, container, instance, key, last, series, traffic

CPU, RSS, BYTES, RATE = 0.2, 2e8, 1e5, 5.0


def shop() -> World:
    """front -> (cart, payment); front is slow by itself, for no reason that is seen. Not all of the calls are known."""
    made = simulate({"front": S(own=0.01, slow=0.2, calls={"cart": 1, "payment": 1}), "cart": S(), "payment": S()}, "front")
    made.missing = {"requests_out": "timed out"}
    return made


def replica(name: str, served: float = RATE, calls: float = RATE, **arrays: F64) -> Instance:
    """One that does what it always does, but for what is given: rates during the incident, arrays of its container."""
    flat = {"cpu_usage": series(CPU), "memory_rss": series(RSS), "bytes_sent": series(BYTES)}
    made = instance(name, containers=[container(**(flat | arrays))])
    made.served = traffic({"2xx": series(RATE, served)}, 0.01)
    made.calls = traffic({"2xx": series(RATE, calls)}, 0.01)
    return made


def put(made: World, app: str, *replicas: Instance) -> None:
    made.applications[key(app)].instances = {each.name: each for each in replicas}


def found(made: World) -> Diagnosis:
    return diagnose(made, {}, app_key("front"), [], NOW, ONSET)


def more(before: float, factor: float = 3.0) -> F64:
    return series(before, factor * before)


# The fault, and what of the instance moves with it.
@pytest.mark.parametrize(
    ("klass", "served", "calls", "arrays"),
    [
        ("memory-growth", RATE, 0.5, {"memory_rss": more(RSS), "bytes_sent": series(BYTES)}),
        ("cpu-demand", 0.5, RATE, {"cpu_usage": more(CPU)}),
        ("network-loss", 0.5, 0.5, {"bytes_sent": series(BYTES, 0.1 * BYTES)}),
        ("restarted", RATE, 0.5, {"bytes_sent": series(BYTES, 0.1 * BYTES), "memory_rss": more(RSS)}),
        ("instance-down", 0.0, 0.0, {"bytes_sent": series(BYTES, 0.0), "memory_rss": more(RSS)}),
    ],
)
def test_what_befalls_one_replica_is_told_by_what_moves_at_it(
    klass: str, served: float, calls: float, arrays: dict[str, F64]
) -> None:
    made = shop()
    put(made, "cart", replica("cart-0"), replica("cart-1", served, calls, **arrays))
    put(made, "payment", replica("payment-0"), replica("payment-1"))
    diagnosis = found(made)
    first = diagnosis.causes[0]
    assert (first.app.name, first.instance, first.klass) == ("cart", "cart-1", klass)
    assert {fact.subject for fact in first.evidence} == {"cart-1"}
    # It explains nothing that could be followed: no certainty.
    assert not diagnosis.dominant


def test_one_metric_alone_leaves_the_share_in_front() -> None:
    made = shop()
    made.missing = {}
    put(made, "cart", replica("cart-0"), replica("cart-1", cpu_usage=more(CPU)))
    assert found(made).causes[0].app.name == "front"


def test_what_all_replicas_show_is_none_of_them() -> None:
    """Both carts compute and hold more; of the payments only one does."""
    arrays = {"cpu_usage": more(CPU), "memory_rss": more(RSS)}
    made = shop()
    put(made, "cart", replica("cart-0", **arrays), replica("cart-1", **arrays))
    put(made, "payment", replica("payment-0"), replica("payment-1", **arrays))
    assert found(made).causes[0].instance == "payment-1"


def test_of_replicas_that_all_do_the_same_none_is_named() -> None:
    made = simulate({"front": S(calls={"cart": 1}), "cart": S(slow=0.3)}, "front")
    put(made, "cart", *(replica(f"cart-{i}", cpu_usage=series(CPU, 4 * CPU, noise=0.02, seed=i)) for i in range(3)))
    cause = found(made).causes[0]
    assert (cause.app.name, cause.klass, cause.instance, cause.node) == ("cart", "cpu-demand", "", "")


@pytest.mark.parametrize(
    ("services", "right"),
    [
        ({"front": S(slow=0.2, calls={"b": 1}), "b": S()}, "front"),
        ({"front": S(calls={"a": 1, "b": 1}), "a": S(slow=0.13), "b": S(slow=0.07)}, "a"),
        ({"front": S(own=0.01, slow=0.06, calls={"a": 1, "b": 1}), "a": S(slow=0.1), "b": S()}, "a"),
    ],
)
def test_where_shares_are_known_whoever_gets_warmer_meanwhile_hides_no_larger_one(services: dict[str, S], right: str) -> None:
    made = simulate(services, "front")
    put(made, "b", replica("b-0", cpu_usage=more(CPU), memory_rss=more(RSS)))
    diagnosis = found(made)
    assert (diagnosis.causes[0].app.name, diagnosis.dominant) == (right, True)


def test_what_comes_late_is_less_likely_the_cause() -> None:
    late = {"cpu_usage": CPU * (1.0 + last(BAD_STEPS // 3, 2.0)), "memory_rss": RSS * (1.0 + last(BAD_STEPS // 3, 2.0))}
    made = shop()
    put(made, "cart", replica("cart-0", **late), replica("cart-1"))
    put(made, "payment", replica("payment-0"), replica("payment-1", 0.5, cpu_usage=more(CPU)))
    assert found(made).causes[0].instance == "payment-1"


def test_what_happened_to_a_cause_with_a_share_goes_first() -> None:
    """Cart's container was killed and cart fails; a payment computes and holds more."""
    made = simulate({"front": S(calls={"cart": 1, "payment": 1}), "cart": S(failing=0.5), "payment": S()}, "front")
    put(made, "cart", replica("cart-0", oom_kills=last(1, 1.0)))
    put(made, "payment", replica("payment-0"), replica("payment-1", cpu_usage=more(CPU), memory_rss=more(RSS)))
    diagnosis = found(made)
    assert (diagnosis.causes[0].app.name, diagnosis.causes[0].klass) == ("cart", "memory-oom")
    assert diagnosis.dominant
