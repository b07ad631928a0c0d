"""Part of the series of an application is missing (a limit of Prometheus, an agent that lost some): no false alert follows."""

from random import Random

import pytest
from appstatus.api.objective import Objective, Outage
from appstatus.api.tiers import default_tiers
from appstatus.slo.ledger import Ledger
from appstatus.slo.status import SLOStatus
from clusters import NOW, STEP, built, deployment, facts, k8s, metrics, pod
from hypothesis import given, settings
from hypothesis import strategies as st

STEPS = 24
MONTH = 30 * 86400.0
CART, FRONTEND = deployment("cart"), deployment("frontend")
PODS = [pod(f"cart-6c8d9f7b5-bcdf{i}", CART, f"10.1.0.{i}") for i in range(2)]
CLIENT = pod("frontend-6c8d9f7b5-bcdfg", FRONTEND, "10.1.0.9")
FACTS = facts([CART, FRONTEND], [*PODS, CLIENT])
BOUNDS = ("0.01", "0.025", "0.1", "0.5", "5", "+Inf")

# (query, labels, rate): 22 answers/s of each pod, half of them to peers outside, 2 % bad; a few requests are never answered.
Row = tuple[str, dict[str, str], float]


def _rows() -> tuple[list[Row], list[Row], list[Row]]:
    """Of requests, of histograms, and those that are always there."""
    requests: list[Row] = []
    histograms: list[Row] = []
    always: list[Row] = []
    for each in PODS:
        there = f"{each.ips[0]}:80"
        dialled = k8s(CLIENT.name) | {"destination": there}
        edge = dialled | {"actual_destination": there}
        for peer in ("outside", "cluster"):
            requests += [("requests_in", k8s(each.name) | {"peer": peer, "status": s}, r) for s, r in (("2xx", 10.8), ("5xx", 0.2))]
            histograms += [("requests_in_buckets", k8s(each.name) | {"peer": peer, "le": le}, 10.8) for le in BOUNDS]
        requests += [("requests_in", k8s(each.name) | {"peer": "outside", "status": "closed"}, 0.05)]
        requests += [("requests_out", edge | {"status": s}, r) for s, r in (("2xx", 10.8), ("5xx", 0.2), ("closed", 0.05))]
        histograms += [("requests_out_timed", edge, 10.8)]
        always += [("listen", k8s(each.name) | {"listen_addr": there}, 1.0), ("container_cpu_usage", k8s(each.name), 0.1)]
        always += [("tcp_failed_connects", dialled, 0.01)]
    return requests, histograms, always


REQUESTS, HISTOGRAMS, ALWAYS = _rows()


def state(rows: list[Row]) -> SLOStatus:
    answers: dict[str, list[tuple[dict[str, str], float]]] = {
        "ip_to_fqdn": [],
        "requests_in": [],
        "requests_out": [],
        "requests_in_buckets": [],
    }
    for query, labels, rate in [*rows, *ALWAYS]:
        answers.setdefault(query, []).append((labels, rate))
    ledger = Ledger(STEP, NOW - STEP * (STEPS + 1))
    wanted = Objective("availability", CART.key, "availability", 0.99, MONTH, default_tiers(MONTH), Outage(), source=CART.ref)
    ledger.update(built(FACTS, metrics(answers, times=STEPS)), [wanted])
    return ledger.evaluate([wanted], NOW)[CART.key][0]


def test_with_all_series_it_is_judged() -> None:
    found = state([*REQUESTS, *HISTOGRAMS])
    assert found.total > 0 and found.bad_ratio_5m == pytest.approx(0.0227, abs=0.002)


def test_without_its_good_answers_it_is_unknown_not_an_outage() -> None:
    kept = [row for row in REQUESTS if row[1]["status"] != "2xx"]
    assert state([*kept, *HISTOGRAMS]).state == "NoData"


def test_an_outage_is_still_one_in_which_nobody_is_answered_well() -> None:
    """What the histogram would have counted is not there either."""
    kept = [(query, labels, 11.0) for query, labels, _ in REQUESTS if labels["status"] == "5xx"]
    silent = [(query, labels, 0.0) for query, labels, _ in HISTOGRAMS]
    assert state([*kept, *silent]).state == "Outage"


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=len(REQUESTS), max_size=len(REQUESTS)))
def test_whichever_series_of_requests_are_missing_nothing_fires(kept: list[bool]) -> None:
    found = state([*(row for row, keep in zip(REQUESTS, kept, strict=True) if keep), *HISTOGRAMS])
    assert found.state not in ("Outage", "FastBurn") and (found.bad_ratio_5m or 0.0) < 0.1, found


@settings(max_examples=100)
@given(st.randoms(use_true_random=False))
def test_whichever_half_of_all_series_is_missing_nothing_fires(random: Random) -> None:
    rows = [*REQUESTS, *HISTOGRAMS]
    found = state(random.sample(rows, len(rows) // 2))
    assert found.state not in ("Outage", "FastBurn") and (found.bad_ratio_5m or 0.0) < 0.1, found
