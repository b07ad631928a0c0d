"""What is named when the users' pain cannot be followed, and what else tells two places apart."""

import numpy as np
import pytest
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.model.world import World
from callgraph import Service as S
from callgraph import app_key, simulate
from worlds import BAD_STEPS, NOW, ONSET, STEP, T, application, connection, container, instance, key, series, traffic, world


def shop(**changed: S) -> dict[str, S]:
    """front -> (checkout -> (cart, payment), search -> cart)."""
    services = {
        "front": S(calls={"checkout": 1, "search": 1}),
        "checkout": S(calls={"cart": 1, "payment": 1}),
        "search": S(calls={"cart": 1}),
        "cart": S(),
        "payment": S(),
    }
    return services | changed


def found(made: World, violator: str = "front", since: float | None = None) -> Diagnosis:
    return diagnose(made, {}, app_key(violator), [], NOW, since)


def busy(made: World, name: str, before: float, during: float, limit: float | None = None) -> None:
    arrays = {"cpu_usage": series(before, during, noise=0.02)} | ({} if limit is None else {"cpu_limit": series(limit)})
    made.applications[key(name)].instances = {f"{name}-0": instance(f"{name}-0", containers=[container(**arrays)])}


def names(causes: tuple[Cause, ...]) -> list[str]:
    return [cause.app.name for cause in causes]


def test_where_nobodys_calls_are_known_the_strongest_evidence_in_the_namespace_leads_and_is_not_certain() -> None:
    front = application(key("front"), served=traffic({"2xx": series(20.0)}, series(0.01, 0.4)))
    made = world([front, application(key("ledger")), application(key("search")), application(key("ledger", namespace="other"))])
    busy(made, "ledger", 0.1, 0.9)
    busy(made, "search", 0.1, 0.3)
    diagnosis = found(made)
    assert names(diagnosis.causes) == ["ledger", "search", "front"]
    assert {cause.share for cause in diagnosis.causes[:2]} == {0.0}
    assert (diagnosis.causes[0].klass, diagnosis.dominant, diagnosis.thin) == ("cpu-demand", False, "nobody's calls are known")


def test_what_users_hardly_see_is_not_followed_but_suspected() -> None:
    """The front end is slower by less than it varies anyway, payment computes ten times as much."""
    made = simulate(shop(front=S(calls={"checkout": 1, "search": 1}, own=0.5, slow=0.53)), "front", noise=0.5)
    busy(made, "payment", 0.05, 0.5)
    diagnosis = found(made, since=ONSET)
    assert names(diagnosis.causes)[0] == "payment"
    assert not diagnosis.dominant
    assert diagnosis.thin in ("what users see is hardly worse than before", "nothing exceeds what was normal before")


def test_nothing_at_all_leaves_the_violator() -> None:
    diagnosis = found(simulate(shop(), "front", noise=0.0), since=ONSET)
    assert (names(diagnosis.causes), diagnosis.dominant) == (["front"], False)


@pytest.mark.parametrize(("limit", "named"), [(0.03, True), (None, False)])
def test_cpu_counts_against_what_a_container_may_use(limit: float | None, named: bool) -> None:
    made = simulate(shop(cart=S(slow=0.3)), "front")
    busy(made, "cart", 0.003, 0.025, limit)
    assert (found(made).causes[0].klass == "cpu-demand") == named


def test_of_a_slow_network_the_end_is_named_all_of_whose_edges_are_slow() -> None:
    slow = {"net_during": 0.1}
    into_cart = found(simulate(shop(cart=S(**slow)), "front"))
    assert [(c.app.name, c.klass) for c in into_cart.causes[:1]] == [("cart", "network-latency")]
    out_of_checkout = simulate(shop(cart=S(**slow), payment=S(**slow)), "front")
    search = next(c for c in out_of_checkout.connections if c.client == key("search"))
    assert search.traffic.seconds is not None
    search.traffic.seconds[-BAD_STEPS:] -= 0.1 * search.traffic.timed[-BAD_STEPS:]  # type: ignore[index]
    served = out_of_checkout.applications[key("search")].served
    served.seconds[-BAD_STEPS:] -= 0.1 * served.timed[-BAD_STEPS:]  # type: ignore[index,operator]
    diagnosis = found(out_of_checkout)
    assert [(c.app.name, c.klass, [k.name for k in c.path]) for c in diagnosis.causes[:1]] == [
        ("checkout", "network-latency", ["front", "checkout"])
    ]


@pytest.mark.parametrize(
    ("before", "served", "blamed"),
    [(0.0, False, "checkout"), (5.0, False, "archive"), (0.0, True, "archive"), (np.nan, False, "archive")],
    ids=["new and not seen", "known", "new and failing by its own account", "nothing known of before"],
)
def test_who_calls_somebody_new_is_to_blame_unless_that_one_fails_itself(before: float, served: bool, blamed: str) -> None:
    bad = series(0.0, 10.0)
    checkout = application(key("checkout"), served=traffic({"2xx": series(20.0, 10.0), "5xx": bad}, 0.01))
    answers = traffic({"2xx": series(before, 0.0), "5xx": np.where(np.isnan(before), series(np.nan, 10.0), bad)})
    archive = application(key("archive"), **({"served": answers} if served else {}))
    made = world([checkout, archive], [connection(key("checkout"), key("archive"), answers)])
    assert names(found(made, "checkout").causes)[0] == blamed


def test_calls_that_are_not_made_any_more_tell_of_who_no_longer_makes_them() -> None:
    checkout = application(key("checkout"), served=traffic({"2xx": series(20.0, 0.0), "5xx": series(0.0, 20.0)}, 0.01))
    payment = application(key("payment"), served=traffic({"2xx": series(20.0, 0.0)}, 0.01))
    made = world([checkout, payment], [connection(key("checkout"), key("payment"), traffic({"2xx": series(20.0, 0.0)}))])
    cause = found(made, "checkout").causes[0]
    assert (cause.app.name, [e.signal for e in cause.evidence if e.signal == "calls-gone"]) == ("checkout", ["calls-gone"])


def test_what_is_worse_at_other_times_than_the_violator_explains_nothing() -> None:
    """In the first half of the incident ledger is slow and so is front, in the second half only a call that nobody waits for."""
    steps = 40
    half = series(0.0, 0.3, steps)
    half[-steps // 2 :] = 0.0
    other = series(0.0)
    other[-steps // 2 :] = 0.3
    rate = series(20.0)
    front = application(key("front"), served=traffic({"2xx": rate}, 0.02 + half))
    ledger = application(key("ledger"), served=traffic({"2xx": rate}, 0.01 + half))
    mailer = application(key("mailer"), served=traffic({"2xx": rate}, 0.01 + other))
    edges = [connection(key("front"), app.key, traffic({"2xx": rate}, app.served.mean())) for app in (ledger, mailer)]
    diagnosis = found(world([front, ledger, mailer], edges), since=NOW - steps * STEP)
    assert names(diagnosis.causes)[0] == "ledger"
    assert diagnosis.causes[0].share > 0.8  # half of it, were the incident looked at as a whole


def test_a_diagnosis_of_many_applications_asks_no_more_than_the_nearest() -> None:
    front = application(key("front"), served=traffic({"2xx": series(20.0)}, np.full(T, 0.01)))
    others = [application(key(f"app-{i}")) for i in range(300)]
    assert len(found(world([front, *others]), since=ONSET).causes) <= 3
